package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/berth-project/berth/internal/instance"
)

var warmPattern = regexp.MustCompile(`^([a-z0-9-]+)(?:@([A-Za-z0-9._-]+))?:([a-z0-9-]+)=([0-9]{1,3})$`)

// parseWarm reads "redis:small=4,mysql@9.7:small=2". What the engines do not have is
// found out later.
func parseWarm(text string) ([]instance.Warm, error) {
	var list []instance.Warm
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		m := warmPattern.FindStringSubmatch(part)
		if m == nil {
			return nil, fmt.Errorf("%q is not ENGINE:PLAN=COUNT, such as redis:small=4", part)
		}
		count, err := strconv.Atoi(m[4])
		if err != nil {
			return nil, err
		}
		list = append(list, instance.Warm{Kind: instance.Kind{Engine: m[1], Version: m[2], Plan: m[3]}, Count: count})
	}
	return list, nil
}
