package instance_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

func (w *world) reconciler() *host.Reconciler {
	return &host.Reconciler{
		Store: rooms.Hosts(w.store), Runtimes: w.runtimes, Residents: w.mender(), Now: clock.System, Log: w.log, Owner: "w1",
		Every: host.DefaultReconcileEvery, Grace: host.DefaultReconcileGrace,
	}
}

func (w *world) mender() *instance.Mender {
	return &instance.Mender{
		Store: rooms.Instances(w.store), Hosts: w.store, Runtimes: w.runtimes, Jobs: w.service.Engine, Now: clock.System, Log: w.log, Quarantine: instance.DefaultQuarantine,
	}
}

// reconcile sweeps once, long enough after what came before.
func (w *world) reconcile(r *host.Reconciler, want int) {
	w.Helper()
	w.pass(host.DefaultReconcileEvery)
	n, err := r.RunOnce(w.ctx)
	w.must(err)
	if n != want {
		w.Fatalf("%d things were mended, want %d", n, want)
	}
}

// repaired runs the repair that has begun.
func (w *world) repaired(theID instance.ID) job.Job {
	w.Helper()
	job, err := w.store.ActiveJob(w.ctx, id.Subject(theID))
	w.must(err)
	if job.Kind != instance.JobRepair {
		w.Fatalf("the job is a %s", job.Kind)
	}
	return w.spin(job.ID)
}

func (w *world) state(id instance.ID, want instance.State, words string) {
	w.Helper()
	if inst := w.instance(id); inst.State != want || !strings.Contains(inst.Reason, words) {
		w.Fatalf("instance is %s (%q), want %s (%q)", inst.State, inst.Reason, want, words)
	}
}

func TestReconcileNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 3 {
			w.created()
		}
		w.create() // still pending
		lists := w.runtime.Calls(hosttest.MethodList)
		w.reconcile(w.reconciler(), 0)
		if n := w.runtime.Calls(hosttest.MethodList) - lists; n != 1 {
			t.Errorf("%d lists for one host", n)
		}
	})
}

func TestDeadContainerIsRestarted(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{ExitCode: 137})
		w.reconcile(w.reconciler(), 1)
		w.state(inst.ID, instance.StateUnhealthy, "code 137")
		w.reconcile(w.reconciler(), 0) // it has a job
		w.usable(w.repaired(inst.ID).ID)
		if after := w.instance(inst.ID); after.Status.Port != inst.Status.Port || after.Reason != "" {
			t.Errorf("repaired, it is at port %d (was %d), reason %q", after.Status.Port, inst.Status.Port, after.Reason)
		}
	})
}

func TestGoneContainerIsRecreatedOnItsVolume(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		w.runtime.Lose(host.UnitID(inst.ID), false)
		w.reconcile(w.reconciler(), 1)
		w.state(inst.ID, instance.StateUnhealthy, "its data is intact")
		w.usable(w.repaired(inst.ID).ID)
	})
}

func TestGoneDataIsSaid(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		w.runtime.Lose(host.UnitID(inst.ID), true)
		w.reconcile(w.reconciler(), 1)
		j := w.repaired(inst.ID)
		why := w.clean(j.ID, job.Failed, instance.StateFailed)
		if why.Code != fault.CodeDataLost || why.Retryable || !strings.Contains(why.Message, "gone") {
			t.Errorf("it says %+v", why)
		}
		w.pass(time.Hour)
		w.reconcile(w.reconciler(), 0)
		if d := w.delete(inst.ID); w.spin(d.Job.ID).State != job.Succeeded {
			t.Error("it cannot be deleted")
		}
	})
}

// One that does not stay up is repaired with growing pauses, and seldom in the end; it
// stays there for its tenant to see, with its data and its ports.
func TestRepairsAreCapped(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		r, begun := w.reconciler(), 0
		for range 60 { // ten minutes
			w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{ExitCode: 1})
			w.pass(host.DefaultReconcileEvery)
			n, err := r.RunOnce(w.ctx)
			w.must(err)
			if begun += n; n > 0 {
				w.repaired(inst.ID)
			}
		}
		if begun < 5 || begun > 7 {
			t.Errorf("%d repairs in ten minutes", begun)
		}
		w.state(inst.ID, instance.StateUnhealthy, "code 1")
		w.pass(15 * time.Minute)
		w.reconcile(r, 1)
		w.usable(w.repaired(inst.ID).ID)
	})
}

