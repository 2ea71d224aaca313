package instance_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
	"github.com/berth-project/berth/internal/webhook"
)

// hook registers a webhook that wants these events, and gives it with its secret.
func (w *world) hook(url string, events ...string) (webhook.Webhook, string) {
	w.Helper()
	h, secret, err := w.service.CreateWebhook(w.ctx, tenanttest.Owner(tenant.Default), webhook.Request{URL: &url, Events: &events})
	w.must(err)
	return h, secret.Reveal()
}

func (w *world) hookNow(id webhook.ID) webhook.Webhook {
	w.Helper()
	h, err := w.store.Webhook(w.ctx, id)
	w.must(err)
	return h
}

// deliveriesTo gives the deliveries to a webhook, the oldest first.
func (w *world) deliveriesTo(id webhook.ID) []webhook.Delivery {
	w.Helper()
	list, err := w.store.Deliveries(w.ctx, webhook.DeliveryFilter{Tenant: tenant.Default, Webhook: id}, page.Page{Limit: 1000})
	w.must(err)
	slices.Reverse(list)
	return list
}

func (w *world) ping(id webhook.ID) webhook.Delivery {
	w.Helper()
	d, err := w.service.PingWebhook(w.ctx, tenanttest.Owner(tenant.Default), id)
	w.must(err)
	return d
}

func (w *world) redeliver(id webhook.DeliveryID) webhook.Delivery {
	w.Helper()
	d, err := w.service.Redeliver(w.ctx, tenanttest.Owner(tenant.Default), id)
	w.must(err)
	return d
}

func (w *world) isCode(err error, want fault.Code) {
	w.Helper()
	if err == nil || fault.CodeOf(err) != want {
		w.Errorf("got %v, want %s", err, want)
	}
}

type hookBody struct {
	Type string
	Data struct {
		EventID  string `json:"event_id"`
		Message  string
		Job      *struct{ ID, State string }
		Instance *struct{ ID, State string }
	}
}

// Every event of an instance's life goes to those who want it, once, with its id and
// with instance and job as they were.
func TestWebhookHearsEverything(t *testing.T) {
	inWorld(t, func(w *world) {
		all, secret := w.hook("https://all.example/hook")
		_, _ = w.hook("https://some.example/hook", "instance.deleted", "job.*")
		url := "https://other.example/hook"
		_, _, err := w.service.CreateWebhook(w.ctx, tenanttest.Owner("other"), webhook.Request{URL: &url})
		w.must(err)
		inst := w.created()
		d := w.delete(inst.ID)
		w.spin(d.Job.ID)
		for _, d := range w.deliveriesTo(all.ID) {
			w.attempts(d.ID)
		}
		heard := map[string][]string{}
		ids := map[string]bool{}
		for _, s := range w.sender.all() {
			var body hookBody
			w.must(json.Unmarshal([]byte(s.body), &body))
			if s.url == "https://all.example/hook" {
				if s.secret != secret || ids[s.id] || s.id != body.Data.EventID {
					w.Errorf("sent %+v", s)
				}
				ids[s.id] = true
			}
			job, state := body.Data.Job, body.Data.Instance.State
			if job == nil || body.Data.Instance.ID != string(inst.ID) {
				w.Fatalf("body %s", s.body)
			}
			heard[s.url] = append(heard[s.url], body.Type+" "+state+" "+job.State)
		}
		for url, want := range map[string][]string{
			"https://all.example/hook": {
				"instance.deleted deleted succeeded", "instance.deleting deleting queued", "instance.pending pending queued", "instance.provisioning provisioning running",
				"instance.running running succeeded", "job.succeeded deleted succeeded", "job.succeeded running succeeded",
			},
			"https://some.example/hook":  {"instance.deleted deleted succeeded", "job.succeeded deleted succeeded", "job.succeeded running succeeded"},
			"https://other.example/hook": nil,
		} {
			if slices.Sort(heard[url]); !slices.Equal(heard[url], want) {
				w.Errorf("%s heard %q, want %q", url, heard[url], want)
			}
		}
	})
}

// A queue that is down when the event is committed costs a moment and nothing else.
func TestWebhookWithoutQueue(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _ := w.hook("https://a.example/hook")
		w.queue.SetDown(true)
		d := w.ping(h.ID)
		w.create()
		w.queue.SetDown(false)
		if d = w.attempts(d.ID); d.State != webhook.DeliveryDelivered {
			w.Errorf("%+v", d)
		}
		if sent := w.sender.all(); len(sent) < 2 || !strings.Contains(sent[1].body, instance.EventPending) {
			w.Errorf("sent %+v", sent)
		}
	})
}

