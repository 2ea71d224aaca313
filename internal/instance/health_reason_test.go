package instance_test

import (
	"context"
	"errors"
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
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
)

// caretaker is an engine that finds what it is told to.
type caretaker struct {
	instancetest.Engine
	found *instance.Finding
	err   *error
}

func (c caretaker) Look(context.Context, instance.Instance, instance.Credentials) (instance.Finding, error) {
	return *c.found, *c.err
}

// told gives the messages of the instance's events of a type.
func (w *world) told(theID instance.ID, kind string) (messages []string) {
	w.Helper()
	_, err := event.NewSequencer(rooms.Events(w.store), &bell.Local{}, clock.System, "w1").RunOnce(w.ctx)
	w.must(err)
	events, err := w.store.Events(w.ctx, event.Filter{Tenant: tenant.Default}, 0, 1000)
	w.must(err)
	for _, e := range events {
		if e.Subject == id.Subject(theID) && e.Type == kind {
			messages = append(messages, e.Message)
		}
	}
	return messages
}

// What the tenant should know of a running instance is told once, and stays as its reason
// until it is so no more. A job clears it no more often than it is looked at.
func TestHealthNotices(t *testing.T) {
	inWorld(t, func(w *world) {
		inst, h := w.created(), w.health()
		var found instance.Finding
		var err error
		h.Catalog = instance.Catalog{caretaker{instancetest.Engine{Runtime: w.runtime}, &found, &err}}
		w.watchFor(time.Minute, h)
		w.state(inst.ID, instance.StateRunning, "")

		found.Notice, found.Upkeep = instance.NoticePassword, errors.New("not done")
		w.watchFor(10*time.Minute, h)
		w.state(inst.ID, instance.StateRunning, instance.NoticePassword)
		if got := w.told(inst.ID, instance.EventNotice); len(got) != 1 || got[0] != instance.NoticePassword {
			t.Errorf("it was told %q", got)
		}
		err = fault.Errorf(fault.CodeProbeFailed, nil, "all connections are taken")
		w.watchFor(2*time.Minute, h)
		w.state(inst.ID, instance.StateUnhealthy, "it failed 3 times in a row: all connections are taken")
		err = nil
		w.watchFor(time.Minute, h)
		w.state(inst.ID, instance.StateRunning, instance.NoticePassword)
		found = instance.Finding{}
		w.watchFor(5*time.Minute, h)
		if got := w.told(inst.ID, instance.EventNotice); len(got) != 2 {
			t.Errorf("that it is well again was told as %q", got)
		}
		if got, err := w.store.Instance(w.ctx, inst.ID); err != nil || got.Reason != "" || got.State != instance.StateRunning {
			t.Errorf("it is %s, %q (%v)", got.State, got.Reason, err)
		}
	})
}

// A reason is today's, and is told once.
func TestHealthReasonChanges(t *testing.T) {
	inWorld(t, func(w *world) {
		inst, h := w.created(), w.health()
		found, err := instance.Finding{}, error(nil)
		h.Catalog = instance.Catalog{caretaker{instancetest.Engine{Runtime: w.runtime}, &found, &err}}
		h.Runtimes = w.runtimes
		for _, why := range []string{"all connections are taken", "the database is not there", "the disk is full"} {
			err = fault.Errorf(fault.CodeProbeFailed, nil, "%s", why)
			w.watchFor(5*time.Minute, h)
			w.state(inst.ID, instance.StateUnhealthy, why)
		}
		if got := w.told(inst.ID, instance.EventUnhealthy); len(got) != 3 {
			t.Errorf("it was told %q", got)
		}
		h.Runtimes = pausing{w.runtimes}
		w.watchFor(5*time.Minute, h)
		w.state(inst.ID, instance.StateUnhealthy, "its container is paused")
		h.Runtimes, err = w.runtimes, nil
		w.watchFor(5*time.Minute, h)
		w.state(inst.ID, instance.StateRunning, "")
	})
}

// pausing has every container paused.
type pausing struct{ host.Runtimes }

func (p pausing) Runtime(h host.Host) (host.Runtime, error) {
	r, err := p.Runtimes.Runtime(h)
	return paused{r}, err
}

type paused struct{ host.Runtime }

func (p paused) Inspect(ctx context.Context, id host.UnitID) (host.Unit, error) {
	u, err := p.Runtime.Inspect(ctx, host.UnitID(id))
	u.Paused = true
	return u, err
}

// A sweep, whose list does not tell it, says that memory ran out all the same.
func TestSweepTellsOfMemory(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{ExitCode: 137, OOMKilled: true})
		w.pass(10 * time.Second)
		w.reconcile(w.reconciler(), 1)
		got := w.told(inst.ID, instance.EventUnhealthy)
		if len(got) != 1 || !strings.Contains(got[0], "more memory than its plan") {
			t.Errorf("it was told %q", got)
		}
	})
}

// A server whose tenant has changed the password is repaired like any other, and that is
// told once for all its lives.
func TestRepairWithAPasswordOfTheTenants(t *testing.T) {
	inWorld(t, func(w *world) {
		inst, h := w.created(), w.health()
		found, err := instance.Finding{Notice: instance.NoticePassword}, error(nil)
		w.catalog[0] = caretaker{instancetest.Engine{Runtime: w.runtime}, &found, &err}
		h.Catalog = w.catalog
		w.watchFor(time.Minute, h)
		w.runtime.SetProbe(func(host.UnitID) error { return errors.New("the password is refused") }) // by the tenant's credentials
		w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{ExitCode: 137})
		w.pass(10 * time.Second)
		w.reconcile(w.reconciler(), 1)
		w.runTasks()
		w.state(inst.ID, instance.StateRunning, instance.NoticePassword)
		w.watchFor(5*time.Minute, h)
		w.state(inst.ID, instance.StateRunning, instance.NoticePassword)
		if got := w.told(inst.ID, instance.EventNotice); len(got) != 1 {
			t.Errorf("it was told %q", got)
		}
	})
}
