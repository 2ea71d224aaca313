package instance_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

// pairOfBells is a bell that hears another process's rings, or loses them.
type pairOfBells struct {
	bell.Local
	connected bool
}

func (b *pairOfBells) Connected() bool { return b.connected }

// lookStore counts the looks that serve all waiters.
type lookStore struct {
	rooms.Store
	looks, reads atomic.Int32
}

func (s *lookStore) EndedJobs(ctx context.Context, ids []id.Job) ([]id.Job, error) {
	s.looks.Add(1)
	return s.Store.EndedJobs(ctx, ids)
}

func (s *lookStore) Job(ctx context.Context, id id.Job) (job.Job, error) {
	s.reads.Add(1)
	return s.Store.Job(ctx, id)
}

// A job that ends in another process ends the wait: at once with a ring, and after a
// share of the time waited without.
func TestWaitAcrossProcesses(t *testing.T) {
	for name, test := range map[string]struct {
		rings, connected bool
		within           time.Duration
	}{
		"it rings":                       {rings: true, connected: true},
		"the ring is lost":               {connected: true, within: 600 * time.Millisecond},
		"the bell is not connected":      {within: 60 * time.Millisecond},
		"the bell is back after a while": {rings: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				ringer := &pairOfBells{connected: test.connected}
				cfg := w.serviceConfig(w.store)
				cfg.Bell = ringer
				service := rooms.NewService(cfg)
				j := w.create().Job
				over := make(chan time.Time, 1)
				go func() {
					got, err := service.WaitJob(w.ctx, tenanttest.Owner(tenant.Default), j.ID, time.Hour)
					if err != nil || got.State != job.Succeeded {
						w.Errorf("%s, %v", got.State, err)
					}
					over <- time.Now()
				}()
				w.pass(7 * time.Second)
				w.spin(j.ID) // by a Berth without this bell
				ended := time.Now()
				if test.rings && test.connected {
					ringer.Ring(bell.Ring{Kind: job.RingEnded, ID: string(j.ID)})
				} else if test.rings {
					ringer.Missed()
				}
				if late := (<-over).Sub(ended); late > test.within {
					w.Errorf("answered %s late", late)
				}
			})
		})
	}
}

// However many wait, one look serves them all, and a ring wakes those of its job.
func TestManyWait(t *testing.T) {
	inWorld(t, func(w *world) {
		counted, ringer := &lookStore{Store: w.store}, &pairOfBells{connected: true}
		cfg := w.serviceConfig(counted)
		cfg.Bell = ringer
		service := rooms.NewService(cfg)
		jobs := make([]id.Job, 20)
		for i := range jobs {
			jobs[i] = w.create().Job.ID
		}
		var all sync.WaitGroup
		var over atomic.Int32
		for i := range 200 {
			all.Go(func() {
				if _, err := service.WaitJob(w.ctx, tenanttest.Owner(tenant.Default), jobs[i%len(jobs)], time.Hour); err != nil {
					w.Error(err)
				}
				over.Add(1)
			})
		}
		w.pass(10 * time.Second)
		counted.looks.Store(0)
		counted.reads.Store(0)
		w.pass(10 * time.Second)
		if looks, reads := counted.looks.Load(), counted.reads.Load(); looks == 0 || looks > 25 || reads > 0 {
			w.Errorf("%d looks and %d reads in 10 s", looks, reads)
		}
		w.spin(jobs[0])
		ringer.Ring(bell.Ring{Kind: job.RingEnded, ID: string(jobs[0])})
		w.pass(time.Millisecond)
		if n, reads := over.Load(), counted.reads.Load(); n != 10 || reads != 10 {
			w.Errorf("%d have ended, after %d reads", n, reads)
		}
		for _, id := range jobs[1:] {
			w.spin(id)
		}
		all.Wait()
		counted.looks.Store(0)
		w.pass(10 * time.Second)
		if looks := counted.looks.Load(); looks > 0 {
			w.Errorf("%d looks while nobody waits", looks)
		}
	})
}

// Every commit that somebody may wait for is rung, and no other.
func TestCommitsAreRung(t *testing.T) {
	inWorld(t, func(w *world) {
		ringer := &bell.Local{}
		var heard []bell.Ring
		for _, kind := range []bell.Kind{job.RingEnded, event.RingWritten, event.RingNumbered, bell.RingTask} {
			defer ringer.Listen(kind, func(id string) {
				if r := (bell.Ring{Kind: kind, ID: id}); len(heard) == 0 || heard[len(heard)-1] != r { // each event rings
					heard = append(heard, r)
				}
			})()
		}
		rang := func(what string, want ...bell.Ring) {
			w.Helper()
			for _, ring := range want {
				if len(heard) == 0 || heard[0] != ring {
					w.Fatalf("%s: heard %v, want %v", what, heard, want)
				}
				heard = heard[1:]
			}
			if len(heard) > 0 {
				w.Errorf("%s: also heard %v", what, heard)
			}
			heard = nil
		}
		written, numbered := bell.Ring{Kind: event.RingWritten}, bell.Ring{Kind: event.RingNumbered}
		rows := w.store
		cfg := w.serviceConfig(rows)
		cfg.Bell = ringer
		cfg.Queue = bell.RingingQueue(w.queue, ringer)
		service := rooms.NewService(cfg)
		a, err := service.Create(w.ctx, tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: "fake"})
		w.must(err)
		rang("create", bell.Ring{Kind: bell.RingTask, ID: string(bell.PoolCreates)}, written)
		w.must(w.ringingRunner(ringer).Run(w.ctx, a.Job.ID))
		rang("run", written, bell.Ring{Kind: job.RingEnded, ID: string(a.Job.ID)}, written)
		sequencer := event.NewSequencer(rooms.Events(rows), ringer, clock.System, "q")
		_, err = sequencer.RunOnce(w.ctx)
		w.must(err)
		rang("number", numbered)
		w.pass(time.Second)
		_, err = sequencer.RunOnce(w.ctx)
		w.must(err)
		rang("nothing to number")
		gone := context.Canceled
		if err := rows.Tx(w.ctx, func(tx rooms.Tx) error {
			_ = service.Engine.Events.Announce(tx, event.Announcement{Event: event.Event{Tenant: "t", Type: "test", At: clock.System()}})
			return gone
		}); err == nil {
			w.Error("it was committed")
		}
		rang("rolled back")
		w.queue.SetDown(true)
		w.must(ignore(cfg.Queue.Enqueue(w.ctx, bell.Task{Pool: bell.PoolUpkeep, ID: "x"})))
		rang("the queue may have it", bell.Ring{Kind: bell.RingTask, ID: string(bell.PoolUpkeep)})
	})
}

func ignore(error) error { return nil }