// A delivery that nobody takes is tried for three days; its last ten attempts say
// what happened, without what it was signed with.
func TestWebhookExhausted(t *testing.T) {
	inWorld(t, func(w *world) {
		h, secret := w.hook("https://a.example/hook")
		begun := time.Now()
		w.sender.says = "no: " + secret + " " + strings.TrimPrefix(secret, "whsec_") + strings.Repeat("ü", 2000)
		w.sender.answer = func(n int) (int, error) {
			if n == 3 {
				return 0, errors.New("connection refused")
			}
			return 503, nil
		}
		d := w.attempts(w.ping(h.ID).ID)
		took := time.Since(begun)
		if d.State != webhook.DeliveryExhausted || d.Attempt != 10 || d.LastStatus != 503 || took < 3*24*time.Hour || took > 4*24*time.Hour {
			w.Errorf("after %s: %+v", took, d)
		}
		if len(d.Attempts) != 10 || d.Attempts[2].Error != "connection refused" || d.Attempts[2].Status != 0 || d.Attempts[9].Status != 503 {
			w.Fatalf("%+v", d.Attempts)
		}
		for i, a := range d.Attempts {
			if strings.Contains(a.Answer, strings.TrimPrefix(secret, "whsec_")) || len(a.Answer) > 1024 || (i != 2 && !strings.HasPrefix(a.Answer, "no: whsec_[redacted]")) {
				w.Errorf("attempt %d: %q", i+1, a.Answer)
			}
			if i > 0 && !a.At.After(d.Attempts[i-1].At) {
				w.Errorf("attempt %d at %s", i+1, a.At)
			}
		}
		if w.hookNow(h.ID).Enabled != true {
			w.Error("it was disabled")
		}
	})
}

// After a rotation both secrets sign, retries of older deliveries too, until the time
// is up.
func TestWebhookRotation(t *testing.T) {
	inWorld(t, func(w *world) {
		h, first := w.hook("https://a.example/hook")
		w.sender.answer = func(n int) (int, error) { return []int{0, 500, 500, 200}[min(n, 3)], nil }
		d := w.ping(h.ID)
		w.runTasks()
		_, second, err := w.service.RotateWebhook(w.ctx, tenanttest.Owner(tenant.Default), h.ID, time.Minute)
		w.must(err)
		w.attempts(d.ID)
		sent := w.sender.all()
		want := []string{first, second.Reveal() + " " + first, second.Reveal()} // the third comes after five minutes
		for i, s := range sent {
			if len(sent) != 3 || s.secret != want[i] {
				w.Errorf("attempt %d of %d is signed with %q", i+1, len(sent), s.secret)
			}
		}
		w.rotatedTwice(h.ID, second.Reveal())
		sent = w.sender.all()
		_, third, err := w.service.RotateWebhook(w.ctx, tenanttest.Owner(tenant.Default), h.ID, 0)
		w.must(err)
		w.attempts(w.ping(h.ID).ID)
		if got := w.sender.all()[len(sent)].secret; got != third.Reveal() {
			w.Errorf("without overlap it is signed with %q", got)
		}
	})
}

// rotatedTwice rotates again before the first overlap is over: each old secret signs
// until its own end.
func (w *world) rotatedTwice(id webhook.ID, first string) {
	w.Helper()
	want := first
	for n, overlap := range []time.Duration{time.Hour, 2 * time.Hour, time.Hour, time.Hour} {
		h, secret, err := w.service.RotateWebhook(w.ctx, tenanttest.Owner(tenant.Default), id, overlap)
		w.must(err)
		want = secret.Reveal() + " " + want
		if until := time.Until(h.PreviousUntil); n > 0 && until < 119*time.Minute {
			w.Errorf("the last old one ends after %s", until)
		}
	}
	signed := func() string {
		sent := len(w.sender.all())
		w.attempts(w.ping(id).ID)
		return w.sender.all()[sent].secret
	}
	if got := signed(); got != want {
		w.Errorf("signed with %q, want %q", got, want)
	}
	_, _, err := w.service.RotateWebhook(w.ctx, tenanttest.Owner(tenant.Default), id, time.Hour)
	w.isCode(err, fault.CodeNotReady)
	w.pass(90 * time.Minute)
	all := strings.Fields(want) // the active one, then the youngest; the third of the old ones has two hours
	if got, want := signed(), all[0]+" "+all[3]; got != want {
		w.Errorf("later signed with %q, want %q", got, want)
	}
}

