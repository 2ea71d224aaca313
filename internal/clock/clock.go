// Package clock owns what time it is, so that tests can say so. It must not know what the
// time is for.
package clock

import "time"

// Clock gives the time: UTC, whole milliseconds.
type Clock func() time.Time

// System is the Clock of the machine.
func System() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
