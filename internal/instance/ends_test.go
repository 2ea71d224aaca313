package instance_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

// endsWithin spins the job and checks when it ended.
func (w *world) endsWithin(id id.Job, since time.Time, most time.Duration) job.Job {
	w.Helper()
	job := w.spin(id)
	if took := job.FinishedAt.Sub(since); took > most {
		w.Errorf("the job ended after %s, want at most %s", took, most)
	}
	return job
}

func (w *world) eventTypes(theID instance.ID) (types []string) {
	w.Helper()
	_, err := event.NewSequencer(rooms.Events(w.store), &bell.Local{}, clock.System, "w1").RunOnce(w.ctx)
	w.must(err)
	list, err := w.service.Events(w.ctx, tenanttest.Owner(tenant.Default), event.Filter{Subject: id.Subject(theID)}, 0, 100)
	w.must(err)
	for _, e := range list.Events {
		types = append(types, e.Type)
	}
	return types
}

// awayIn has the host go away right behind the effect of a create's call to it.
func (w *world) awayIn(m hosttest.Method) {
	w.runtime.Fail(m, hosttest.Fault{After: true})
	w.runtime.Fail(hosttest.MethodRemove, hosttest.Fault{Before: true})
	w.runtime.Fail(hosttest.MethodList, hosttest.Fault{Before: true})
}

// A create whose host goes away ends in its time all the same. What is left there goes
// when the host is back, and then its port is free again.
func TestHostIsAwayAtTheDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.awayIn(hosttest.MethodCreate)
		a := w.createWith("20s", "")
		j := w.endsWithin(a.Job.ID, a.Job.CreatedAt, 66*time.Second)
		if j.State != job.Failed || j.Error.Code != fault.CodeDeadline || !strings.Contains(j.Error.Message, "could not be finished") {
			t.Fatalf("%s: %+v", j.State, j.Error)
		}
		inst := w.instance(a.Instance.ID)
		if inst.State != instance.StateFailed || w.port(inst.ID) == 0 {
			t.Fatalf("instance %s, port %d", inst.State, w.port(inst.ID))
		}
		w.pass(time.Hour)
		if _, err := w.reconciler().RunOnce(w.ctx); err == nil || w.port(inst.ID) == 0 {
			t.Errorf("while the host is away: %v, port %d", err, w.port(inst.ID))
		}
		w.runtime.Heal()
		if u := w.unit(inst.ID); u == nil || !u.Container || !u.Volume {
			t.Fatalf("nothing was left behind: %+v", u)
		}
		w.reconcile(w.reconciler(), 2)
		w.gone(inst.ID)
		w.reconcile(w.reconciler(), 0)
		types := w.eventTypes(inst.ID)
		for _, want := range []string{"instance.failed", "job.failed", instance.EventOrphanRemoved, instance.EventPortsReleased} {
			if !slices.Contains(types, want) {
				t.Errorf("no %s among %v", want, types)
			}
		}
		if d := w.delete(inst.ID); w.spin(d.Job.ID).State != job.Succeeded {
			t.Error("it cannot be deleted")
		}
	})
}

// A delete of what such a create left waits for the host, and ends well.
func TestDeleteOfWhatWasLeftBehind(t *testing.T) {
	inWorld(t, func(w *world) {
		w.awayIn(hosttest.MethodStart)
		a := w.createWith("20s", "")
		w.spin(a.Job.ID)
		d := w.delete(a.Instance.ID)
		w.runTasks()
		if j := w.job(d.Job.ID); j.State != job.Queued || j.Error == nil {
			t.Fatalf("the delete is %s: %+v", j.State, j.Error)
		}
		w.runtime.Heal()
		if j := w.spin(d.Job.ID); j.State != job.Succeeded {
			t.Errorf("the delete is %s: %+v", j.State, j.Error)
		}
		w.gone(a.Instance.ID)
	})
}