// 410 disables the webhook, which ends its other deliveries and is an event.
func TestWebhookGone(t *testing.T) {
	inWorld(t, func(w *world) {
		watch, _ := w.hook("https://watch.example/hook", "webhook.*")
		h, _ := w.hook("https://gone.example/hook")
		w.sender.answer = func(n int) (int, error) { return []int{0, 500, 410}[min(n, 2)], nil }
		other := w.ping(h.ID)
		w.runTasks()
		d := w.ping(h.ID)
		w.runTasks()
		d, other = w.deliveryNow(d.ID), w.deliveryNow(other.ID)
		if d.State != webhook.DeliveryExhausted || other.State != webhook.DeliveryCanceled || !strings.Contains(other.LastError, "410 Gone") {
			w.Errorf("%+v %+v", d, other)
		}
		now := w.hookNow(h.ID)
		if now.Enabled || !strings.Contains(now.Reason, "410 Gone") {
			w.Errorf("%+v", now)
		}
		told := w.deliveriesTo(watch.ID)
		if len(told) != 1 || told[0].EventType != webhook.EventDisabled || !strings.Contains(string(told[0].Body), string(h.ID)) || strings.Contains(string(told[0].Body), `"job"`) {
			w.Fatalf("%+v", told)
		}
		_, err := w.service.PingWebhook(w.ctx, tenanttest.Owner(tenant.Default), h.ID)
		w.isCode(err, fault.CodeNotReady)
		_, err = w.service.Redeliver(w.ctx, tenanttest.Owner(tenant.Default), d.ID)
		w.isCode(err, fault.CodeNotReady)
		w.create() // no new ones
		if list := w.deliveriesTo(h.ID); len(list) != 2 {
			w.Errorf("%d deliveries", len(list))
		}
		yes := true
		now, err = w.service.ChangeWebhook(w.ctx, tenanttest.Owner(tenant.Default), h.ID, webhook.Request{Enabled: &yes})
		if err != nil || !now.Enabled || now.Reason != "" {
			w.Errorf("%+v, %v", now, err)
		}
	})
}

// A 410 of the address that the webhook had before says nothing of the new one.
func TestWebhookMovesMeanwhile(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _ := w.hook("https://old.example/hook")
		d := w.ping(h.ID)
		w.sender.answer = func(n int) (int, error) { return []int{0, 410, 200}[n], nil }
		w.sender.hook = func() {
			w.sender.hook = nil
			url := "https://new.example/hook"
			_, err := w.service.ChangeWebhook(w.ctx, tenanttest.Owner(tenant.Default), h.ID, webhook.Request{URL: &url})
			w.must(err)
		}
		if d = w.attempts(d.ID); d.State != webhook.DeliveryDelivered || d.URL != "https://new.example/hook" || !w.hookNow(h.ID).Enabled {
			w.Errorf("%+v", d)
		}
	})
}

// Deleting or disabling a webhook ends its deliveries, also one that is under way.
func TestWebhookEndsMeanwhile(t *testing.T) {
	inWorld(t, func(w *world) {
		no := false
		for _, end := range []func(webhook.ID) error{
			func(id webhook.ID) error {
				_, err := w.service.DeleteWebhook(w.ctx, tenanttest.Owner(tenant.Default), id)
				return err
			},
			func(id webhook.ID) error {
				_, err := w.service.ChangeWebhook(w.ctx, tenanttest.Owner(tenant.Default), id, webhook.Request{Enabled: &no})
				return err
			},
		} {
			h, _ := w.hook("https://a.example/hook")
			d, waiting := w.ping(h.ID), w.ping(h.ID)
			w.sender.answer = func(int) (int, error) { return 500, nil }
			w.sender.hook = func() {
				w.sender.hook = nil
				w.must(end(h.ID))
			}
			sent := len(w.sender.all())
			w.runTasks()
			for _, id := range []webhook.DeliveryID{d.ID, waiting.ID} {
				if d := w.attempts(id); d.State != webhook.DeliveryCanceled {
					w.Errorf("%+v", d)
				}
			}
			if n := len(w.sender.all()) - sent; n != 1 {
				w.Errorf("%d attempts", n)
			}
		}
	})
}

