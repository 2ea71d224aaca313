package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

const (
	// missesToUnreachable is how many sweeps in a row must fail before a host counts as
	// unreachable: one may have met it while it was restarted.
	missesToUnreachable = 2
	// factsEvery and spaceEvery are how often a host is asked what it is, and how full its disks
	// are.
	factsEvery = 5 * time.Minute
	spaceEvery = 30 * time.Second
	// A disk closes below the smaller of these, and opens again above twice as much.
	fullBytes = 1 << 30
	fullShare = 20 // one in so many
)

// The types of events about the health of a host.
const (
	EventUnreachable = "host.unreachable"
	EventReachable   = "host.reachable"
	EventDiskFull    = "host.disk_full"
	EventDiskOK      = "host.disk_ok"
)

// tend keeps what is written of a host's health and machine right, by how a sweep of it has ended.
// What it cannot do now the next sweep does.
func (r *Reconciler) tend(ctx context.Context, h Host, memory *hostSweeps, swept error) {
	if r.DryRun {
		return
	}
	var err error
	switch {
	case unreached(swept):
		if memory.misses++; memory.misses >= missesToUnreachable && h.Health != Unreachable {
			err = r.turn(ctx, h, Unreachable, fault.Explain(swept), EventUnreachable)
		}
	case swept == nil:
		memory.misses = 0
		if h.Health == Unreachable {
			err = r.turn(ctx, h, Healthy, "", EventReachable)
		}
		if err == nil {
			err = r.look(ctx, h.ID, memory)
		}
	}
	if fault.IgnoreLostRace(err) != nil && ctx.Err() == nil {
		r.Log.WarnContext(ctx, "the health of a host could not be written", "host", h.Name, "error", err)
	}
}

// unreached reports whether nothing can be done on a host: it does not answer, or is reached by SSH and does
// not let Berth in, or may be another machine.
func unreached(err error) bool {
	code := fault.CodeOf(err)
	return err != nil && (code == fault.CodeHostUnavailable || code == fault.CodeLoginRefused || code == fault.CodeHostKeyChanged)
}

// turn writes another health of the host, and says so.
func (r *Reconciler) turn(ctx context.Context, h Host, to Health, note, kind string) error {
	err := r.update(ctx, h.ID, func(tx Tx, h *Host) error {
		h.Health, h.HealthNote, h.HealthSince = to, clip(note, maxReason), r.Now()
		if to == Healthy {
			h.HealthSince = time.Time{}
		}
		message := note
		if message == "" {
			message = "host " + h.Name + " is healthy again"
		}
		return r.announce(tx, kind, *h, message)
	})
	if err == nil {
		r.Log.WarnContext(ctx, "the health of a host has changed", "host", h.Name, "health", string(to), "note", note)
	}
	return err
}

func (r *Reconciler) announce(tx Tx, kind string, h Host, message string) error {
	if r.Jobs == nil {
		return nil
	}
	return announce(r.Jobs, tx, kind, h, "", message, r.Now())
}

// update writes a host as the function makes it.
func (r *Reconciler) update(ctx context.Context, which ID, change func(Tx, *Host) error) error {
	return r.Store.Tx(ctx, func(tx Tx) error {
		h, err := tx.HostRow(which)
		if err != nil {
			return err
		}
		if err := change(tx, &h); err != nil {
			return err
		}
		return tx.UpdateHost(h)
	})
}

