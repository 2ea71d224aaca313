package instance_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// quick checks that a webhook gets what is sent to it in the time given.
func (w *world) quick(tr *traffic, id webhook.ID, url string, limit time.Duration) {
	w.Helper()
	before := tr.count(url)
	w.ping(id)
	if took := w.pool(webhook.CourierPlaces, time.Minute, func() bool { return tr.count(url) > before }); took > limit {
		w.Errorf("%s: it came after %s", url, took)
	}
}

// Receivers that answer well, but late, hold up neither those that are known to be
// fast nor, once they are known, those that are new.
func TestSlowReceiversDelayNobody(t *testing.T) {
	inTraffic(t, func(w *world, tr *traffic) {
		const slow, fast, fresh = 40, "https://fast.example/hook", "https://new.example/hook"
		h, _ := w.hook(fast)
		w.quick(tr, h.ID, fast, time.Second)
		for i := range slow {
			url := fmt.Sprintf("https://slow-%d.example/hook", i)
			tr.took[url] = 12 * time.Second
			late, _ := w.hook(url)
			for range 5 {
				w.ping(late.ID)
			}
		}
		for range 5 { // they are unknown at first
			w.quick(tr, h.ID, fast, time.Second)
		}
		w.pool(webhook.CourierPlaces, time.Minute, func() bool { return false })
		for i := range 5 {
			w.quick(tr, h.ID, fast, time.Second)
			url := fmt.Sprint(fresh, i)
			h, _ := w.hook(url)
			w.quick(tr, h.ID, url, time.Second)
		}
		for url, n := range tr.most {
			if n > 2 || tr.count(url) == 0 {
				w.Errorf("%s: %d at once, %d arrived", url, n, tr.count(url))
			}
		}
	})
}

// However much waits for a receiver that hangs, another one's retries come when they
// are due, and what has no place costs the relay nothing.
func TestBacklogDelaysNobodysRetries(t *testing.T) {
	inTraffic(t, func(w *world, tr *traffic) {
		const dead, failing = "https://dead.example/hook", "https://failing.example/hook"
		tr.took[dead], tr.dead[dead], tr.dead[failing] = 15*time.Second, true, true
		h, _ := w.hook(dead)
		for range 800 {
			w.ping(h.ID)
		}
		w.queue.Flush() // Redis loses them
		w.pass(time.Minute)
		other, _ := w.hook(failing)
		w.ping(other.ID)
		if took := w.pool(webhook.CourierPlaces, time.Minute, func() bool { return tr.attempts(failing) == 2 }); took > 10*time.Second {
			w.Errorf("the second attempt came after %s", took)
		}
		w.pool(webhook.CourierPlaces, 10*time.Minute, func() bool { return false })
		woken := int64(0)
		for _, d := range w.deliveriesTo(h.ID) {
			woken += d.Generation - 1
		}
		if n := tr.attempts(dead); n < 10 || n > 30 || woken > 200 {
			w.Errorf("%d attempts, %d woken in ten minutes", n, woken)
		}
		if tr.most[dead] > 1 {
			w.Errorf("%d at once to one that is dead", tr.most[dead])
		}
	})
}

func (t *traffic) attempts(url string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tried[url]
}

// What one process has learnt holds for the others.
func TestStandingIsShared(t *testing.T) {
	inTraffic(t, func(w *world, tr *traffic) {
		const url = "https://dead.example/hook"
		tr.dead[url] = true
		h, _ := w.hook(url)
		first, second := w.ping(h.ID), w.ping(h.ID)
		other := webhook.NewCourier(w.courierConfig())
		w.must(w.courier.Deliver(w.ctx, first.ID))
		w.must(other.Deliver(w.ctx, second.ID))
		if n := tr.attempts(url); n != 1 {
			w.Errorf("%d attempts", n)
		}
		w.pass(2 * time.Second)
		w.must(other.Deliver(w.ctx, second.ID))
		s, err := w.store.Standing(w.ctx, string(h.ID))
		if err != nil || s.Failures != 2 || tr.attempts(url) != 2 {
			w.Errorf("%d attempts, %+v, %v", tr.attempts(url), s, err)
		}
		// Who asks for a test need not wait, and a success is known to all.
		tr.dead[url] = false
		w.must(w.courier.Deliver(w.ctx, w.ping(h.ID).ID))
		_, err = w.store.Standing(w.ctx, string(h.ID))
		if w.isCode(err, fault.CodeNotFound); tr.count(url) < 1 {
			w.Error("the ping did not arrive")
		}
	})
}

