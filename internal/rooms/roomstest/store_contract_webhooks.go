package roomstest

import (
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/testenv"
	"github.com/berth-project/berth/internal/webhook"
)

func (s shelf) webhook(change ...func(*webhook.Webhook)) webhook.Webhook {
	s.Helper()
	h := webhook.Webhook{
		ID: webhook.ID(s.newID(webhook.Prefix)), Tenant: owner, URL: "https://bücher.example/hook?a=ü", Enabled: true, Description: "für uns ☃",
		Events: []string{"instance.*", "job.failed"}, Secret: secret.Sealed{KeyID: "k", Ciphertext: []byte{0, 0xff}}, CreatedAt: at, UpdatedAt: at,
	}
	for _, c := range change {
		c(&h)
	}
	s.commit("InsertWebhook", func(tx rooms.Tx) error { return tx.InsertWebhook(h) })
	got, err := s.store.Webhook(s.ctx, h.ID)
	s.same(got, h, err)
	return h
}

func webhookRevision(s shelf) {
	_, err := s.store.Webhook(s.ctx, "whk_none")
	s.code(err, fault.CodeNotFound, "Webhook that never was")
	h := s.webhook()
	other := s.webhook(func(h *webhook.Webhook) { h.Events, h.Description = nil, "" })
	after := h
	after.URL, after.Events, after.Description, after.Enabled, after.Reason = "https://b.example", []string{}, "", false, "gone"
	after.Previous, after.PreviousUntil, after.Secret = h.Secret, at.Add(time.Hour), secret.Sealed{KeyID: "l", Ciphertext: []byte("new")}
	after.UpdatedAt = at.Add(time.Second)
	s.oneWinner(testenv.Together(4, func(int) error { return s.tx(func(tx rooms.Tx) error { return tx.UpdateWebhook(after) }) }), fault.CodeConflict)
	after.Rev++
	got, err := s.store.Webhook(s.ctx, h.ID)
	s.same(got, after, err)
	s.oneWinner(testenv.Together(4, func(int) error { return s.tx(func(tx rooms.Tx) error { return tx.DeleteWebhook(h.ID) }) }), fault.CodeConflict)
	_, err = s.store.Webhook(s.ctx, h.ID)
	s.code(err, fault.CodeNotFound, "Webhook after its end")
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateWebhook(after) }), fault.CodeConflict, "UpdateWebhook after its end")
	got, err = s.store.Webhook(s.ctx, other.ID)
	s.same(got, other, err)
}

func webhookLists(s shelf) {
	first, second := s.webhook(), s.webhook(func(h *webhook.Webhook) { h.Enabled = false })
	third := s.webhook()
	s.webhook(func(h *webhook.Webhook) { h.Tenant = "other" })
	id := func(h webhook.Webhook) webhook.ID { return h.ID }
	for _, page := range []struct {
		page page.Page
		want []webhook.ID
	}{
		{page.Page{Limit: 10}, []webhook.ID{third.ID, second.ID, first.ID}}, {page.Page{Limit: 1}, []webhook.ID{third.ID}},
		{page.Page{Limit: 10, Before: string(second.ID)}, []webhook.ID{first.ID}},
	} {
		list, err := s.store.Webhooks(s.ctx, owner, page.page)
		s.ok(err, "Webhooks")
		if got := ids(list, id); !slices.Equal(got, page.want) {
			s.Errorf("%+v: got %v, want %v", page.page, got, page.want)
		}
	}
	s.commit("Listeners", func(tx rooms.Tx) error {
		list, err := tx.Listeners(owner)
		s.ok(err, "Listeners")
		if got := ids(list, id); !slices.Equal(got, []webhook.ID{first.ID, third.ID}) {
			s.Errorf("listeners are %v", got)
		}
		return nil
	})
}

func deliveryID(d webhook.Delivery) webhook.DeliveryID { return d.ID }

