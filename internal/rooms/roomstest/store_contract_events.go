package roomstest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

func (s shelf) newEvent(owner tenant.ID, kind string) event.Event {
	return event.Event{
		ID: event.ID(s.newID(event.Prefix)), Tenant: owner, Type: kind, Subject: "ins_1", Job: "job_1", Message: "ünd so weiter", At: at,
	}
}

func (s shelf) append(list ...event.Event) {
	s.Helper()
	s.commit("AppendEvent", func(tx rooms.Tx) error {
		for _, e := range list {
			if err := tx.AppendEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// number gives numbers to all that has none, in batches.
func (s shelf) number(batch int) {
	s.Helper()
	for {
		list, err := s.store.UnnumberedEvents(s.ctx, batch)
		s.ok(err, "UnnumberedEvents")
		if len(list) == 0 {
			return
		}
		s.commit("NumberEvents", func(tx rooms.Tx) error { return tx.NumberEvents(list) })
	}
}

// feed gives all events of the tenant, and checks that the numbers have no gaps.
func (s shelf) feed(owner tenant.ID) []event.Event {
	s.Helper()
	var all []event.Event
	for {
		after := int64(len(all))
		page, err := s.store.Events(s.ctx, event.Filter{Tenant: owner}, after, 7)
		s.ok(err, "Events")
		for i, e := range page {
			if e.Number != after+int64(i)+1 {
				s.Fatalf("event %d of %s has the number %d", after+int64(i)+1, owner, e.Number)
			}
		}
		if all = append(all, page...); len(page) < 7 {
			break
		}
	}
	last, err := s.store.LastNumbers(s.ctx, []tenant.ID{owner, "nobody"})
	s.ok(err, "LastNumbers")
	if last[owner] != int64(len(all)) || last["nobody"] != 0 {
		s.Fatalf("%d events, and the last numbers are %v", len(all), last)
	}
	return all
}

func eventsNumbered(s shelf) {
	one, two, three := s.newEvent(owner, "a"), s.newEvent(owner, "b"), s.newEvent(owner, "a")
	other := s.newEvent("other", "a")
	two.Subject, two.Job = "ins_2", ""
	s.append(one, other, two)
	s.append(three)
	if got := s.feed(owner); len(got) != 0 {
		s.Fatalf("seen before they have numbers: %v", got)
	}
	s.number(2)
	for i, want := range []*event.Event{&one, &two, &three} {
		want.Number = int64(i) + 1
	}
	other.Number = 1
	s.same(s.feed(owner), []event.Event{one, two, three}, nil)
	s.same(s.feed("other"), []event.Event{other}, nil)
	for _, test := range []struct {
		filter event.Filter
		after  int64
		want   []event.Event
	}{
		{event.Filter{Tenant: owner, Types: []string{"a"}}, 0, []event.Event{one, three}},
		{event.Filter{Tenant: owner, Types: []string{"a", "b"}}, 1, []event.Event{two, three}},
		{event.Filter{Tenant: owner, Subject: "ins_2"}, 0, []event.Event{two}},
		{event.Filter{Tenant: "other", Subject: "ins_2"}, 0, nil},
		{event.Filter{Tenant: owner, Types: []string{"\xff"}}, 0, nil},
		{event.Filter{Tenant: owner}, 3, nil},
	} {
		got, err := s.store.Events(s.ctx, test.filter, test.after, 10)
		if len(got)+len(test.want) > 0 || err != nil {
			s.same(got, test.want, err)
		}
	}
}

// eventsTwice has two number the same events: the second is refused whole.
func eventsTwice(s shelf) {
	s.append(s.newEvent(owner, "a"), s.newEvent("other", "a"))
	first, err := s.store.UnnumberedEvents(s.ctx, 1)
	s.ok(err, "UnnumberedEvents")
	both, err := s.store.UnnumberedEvents(s.ctx, 10)
	s.ok(err, "UnnumberedEvents")
	s.commit("NumberEvents", func(tx rooms.Tx) error { return tx.NumberEvents(first) })
	s.code(s.tx(func(tx rooms.Tx) error { return tx.NumberEvents(both) }), fault.CodeConflict, "numbering an event twice")
	if got := len(s.feed("other")); got != 0 {
		s.Fatalf("the refused one numbered %d", got)
	}
	s.number(10)
	if a, b := len(s.feed(owner)), len(s.feed("other")); a != 1 || b != 1 {
		s.Fatalf("%d and %d events", a, b)
	}
}

// eventsRace has writers, sequencers and readers at work at once.
func eventsRace(s shelf) {
	const writers, each, sequencers = 6, 40, 3
	owners := []tenant.ID{owner, "other"}
	var writing, numbering atomic.Int32
	writing.Store(writers)
	numbering.Store(sequencers)
	errs := testenv.Together(writers+sequencers+len(owners), func(n int) error {
		switch {
		case n < writers:
			defer writing.Add(-1)
			return s.writeEvents(owners[n%2], n, each)
		case n < writers+sequencers:
			defer numbering.Add(-1)
			return s.sequence(&writing)
		default:
			return s.follow(owners[n-writers-sequencers], writers/2*each)
		}
	})
	s.ok(errors.Join(errs...), "writing, numbering and reading at once")
	for _, owner := range owners {
		seen, next := map[event.ID]bool{}, map[string]int{}
		for _, e := range s.feed(owner) {
			if seen[e.ID] || e.Message != fmt.Sprint(next[e.Type]) {
				s.Fatalf("%s: event %d is %q of %s, want %d; seen before: %v", owner, e.Number, e.Message, e.Type, next[e.Type], seen[e.ID])
			}
			seen[e.ID] = true
			next[e.Type]++
		}
		if len(seen) != writers/2*each {
			s.Errorf("%s: %d events, want %d", owner, len(seen), writers/2*each)
		}
	}
}

// writeEvents writes one by one and two at a time; some are taken back.
func (s shelf) writeEvents(owner tenant.ID, writer, count int) error {
	for n := 0; n < count; {
		batch := min(1+n%2, count-n)
		taken := n%5 == 4
		err := s.store.Tx(s.ctx, func(tx rooms.Tx) error {
			for i := range batch {
				e := s.newEvent(owner, fmt.Sprint("writer-", writer))
				e.Message = fmt.Sprint(n + i)
				if err := tx.AppendEvent(e); err != nil {
					return err
				}
			}
			if taken {
				return errTaken
			}
			return nil
		})
		if taken && errors.Is(err, errTaken) {
			taken = false
			e := s.newEvent(owner, fmt.Sprint("writer-", writer))
			e.Message = fmt.Sprint(n)
			batch, err = 1, s.store.Tx(s.ctx, func(tx rooms.Tx) error { return tx.AppendEvent(e) })
		}
		if err != nil {
			return fmt.Errorf("writer %d: %w", writer, err)
		}
		n += batch
	}
	return nil
}

var errTaken = errors.New("taken back")

// sequence numbers until nobody writes and nothing is left.
func (s shelf) sequence(writing *atomic.Int32) error {
	for {
		over := writing.Load() == 0
		list, err := s.store.UnnumberedEvents(s.ctx, 16)
		if err != nil || over && len(list) == 0 {
			return err
		}
		err = s.store.Tx(s.ctx, func(tx rooms.Tx) error { return tx.NumberEvents(list) })
		if err != nil && !errors.Is(err, fault.ErrConflict) {
			return fmt.Errorf("number events: %w", err)
		}
	}
}

// follow reads until it has the number; every page goes on right behind the last.
func (s shelf) follow(owner tenant.ID, count int) error {
	for after := int64(0); after < int64(count); {
		last, err := s.store.LastNumbers(s.ctx, []tenant.ID{owner})
		if err != nil {
			return err
		}
		page, err := s.store.Events(s.ctx, event.Filter{Tenant: owner}, after, 5)
		if err != nil {
			return err
		}
		if len(page) == 0 && last[owner] > after {
			return fmt.Errorf("%s has %d events, and there is none behind %d", owner, last[owner], after)
		}
		for _, e := range page {
			if after++; e.Number != after {
				return fmt.Errorf("%s: number %d comes where %d must", owner, e.Number, after)
			}
		}
	}
	return nil
}

func eventsExpire(s shelf) {
	old, young, unnumbered := s.newEvent(owner, "a"), s.newEvent(owner, "a"), s.newEvent(owner, "a")
	old.At, unnumbered.At = at.Add(-time.Hour), at.Add(-time.Hour)
	older := s.newEvent("other", "a")
	older.At = at.Add(-2 * time.Hour)
	s.append(old, older, young)
	s.number(10)
	s.append(unnumbered)
	for _, want := range []int{1, 1, 0} {
		s.commit("DeleteEvents", func(tx rooms.Tx) error {
			n, err := tx.DeleteEvents(at, 1)
			if n != want {
				s.Errorf("%d removed, want %d", n, want)
			}
			return err
		})
	}
	s.number(10)
	left, err := s.store.Events(s.ctx, event.Filter{Tenant: owner}, 0, 10)
	s.ok(err, "Events")
	if got := ids(left, func(e event.Event) event.ID { return e.ID }); !slices.Equal(got, []event.ID{young.ID, unnumbered.ID}) {
		s.Errorf("left: %v", left)
	}
	// Numbers go on where they were, also when all is gone.
	s.append(s.newEvent("other", "a"))
	s.number(10)
	if left, err = s.store.Events(s.ctx, event.Filter{Tenant: "other"}, 0, 10); err != nil || len(left) != 1 || left[0].Number != 2 {
		s.Errorf("the other's: %v, %v", left, err)
	}
}
