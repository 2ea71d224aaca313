// Package backoff owns how long to wait between the attempts at something that fails: pauses
// that double, up to a longest one, with jitter. It must not know what is attempted.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Exponential says how the pauses between attempts grow. It keeps no count of its own, so
// that the count can be a row's.
type Exponential struct {
	First time.Duration // after the first failure
	Most  time.Duration // no pause is longer
	// Jitter is the share of a pause that is drawn, from 0 to 1, so that what failed
	// together is not tried again together: with 0.2, a pause lasts 80 to 100 % of its length.
	Jitter float64
}

// After returns the pause after so many failures in a row. Fewer than one count as one.
func (e Exponential) After(failures int) time.Duration {
	pause := min(e.First, e.Most)
	for ; failures > 1 && pause > 0 && pause < e.Most; failures-- {
		if pause > e.Most/2 {
			pause = e.Most
			break
		}
		pause *= 2
	}
	if drawn := time.Duration(float64(pause) * e.Jitter); drawn > 0 {
		pause -= rand.N(drawn) //nolint:gosec // jitter, not a secret
	}
	return pause
}

// Wait waits for the pause after so many failures, as the function Wait does.
func (e Exponential) Wait(ctx context.Context, failures int) error {
	return Wait(ctx, e.After(failures))
}

// Wait waits for the time, and fails with the context's error if that ends first.
func Wait(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
