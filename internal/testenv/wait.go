package testenv

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Eventually asks until the answer is nil, and fails the test when that takes longer
// than the limit, which is one for a quiet machine. The context of an ask ends with it.
func Eventually(t testing.TB, what string, limit time.Duration, ask func(context.Context) error) {
	t.Helper()
	limit = Limit(limit)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := Poll(ctx, ask); err != nil {
		t.Fatalf("%s: not within %s: %v", what, limit, err)
	}
}

// Quickest gives the shortest of three tries: what always waits is never quick, and a busy
// machine is not always slow.
func Quickest(try func()) time.Duration {
	var best time.Duration
	for n := range 3 {
		began := time.Now()
		try()
		if took := time.Since(began); n == 0 || took < best {
			best = took
		}
	}
	return best
}

// Poll asks until the answer is nil or the context ends.
func Poll(ctx context.Context, ask func(context.Context) error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // what an ask says that was cut off says nothing
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-ticker.C:
		}
	}
}
