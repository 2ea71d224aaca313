package instance_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/rooms"
)

func (w *world) health() *instance.Health {
	return &instance.Health{
		Store: rooms.Instances(w.store), Hosts: w.store, Vault: w.vault, Catalog: w.catalog, NewID: w.newID, Jobs: w.service.Engine, Now: clock.System, Log: w.log, Every: instance.DefaultProbeEvery,
	}
}

// watchFor looks after health for so long, and gives how many probes that took.
func (w *world) watchFor(d time.Duration, healths ...*instance.Health) (probes int) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); w.pass(instance.HealthEvery) {
		for _, h := range healths {
			n, err := h.RunOnce(w.ctx)
			w.must(err)
			probes += n
		}
	}
	return probes
}

func TestHealthIsFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		inst, h := w.created(), w.health()
		if n := w.watchFor(10*time.Minute, h); n < 17 || n > 23 {
			t.Errorf("%d probes in ten minutes", n)
		}
		w.state(inst.ID, instance.StateRunning, "")
		restarts := w.runtime.Calls(hosttest.MethodStart)

		w.runtime.SetProbe(func(host.UnitID) error {
			return fault.Errorf(fault.CodeProbeFailed, nil, "OOM command not allowed when used memory > 'maxmemory'")
		})
		w.watchFor(34*time.Second, h) // the first miss is somewhere in it
		w.watchFor(11*time.Second, h)
		w.state(inst.ID, instance.StateUnhealthy, "OOM command")
		w.watchFor(10*time.Minute, h)
		w.state(inst.ID, instance.StateUnhealthy, "3 times")
		w.reconcile(w.reconciler(), 0)
		if w.runtime.Calls(hosttest.MethodStart) != restarts {
			t.Error("it was restarted for not answering")
		}

		w.runtime.SetProbe(nil)
		w.watchFor(time.Minute, h)
		w.state(inst.ID, instance.StateRunning, "")
	})
}

// One miss, or two, mean nothing.
func TestHealthForgives(t *testing.T) {
	inWorld(t, func(w *world) {
		inst, h, n := w.created(), w.health(), 0
		w.runtime.SetProbe(func(host.UnitID) error {
			if n++; n%3 != 0 {
				return errors.New("no")
			}
			return nil
		})
		w.watchFor(10*time.Minute, h)
		w.state(inst.ID, instance.StateRunning, "")
		if n < 30 {
			t.Errorf("only %d probes; a miss is to be followed by another probe soon", n)
		}
	})
}

func TestHealthIsShared(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 20 {
			w.created()
		}
		probes := map[instance.ID]int{}
		var at []time.Time
		mu := make(chan struct{}, 1)
		w.runtime.SetProbe(func(id host.UnitID) error {
			mu <- struct{}{}
			defer func() { <-mu }()
			probes[instance.ID(id)]++
			at = append(at, time.Now())
			return nil
		})
		w.watchFor(5*time.Minute, w.health(), w.health(), w.health())
		for id, n := range probes {
			if n < 8 || n > 13 {
				t.Errorf("%s was probed %d times in five minutes", id, n)
			}
		}
		if len(probes) != 20 {
			t.Errorf("%d of 20 were probed", len(probes))
		}
		moments := map[time.Time]int{}
		for _, m := range at {
			moments[m]++
		}
		for m, n := range moments { // drawn by chance: a few may meet, not most of them
			if n > 12 {
				t.Errorf("%d of 20 were probed at once, at %s", n, m)
			}
		}
	})
}

// What cannot be asked is not known to be ill.
func TestHealthWithoutCredentials(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.tx(func(tx rooms.Tx) error { return tx.DeleteCredentials(inst.ID) })
		w.watchFor(10*time.Minute, w.health())
		w.state(inst.ID, instance.StateRunning, "")
	})
}

func TestNewsOfAnEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		lost := w.created()
		w.pass(time.Minute)
		ctx, cancel := context.WithCancel(w.ctx)
		watcher := &host.Watcher{Store: w.store, Runtimes: w.runtimes, Reconciler: w.reconciler(), Log: w.log}
		done := make(chan error, 1)
		go func() { done <- watcher.Run(ctx) }()
		synctest.Wait() // it listens
		lists := w.runtime.Calls(hosttest.MethodList)
		w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{ExitCode: 137})
		w.runtime.Lose(host.UnitID(lost.ID), false)
		w.pass(1900 * time.Millisecond)
		w.state(inst.ID, instance.StateUnhealthy, "code 137")
		w.state(lost.ID, instance.StateUnhealthy, "gone")
		w.runTasks()
		w.state(inst.ID, instance.StateRunning, "")
		w.state(lost.ID, instance.StateRunning, "")
		if n := w.runtime.Calls(hosttest.MethodList) - lists; n != 0 {
			t.Errorf("%d lists for two pieces of news", n)
		}
		cancel()
		w.must(<-done)
	})
}

// Who restarts a container by hand is not disturbed.
func TestNewsOfARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		ctx, cancel := context.WithCancel(w.ctx)
		watcher := &host.Watcher{Store: w.store, Runtimes: w.runtimes, Reconciler: w.reconciler(), Log: w.log}
		done := make(chan error, 1)
		go func() { done <- watcher.Run(ctx) }()
		synctest.Wait() // it listens
		w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{})
		_, err := w.runtime.Start(w.ctx, host.Workload{Unit: host.UnitID(inst.ID), Fence: inst.Fence})
		w.must(err)
		w.pass(5 * time.Second)
		synctest.Wait()
		w.state(inst.ID, instance.StateRunning, "")
		if _, err := w.store.ActiveJob(w.ctx, id.Subject(inst.ID)); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("a job: %v", err)
		}
		cancel()
		w.must(<-done)
	})
}

// A probe that hangs counts as a miss, however short the interval is.
func TestHealthOfOneThatHangs(t *testing.T) {
	inWorld(t, func(w *world) {
		inst, h := w.created(), w.health()
		h.Every = 2 * time.Second
		h.Catalog = instance.Catalog{hanging{instancetest.Engine{Runtime: w.runtime}}}
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		w.pass(time.Minute)
		w.state(inst.ID, instance.StateUnhealthy, "3 times")
		cancel()
		w.must(<-done)
	})
}

type hanging struct{ instancetest.Engine }

func (hanging) Probe(ctx context.Context, _ instance.Instance, _ instance.Credentials) error {
	<-ctx.Done()
	return ctx.Err()
}