func deliveryFilters(s shelf) {
	plain := s.delivery()
	hooked := s.delivery(func(d *webhook.Delivery) {
		d.Webhook, d.Job, d.Subject, d.Event, d.EventType = "whk_1", "", "", "evt_2", "webhook.disabled"
		d.Attempts = []webhook.Attempt{{At: at, Took: 1500 * time.Millisecond, Status: 500, Error: "ü", Answer: "<p>\x00"}}
	})
	ended := s.delivery(func(d *webhook.Delivery) {
		d.Webhook, d.Job, d.State, d.WakeAt = "whk_1", "job_2", webhook.DeliveryDelivered, time.Time{}
	})
	s.delivery(func(d *webhook.Delivery) { d.Tenant = "other" })
	for _, test := range []struct {
		filter webhook.DeliveryFilter
		want   []webhook.DeliveryID
	}{
		{webhook.DeliveryFilter{}, []webhook.DeliveryID{ended.ID, hooked.ID, plain.ID}},
		{webhook.DeliveryFilter{Webhook: "whk_1"}, []webhook.DeliveryID{ended.ID, hooked.ID}},
		{webhook.DeliveryFilter{Webhook: "whk_ü"}, []webhook.DeliveryID{}},
		{webhook.DeliveryFilter{Job: "job_1"}, []webhook.DeliveryID{plain.ID}},
		{webhook.DeliveryFilter{Event: "evt_2"}, []webhook.DeliveryID{hooked.ID}},
		{webhook.DeliveryFilter{Subject: "ins_1"}, []webhook.DeliveryID{ended.ID, plain.ID}},
		{webhook.DeliveryFilter{State: webhook.DeliveryDelivered}, []webhook.DeliveryID{ended.ID}},
	} {
		test.filter.Tenant = owner
		list, err := s.store.Deliveries(s.ctx, test.filter, page.Page{Limit: 10})
		s.ok(err, "Deliveries")
		if got := ids(list, deliveryID); !slices.Equal(got, test.want) {
			s.Errorf("%+v: got %v, want %v", test.filter, got, test.want)
		}
	}
	list, err := s.store.Deliveries(s.ctx, webhook.DeliveryFilter{Tenant: owner}, page.Page{Limit: 1, Before: string(hooked.ID)})
	if err != nil || !slices.Equal(ids(list, deliveryID), []webhook.DeliveryID{plain.ID}) {
		s.Errorf("the page after: %v, %v", list, err)
	}
}

func nextDelivery(s shelf) {
	next := func(receiver string) (webhook.DeliveryID, error) {
		d, err := s.store.NextDelivery(s.ctx, receiver, at)
		return d.ID, err
	}
	due := func(after time.Duration, change func(*webhook.Delivery)) webhook.Delivery {
		return s.delivery(func(d *webhook.Delivery) {
			d.DueAt, d.Webhook = at.Add(after), "whk_1"
			change(d)
		})
	}
	nothing := func(*webhook.Delivery) {}
	due(time.Millisecond, nothing)
	due(-time.Hour, func(d *webhook.Delivery) { d.State, d.WakeAt = webhook.DeliveryExhausted, time.Time{} })
	due(-time.Hour, func(d *webhook.Delivery) { d.Webhook = "whk_2" })
	_, err := next("whk_1")
	s.code(err, fault.CodeNotFound, "NextDelivery before one is due")
	due(-time.Minute, nothing) // a later one that is due since the same moment
	callback := due(-time.Minute, func(d *webhook.Delivery) { d.Webhook, d.URL = "", "https://EXAMPLE.com:8443/hook" })
	oldest := due(-2*time.Minute, nothing)
	for receiver, want := range map[string]webhook.DeliveryID{"whk_1": oldest.ID, "acme@example.com:8443": callback.ID} {
		if got, err := next(receiver); err != nil || got != want {
			s.Errorf("%s: got %s, %v, want %s", receiver, got, err, want)
		}
	}
	// Its receiver moves with its address.
	moved := callback
	moved.URL, moved.Attempt = "https://b.example/", moved.Attempt+1
	s.commit("UpdateDelivery", func(tx rooms.Tx) error { return tx.UpdateDelivery(moved, callback) })
	if got, err := next("acme@b.example"); err != nil || got != callback.ID {
		s.Errorf("moved: %s, %v", got, err)
	}
}

func endDeliveries(s shelf) {
	hooked := func(change ...func(*webhook.Delivery)) webhook.Delivery {
		return s.delivery(append(change, func(d *webhook.Delivery) { d.Webhook = "whk_1" })...)
	}
	pending := []webhook.Delivery{hooked(), hooked(), hooked()}
	done := hooked(func(d *webhook.Delivery) { d.State, d.WakeAt = webhook.DeliveryDelivered, time.Time{} })
	others := []webhook.Delivery{done, s.delivery(), s.delivery(func(d *webhook.Delivery) { d.Webhook = "whk_2" })}
	later := at.Add(time.Minute)
	for range 2 { // the second time there is nothing to end
		s.commit("EndDeliveries", func(tx rooms.Tx) error { return tx.EndDeliveries("whk_1", "because", later) })
	}
	for _, d := range pending {
		want := d
		want.State, want.WakeAt, want.LastError, want.UpdatedAt = webhook.DeliveryCanceled, time.Time{}, "because", later
		got, err := s.store.Delivery(s.ctx, d.ID)
		s.same(got, want, err)
		s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateDelivery(d, d) }), fault.CodeConflict, "the outcome of an attempt that was under way")
	}
	for _, d := range others {
		got, err := s.store.Delivery(s.ctx, d.ID)
		s.same(got, d, err)
	}
	due, _, err := s.store.DueDeliveries(s.ctx, later, "", 10)
	if err != nil || len(due) != 2 {
		s.Errorf("%d are due: %v", len(due), fmt.Sprint(err))
	}
}