// A cancel does not wait for the deadline of the create, also where the host hangs.
func TestCancelWhileTheHostIsAway(t *testing.T) {
	for name, failure := range map[string]hosttest.Fault{"it refuses": {Before: true}, "it hangs": {Hang: true}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.awayIn(hosttest.MethodCreate)
				w.runtime.Fail(hosttest.MethodRemove, failure)
				a := w.create()
				w.runTasks()
				w.pass(time.Second)
				canceled := time.Now()
				_, err := w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), a.Job.ID)
				w.must(err)
				j := w.endsWithin(a.Job.ID, canceled, 45*time.Second)
				if j.State != job.Canceled || j.Error.Code != fault.CodeCanceled || w.port(a.Instance.ID) == 0 {
					t.Errorf("%s, %+v, port %d", j.State, j.Error, w.port(a.Instance.ID))
				}
				w.runtime.Heal()
				w.pass(time.Hour)
				w.reconcile(w.reconciler(), 2)
				w.gone(a.Instance.ID)
			})
		})
	}
}

// An engine that was away from the first to the last ends a create soon after its time.
// What it may have made all the same is found when it is back.
func TestHostWasNeverReached(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, m := range []hosttest.Method{hosttest.MethodEnsureImage, hosttest.MethodCreateVolume, hosttest.MethodRemove} {
			w.runtime.Fail(m, hosttest.Fault{Before: true})
		}
		a := w.createWith("10s", "")
		j := w.endsWithin(a.Job.ID, a.Job.CreatedAt, 45*time.Second)
		if j.State != job.Failed || j.Error.Code != fault.CodeDeadline {
			t.Errorf("%s, %+v", j.State, j.Error)
		}
		w.runtime.Heal()
		w.pass(time.Hour)
		_, err := w.reconciler().RunOnce(w.ctx) // there may be nothing
		w.must(err)
		w.gone(a.Instance.ID)
	})
}

// What is to be kept is kept, whether its host answers or not.
func TestKeptWhileTheHostIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.awayIn(hosttest.MethodStart)
		a := w.createWith("20s", job.OnFailureKeep)
		w.endsWithin(a.Job.ID, a.Job.CreatedAt, 22*time.Second)
		w.runtime.Heal()
		w.pass(10 * time.Minute)
		w.reconcile(w.reconciler(), 0)
		if inst := w.instance(a.Instance.ID); inst.KeptUntil.IsZero() || w.unit(inst.ID) == nil || w.port(inst.ID) == 0 {
			t.Errorf("not kept: %+v, %+v", inst, w.unit(inst.ID))
		}
	})
}

// No pause between two attempts lasts beyond the deadline.
func TestNoPausePastTheDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runtime.Fail(hosttest.MethodEnsureImage, hosttest.Fault{Before: true})
		a := w.createWith("100s", "")
		for job := a.Job; !job.State.Ended(); job = w.job(a.Job.ID) {
			if job.WakeAt.After(job.Deadline) && !job.Undoing {
				t.Fatalf("it sleeps until %s behind its deadline", job.WakeAt.Sub(job.Deadline))
			}
			_, err := w.relay.RunOnce(w.ctx)
			w.must(err)
			w.runTasks()
			w.queue.Done()
			w.pass(time.Second)
		}
		w.endsWithin(a.Job.ID, a.Job.CreatedAt, 102*time.Second)
	})
}

// A host whose row is gone has nothing that could be removed: deletes end well, and so
// do creates that are taken back.
func TestHostRowIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		left := w.create()
		w.runtime.Fail(hosttest.MethodStart, hosttest.Fault{After: true})
		w.runTasks()
		gone := &hostlessStore{Store: w.store}
		w.runner = w.runnerOn(gone, w.runtimes, "w2", clock.System)
		if j := w.spin(w.delete(inst.ID).Job.ID); j.State != job.Succeeded || w.port(inst.ID) != 0 {
			t.Errorf("the delete is %s, %+v, port %d", j.State, j.Error, w.port(inst.ID))
		}
		w.state(inst.ID, instance.StateDeleted, "")
		_, err := w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), left.Job.ID)
		w.must(err)
		if j := w.spin(left.Job.ID); j.State != job.Canceled || w.port(left.Instance.ID) != 0 {
			t.Errorf("the create is %s, %+v", j.State, j.Error)
		}
	})
}

// hostlessStore is a database that somebody has taken the hosts out of.
type hostlessStore struct{ rooms.Store }

func (s *hostlessStore) Host(context.Context, host.ID) (host.Host, error) {
	return host.Host{}, fault.ErrNotFound
}
