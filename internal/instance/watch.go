package instance

import (
	"time"

	"github.com/berth-project/berth/internal/backoff"
)

// Watch is how the health of one instance is followed: when it is probed next, how
// often that failed in a row, and how often it had to be repaired. It is a row of its
// own, so that probing writes nothing that a job could be in conflict with.
type Watch struct {
	Instance   ID
	ProbeAt    time.Time
	Misses     int // probes that failed one after the other
	Repairs    int // one after the other, without a quiet time between two of them
	RepairedAt time.Time
	EndedAt    time.Time // when its server ended last, as far as that was told
	Rev        int64     // grows with every write; a write names the one it saw
}

// The types of events about what was found and mended.
const (
	EventUnhealthy     = "instance.unhealthy"
	EventNotice        = "instance.notice" // it runs, and its tenant should know something of it
	EventRepairing     = "instance.repairing"
	EventRestarted     = "instance.restarted"
	EventOrphanRemoved = "instance.orphan_removed"
	EventPortsReleased = "instance.ports_released"
	EventDeleteForced  = "instance.delete_forced"
)

// How often an instance that does not stay up is repaired: at once, then with growing
// pauses, and after maxQuickRepairs only now and then, because no more of the same is
// going to help. One that has lived for repairMemory since its last repair begins anew.
const (
	maxQuickRepairs = 5
	slowRepairPause = 5 * time.Minute
	repairMemory    = 10 * time.Minute
)

var quickRepairs = backoff.Exponential{First: 5 * time.Second, Most: slowRepairPause}

// repairAt gives when the instance may be repaired again.
func (w *Watch) repairAt() time.Time {
	switch {
	case w.Repairs == 0:
		return time.Time{}
	case w.Repairs >= maxQuickRepairs:
		return w.RepairedAt.Add(slowRepairPause)
	default:
		return w.RepairedAt.Add(quickRepairs.After(w.Repairs))
	}
}

// repaired counts a repair that begins now.
func (w *Watch) repaired(now time.Time) {
	if now.Sub(w.RepairedAt) > repairMemory {
		w.Repairs = 0
	}
	w.Repairs++
	w.RepairedAt = now
}