// An event that is announced in the moment in which its webhook goes leaves no
// delivery that never ends.
func TestWebhookGoneBeforeItsDelivery(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _ := w.hook("https://a.example/hook")
		d := w.ping(h.ID)
		w.tx(func(tx rooms.Tx) error { return tx.DeleteWebhook(h.ID) })
		if d = w.attempts(d.ID); d.State != webhook.DeliveryCanceled || len(w.sender.all()) != 0 {
			w.Errorf("%+v", d)
		}
	})
}

// Redelivered, an event has the same id; what has ended stays as it was.
func TestRedeliver(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _ := w.hook("https://a.example/hook")
		d := w.attempts(w.ping(h.ID).ID)
		again := w.redeliver(d.ID)
		if again.ID == d.ID || again.Event != d.Event || again.EventType != webhook.EventPing {
			w.Errorf("%+v", again)
		}
		w.attempts(again.ID)
		sent := w.sender.all()
		if len(sent) != 2 || sent[0].id != sent[1].id || sent[0].body != sent[1].body {
			w.Errorf("%+v", sent)
		}
		// One that waits for hours begins anew, now.
		w.sender.answer = func(int) (int, error) { return 500, nil }
		d = w.ping(h.ID)
		for d.Attempt < 5 {
			w.pass(time.Minute)
			w.relayOnce(w.relay)
			w.runTasks()
			w.queue.Done()
			d = w.deliveryNow(d.ID)
		}
		w.sender.answer = nil
		if again := w.redeliver(d.ID); again.ID != d.ID {
			w.Errorf("%+v", again)
		}
		w.runTasks()
		if d = w.deliveryNow(d.ID); d.State != webhook.DeliveryDelivered || d.Attempt != 1 || len(d.Attempts) != 6 {
			w.Errorf("%+v", d)
		}
	})
}

// A callback is redelivered as long as the secret that signs it is there.
func TestRedeliverCallback(t *testing.T) {
	inWorld(t, func(w *world) {
		a, d := w.undelivered()
		w.attempts(d.ID)
		w.attempts(w.redeliver(d.ID).ID)
		sent := w.sender.all()
		if len(sent) != 2 || sent[1].secret != a.CallbackSecret.Reveal() || sent[0].id != sent[1].id {
			w.Errorf("%+v", sent)
		}
		w.spin(w.delete(a.Instance.ID).Job.ID)
		_, err := w.service.Redeliver(w.ctx, tenanttest.Owner(tenant.Default), d.ID)
		w.isCode(err, fault.CodeGone)
		_, err = w.service.Redeliver(w.ctx, tenanttest.Owner("other"), d.ID)
		w.isCode(err, fault.CodeNotFound)
	})
}

// The callback of a delete that never arrived can be sent again, though the instance
// and its credentials are gone, and again after that.
func TestRedeliverCallbackOfADelete(t *testing.T) {
	inWorld(t, func(w *world) {
		a, first := w.undelivered()
		w.attempts(first.ID)
		w.sender.answer = func(int) (int, error) { return 410, nil }
		gone, err := w.service.Delete(w.ctx, tenanttest.Owner(tenant.Default), "", a.Instance.ID, "https://example.com/deleted")
		w.must(err)
		w.runOnce(gone.Job.ID)
		d := w.attempts(w.delivery().ID)
		again := w.attempts(w.redeliver(d.ID).ID)
		if d.State != webhook.DeliveryExhausted || again.State != webhook.DeliveryExhausted {
			w.Fatalf("%+v %+v", d, again)
		}
		w.sender.answer = nil
		again = w.attempts(w.redeliver(again.ID).ID)
		sent := w.sender.all()
		last := sent[len(sent)-1]
		if again.State != webhook.DeliveryDelivered || last.secret != a.CallbackSecret.Reveal() || last.id != string(d.Event) || last.url != d.URL {
			w.Errorf("%+v, sent %+v", again, last)
		}
		if len(w.deliveryNow(again.ID).Secret.Ciphertext) != 0 {
			w.Error("the secret of what has arrived was kept")
		}
	})
}

// A courier that stops in the middle of a webhook's attempt uses none up.
func TestWebhookCourierStops(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _ := w.hook("https://a.example/hook")
		d := w.ping(h.ID)
		ctx, stop := context.WithCancel(w.ctx)
		w.sender.answer = func(int) (int, error) {
			stop()
			return 0, ctx.Err()
		}
		w.must(w.courier.Deliver(ctx, d.ID))
		w.sender.answer = nil
		if d = w.attempts(d.ID); d.State != webhook.DeliveryDelivered || d.Attempt != 1 || len(d.Attempts) != 1 {
			w.Errorf("%+v", d)
		}
	})
}
