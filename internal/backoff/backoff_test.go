package backoff_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/backoff"
)

func TestAfterDoublesUpToTheMost(t *testing.T) {
	tests := []struct {
		name     string
		pauses   backoff.Exponential
		failures int
		want     time.Duration
	}{
		{"the first", backoff.Exponential{First: time.Second, Most: time.Minute}, 1, time.Second},
		{"the second", backoff.Exponential{First: time.Second, Most: time.Minute}, 2, 2 * time.Second},
		{"the sixth", backoff.Exponential{First: time.Second, Most: time.Minute}, 6, 32 * time.Second},
		{"the first at the most", backoff.Exponential{First: time.Second, Most: time.Minute}, 7, time.Minute},
		{"a later one", backoff.Exponential{First: time.Second, Most: time.Minute}, 100, time.Minute},
		{"none has failed", backoff.Exponential{First: time.Second, Most: time.Minute}, 0, time.Second},
		{"a negative count", backoff.Exponential{First: time.Second, Most: time.Minute}, -5, time.Second},
		{"the largest count", backoff.Exponential{First: time.Second, Most: time.Minute}, math.MaxInt, time.Minute},
		{"the longest time", backoff.Exponential{First: 1, Most: math.MaxInt64}, math.MaxInt, math.MaxInt64},
		{"just below the longest time", backoff.Exponential{First: 1, Most: math.MaxInt64}, 63, 1 << 62},
		{"the first is above the most", backoff.Exponential{First: time.Hour, Most: time.Minute}, 1, time.Minute},
		{"the zero value", backoff.Exponential{}, math.MaxInt, 0},
		{"no first", backoff.Exponential{Most: time.Minute}, math.MaxInt, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.pauses.After(test.failures); got != test.want {
				t.Errorf("after %d failures the pause is %s, want %s", test.failures, got, test.want)
			}
		})
	}
}

func TestAfterDrawsTheJitter(t *testing.T) {
	for _, jitter := range []float64{0.2, 0.5, 1} {
		pauses := backoff.Exponential{First: time.Second, Most: 4 * time.Second, Jitter: jitter}
		for failures, longest := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, math.MaxInt: 4 * time.Second} {
			drawn := map[time.Duration]bool{}
			for range 100 {
				got := pauses.After(failures)
				if least := longest - time.Duration(float64(longest)*jitter); got <= least || got > longest {
					t.Fatalf("jitter %v: after %d failures the pause is %s, want more than %s and at most %s", jitter, failures, got, least, longest)
				}
				drawn[got] = true
			}
			if len(drawn) < 2 {
				t.Errorf("jitter %v: after %d failures all pauses are alike", jitter, failures)
			}
		}
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		pauses := backoff.Exponential{First: time.Hour, Most: 4 * time.Hour}
		if err := pauses.Wait(t.Context(), 3); err != nil || time.Since(begun) != 4*time.Hour {
			t.Errorf("it waited %s (%v), want 4h", time.Since(begun), err)
		}

		begun = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := pauses.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute {
			t.Errorf("it waited %s (%v), want a minute and the context's error", time.Since(begun), err)
		}
		if err := backoff.Wait(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no wait after the end of the context: %v", err)
		}
		if err := backoff.Wait(t.Context(), -time.Second); err != nil {
			t.Errorf("a time that is over: %v", err)
		}
	})
}
