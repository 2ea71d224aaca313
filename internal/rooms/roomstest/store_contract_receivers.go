package roomstest

import (
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/testenv"
	"github.com/berth-project/berth/internal/webhook"
)

// dueAt gives a pending delivery to the receiver that is due so long after now.
func (s shelf) dueAt(receiver string, after time.Duration, change ...func(*webhook.Delivery)) webhook.DeliveryID {
	s.Helper()
	return s.delivery(append([]func(*webhook.Delivery){func(d *webhook.Delivery) {
		d.Webhook, d.DueAt, d.WakeAt = webhook.ID(receiver), at.Add(after), at.Add(after)
	}}, change...)...).ID
}

func (s shelf) due(want []webhook.DeliveryID, wantLast, after string, limit int) {
	s.Helper()
	list, last, err := s.store.DueDeliveries(s.ctx, at, after, limit)
	s.ok(err, "DueDeliveries")
	if got := ids(list, deliveryID); !slices.Equal(got, want) || last != wantLast {
		s.Errorf("%d after %q: got %v, %q, want %v, %q", limit, after, got, last, want, wantLast)
	}
}

func dueDeliveries(s shelf) {
	s.due([]webhook.DeliveryID{}, "", "", 10)
	s.dueAt("whk_b", -time.Second)
	b := s.dueAt("whk_b", -time.Minute)
	a := s.dueAt("whk_a", 0)
	s.dueAt("whk_a", 0)
	callback := s.dueAt("", 0)
	s.dueAt("whk_c", time.Millisecond)
	ended := func(d *webhook.Delivery) { d.State, d.WakeAt = webhook.DeliveryDelivered, time.Time{} }
	s.dueAt("whk_d", -time.Hour, ended)
	s.dueAt("whk_b", -time.Hour, ended)
	// The first of this one's waits in the queue, and so do the others.
	s.dueAt("whk_e", -time.Hour, func(d *webhook.Delivery) { d.WakeAt = at.Add(time.Second) })
	s.dueAt("whk_e", -time.Minute)
	s.due([]webhook.DeliveryID{callback, a, b}, "", "", 10)

	rest := func(receiver string, until time.Time) {
		s.commit("PutStanding", func(tx rooms.Tx) error {
			return tx.PutStanding(webhook.Standing{Receiver: receiver, Failures: 1, RestUntil: until, UpdatedAt: at})
		})
	}
	rest("whk_a", at.Add(time.Millisecond))
	rest("whk_b", at)
	s.due([]webhook.DeliveryID{callback, b}, "", "", 10)
}

func dueDeliveriesByPage(s shelf) {
	var want []webhook.DeliveryID
	for i := range 5 {
		for range 3 {
			want = append(want, s.dueAt(fmt.Sprint("whk_", i), -time.Duration(i)*time.Millisecond))
		}
	}
	first := func(i int) webhook.DeliveryID { return want[3*i] }
	s.commit("PutStanding", func(tx rooms.Tx) error {
		return tx.PutStanding(webhook.Standing{Receiver: "whk_3", RestUntil: at.Add(time.Hour), UpdatedAt: at})
	})
	s.due([]webhook.DeliveryID{first(0), first(1)}, "whk_1", "", 2)
	s.due([]webhook.DeliveryID{first(2)}, "whk_3", "whk_1", 2)
	s.due([]webhook.DeliveryID{first(4)}, "", "whk_3", 2)
	s.due([]webhook.DeliveryID{}, "", "whk_4", 2)
}

func expiredDeliveries(s shelf) {
	expires := func(after time.Duration, change ...func(*webhook.Delivery)) webhook.DeliveryID {
		return s.dueAt("whk_1", -time.Hour, append(change, func(d *webhook.Delivery) { d.ExpiresAt = at.Add(after) })...)
	}
	second, first := expires(0), expires(-time.Hour)
	expires(time.Millisecond)
	s.dueAt("whk_1", -time.Hour, func(d *webhook.Delivery) { d.ExpiresAt = time.Time{} }) // of a version that did not know it
	expires(-time.Hour, func(d *webhook.Delivery) { d.DueAt = at.Add(time.Second) })      // somebody has it in hand
	expires(-time.Hour, func(d *webhook.Delivery) { d.State, d.WakeAt = webhook.DeliveryExhausted, time.Time{} })
	for limit, want := range map[int][]webhook.DeliveryID{1: {first}, 10: {first, second}} {
		list, err := s.store.ExpiredDeliveries(s.ctx, at, at, limit)
		if got := ids(list, deliveryID); err != nil || !slices.Equal(got, want) {
			s.Errorf("of %d: got %v, %v, want %v", limit, got, err, want)
		}
	}
}

func standings(s shelf) {
	const name = "acme@bücher.example:8443"
	_, err := s.store.Standing(s.ctx, name)
	s.code(err, fault.CodeNotFound, "Standing of one that is well")
	one := webhook.Standing{Receiver: name, Failures: 3, FailingSince: at.Add(-time.Hour), Took: 1500 * time.Millisecond, RestUntil: at.Add(time.Minute), UpdatedAt: at}
	for range 3 {
		for _, err := range testenv.Together(4, func(int) error { return s.tx(func(tx rooms.Tx) error { return tx.PutStanding(one) }) }) {
			s.ok(err, "PutStanding")
		}
		got, err := s.store.Standing(s.ctx, name)
		s.same(got, one, err)
		one.Failures, one.FailingSince, one.RestUntil, one.UpdatedAt = 0, time.Time{}, time.Time{}, one.UpdatedAt.Add(time.Hour)
	}
	old := one
	old.Receiver, old.UpdatedAt = "whk_1", at.Add(-time.Millisecond)
	s.commit("PutStanding", func(tx rooms.Tx) error { return tx.PutStanding(old) })
	s.commit("DeleteStandings", func(tx rooms.Tx) error {
		n, err := tx.DeleteStandings(at, 10)
		if n != 1 {
			s.Errorf("%d removed", n)
		}
		return err
	})
	_, err = s.store.Standing(s.ctx, "whk_1")
	s.code(err, fault.CodeNotFound, "Standing after its time")
	for range 2 { // the second time there is nothing to delete
		s.commit("DeleteStanding", func(tx rooms.Tx) error { return tx.DeleteStanding(name) })
	}
	_, err = s.store.Standing(s.ctx, name)
	s.code(err, fault.CodeNotFound, "Standing after its end")
}