// look asks a host now and then what it is, and how full its disks are.
func (r *Reconciler) look(ctx context.Context, which ID, memory *hostSweeps) error {
	h, err := r.Store.Host(ctx, which)
	if err != nil {
		return err
	}
	runtime, err := r.Runtimes.Runtime(h)
	if err != nil {
		return err
	}
	now := r.Now()
	if now.Sub(h.Found.At) > factsEvery {
		facts, err := runtime.Facts(ctx)
		if err != nil {
			return err
		}
		err = r.update(ctx, which, func(_ Tx, h *Host) error {
			h.Found, h.Arch = facts.found(now), NormalArch(facts.Arch)
			if c := h.capacityOf(h.Found); fitsIn(h.Used, c) {
				h.Capacity = c
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if now.Sub(memory.measured) < spaceEvery {
		return nil
	}
	memory.measured = now
	return r.measure(ctx, h, runtime)
}

// measure looks how full the disks of a host are, by one unit on each that runs. A disk that nothing runs on
// fills nobody's data now, and nothing there can tell of it: it is open, until something runs there.
func (r *Reconciler) measure(ctx context.Context, h Host, runtime Runtime) error {
	disks, err := r.Store.Disks(ctx, h.ID)
	if err != nil {
		return err
	}
	held, err := r.Store.Allocations(ctx, AllocationFilter{Host: h.ID}, "", reconcileBatch)
	if err != nil {
		return err
	}
	for _, d := range disks {
		used := len(held) == reconcileBatch // where there are more, one of them may be there
		for _, a := range held {
			if a.Disk != d.ID {
				continue
			}
			space, err := runtime.Space(ctx, a.Unit)
			if fault.CodeOf(err) == fault.CodeHostUnavailable && err != nil {
				return err
			}
			if used = used || !errors.Is(err, fault.ErrNotFound); err != nil || space.SizeBytes == 0 {
				continue // it does not run, or cannot say; another may
			}
			if err := r.measured(ctx, h, d, space); err != nil {
				return err
			}
			break
		}
		if closed := d.State == DiskIsFull || d.Path == "" && h.Health == DiskFull; closed && !used {
			if err := r.decide(ctx, h, d, false, "nothing runs on disk "+d.name()+" any more"); err != nil {
				return err
			}
		}
	}
	return nil
}

// full reports whether a disk that was, or was not, full is so now.
func (s Space) full(was bool) bool {
	limit := min(int64(fullBytes), s.SizeBytes/fullShare)
	if was {
		limit *= 2
	}
	return s.FreeBytes < limit
}

// measured writes what was seen of a disk.
func (r *Reconciler) measured(ctx context.Context, h Host, d Disk, s Space) error {
	was := d.State == DiskIsFull
	is := (was || d.State == DiskAvailable) && s.full(was)
	d.TotalBytes, d.FreeBytes, d.SeenAt = s.SizeBytes, s.FreeBytes, r.Now()
	return r.decide(ctx, h, d, is, fmt.Sprintf("%s of %s are free on disk %s", gibibytes(s.FreeBytes), gibibytes(s.SizeBytes), d.name()))
}

// decide writes a disk, and whether it is full. One that is full takes nothing any more, and where it is
// the engine's own folder, nor does its host; what is there goes on.
func (r *Reconciler) decide(ctx context.Context, h Host, d Disk, is bool, note string) error {
	was := d.State == DiskIsFull
	switch {
	case is && !was:
		d.State = DiskIsFull
	case was && !is:
		d.State = DiskAvailable
	}
	if err := r.Store.Tx(ctx, func(tx Tx) error { return tx.UpdateHostDisk(d) }); err != nil {
		return err
	}
	closes := d.Path == "" && is && h.Health == Healthy
	opens := d.Path == "" && !is && h.Health == DiskFull
	switch {
	case closes:
		return r.turn(ctx, h, DiskFull, note, EventDiskFull)
	case opens:
		return r.turn(ctx, h, Healthy, "", EventDiskOK)
	case is == was:
		return nil
	case is:
		return r.Store.Tx(ctx, func(tx Tx) error { return r.announce(tx, EventDiskFull, h, note) })
	default:
		return r.Store.Tx(ctx, func(tx Tx) error { return r.announce(tx, EventDiskOK, h, note) })
	}
}

// name is what people call the disk.
func (d *Disk) name() string {
	if d.Path == "" {
		return "of the engine"
	}
	return d.Path
}
