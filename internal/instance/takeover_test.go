package instance_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
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

// atCall runs something in the middle of the worker's nth call to the host, before
// the call's effect, which then follows. Calls that this makes itself do not count.
func (w *world) atCall(n int, do func()) (happened func() bool) {
	var calls atomic.Int32
	w.runtime.OnCall(func(context.Context, hosttest.Method, host.UnitID) {
		if int(calls.Add(1)) == n {
			calls.Add(1000)
			do()
		}
	})
	return func() bool { return calls.Load() >= 1000 }
}

// eachHostCall runs the test for each call that a create makes to the host.
func eachHostCall(t *testing.T, run func(w *world, n int)) {
	t.Helper()
	create, _ := dryRun(t)
	n := 0
	for _, call := range create {
		if call == "Tx" {
			continue
		}
		n++
		at := n
		t.Run(fmt.Sprintf("in %s", call), func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) { run(w, at) })
		})
	}
}

// runOnce runs the job as another worker would.
func (w *world) runOnce(id id.Job) {
	w.Helper()
	w.must(w.runnerOn(w.store, w.runtimes, "w2", clock.System).Run(w.ctx, id))
}

// Delete wins at every moment of a create: accepted while a call to the host is
// under way, and done by another worker before or after that call has its effect.
func TestDeleteDuringCreate(t *testing.T) {
	for _, first := range []string{"delete", "create"} {
		t.Run(first+" goes on first", func(t *testing.T) {
			eachHostCall(t, func(w *world, n int) {
				a := w.create()
				var d instance.Accepted
				happened := w.atCall(n, func() {
					d = w.delete(a.Instance.ID)
					if first == "delete" {
						w.runOnce(d.Job.ID)
					}
				})
				w.runTasks()
				if !happened() {
					w.Fatal("the call was not made")
				}
				if j := w.spin(d.Job.ID); j.State != job.Succeeded {
					w.Errorf("delete is %s: %+v", j.State, j.Error)
				}
				why := w.clean(a.Job.ID, job.Canceled, instance.StateDeleted)
				if why.Code != fault.CodeCanceled {
					w.Errorf("create ended with %+v", why)
				}
			})
		})
	}
}

// A create that was accepted but not begun is canceled by the delete.
func TestDeleteBeforeCreate(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		d := w.delete(a.Instance.ID)
		again := w.delete(a.Instance.ID)
		if again.Job.ID != d.Job.ID {
			w.Errorf("asked again: job %s, then %s", d.Job.ID, again.Job.ID)
		}
		w.spin(d.Job.ID)
		w.clean(a.Job.ID, job.Canceled, instance.StateDeleted)
		_, err := w.service.Delete(w.ctx, tenanttest.Owner(tenant.Default), "", a.Instance.ID, "")
		if fault.CodeOf(err) != fault.CodeGone {
			w.Errorf("delete of a deleted instance: %v", err)
		}
	})
}

// A canceled create leaves nothing, whoever takes it back, and whenever.
func TestCancelDuringCreate(t *testing.T) {
	for _, first := range []string{"undo", "create"} {
		t.Run(first+" goes on first", func(t *testing.T) {
			eachHostCall(t, func(w *world, n int) {
				a := w.create()
				happened := w.atCall(n, func() {
					_, err := w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), a.Job.ID)
					w.must(err)
					if first == "undo" {
						w.runOnce(a.Job.ID)
					}
				})
				w.runTasks()
				if !happened() {
					w.Fatal("the call was not made")
				}
				w.spin(a.Job.ID)
				if why := w.clean(a.Job.ID, job.Canceled, instance.StateFailed); why.Code != fault.CodeCanceled {
					w.Errorf("ended with %+v", why)
				}
			})
		})
	}
}

func TestCancelBeforeCreateAndTooLate(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		for range 2 { // asking twice is asking once
			_, err := w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), a.Job.ID)
			w.must(err)
		}
		w.spin(a.Job.ID)
		w.clean(a.Job.ID, job.Canceled, instance.StateFailed)
		_, err := w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), a.Job.ID)
		if fault.CodeOf(err) != fault.CodeNotCancelable {
			w.Errorf("cancel of an ended job: %v", err)
		}
		d := w.delete(a.Instance.ID)
		_, err = w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), d.Job.ID)
		if fault.CodeOf(err) != fault.CodeNotCancelable {
			w.Errorf("cancel of a delete: %v", err)
		}
	})
}

