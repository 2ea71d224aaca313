package instance_test

import (
	"fmt"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

// dryRun gives the calls that a create and a delete make when all goes well. The
// tests below take their steps from it, so a new step is tested by itself.
func dryRun(t *testing.T) (create, remove []string) {
	t.Helper()
	inWorld(t, func(w *world) {
		a := w.create()
		create = w.callsOf(a.Job.ID)
		remove = w.callsOf(w.delete(a.Instance.ID).Job.ID)
	})
	if len(create) < 8 || len(remove) < 4 {
		t.Fatalf("too few calls to be true: %v, %v", create, remove)
	}
	return create, remove
}

// eachCrash runs a test for each call, with a death before it and one after it.
func eachCrash(t *testing.T, calls []string, run func(w *world, n int, after bool)) {
	t.Helper()
	for i, name := range calls {
		for when, after := range map[string]bool{"before": false, "after": true} {
			t.Run(fmt.Sprintf("%02d %s %s", i+1, when, name), func(t *testing.T) {
				t.Parallel()
				inWorld(t, func(w *world) { run(w, i+1, after) })
			})
		}
	}
}

// A worker that vanishes at any moment of a create is followed by another one, and
// there is one container in the end.
func TestCrashDuringCreate(t *testing.T) {
	calls, _ := dryRun(t)
	eachCrash(t, calls, func(w *world, n int, after bool) {
		a := w.create()
		w.runMortal(a.Job.ID, n, after)
		crashed := w.job(a.Job.ID)
		w.spin(a.Job.ID)
		w.usable(a.Job.ID)
		j := w.job(a.Job.ID)
		if !crashed.State.Ended() && j.Fence <= crashed.Fence {
			t.Errorf("the fence did not grow: %d, %d", crashed.Fence, j.Fence)
		}
		if j.Attempt != 0 {
			w.Errorf("a crash used up %d attempts", j.Attempt)
		}
		w.pass(3 * job.RelayEvery) // the relay leaves a new row to the one who wrote it for a while
		if _, err := w.relay.RunOnce(w.ctx); err != nil {
			w.Error(err)
		}
		w.runTasks()
		if sent := w.sender.all(); len(sent) != 1 {
			w.Errorf("%d callbacks instead of one", len(sent))
		}
	})
}

// The same for a delete.
func TestCrashDuringDelete(t *testing.T) {
	_, calls := dryRun(t)
	eachCrash(t, calls, func(w *world, n int, after bool) {
		inst := w.created()
		d := w.delete(inst.ID)
		w.runMortal(d.Job.ID, n, after)
		if j := w.spin(d.Job.ID); j.State != job.Succeeded {
			w.Errorf("delete is %s: %+v", j.State, j.Error)
		}
		w.gone(inst.ID)
		w.journalEnded(w.job(d.Job.ID))
	})
}

// The same for the way back of a create that was canceled at the very end.
func TestCrashDuringUndo(t *testing.T) {
	undo := func(w *world) id.Job {
		a := w.create()
		w.runtime.SetProbe(func(host.UnitID) error {
			_, err := w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), a.Job.ID)
			if err != nil {
				w.Error(err)
			}
			w.runtime.SetProbe(nil)
			return nil
		})
		w.runTasks()
		return a.Job.ID
	}
	var calls []string
	inWorld(t, func(w *world) {
		id := undo(w)
		calls = w.runMortal(id, -1, false).Calls()
		w.clean(id, job.Canceled, instance.StateFailed)
	})
	eachCrash(t, calls, func(w *world, n int, after bool) {
		id := undo(w)
		w.runMortal(id, n, after)
		w.spin(id)
		w.clean(id, job.Canceled, instance.StateFailed)
	})
}

// A job that ends its worker again and again is stopped, and says so.
func TestWorkerCrashesAgainAndAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		for range 20 {
			// The fifth call of a run is in the middle of its steps.
			w.runMortal(a.Job.ID, 5, true)
			if w.job(a.Job.ID).State.Ended() {
				break
			}
			w.pass(job.DefaultLeaseTTL)
		}
		w.spin(a.Job.ID)
		if why := w.clean(a.Job.ID, job.Failed, instance.StateFailed); why.Code != fault.CodeWorkerCrashed {
			w.Errorf("failed with %+v", why)
		}
	})
}

// The same where the next worker comes to another host: the ports of the first one are
// nobody's, if the instance did not go there.
func TestCrashBeforePlaced(t *testing.T) {
	calls, _ := dryRun(t)
	eachCrash(t, calls, func(w *world, n int, after bool) {
		a := w.create()
		w.runMortal(a.Job.ID, n, after)
		other := host.Host{ID: "hst_other", Name: "other", Advertise: "127.0.0.1", Bind: "127.0.0.1", PortLow: 30000, PortHigh: 30009}
		w.tx(func(tx rooms.Tx) (err error) {
			full := w.host
			full.PortLow, full.PortHigh = 1, 0
			if _, err = tx.PutHost(full); err == nil {
				other, err = tx.PutHost(other)
			}
			return err
		})
		w.runtimes.Set(other.ID, w.runtime)
		w.spin(a.Job.ID)
		inst := w.instance(a.Instance.ID)
		if inst.State != instance.StateRunning {
			t.Fatalf("it is %+v", inst)
		}
		for _, h := range []host.ID{w.host.ID, other.ID} {
			var held int
			w.tx(func(tx rooms.Tx) error {
				has, err := tx.Situation(h, host.UnitID(inst.ID))
				held = has.Ports[instancetest.EngineName]
				return err
			})
			if want := map[bool]int{true: inst.Status.Port}[h == inst.Status.Host]; held != want {
				t.Errorf("it is on %s at port %d, and holds port %d of %s", inst.Status.Host, inst.Status.Port, held, h)
			}
		}
	})
}