// A repair that fails leaves what it found, and the next one goes on.
func TestRepairFails(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		w.runtime.Lose(host.UnitID(inst.ID), false)
		w.runtime.Fail(hosttest.MethodStart, hosttest.Fault{Before: true, Err: fault.Errorf(fault.CodeStartFailed, nil, "no luck")})
		w.reconcile(w.reconciler(), 1)
		if j := w.repaired(inst.ID); j.State != job.Failed || j.Error.Code != fault.CodeStartFailed {
			t.Errorf("the repair is %s: %+v", j.State, j.Error)
		}
		w.state(inst.ID, instance.StateUnhealthy, "no luck")
		if w.port(inst.ID) != inst.Status.Port || !w.unit(inst.ID).Volume {
			t.Error("port or data are gone")
		}
		w.runtime.Heal()
		w.reconcile(w.reconciler(), 1)
		w.usable(w.repaired(inst.ID).ID)
	})
}

// A host that went away in the middle of a repair costs it no attempt: it goes on when
// the host is back, and needs no sweep to be asked for again.
func TestRepairWaitsForItsHost(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		w.runtime.Lose(host.UnitID(inst.ID), false)
		w.runtime.Fail(hosttest.MethodStart, hosttest.Fault{Before: true, Times: 5})
		w.reconcile(w.reconciler(), 1)
		if j := w.repaired(inst.ID); j.State != job.Succeeded {
			t.Errorf("the repair is %s: %+v", j.State, j.Error)
		}
		w.state(inst.ID, instance.StateRunning, "")
	})
}

// A tenant knows his instance by its port: a repair waits for it rather than move.
func TestRepairKeepsThePort(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		w.runtime.Lose(host.UnitID(inst.ID), false)
		w.runtime.TakePort(inst.Status.Port)
		w.reconcile(w.reconciler(), 1)
		w.repaired(inst.ID)
		w.state(inst.ID, instance.StateUnhealthy, fmt.Sprint(inst.Status.Port))
		w.runtime.FreePort(inst.Status.Port)
		w.reconcile(w.reconciler(), 1)
		w.usable(w.repaired(inst.ID).ID)
		if w.instance(inst.ID).Status.Port != inst.Status.Port {
			t.Error("the port has changed")
		}
	})
}

func TestDeleteWinsOverRepair(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		w.runtime.Lose(host.UnitID(inst.ID), false)
		w.reconcile(w.reconciler(), 1)
		repair, err := w.store.ActiveJob(w.ctx, id.Subject(inst.ID))
		w.must(err)
		var d instance.Accepted
		w.runtime.OnCall(func(_ context.Context, m hosttest.Method, _ host.UnitID) {
			if m == hosttest.MethodCreate && d.Job.ID == "" {
				d = w.delete(inst.ID) //nolint:contextcheck // as a request of its own
			}
		})
		w.must(w.runner.Run(w.ctx, repair.ID))
		if j := w.spin(d.Job.ID); j.State != job.Succeeded {
			t.Fatalf("the delete is %s", j.State)
		}
		w.gone(inst.ID)
	})
}

func (w *world) stray(id instance.ID) {
	w.Helper()
	load := host.Workload{Unit: host.UnitID(id), Tenant: tenant.Default, Fence: 3, Image: instancetest.EngineImage}
	_, err := w.runtime.EnsureImage(w.ctx, []string{instancetest.EngineImage}, nil)
	w.must(err)
	w.must(w.runtime.Create(w.ctx, load))
	_, err = w.runtime.Start(w.ctx, load)
	w.must(err)
}

