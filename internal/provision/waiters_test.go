package provision_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/provision"
	"github.com/berth-project/berth/internal/tenant"
)

// pairOfBells is a bell that hears another process's rings, or loses them.
type pairOfBells struct {
	bell.Local
	connected bool
}

func (b *pairOfBells) Connected() bool { return b.connected }

// lookStore counts the looks that serve all waiters.
type lookStore struct {
	provision.Store
	looks, reads atomic.Int32
}

func (s *lookStore) EndedJobs(ctx context.Context, ids []id.Job) ([]id.Job, error) {
	s.looks.Add(1)
	return s.Store.EndedJobs(ctx, ids)
}

func (s *lookStore) Job(ctx context.Context, id id.Job) (provision.Job, error) {
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
				service := provision.NewService(cfg)
				job := w.create().Job
				over := make(chan time.Time, 1)
				go func() {
					got, err := service.WaitJob(w.ctx, tenant.Default, job.ID, time.Hour)
					if err != nil || got.State != provision.JobSucceeded {
						w.Errorf("%s, %v", got.State, err)
					}
					over <- time.Now()
				}()
				w.pass(7 * time.Second)
				w.spin(job.ID) // by a Berth without this bell
				ended := time.Now()
				if test.rings && test.connected {
					ringer.Ring(bell.Ring{Kind: provision.RingEnded, ID: string(job.ID)})
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
		service := provision.NewService(cfg)
		jobs := make([]id.Job, 20)
		for i := range jobs {
			jobs[i] = w.create().Job.ID
		}
		var all sync.WaitGroup
		var over atomic.Int32
		for i := range 200 {
			all.Go(func() {
				if _, err := service.WaitJob(w.ctx, tenant.Default, jobs[i%len(jobs)], time.Hour); err != nil {
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
		ringer.Ring(bell.Ring{Kind: provision.RingEnded, ID: string(jobs[0])})
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
func TestRingingStore(t *testing.T) {
	inWorld(t, func(w *world) {
		ringer := &bell.Local{}
		var heard []bell.Ring
		for _, kind := range []bell.Kind{provision.RingEnded, provision.RingWritten, provision.RingNumbered, provision.RingTask} {
			defer ringer.Listen(kind, func(id string) { heard = append(heard, bell.Ring{Kind: kind, ID: id}) })()
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
		written, numbered := bell.Ring{Kind: provision.RingWritten}, bell.Ring{Kind: provision.RingNumbered}
		rows := provision.RingingStore(w.store, ringer)
		cfg := w.serviceConfig(rows)
		cfg.Queue = provision.RingingQueue(w.queue, ringer)
		a, err := provision.NewService(cfg).Create(w.ctx, provision.CreateRequest{Tenant: tenant.Default, Engine: "fake"})
		w.must(err)
		rang("create", bell.Ring{Kind: provision.RingTask, ID: string(provision.TaskCreate)}, written)
		w.must(w.runnerOn(rows, w.runtimes, "w1", clock.System).Run(w.ctx, a.Job.ID))
		rang("run", written, bell.Ring{Kind: provision.RingEnded, ID: string(a.Job.ID)}, written)
		sequencer := provision.Sequencer{Store: rows, Now: clock.System, Owner: "q"}
		_, err = sequencer.RunOnce(w.ctx)
		w.must(err)
		rang("number", numbered)
		w.pass(time.Second)
		_, err = sequencer.RunOnce(w.ctx)
		w.must(err)
		rang("nothing to number")
		gone := context.Canceled
		if err := rows.Tx(w.ctx, func(tx provision.Tx) error {
			_ = tx.AppendEvent(provision.Event{ID: "evt_1", Tenant: "t", Type: "test", At: clock.System()})
			return gone
		}); err == nil {
			w.Error("it was committed")
		}
		rang("rolled back")
		w.queue.SetDown(true)
		w.must(ignore(cfg.Queue.Enqueue(w.ctx, provision.Task{Kind: provision.TaskUpkeep, ID: "x"})))
		rang("the queue may have it", bell.Ring{Kind: provision.RingTask, ID: string(provision.TaskUpkeep)})
	})
}

func ignore(error) error { return nil }
