package instance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

func (w *world) createWith(timeout string, policy job.FailurePolicy) instance.Accepted {
	w.Helper()
	a, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: instancetest.EngineName, Timeout: timeout, OnFailure: policy})
	w.must(err)
	return a
}

func (w *world) janitor() *rooms.Janitor {
	return &rooms.Janitor{Store: w.store, Now: clock.System, Owner: "w1", Retention: 240 * time.Hour, Service: w.service}
}

// A create that asked to be kept and failed leaves all as it is, says so, and is
// removed by and by.
func TestFailedIsKept(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runtime.Fail(hosttest.MethodStart, hosttest.Fault{After: true, Err: fault.Errorf(fault.CodeStartFailed, nil, "no luck")})
		a := w.createWith("", job.OnFailureKeep)
		w.spin(a.Job.ID)
		w.runtime.Heal()
		j, inst := w.job(a.Job.ID), w.instance(a.Instance.ID)
		if j.State != job.Failed || inst.State != instance.StateFailed || inst.KeptUntil.Sub(clock.System()).Round(time.Minute) != time.Hour {
			w.Fatalf("job %s, instance %s, kept until %v", j.State, inst.State, inst.KeptUntil)
		}
		if !strings.Contains(inst.Reason, "no luck") || !strings.Contains(inst.Reason, inst.KeptUntil.Format(time.RFC3339)) {
			w.Errorf("reason %q", inst.Reason)
		}
		if u := w.unit(inst.ID); u == nil || !u.Volume || w.port(inst.ID) != inst.Status.Port || inst.Status.Port == 0 {
			w.Errorf("unit %+v, port %d held, %d said", u, w.port(inst.ID), inst.Status.Port)
		}
		w.pass(5 * time.Minute)
		w.reconcile(w.reconciler(), 0) // it is nobody's orphan
		w.pass(54 * time.Minute)
		w.reconcile(w.reconciler(), 0)
		if u := w.unit(inst.ID); u == nil || !u.Volume || w.port(inst.ID) != inst.Status.Port {
			w.Errorf("the sweep took %+v, port %d", u, w.port(inst.ID))
		}
		if n, err := w.janitor().RunOnce(w.ctx); n != 0 || err != nil {
			w.Errorf("%d removed, %v", n, err)
		}
		w.pass(2 * time.Minute)
		for _, want := range []int{1, 0} {
			if n, err := w.janitor().RunOnce(w.ctx); n != want || err != nil {
				w.Errorf("%d removed, want %d, %v", n, want, err)
			}
		}
		removal, err := w.store.ActiveJob(w.ctx, id.Subject(inst.ID))
		w.must(err)
		if removal = w.spin(removal.ID); removal.Kind != instance.JobDelete || removal.State != job.Succeeded {
			w.Errorf("%s is %s", removal.Kind, removal.State)
		}
		w.gone(inst.ID)
	})
}

// Whoever deletes or cancels wants it gone; what was never placed leaves nothing.
func TestKeptGoes(t *testing.T) {
	for name, end := range map[string]func(*world, instance.Accepted){
		"delete of what is kept": func(w *world, a instance.Accepted) {
			w.spin(a.Job.ID)
			w.runtime.Heal()
			w.spin(w.delete(a.Instance.ID).Job.ID)
			if inst := w.instance(a.Instance.ID); inst.State != instance.StateDeleted || !inst.KeptUntil.IsZero() {
				w.Errorf("%s, kept until %v", inst.State, inst.KeptUntil)
			}
		},
		"cancel": func(w *world, a instance.Accepted) {
			w.runTasks()
			w.runtime.Heal()
			_, err := w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), a.Job.ID)
			w.must(err)
			w.spin(a.Job.ID)
			w.clean(a.Job.ID, job.Canceled, instance.StateFailed)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.runtime.Fail(hosttest.MethodStart, hosttest.Fault{Before: true})
				a := w.createWith("", job.OnFailureKeep)
				end(w, a)
				w.gone(a.Instance.ID)
				if inst := w.instance(a.Instance.ID); !inst.KeptUntil.IsZero() {
					w.Errorf("kept until %v", inst.KeptUntil)
				}
			})
		})
	}
}

// A worker that lost its lease to one who kept the failed create touches nothing.
func TestKeptFromALateWorker(t *testing.T) {
	inWorld(t, func(w *world) {
		hold := make(chan struct{})
		w.runtime.Fail(hosttest.MethodStart, hosttest.Fault{Hold: hold, Times: 1})
		a := w.createWith("20s", job.OnFailureKeep)
		cut := &cutStore{Store: w.store}
		late := make(chan error, 1)
		go func() {
			late <- w.runnerOn(cut, w.runtimes, "late", clock.System).Run(w.ctx, a.Job.ID)
		}()
		w.pass(time.Second)
		cut.away.Store(true)
		w.pass(30 * time.Second) // its lease and the job's time are over
		w.spin(a.Job.ID)
		cut.away.Store(false)
		close(hold)
		w.must(<-late)
		if inst := w.instance(a.Instance.ID); inst.KeptUntil.IsZero() || w.unit(inst.ID) == nil || w.port(inst.ID) == 0 {
			w.Errorf("not kept: %+v, %+v", inst, w.unit(inst.ID))
		}
	})
}

// A job ends within the time that was asked for.
func TestTimeout(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runtime.Fail(hosttest.MethodCreate, hosttest.Fault{Hang: true})
		a := w.createWith("10s", "")
		begun := time.Now()
		w.spin(a.Job.ID)
		why := w.clean(a.Job.ID, job.Failed, instance.StateFailed)
		if took := time.Since(begun); why.Code != fault.CodeDeadline || took < 9*time.Second || took > 13*time.Second || !strings.Contains(why.Message, "within 10s") {
			w.Errorf("%+v after %s", why, took)
		}
		if j := w.job(a.Job.ID); j.OnFailure != job.OnFailureCleanup {
			w.Errorf("policy %q", j.OnFailure)
		}
	})
}
