package instance_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/rooms/roomstest"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
	"github.com/berth-project/berth/internal/webhook"
)

// delivery gives the one delivery that is pending.
func (w *world) delivery() webhook.Delivery {
	w.Helper()
	due, err := w.store.Deliveries(w.ctx, webhook.DeliveryFilter{Tenant: tenant.Default, State: webhook.DeliveryPending}, page.Page{Limit: 10})
	w.must(err)
	if len(due) != 1 {
		w.Fatalf("%d deliveries", len(due))
	}
	return due[0]
}

func (w *world) deliveryNow(id webhook.DeliveryID) webhook.Delivery {
	w.Helper()
	d, err := w.store.Delivery(w.ctx, id)
	w.must(err)
	return d
}

// undelivered gives a delivery that nobody has tried to make yet.
func (w *world) undelivered() (instance.Accepted, webhook.Delivery) {
	w.Helper()
	a := w.create()
	w.runOnce(a.Job.ID)
	w.usable(a.Job.ID)
	return a, w.delivery()
}

// attempts lets relay and courier go on until the delivery has ended.
func (w *world) attempts(id webhook.DeliveryID) webhook.Delivery {
	w.Helper()
	for range 100 {
		w.relayOnce(w.relay)
		w.runTasks()
		w.queue.Done()
		d := w.deliveryNow(id)
		if d.State != webhook.DeliveryPending {
			return d
		}
		w.pass(max(time.Second, time.Until(d.DueAt)))
	}
	w.Fatal("the delivery never ends")
	return webhook.Delivery{}
}

func TestCallback(t *testing.T) {
	inWorld(t, func(w *world) {
		a, d := w.undelivered()
		d = w.attempts(d.ID)
		if d.State != webhook.DeliveryDelivered || d.Attempt != 1 || d.LastStatus != 204 || d.LastError != "" {
			w.Errorf("%+v", d)
		}
		if len(d.Secret.Ciphertext) != 0 || d.Secret.KeyID != "" {
			w.Error("the secret outlived the delivery")
		}
		sent := w.sender.all()
		if len(sent) != 1 || sent[0].secret != a.CallbackSecret.Reveal() || sent[0].url != "https://example.com/hook" || sent[0].id != string(d.Event) {
			w.Fatalf("sent %+v", sent)
		}
		var body struct {
			Type, Timestamp string
			Data            struct {
				Job      struct{ ID, State, Kind string }
				Instance struct{ ID, State, Engine, Name string }
			}
		}
		w.must(json.Unmarshal([]byte(sent[0].body), &body))
		if body.Type != job.EventSucceeded || body.Data.Job.ID != string(a.Job.ID) || body.Data.Instance.State != "running" || !strings.HasSuffix(body.Timestamp, "Z") {
			w.Errorf("body %+v", body)
		}
		// Told again, it does nothing.
		w.must(w.courier.Deliver(w.ctx, d.ID))
		if len(w.sender.all()) != 1 {
			w.Error("sent twice")
		}
	})
}

// The schedule is Standard Webhooks': ten attempts over three days, each with the
// same id and body, and then it is given up.
func TestCallbackSchedule(t *testing.T) {
	inWorld(t, func(w *world) {
		_, d := w.undelivered()
		w.sender.answer = func(n int) (int, error) {
			if n%2 == 0 {
				return 0, errors.New("connection refused")
			}
			return 500, nil
		}
		d = w.attempts(d.ID)
		if d.State != webhook.DeliveryExhausted || d.LastError != "connection refused" {
			w.Errorf("%+v", d)
		}
		sent := w.sender.all()
		if want := len(webhook.DeliverySchedule) + 1; len(sent) != want || d.Attempt != want {
			w.Fatalf("%d attempts, %d counted; want %d", len(sent), d.Attempt, want)
		}
		for i, pause := range webhook.DeliverySchedule {
			if i == len(webhook.DeliverySchedule)-1 { // the last one is made when the three days are over
				pause = 3*24*time.Hour - sent[i].at.Sub(sent[0].at)
			}
			got := sent[i+1].at.Sub(sent[i].at)
			if got < pause || got > pause+pause/5+10*time.Second {
				w.Errorf("attempt %d came after %s, not %s", i+2, got, pause)
			}
			if sent[i+1].id != sent[0].id || sent[i+1].body != sent[0].body {
				w.Errorf("attempt %d differs", i+2)
			}
		}
	})
}

func TestCallbackGone(t *testing.T) {
	inWorld(t, func(w *world) {
		_, d := w.undelivered()
		w.sender.answer = func(int) (int, error) { return 410, nil }
		if d = w.attempts(d.ID); d.State != webhook.DeliveryExhausted || d.Attempt != 1 || !strings.Contains(d.LastError, "410") {
			w.Errorf("%+v", d)
		}
	})
}