// What a receiver never took is given up after three days, though nobody ever tried
// it, and says so.
func TestNothingWaitsForEver(t *testing.T) {
	inTraffic(t, func(w *world, tr *traffic) {
		const url, count = "https://dead.example/hook", 700
		tr.took[url], tr.dead[url] = 15*time.Second, true
		h, _ := w.hook(url)
		for range count {
			w.ping(h.ID)
		}
		w.pool(webhook.CourierPlaces, time.Minute, func() bool { return false })
		janitor := &rooms.Janitor{Store: w.store, Now: clock.System, Owner: "w1", Retention: 1000 * time.Hour}
		states := func(state webhook.DeliveryState) (n, untried int) {
			_, err := janitor.RunOnce(w.ctx)
			w.must(err)
			list, err := w.store.Deliveries(w.ctx, webhook.DeliveryFilter{Tenant: tenant.Default, State: state}, page.Page{Limit: 2 * count})
			w.must(err)
			for _, d := range list {
				if d.Attempt == 0 {
					untried++
				}
				if d.State == webhook.DeliveryExhausted && !strings.Contains(d.LastError, "not delivered within 72h") {
					w.Fatalf("%+v", d)
				}
			}
			return len(list), untried
		}
		w.pass(72*time.Hour - time.Minute)
		if n, _ := states(webhook.DeliveryPending); n != count {
			w.Errorf("%d are pending before the time is up", n)
		}
		w.pass(20 * time.Minute)
		if n, untried := states(webhook.DeliveryExhausted); n != count || untried < count-10 {
			w.Errorf("%d are exhausted, %d without an attempt", n, untried)
		}
	})
}

// A webhook that has done nothing but fail for days is disabled, which is an event; one
// that takes something now and then is not, and neither is one of which little is asked.
func TestHopelessWebhook(t *testing.T) {
	inWorld(t, func(w *world) {
		watch, _ := w.hook("https://watch.example/hook", "webhook.*")
		h, _ := w.hook("https://hopeless.example/hook")
		days := func(days int, answer func(n int) (int, error)) {
			w.sender.answer = answer
			for range days * 4 {
				if w.hookNow(h.ID).Enabled {
					w.ping(h.ID)
				}
				for range 60 {
					w.relayOnce(w.relay)
					w.runTasks()
					w.queue.Done()
					w.pass(time.Second)
				}
				w.pass(6*time.Hour - time.Minute)
			}
		}
		fail := func(int) (int, error) { return 0, errors.New("connection refused") }
		days(4, fail)
		days(1, func(int) (int, error) { return 200, nil })
		days(4, fail)
		w.pass(3 * 24 * time.Hour)
		days(4, fail)
		if now := w.hookNow(h.ID); !now.Enabled {
			w.Fatalf("%+v", now)
		}
		days(2, fail)
		now := w.hookNow(h.ID)
		if now.Enabled || !strings.Contains(now.Reason, "every delivery failed since") || !strings.Contains(now.Reason, "connection refused") {
			w.Errorf("%+v", now)
		}
		told := w.deliveriesTo(watch.ID)
		if len(told) != 1 || told[0].EventType != webhook.EventDisabled {
			w.Errorf("%+v", told)
		}
		for _, d := range w.deliveriesTo(h.ID) {
			if d.State == webhook.DeliveryPending {
				w.Fatalf("%+v", d)
			}
		}
	})
}
