package instance_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
)

// diskEvents gives the types of the instance's events about its disk, in their order.
func (w *world) diskEvents(id instance.ID) []string {
	w.Helper()
	types := w.eventTypes(id)
	return slices.DeleteFunc(types, func(of string) bool { return !strings.HasPrefix(of, "instance.disk_") })
}

// write has the instance's server store so many tenths of its plan's disk more, or fewer.
func (w *world) write(inst instance.Instance, tenths int64) error {
	return w.runtime.Write(host.UnitID(inst.ID), inst.Spec.Resources.DiskBytes/10*tenths+tenths)
}

func (w *world) disk(inst instance.Instance, want instance.DiskState, events ...string) {
	w.Helper()
	if got := w.instance(inst.ID).Status.Disk; got.State != want {
		w.Errorf("its disk is %+v, want %s", got, want)
	}
	if got := w.diskEvents(inst.ID); !slices.Equal(got, events) {
		w.Errorf("events are %v, want %v", got, events)
	}
}

// One that writes past its limit is stopped from it, its neighbour goes on, and it recovers by
// itself when it deletes. Each crossing is told once, however many look.
func TestDiskLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		inst, neighbour := w.created(), w.created()
		look := func() { w.watchFor(time.Minute, w.health(), w.health(), w.health()) }
		look()
		w.disk(inst, instance.DiskOK)

		w.must(w.write(inst, 8))
		look()
		w.disk(inst, instance.DiskWarning, "instance.disk_warning")
		w.must(w.write(inst, 3))
		look()
		full := []string{"instance.disk_warning", "instance.disk_full"}
		w.disk(inst, instance.DiskFull, full...)
		if err := w.write(inst, 1); !errors.Is(err, hosttest.ErrDiskRefused) {
			t.Errorf("beyond its limit it writes on: %v", err)
		}
		w.must(w.write(neighbour, 1))
		w.state(inst.ID, instance.StateRunning, "")

		w.must(w.write(inst, -1))
		look()
		w.disk(inst, instance.DiskFull, full...) // it is to be well below before it may write
		w.must(w.write(inst, -5))
		look()
		recovered := append(full, "instance.disk_ok")
		w.disk(inst, instance.DiskOK, recovered...)
		w.must(w.write(inst, 1))
		w.disk(neighbour, instance.DiskOK)
		look()
		w.disk(inst, instance.DiskOK, recovered...)
	})
}

// A worker that ends between any two of its acts leaves nothing that the next does not bring
// in order: what is to be follows from what is measured.
func TestDiskLimitSurvives(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.watchFor(time.Minute, w.health())
		w.must(w.write(inst, 11))
		// Writes are refused, and the worker has not written that down.
		_, err := w.runtime.KeepDisk(host.UnitID(inst.ID), func(int64) bool { return true })
		w.must(err)
		w.watchFor(time.Minute, w.health())
		w.disk(inst, instance.DiskFull, "instance.disk_full")

		// It was written down, and the server has forgotten it.
		_, err = w.runtime.KeepDisk(host.UnitID(inst.ID), func(int64) bool { return false })
		w.must(err)
		w.watchFor(time.Minute, w.health())
		if err := w.write(inst, 1); !errors.Is(err, hosttest.ErrDiskRefused) {
			t.Errorf("it writes on: %v", err)
		}

		// Its container is made anew: what is known of the disk stays.
		w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{ExitCode: 1})
		w.reconcile(w.reconciler(), 1)
		if j := w.repaired(inst.ID); j.State != job.Succeeded {
			t.Fatalf("the repair is %s: %+v", j.State, j.Error)
		}
		w.disk(inst, instance.DiskFull, "instance.disk_full")
		w.watchFor(time.Minute, w.health())
		w.disk(inst, instance.DiskFull, "instance.disk_full")
		w.must(w.write(inst, -11))
		w.watchFor(time.Minute, w.health())
		w.disk(inst, instance.DiskOK, "instance.disk_full", "instance.disk_ok")
	})
}

// Near the limit, and when it grows fast, it is measured more often; what is full is looked at
// soon after a delete. A peaceful one costs one write in its life.
func TestDiskIsMeasuredMoreOftenNearTheLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		h := w.health()
		w.watchFor(time.Minute, h)
		before := w.instance(inst.ID)
		if n := w.watchFor(10*time.Minute, h); n > 25 {
			t.Errorf("%d looks in ten minutes at one that holds nothing", n)
		}
		if now := w.instance(inst.ID); now.Status.Disk.SeenAt != before.Status.Disk.SeenAt || now.Rev != before.Rev {
			t.Error("one that has not changed was written")
		}
		w.must(w.write(inst, 11))
		if n := w.watchFor(5*time.Minute, h); n < 50 {
			t.Errorf("%d looks in five minutes at one that is full", n)
		}
	})
}

// What was measured of an instance that has got another tenant is nothing of theirs, and what
// is measured of a deleted one is not written.
func TestDiskOfADeletedOne(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.watchFor(time.Minute, w.health())
		seen := w.instance(inst.ID).Status.Disk
		w.spin(w.delete(inst.ID).Job.ID)
		next := seen
		next.State, next.SeenAt = instance.DiskFull, seen.SeenAt.Add(time.Second)
		if err := w.store.Tx(w.ctx, func(tx rooms.Tx) error { return tx.UpdateDisk(inst.ID, seen, next) }); err == nil {
			t.Error("the disk of a deleted instance was written")
		}
	})
}

// Clients of earlier releases know two values of what keeps an instance to its disk.
func TestDiskBoundInTwoWords(t *testing.T) {
	for bound, want := range map[instance.DiskBound]struct {
		coarse instance.DiskBound
		by     host.Enforcement
	}{
		"":                         {instance.DiskBoundMeasured, host.EnforcedByNone},
		instance.DiskBoundMeasured: {instance.DiskBoundMeasured, host.EnforcedByNone},
		instance.DiskBoundDriver:   {instance.DiskBoundDriver, host.EnforcedByQuota},
		instance.DiskBoundLoop:     {instance.DiskBoundDriver, host.EnforcedByLoop},
	} {
		if bound.Coarse() != want.coarse || bound.Enforcement() != want.by {
			t.Errorf("%q is %s, %s", bound, bound.Coarse(), bound.Enforcement())
		}
	}
}