// A redirect is not followed and not taken for success.
func TestCallbackRedirected(t *testing.T) {
	inWorld(t, func(w *world) {
		_, d := w.undelivered()
		w.sender.answer = func(n int) (int, error) { return []int{0, 302, 200}[n], nil }
		if d = w.attempts(d.ID); d.State != webhook.DeliveryDelivered || d.Attempt != 2 {
			w.Errorf("%+v", d)
		}
	})
}

// A courier that vanishes in the middle of sending is followed by another attempt,
// with the same id; nobody else sends meanwhile.
func TestCourierCrash(t *testing.T) {
	inWorld(t, func(w *world) {
		_, d := w.undelivered()
		l := hosttest.NewLife(2, false, func() {}) // it takes the delivery, sends, and never writes
		cfg := w.courierConfig()
		cfg.Store = rooms.Webhooks(roomstest.MortalStore{Store: w.store, Life: l})
		mortal := webhook.NewCourier(cfg)
		w.sender.hook = func() {
			w.sender.hook = nil
			w.must(w.courier.Deliver(w.ctx, d.ID)) // somebody else is told at the same time
		}
		if err := mortal.Deliver(w.ctx, d.ID); !errors.Is(err, hosttest.ErrDead) {
			w.Errorf("mortal courier says %v", err)
		}
		if sent := w.sender.all(); len(sent) != 1 {
			w.Errorf("sent %d times at once", len(sent))
		}
		if d = w.attempts(d.ID); d.State != webhook.DeliveryDelivered || d.Attempt != 2 {
			w.Errorf("%+v", d)
		}
		sent := w.sender.all()
		if len(sent) != 2 || sent[0].id != sent[1].id || sent[0].body != sent[1].body {
			w.Errorf("sent %+v", sent)
		}
	})
}

// A courier that is told to stop in the middle of an attempt uses none up: late in
// the schedule that would cost a day.
func TestCourierShutdown(t *testing.T) {
	inWorld(t, func(w *world) {
		_, d := w.undelivered()
		ctx, stop := context.WithCancel(w.ctx)
		w.sender.answer = func(n int) (int, error) {
			if n == 1 {
				stop()
				return 0, ctx.Err()
			}
			return 200, nil
		}
		w.must(w.courier.Deliver(ctx, d.ID))
		if now := w.deliveryNow(d.ID); now.State != webhook.DeliveryPending || now.Attempt != 0 || now.DueAt.After(time.Now()) {
			w.Errorf("handed back as %+v", now)
		}
		if d = w.attempts(d.ID); d.State != webhook.DeliveryDelivered || d.Attempt != 1 {
			w.Errorf("%+v", d)
		}
	})
}

// A secret that cannot be opened any more, because its key was thrown away, ends
// like a receiver that never answers, and not never.
func TestCallbackWithoutItsKey(t *testing.T) {
	inWorld(t, func(w *world) {
		_, d := w.undelivered()
		other := newWorld(w.T, w.store, 100)
		cfg := w.courierConfig()
		cfg.Vault = other.vault
		w.courier = webhook.NewCourier(cfg)
		d = w.attempts(d.ID)
		if d.State != webhook.DeliveryExhausted || len(w.sender.all()) != 0 || d.LastError == "" {
			w.Errorf("%+v, sent %d", d, len(w.sender.all()))
		}
	})
}

// A delete's callback is signed with the same secret, though the instance's
// credentials are gone by then.
func TestDeleteCallback(t *testing.T) {
	inWorld(t, func(w *world) {
		a, first := w.undelivered()
		w.attempts(first.ID)
		d, err := w.service.Delete(w.ctx, tenanttest.Owner(tenant.Default), "", a.Instance.ID, "https://example.com/deleted")
		w.must(err)
		w.runOnce(d.Job.ID)
		w.attempts(w.delivery().ID)
		sent := w.sender.all()
		if len(sent) != 2 || sent[1].url != "https://example.com/deleted" || sent[1].secret != a.CallbackSecret.Reveal() || sent[1].id == sent[0].id {
			w.Errorf("sent %+v", sent)
		}
		if !strings.Contains(sent[1].body, `"state":"deleted"`) {
			w.Errorf("body %s", sent[1].body)
		}
	})
}

// A failed create says why, and a create that was cut off by a delete says so.
func TestCallbackOfFailures(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runtime.NoRegistry()
		a := w.create()
		w.spin(a.Job.ID)
		w.attempts(w.delivery().ID)
		b := w.create()
		w.delete(b.Instance.ID)
		w.attempts(w.delivery().ID)
		sent := w.sender.all()
		if len(sent) != 2 || !strings.Contains(sent[0].body, `"code":"image_unavailable"`) || !strings.Contains(sent[0].body, `"type":"job.failed"`) {
			w.Fatalf("sent %+v", sent)
		}
		if !strings.Contains(sent[1].body, `"type":"job.canceled"`) || !strings.Contains(sent[1].body, `"code":"canceled"`) {
			w.Errorf("body %s", sent[1].body)
		}
	})
}
