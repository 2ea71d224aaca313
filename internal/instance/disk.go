package instance

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/host"
)

// Disk is what an instance has on its host's disk. The health watch measures it with each
// probe, at least once a minute, and sooner where the limit may be reached before. What
// follows from it is derived from the measurement and what was known before, and is brought
// about anew each time, so that it survives restarts of servers and of workers.
type Disk struct {
	State     DiskState // empty: it was never measured
	UsedBytes int64
	Bound     DiskBound
	SeenAt    time.Time // when this was measured; what has changed little since is not written
}

// DiskState is how much of its limit an instance uses. Each state is left well below where it
// is entered, so that one who writes and deletes at a threshold causes no stream of events.
//
//	ok ──80%──► warning ──95%──► critical ──100%──► full
//	   ◄─75%───         ◄─90%───          ◄──95%───
type DiskState string

// The states of a disk.
const (
	DiskOK       DiskState = "ok"
	DiskWarning  DiskState = "warning"
	DiskCritical DiskState = "critical"
	DiskFull     DiskState = "full" // writes of the tenant are refused; reads and deletes go on
)

// DiskBound is who keeps an instance to its disk.
type DiskBound string

// Who keeps an instance to its disk.
const (
	// DiskBoundMeasured: Berth measures, and has the server refuse writes.
	DiskBoundMeasured DiskBound = "measured"
	// DiskBoundDriver: the same, and the host's own driver refuses what goes far beyond.
	DiskBoundDriver DiskBound = "driver"
	// DiskBoundLoop: the same, and the volume is a file system of its own, which refuses that.
	DiskBoundLoop DiskBound = "loop"
)

// Coarse gives the bound by the two words that clients of earlier releases know: measured, or driver
// where the host refuses something, too.
func (b DiskBound) Coarse() DiskBound {
	if b.Enforcement() == host.EnforcedByNone {
		return DiskBoundMeasured
	}
	return DiskBoundDriver
}

// Enforcement gives how the host bounds the volume.
func (b DiskBound) Enforcement() host.Enforcement {
	switch b {
	case DiskBoundDriver:
		return host.EnforcedByQuota
	case DiskBoundLoop:
		return host.EnforcedByLoop
	default:
		return host.EnforcedByNone
	}
}

// boundBy is the other way round.
func boundBy(e host.Enforcement) DiskBound {
	switch e {
	case host.EnforcedByQuota:
		return DiskBoundDriver
	case host.EnforcedByLoop:
		return DiskBoundLoop
	default:
		return DiskBoundMeasured
	}
}

// diskLevels are the states above DiskOK with the percentages of the limit at which they are
// entered and left, the highest first.
var diskLevels = []struct {
	state        DiskState
	enter, leave int64
}{
	{DiskFull, 100, 95},
	{DiskCritical, 95, 90},
	{DiskWarning, 80, 75},
}

// Next gives the state of one that was in this state and uses so many bytes of its limit.
func (s DiskState) Next(used, limit int64) DiskState {
	reached := false // whether s is this level or a higher one
	for _, level := range diskLevels {
		reached = reached || s == level.state
		if share := float64(used) / float64(max(limit, 1)) * 100; share >= float64(level.enter) || reached && share >= float64(level.leave) {
			return level.state
		}
	}
	return DiskOK
}

// DiskKeeper is an Engine whose servers can say what they have on their disk, and refuse
// what would take more of it.
type DiskKeeper interface {
	Engine
	// KeepDisk measures by Berth's own account, asks the function whether writes are to be
	// refused to the tenant, and sees to it that they are, or are not: reads and whatever
	// frees space go on. It comes to the same however often it is called, and whatever an
	// earlier call has left half done. One try, bounded by the context. CodeForbidden where
	// the server was started by an earlier version, whose account may not do so.
	KeepDisk(ctx context.Context, inst Instance, creds Credentials, refuse func(used int64) bool) (used int64, err error)
}

// DiskUsed gives what counts against the limit: the bytes of the files, less what is free
// within them. Space that is free in a file may be of no use to another, so only so much of it
// counts as free that the files stay within the limit and its slack.
func DiskUsed(files, free int64, size host.Resources) int64 {
	return files - min(max(free, 0), size.DiskSlack())
}

const (
	// diskEvery is the longest pause between two measurements, diskSoonest the shortest.
	diskEvery   = time.Minute
	diskSoonest = 2 * time.Second
	// diskPace is how fast an instance is expected to grow that did not grow until now: so many
	// bytes a second, and at most so much of its limit (1/diskPaceShare).
	diskPace      = 16 << 20
	diskPaceShare = 64
	// diskGrain is the share of the limit by which use must change to be written.
	diskGrain = 100
)

// diskPause gives when to measure again: before the limit is reached at twice the pace of
// the last time.
func diskPause(before, now Disk, limit int64, every time.Duration) time.Duration {
	every = min(every, diskEvery)
	if now.State == DiskFull {
		return min(afterMiss, every) // it is to go on soon after a delete
	}
	pace := float64(min(diskPace, max(limit/diskPaceShare, 1)))
	if before.State != "" {
		// What did not change much was not written again: it was seen at the last probe.
		passed := max(min(now.SeenAt.Sub(before.SeenAt), every).Seconds(), 1)
		pace = max(pace, 2*float64(now.UsedBytes-before.UsedBytes)/passed)
	}
	left := time.Duration(float64(max(limit-now.UsedBytes, 0)) / pace * float64(time.Second))
	return min(max(left, diskSoonest), every)
}

// worthWriting reports whether use has changed by more than a grain of the limit.
func (d Disk) worthWriting(next Disk, limit int64) bool {
	change := next.UsedBytes - d.UsedBytes
	return d.State != next.State || d.Bound != next.Bound || max(change, -change) >= max(limit/diskGrain, 1)
}

// The types of events about disk, one for each crossing of a threshold.
const (
	EventDiskWarning  = "instance.disk_warning"
	EventDiskCritical = "instance.disk_critical"
	EventDiskFull     = "instance.disk_full"
	EventDiskOK       = "instance.disk_ok"
)

// diskEvent gives the event of a change of state, and its message; "" where there is none to
// tell: what was never measured and is fine is no news.
func diskEvent(before, now Disk, limit int64) (kind, message string) {
	use := fmt.Sprintf("%d of %d MiB of disk are used", now.UsedBytes>>20, limit>>20)
	switch {
	case before.State == now.State, before.State == "" && now.State == DiskOK:
		return "", ""
	case now.State == DiskFull:
		return EventDiskFull, use + "; " + ReasonDiskFull
	case before.State == DiskFull:
		use += "; writes are accepted again"
	}
	switch now.State {
	case DiskCritical:
		return EventDiskCritical, use
	case DiskWarning:
		return EventDiskWarning, use
	default:
		return EventDiskOK, use
	}
}

// ReasonDiskFull is why an instance that runs takes no writes.
const ReasonDiskFull = "the disk of its plan is full, so writes are refused until less than 95 % of it is used; reads and deletes go on: " +
	"delete something, or take a larger plan"
