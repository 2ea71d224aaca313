package instance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

func (w *world) sequencer(owner string) *event.Sequencer {
	return event.NewSequencer(rooms.Events(w.store), &bell.Local{}, clock.System, owner)
}

func (w *world) sequence(q *event.Sequencer) int {
	w.Helper()
	n, err := q.RunOnce(w.ctx)
	w.must(err)
	return n
}

// say writes events of the tenant.
func (w *world) say(owner tenant.ID, count int) {
	w.Helper()
	w.tx(func(tx rooms.Tx) error {
		for range count {
			e := event.Event{ID: event.ID(w.newID(event.Prefix)), Tenant: owner, Type: "test", Subject: "ins_1", At: clock.System()}
			if err := tx.AppendEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// What happens to an instance is told in the order in which it happened.
func TestFeedOfALife(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.spin(w.delete(inst.ID).Job.ID)
		q := w.sequencer("q")
		if n := w.sequence(q); n != 7 {
			w.Errorf("%d numbered", n)
		}
		page, err := w.service.Events(w.ctx, tenanttest.Owner(tenant.Default), event.Filter{}, 0, 0)
		w.must(err)
		var types []string
		for i, e := range page.Events {
			types = append(types, e.Type)
			if e.Number != int64(i+1) || e.Message == "" || e.Subject != id.Subject(inst.ID) {
				w.Errorf("%+v", e)
			}
		}
		want := []string{"instance.pending", "instance.provisioning", "instance.running", "job.succeeded", "instance.deleting", "instance.deleted", "job.succeeded"}
		if !slices.Equal(types, want) || page.Next != 7 {
			w.Errorf("%v, next %d", types, page.Next)
		}
	})
}

// Of two sequencers one acts; when it is gone, or gives the duty back, the other does.
func TestSequencerDuty(t *testing.T) {
	inWorld(t, func(w *world) {
		one, two := w.sequencer("one"), w.sequencer("two")
		step := func(first, second int) {
			w.Helper()
			w.say("t", 1)
			if a, b := w.sequence(one), w.sequence(two); a != first || b != second {
				w.Errorf("%d and %d numbered, want %d and %d", a, b, first, second)
			}
		}
		step(1, 0)
		for range 50 {
			w.pass(event.SequencerEvery)
			step(1, 0)
		}
		w.must(one.Release(w.ctx))
		w.must(two.Release(w.ctx)) // has nothing to give back
		w.pass(time.Second)
		w.say("t", 1)
		if n := w.sequence(two); n != 1 {
			w.Errorf("%d numbered by the other one", n)
		}
		step(0, 1)
		w.pass(5 * time.Second) // two has vanished
		step(1, 0)
	})
}

// A sequencer goes through any backlog in one look.
func TestSequencerBacklog(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 4 {
			w.say("a", 300)
			w.say("b", 7)
		}
		if n := w.sequence(w.sequencer("q")); n != 4*307 {
			w.Errorf("%d numbered", n)
		}
		last, err := w.store.LastNumbers(w.ctx, []tenant.ID{"a", "b"})
		if w.must(err); last["a"] != 1200 || last["b"] != 28 {
			w.Errorf("%v", last)
		}
	})
}

// countingStore counts the questions of the feed, and can be down.
type countingStore struct {
	rooms.Store
	looks atomic.Int32
	down  atomic.Bool
}

func (s *countingStore) LastNumbers(ctx context.Context, tenants []tenant.ID) (map[tenant.ID]int64, error) {
	s.looks.Add(1)
	if s.down.Load() {
		return nil, fault.Errorf(fault.CodeUnavailable, nil, "the database does not answer")
	}
	return s.Store.LastNumbers(ctx, tenants)
}

// follower records what a Follow hands over.
type follower struct {
	mu    sync.Mutex
	seen  []int64
	beats int
	delay time.Duration
}

func (f *follower) hand(list []event.Event) error {
	<-time.After(f.delay)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range list {
		f.seen = append(f.seen, e.Number)
	}
	if len(list) == 0 {
		f.beats++
	}
	return nil
}

func (f *follower) is(w *world, who string, from, to int64) {
	w.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var want []int64
	for n := from; n <= to; n++ {
		want = append(want, n)
	}
	if !slices.Equal(f.seen, want) {
		w.Errorf("%s saw %d events (%v …), want %d to %d", who, len(f.seen), f.seen[:min(len(f.seen), 5)], from, to)
	}
}

// Everybody who follows gets everything once, in order, the slow ones too; the
// database is looked at by one of them only, and by nobody when nobody follows.
func TestFollow(t *testing.T) {
	inWorld(t, func(w *world) {
		s := &countingStore{Store: w.store}
		service := w.serviceOn(s)
		w.say("a", 250)
		q := w.sequencer("q")
		w.sequence(q)
		ctx, stop := context.WithCancel(w.ctx)
		all, late, slow, other := &follower{}, &follower{}, &follower{delay: 30 * time.Second}, &follower{}
		var following sync.WaitGroup
		follow := func(f *follower, owner tenant.ID, after int64) {
			following.Go(func() {
				if err := service.Follow(tenant.Within(ctx, owner), tenanttest.Owner(owner), event.Filter{}, after, 15*time.Second, f.hand); !errors.Is(err, context.Canceled) {
					w.Errorf("follow: %v", err)
				}
			})
		}
		follow(all, "a", 0)
		follow(late, "a", 240)
		follow(slow, "a", 0)
		follow(other, "b", 0)
		w.pass(time.Second)
		all.is(w, "the first", 1, 250)
		for range 20 {
			w.say("a", 5)
			w.say("b", 1)
			w.sequence(q)
			w.pass(150 * time.Millisecond)
		}
		w.pass(time.Second)
		all.is(w, "the first", 1, 350)
		late.is(w, "the late one", 241, 350)
		other.is(w, "the other tenant", 1, 20)
		before := s.looks.Load()
		w.pass(10 * time.Second)
		if n := s.looks.Load() - before; n < 49 || n > 53 {
			w.Errorf("%d looks in ten seconds", n)
		}
		w.pass(5 * time.Minute)
		slow.is(w, "the slow one", 1, 350)
		all.mu.Lock()
		if all.beats < 20 || all.beats > 22 {
			w.Errorf("%d beats in five minutes", all.beats)
		}
		all.mu.Unlock()
		stop()
		w.pass(time.Minute) // the slow one has something in hand
		synctest.Wait()
		following.Wait()
		before = s.looks.Load()
		if w.pass(time.Minute); s.looks.Load() != before {
			w.Error("somebody looks, and nobody follows")
		}
	})
}

