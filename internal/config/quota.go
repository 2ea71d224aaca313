package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
)

// parseQuota reads "instances=20,cpu=1.5,memory=64gb".
func parseQuota(text string) (tenant.Amounts, error) {
	if text == "" {
		return nil, nil
	}
	limits := tenant.Amounts{}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		m := tenant.Measure(strings.TrimSpace(name))
		limit, ok := parseLimit(m, strings.TrimSpace(value))
		if !ok {
			return nil, fmt.Errorf("%q is not MEASURE=LIMIT, such as instances=20, cpu=1.5 or memory=64gb", part)
		}
		if _, twice := limits[m]; twice {
			return nil, fmt.Errorf("%s is there twice", m)
		}
		limits[m] = limit
	}
	for _, wrong := range tenant.CheckLimits(limits) {
		return nil, fmt.Errorf("%s: %s", wrong.Field, wrong.Message)
	}
	return limits, nil
}

func parseLimit(m tenant.Measure, text string) (int64, bool) {
	switch {
	case text == "-1":
		return tenant.Unlimited, true
	case m == tenant.CPU:
		cores, err := strconv.ParseFloat(text, 64)
		if err != nil || !(cores >= 0 && cores <= 1e9) {
			return 0, false
		}
		return int64(math.Round(cores * 1000)), true
	case m == tenant.Memory, m == tenant.Disk:
		return instance.ParseBytes(text)
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		return n, err == nil
	}
}
