package instance_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
)

// process is a worker process that looks at the database all the time, as its relay
// does.
type process struct {
	*job.Runner
	contact *job.Contact
	store   *cutStore
}

// process starts one. It looks until the test ends.
func (w *world) process(owner string) *process {
	p := &process{contact: job.NewContact(clock.System, job.DefaultLeaseTTL), store: &cutStore{Store: w.store}}
	rows := rooms.WithContact(p.store, p.contact)
	w.contact = p.contact
	p.Runner = w.runnerOn(rows, w.runtimes, owner, clock.System)
	w.contact = nil
	ctx, stop := context.WithCancel(w.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = rows.Tx(ctx, func(tx rooms.Tx) error {
				_, err := tx.TakeDuty("look", owner, time.Now(), time.Now())
				return err
			})
			select {
			case <-ctx.Done():
			case <-time.After(job.RelayEvery):
			}
		}
	}()
	w.Cleanup(func() { stop(); <-done })
	return p
}

// loses has the job's worker hang in a call to the host for longer than its lease, in
// which the database is away for these processes, and then has the taker go on.
func (w *world) loses(id id.Job, owner, taker *process, away ...*process) job.Job {
	w.Helper()
	w.runtime.Fail(hosttest.MethodCreate, hosttest.Fault{Hang: true, Times: 1})
	done := make(chan error, 1)
	go func() { done <- owner.Run(w.ctx, id) }()
	w.pass(time.Second)
	for _, p := range away {
		p.store.away.Store(true)
	}
	w.must(<-done)
	w.pass(2 * time.Second)
	for _, p := range away {
		p.store.away.Store(false)
	}
	w.must(taker.Run(w.ctx, id)) // it may be the first who finds the database back
	return w.job(id)
}

func TestOutageIsNoCrash(t *testing.T) {
	inWorld(t, func(w *world) {
		one, two := w.process("one"), w.process("two")
		for name, taker := range map[string]*process{"another one": two, "the same": one} {
			a := w.create()
			w.queue.Take()
			if j := w.loses(a.Job.ID, one, taker, one, two); j.State != job.Succeeded || j.Crashes != 0 {
				t.Errorf("taken by %s: %s after %d crashes: %+v", name, j.State, j.Crashes, j.Error)
			}
		}
		// Cut off alone, it cannot be told from one that has died.
		w.pass(job.DefaultLeaseTTL)
		a := w.create()
		w.queue.Take()
		if j := w.loses(a.Job.ID, one, two, one); j.State != job.Succeeded || j.Crashes != 1 {
			t.Errorf("%s after %d crashes", j.State, j.Crashes)
		}
	})
}

// However often the database is away, no job ends because of that.
func TestManyOutages(t *testing.T) {
	inWorld(t, func(w *world) {
		one, two := w.process("one"), w.process("two")
		a := w.create()
		w.queue.Take()
		for range 10 {
			w.runtime.Fail(hosttest.MethodCreate, hosttest.Fault{Hang: true})
			done := make(chan error, 1)
			go func() { done <- one.Run(w.ctx, a.Job.ID) }()
			w.pass(time.Second)
			one.store.away.Store(true)
			two.store.away.Store(true)
			w.must(<-done)
			one.store.away.Store(false)
			two.store.away.Store(false)
			w.pass(time.Second)
			one, two = two, one
		}
		w.runtime.Heal()
		w.must(one.Run(w.ctx, a.Job.ID))
		w.usable(a.Job.ID)
		if job := w.job(a.Job.ID); job.Crashes != 0 {
			t.Errorf("%d crashes", job.Crashes)
		}
	})
}

// A job that ends its workers is stopped all the same, whether others live on or each
// is the only one, and is not excused by an outage of long ago.
func TestCrashesAreStillCounted(t *testing.T) {
	for _, name := range []string{"others live on", "each is the only one"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				living := w.process("living")
				living.store.away.Store(true)
				w.pass(time.Minute)
				living.store.away.Store(false)
				w.pass(time.Minute)
				a := w.create()
				for range 20 {
					if w.contact = living.contact; name != "others live on" {
						w.contact = job.NewContact(clock.System, job.DefaultLeaseTTL)
					}
					w.runMortal(a.Job.ID, 3, true)
					if w.job(a.Job.ID).State.Ended() {
						break
					}
					w.pass(job.DefaultLeaseTTL)
				}
				w.spin(a.Job.ID)
				if why := w.clean(a.Job.ID, job.Failed, instance.StateFailed); why.Code != fault.CodeWorkerCrashed {
					t.Errorf("failed with %+v", why)
				}
			})
		})
	}
}

// hungStore is a database that takes questions and does not answer.
type hungStore struct {
	rooms.Store
	hold chan struct{}
}

func (s *hungStore) Tx(ctx context.Context, do func(rooms.Tx) error) error {
	select {
	case <-s.hold:
		return s.Store.Tx(ctx, do)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestContact(t *testing.T) {
	const ttl = job.DefaultLeaseTTL
	nothing := func(rooms.Tx) error { return nil }
	for name, test := range map[string]struct {
		meet func(w *world, rows rooms.Store, hung *hungStore)
		away bool
	}{
		"it answers": {func(w *world, rows rooms.Store, hung *hungStore) {
			close(hung.hold)
			w.must(rows.Tx(w.ctx, nothing))
			w.pass(ttl)
			w.must(rows.Tx(w.ctx, nothing))
		}, false},
		"an answer that is an error": {func(w *world, rows rooms.Store, hung *hungStore) {
			close(hung.hold)
			for range 10 {
				if err := rows.Tx(w.ctx, func(rooms.Tx) error { return fault.ErrConflict }); !errors.Is(err, fault.ErrConflict) {
					w.Error(err)
				}
				w.pass(time.Second)
			}
		}, false},
		"it hangs still": {func(w *world, rows rooms.Store, _ *hungStore) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = rows.Tx(w.ctx, nothing) // until the test ends
			}()
			w.pass(ttl)
			w.Cleanup(func() { <-done })
		}, true},
		"it was slow to answer": {func(w *world, rows rooms.Store, hung *hungStore) {
			done := make(chan error, 1)
			go func() { done <- rows.Tx(w.ctx, nothing) }()
			w.pass(ttl)
			close(hung.hold)
			w.must(<-done)
		}, true},
		"it failed for a moment": {func(w *world, rows rooms.Store, hung *hungStore) {
			ctx, cancel := context.WithTimeout(w.ctx, time.Second)
			defer cancel()
			_ = rows.Tx(ctx, nothing)
			close(hung.hold)
			w.must(rows.Tx(w.ctx, nothing))
			w.pass(ttl)
		}, false},
		"the caller would not wait": {func(w *world, rows rooms.Store, _ *hungStore) {
			ctx, cancel := context.WithCancel(w.ctx)
			cancel()
			_ = rows.Tx(ctx, nothing)
			w.pass(ttl)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				contact := job.NewContact(clock.System, ttl)
				hung := &hungStore{Store: w.store, hold: make(chan struct{})}
				begun := time.Now()
				test.meet(w, rooms.WithContact(hung, contact), hung)
				if away := contact.Away(begun, time.Now()); away != test.away {
					t.Errorf("away: %v", away)
				}
				if later := time.Now().Add(time.Hour); contact.Away(later, later.Add(ttl)) && name != "it hangs still" {
					t.Error("away in an hour")
				}
				if (*job.Contact)(nil).Away(begun, time.Now()) {
					t.Error("nobody's contact was away")
				}
			})
		})
	}
}