// A database that is away for a while interrupts nobody, and a receiver that fails
// ends its own Follow only.
func TestFollowThroughAnOutage(t *testing.T) {
	inWorld(t, func(w *world) {
		s := &countingStore{Store: w.store}
		service := w.serviceOn(s)
		f, q := &follower{}, w.sequencer("q")
		ctx, stop := context.WithCancel(w.ctx)
		done := make(chan error, 2)
		go func() { done <- service.Follow(ctx, tenanttest.Owner("a"), event.Filter{}, 0, time.Minute, f.hand) }()
		broken := errors.New("the client is gone")
		go func() {
			done <- service.Follow(ctx, tenanttest.Owner("a"), event.Filter{}, 0, time.Minute, func([]event.Event) error { return broken })
		}()
		w.pass(time.Second)
		s.down.Store(true)
		w.say("a", 3)
		w.sequence(q)
		w.pass(10 * time.Second)
		f.is(w, "while it is down", 1, 0)
		s.down.Store(false)
		w.pass(2 * time.Second)
		f.is(w, "when it is back", 1, 3)
		if err := <-done; !errors.Is(err, broken) {
			w.Errorf("%v", err)
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.Errorf("%v", err)
		}
	})
}

// A filtered page says how far it has looked, so that nobody looks there again.
func TestFilteredPages(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say(tenant.Default, 100)
		w.created()
		w.say(tenant.Default, 10)
		w.sequence(w.sequencer("q"))
		owner, f := tenanttest.Owner(tenant.Default), event.Filter{Types: []string{instance.EventRunning}}
		for after, want := range map[int64]string{0: "1 114", 50: "1 114", 103: "0 114", 114: "0 114", 500: "0 500"} {
			page, err := w.service.Events(w.ctx, owner, f, after, 10)
			w.must(err)
			if got := fmt.Sprint(len(page.Events), " ", page.Next); got != want {
				w.Errorf("after %d: %s, want %s", after, got, want)
			}
		}
		f = event.Filter{Subject: "no id\x00"}
		if page, err := w.service.Events(w.ctx, owner, f, 0, 10); err != nil || len(page.Events) > 0 {
			w.Errorf("%v, %v", page, err)
		}
	})
}

// The janitor removes events when their time is over; numbers go on.
func TestEventRetention(t *testing.T) {
	inWorld(t, func(w *world) {
		q := w.sequencer("q")
		w.say("a", 1200)
		w.sequence(q)
		w.pass(25 * time.Hour)
		w.say("a", 1)
		w.sequence(q)
		j := &rooms.Janitor{Store: w.store, Now: clock.System, Owner: "w1", Retention: time.Hour, EventRetention: 24 * time.Hour}
		if n, err := j.RunOnce(w.ctx); n != 1200 || err != nil {
			w.Errorf("%d removed, %v", n, err)
		}
		page, err := w.service.Events(w.ctx, tenanttest.Owner("a"), event.Filter{}, 0, 10)
		if w.must(err); len(page.Events) != 1 || page.Events[0].Number != 1201 {
			w.Errorf("%+v", page)
		}
	})
}

// No more creates are accepted than may be unfinished; deletes always are.
func TestTooManyJobs(t *testing.T) {
	inWorld(t, func(w *world) {
		running := w.created()
		create := func(s *instance.Service, owner tenant.ID) error {
			_, err := s.Create(w.request(owner), tenanttest.Owner(owner), instance.CreateRequest{Engine: running.Spec.Engine})
			return err
		}
		cfg := w.serviceConfig(w.store)
		cfg.MaxJobsPerTenant, cfg.MaxJobs = 3, 5
		s := rooms.NewService(cfg)
		refused := func(err error, says string) {
			w.Helper()
			var e *fault.Error
			if !errors.As(err, &e) || e.Code != fault.CodeTooManyJobs || e.RetryAfter <= 0 || !strings.Contains(e.Message, says) {
				w.Errorf("%v, want %q", err, says)
			}
		}
		for range 3 {
			w.must(create(s, tenant.Default))
		}
		refused(create(s, tenant.Default), "limit of 3")
		w.must(create(s, "b"))
		w.must(create(s, "b"))
		refused(create(s, "b"), "limit of 5")
		_, err := s.Delete(w.ctx, tenanttest.Owner(tenant.Default), "", running.ID, "")
		w.must(err)
		refused(create(s, "c"), "limit of 5")
		w.runTasks()
		w.must(create(s, tenant.Default))
	})
}
