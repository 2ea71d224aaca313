package tenant

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits narrow what an API key may do to some of its tenant's things.
type Limits struct {
	Engines []string          // any of these; none: all
	Labels  map[string]string // all of these; none: any
}

// Empty reports whether they narrow nothing.
func (l Limits) Empty() bool { return len(l.Engines) == 0 && len(l.Labels) == 0 }

// Engine reports whether they allow the engine.
func (l Limits) Engine(name string) bool {
	return len(l.Engines) == 0 || slices.Contains(l.Engines, name)
}

// Allow reports whether they allow a thing of the engine with the labels.
func (l Limits) Allow(engine string, labels map[string]string) bool {
	if !l.Engine(engine) {
		return false
	}
	for name, value := range l.Labels {
		if have, ok := labels[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// String returns them for people, for example "engines redis, label team=a".
func (l Limits) String() string {
	var parts []string
	if len(l.Engines) > 0 {
		parts = append(parts, "engines "+strings.Join(l.Engines, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(l.Labels)) {
		parts = append(parts, fmt.Sprintf("label %s=%s", name, l.Labels[name]))
	}
	return strings.Join(parts, "; ")
}
