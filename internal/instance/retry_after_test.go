package instance_test

import (
	"testing"
	"time"

	"github.com/berth-project/berth/internal/webhook"
)

// What a receiver asks for is done, within an hour: neither is it forgotten by one that
// names the next century, nor does one that is impatient use up its attempts.
func TestRetryAfterIsHonoured(t *testing.T) {
	const century = 100 * 365 * 24 * time.Hour
	for _, s := range []struct {
		name        string
		status      int
		asked       time.Duration
		before      int // attempts that fail without a word
		least, most time.Duration
	}{
		{"shorter than the schedule", 429, 2 * time.Second, 0, 2 * time.Second, 4 * time.Second},
		{"longer", 503, time.Minute, 0, time.Minute, 62 * time.Second},
		{"shorter than five minutes", 503, time.Minute, 1, time.Minute, 62 * time.Second},
		{"any failure", 500, 20 * time.Second, 0, 20 * time.Second, 22 * time.Second},
		{"just the bound", 429, time.Hour, 0, time.Hour, time.Hour + 2*time.Second},
		{"in a hundred years", 503, century, 0, time.Hour, time.Hour + 2*time.Second},
		{"shorter than a long pause", 429, 2 * time.Second, 2, 30 * time.Minute, 37 * time.Minute},
		{"longer than a long pause", 429, 50 * time.Minute, 2, 50 * time.Minute, 51 * time.Minute},
		{"nothing", 429, 0, 0, 5 * time.Second, 8 * time.Second},
	} {
		t.Run(s.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				_, d := w.undelivered()
				var at []time.Time
				w.sender.receive = func(webhook.Message) (webhook.Answer, error) {
					switch at = append(at, time.Now()); {
					case len(at) <= s.before:
						return webhook.Answer{Status: 500}, nil
					case len(at) == s.before+1:
						return webhook.Answer{Status: s.status, RetryAfter: s.asked}, nil
					}
					return webhook.Answer{Status: 204}, nil
				}
				if d = w.attempts(d.ID); d.State != webhook.DeliveryDelivered || d.Attempt != s.before+2 {
					w.Fatalf("%+v", d)
				}
				if pause := at[s.before+1].Sub(at[s.before]); pause < s.least || pause > s.most {
					w.Errorf("sent again after %s, want %s to %s", pause, s.least, s.most)
				}
			})
		})
	}
}

// The receiver is left alone by its other deliveries, too, and a test ends that.
func TestRetryAfterHoldsForTheReceiver(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _ := w.hook("https://a.example/hook")
		tries := 0
		w.sender.receive = func(webhook.Message) (webhook.Answer, error) {
			if tries++; tries == 1 {
				return webhook.Answer{Status: 429, RetryAfter: 10 * time.Minute}, nil
			}
			return webhook.Answer{Status: 204}, nil
		}
		first := w.ping(h.ID)
		w.runTasks()
		w.queue.Done()
		standing, err := w.store.Standing(w.ctx, string(h.ID))
		w.must(err)
		if rest := time.Until(standing.RestUntil); tries != 1 || rest < 9*time.Minute || rest > 10*time.Minute {
			w.Errorf("%d tries, it rests for %s", tries, rest)
		}
		if due := time.Until(w.deliveryNow(first.ID).DueAt); due < 9*time.Minute {
			w.Errorf("due in %s", due)
		}
		second := w.ping(h.ID)
		if d := w.attempts(second.ID); d.State != webhook.DeliveryDelivered || tries != 2 {
			w.Errorf("%d tries, %+v", tries, d)
		}
	})
}

// A receiver that always asks for a moment keeps its delivery for three days all the same.
func TestImpatientReceiver(t *testing.T) {
	inWorld(t, func(w *world) {
		_, d := w.undelivered()
		begun := time.Now()
		w.sender.receive = func(webhook.Message) (webhook.Answer, error) {
			return webhook.Answer{Status: 429, RetryAfter: time.Second}, nil
		}
		if d = w.attempts(d.ID); d.State != webhook.DeliveryExhausted || time.Since(begun) < 70*time.Hour {
			w.Errorf("%s after %s", d.State, time.Since(begun))
		}
	})
}