func TestOrphans(t *testing.T) {
	inWorld(t, func(w *world) {
		living, deleted := w.created(), w.created()
		w.spin(w.delete(deleted.ID).Job.ID)
		failed := w.create()
		_, err := w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), failed.Job.ID)
		w.must(err)
		w.spin(failed.Job.ID)
		w.pass(time.Hour)
		for _, id := range []instance.ID{"ins_unknown", deleted.ID, failed.Instance.ID} {
			w.stray(id)
		}
		w.stray("ins_volume")
		w.must(w.runtime.Remove(w.ctx, "ins_volume", 3, false))
		w.runtime.AddForeign("ins_foreign")
		other := w.runtime.Beside("other")
		w.must(other.CreateVolume(w.ctx, host.Workload{Unit: "ins_other"}))

		r := w.reconciler()
		w.reconcile(r, 0) // all too young
		w.pass(host.DefaultReconcileGrace)
		dry := w.reconciler()
		dry.DryRun = true
		w.reconcile(dry, 0)
		if w.unit("ins_unknown") == nil || !strings.Contains(w.logged.String(), "dry run") {
			t.Error("a dry run has done something, or not said so")
		}
		w.reconcile(r, 4)
		w.reconcile(r, 0)
		units, err := w.runtime.List(w.ctx)
		w.must(err)
		if len(units) != 1 || units[0].ID != host.UnitID(living.ID) {
			t.Errorf("left are %+v", units)
		}
		if units, _ := other.List(w.ctx); len(units) != 1 || !w.runtime.ForeignThere("ins_foreign") {
			t.Error("things of others were touched")
		}
	})
}

// From a host that does not answer nothing is concluded.
func TestSilentHost(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Hour)
		w.runtime.Fail(hosttest.MethodList, hosttest.Fault{Before: true})
		if n, err := w.reconciler().RunOnce(w.ctx); n != 0 || !errors.Is(err, &fault.Error{Code: fault.CodeHostUnavailable}) {
			t.Errorf("%d, %v", n, err)
		}
		w.state(inst.ID, instance.StateRunning, "")
		w.runtimes.Set(w.host.ID, nil)
		if n, _ := w.reconciler().RunOnce(w.ctx); n != 0 {
			t.Errorf("%d things were mended on a host that does not answer", n)
		}
		w.state(inst.ID, instance.StateRunning, "")
	})
}

func TestForcedDelete(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Hour)
		w.runtimes.Set(w.host.ID, nil)
		first := w.delete(inst.ID)
		w.runTasks()
		j := w.job(first.Job.ID)
		if j.State.Ended() || j.Error == nil || j.Error.Code != fault.CodeHostUnavailable {
			t.Fatalf("the delete is %s and says %+v", j.State, j.Error)
		}
		a, err := w.service.ForceDelete(w.ctx, tenanttest.Owner(tenant.Default), "", inst.ID, "https://example.com/gone")
		w.must(err)
		if a.Job.State != job.Succeeded || w.job(first.Job.ID).State != job.Canceled {
			t.Errorf("the jobs are %s and %s", a.Job.State, w.job(first.Job.ID).State)
		}
		w.state(inst.ID, instance.StateDeleted, "by force")
		if !strings.Contains(w.logged.String(), "by=\"the owner of default") {
			t.Error("the log does not say who it was")
		}
		if w.port(inst.ID) != inst.Status.Port {
			t.Error("the port was given away")
		}
		_, err = w.service.ForceDelete(w.ctx, tenanttest.Owner(tenant.Default), "", inst.ID, "")
		if fault.CodeOf(err) != fault.CodeGone {
			t.Errorf("again: %v", err)
		}
		if _, err := w.store.Credentials(w.ctx, inst.ID); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("credentials: %v", err)
		}

		janitor := &rooms.Janitor{Store: w.store, Now: clock.System, Owner: "w1", Retention: time.Hour}
		w.pass(48 * time.Hour)
		_, err = janitor.RunOnce(w.ctx)
		w.must(err)
		w.state(inst.ID, instance.StateDeleted, "") // its row is the tombstone
		w.runtimes.Set(w.host.ID, w.runtime)
		w.reconcile(w.reconciler(), 2) // the orphan, and its ports
		w.gone(inst.ID)
		w.pass(time.Hour)
		_, err = janitor.RunOnce(w.ctx)
		w.must(err)
		if _, err := w.store.Instance(w.ctx, inst.ID); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("the tombstone: %v", err)
		}
	})
}