// A worker that stood still for longer than its lease wakes up in a call to the
// host after another one has done the job: it changes nothing any more.
func TestLostLease(t *testing.T) {
	eachHostCall(t, func(w *world, n int) {
		a := w.create()
		later := func() time.Time { return clock.System().Add(2 * job.DefaultLeaseTTL) }
		var ended job.Job
		happened := w.atCall(n, func() {
			w.must(w.runnerOn(w.store, w.runtimes, "w2", later).Run(w.ctx, a.Job.ID))
			w.usable(a.Job.ID)
			ended = w.job(a.Job.ID)
		})
		w.must(w.runner.Run(w.ctx, a.Job.ID))
		if !happened() {
			w.Fatal("the call was not made")
		}
		w.usable(a.Job.ID)
		if now := w.job(a.Job.ID); now.Fence != ended.Fence || !now.UpdatedAt.Equal(ended.UpdatedAt) {
			w.Errorf("the old owner wrote: %+v, was %+v", now, ended)
		}
	})
}

// A worker that lost a create which goes on elsewhere takes nothing away: the
// volume is the new owner's by now, though its label is an old one.
func TestLostLeaseLeavesTheVolume(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		there, gone := make(chan struct{}), make(chan struct{})
		var creates atomic.Int32
		w.runtime.OnCall(func(_ context.Context, m hosttest.Method, _ host.UnitID) {
			if m != hosttest.MethodCreate {
				return
			}
			if creates.Add(1) == 1 {
				later := func() time.Time { return clock.System().Add(2 * job.DefaultLeaseTTL) }
				go func() {
					defer close(gone)
					w.must(w.runnerOn(w.store, w.runtimes, "w2", later).Run(w.ctx, a.Job.ID))
				}()
				<-there // the new owner is about to create, too
				return
			}
			close(there)
			w.pass(time.Second) // until the old owner has gone
			if u := w.unit(a.Instance.ID); u == nil || !u.Volume {
				w.Error("the volume was taken away")
			}
		})
		w.must(w.runner.Run(w.ctx, a.Job.ID))
		<-gone
		w.usable(a.Job.ID)
	})
}

// A worker that cannot reach the database gives up its job when the lease is over,
// also in the middle of a call to the host.
func TestLeaseRunsOutWithoutDatabase(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		// Its database is gone after the claim and the first steps; the host hangs.
		cut := &cutStore{Store: w.store}
		var calls atomic.Int32
		w.runtime.OnCall(func(_ context.Context, m hosttest.Method, _ host.UnitID) {
			if m == hosttest.MethodCreate && calls.Add(1) == 1 {
				cut.away.Store(true)
			}
		})
		w.runtime.Fail(hosttest.MethodCreate, hosttest.Fault{Hang: true, Times: 1})
		begun := time.Now()
		w.must(w.runnerOn(cut, w.runtimes, "w2", clock.System).Run(w.ctx, a.Job.ID))
		if took := time.Since(begun); took > 2*job.DefaultLeaseTTL {
			w.Errorf("it held on for %s", took)
		}
		w.spin(a.Job.ID)
		w.usable(a.Job.ID)
	})
}

// cutStore is a database that can be cut off.
type cutStore struct {
	rooms.Store
	away atomic.Bool
}

func (s *cutStore) Tx(ctx context.Context, do func(rooms.Tx) error) error {
	if s.away.Load() {
		return fault.Errorf(fault.CodeUnavailable, nil, "the database does not answer")
	}
	return s.Store.Tx(ctx, do)
}

// A worker that keeps its lease is left alone, however long a step takes.
func TestLeaseIsRenewed(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		hold := make(chan struct{})
		w.runtime.Fail(hosttest.MethodCreate, hosttest.Fault{Hold: hold, Times: 1})
		done := make(chan error, 1)
		go func() { done <- w.runner.Run(w.ctx, a.Job.ID) }()
		for range 10 {
			w.pass(5 * time.Second)
			w.runOnce(a.Job.ID) // not claimable
		}
		close(hold)
		w.must(<-done)
		w.usable(a.Job.ID)
		if job := w.job(a.Job.ID); job.Fence != 1 || job.Crashes != 0 {
			w.Errorf("fence %d, crashes %d", job.Fence, job.Crashes)
		}
	})
}

// A worker that is told to stop hands its job back at once, and that is no failure.
func TestShutdownHandsBack(t *testing.T) {
	eachHostCall(t, func(w *world, n int) {
		a := w.create()
		ctx, stop := context.WithCancel(w.ctx)
		defer stop()
		w.atCall(n, stop)
		w.must(w.runner.Run(ctx, a.Job.ID))
		j := w.job(a.Job.ID)
		if j.State != job.Queued || j.Attempt != 0 || j.Crashes != 0 || j.Error != nil || j.WakeAt.After(time.Now()) {
			w.Errorf("handed back as %+v", j)
		}
		w.spin(a.Job.ID)
		w.usable(a.Job.ID)
		if job := w.job(a.Job.ID); job.Attempt != 0 || job.Crashes != 0 {
			w.Errorf("%d attempts, %d crashes", job.Attempt, job.Crashes)
		}
	})
}
