package duty

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/bell"
)

// board is who has the one duty that there is.
type board struct {
	mu    sync.Mutex
	owner string
	until time.Time
	asked int
	err   error
}

func (b *board) TakeDuty(_ context.Context, _, owner string, now, until time.Time) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked++; b.err != nil {
		return false, b.err
	}
	if b.owner != owner && now.Before(b.until) {
		return false, nil
	}
	b.owner, b.until = owner, until
	return true, nil
}

func (b *board) set(owner string, until time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owner, b.until, b.err = owner, until, err
}

func (b *board) duty(owner string, every time.Duration) *Duty {
	return &Duty{Store: b, Now: time.Now, Name: "d", Owner: owner, Hold: 3 * time.Second, AskEvery: every}
}

func mine(t *testing.T, d *Duty, want bool) {
	t.Helper()
	if got, err := d.Mine(t.Context()); err != nil || got != want {
		t.Errorf("Mine: %v, %v, want %v", got, err, want)
	}
}

// TestMine has two processes ask for one duty, at most once a second each.
func TestMine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		one, two := b.duty("one", time.Second), b.duty("two", time.Second)
		for range 5 {
			mine(t, one, true)
			mine(t, two, false)
		}
		if b.asked != 2 {
			t.Errorf("the store was asked %d times", b.asked)
		}
		<-time.After(4 * time.Second) // the first has vanished
		mine(t, two, true)
		mine(t, one, false)
		if err := two.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		mine(t, one, true)
		b.err = errors.New("down")
		<-time.After(time.Second)
		if _, err := one.Mine(t.Context()); !errors.Is(err, b.err) {
			t.Errorf("got %v", err)
		}
	})
}

// TestKeep has work that takes longer than its duty.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b board
		one, two := b.duty("one", 0), b.duty("two", 0)
		mine(t, one, true)
		ctx, stop := one.Keep(t.Context())
		<-time.After(time.Minute)
		mine(t, two, false)
		if ctx.Err() != nil {
			t.Error("it ended although the duty was kept")
		}
		stop()
		<-time.After(time.Minute)

		mine(t, one, true)
		ctx, stop = one.Keep(t.Context())
		defer stop()
		b.set("two", time.Now().Add(time.Hour), nil)
		<-ctx.Done()
		stop()

		b.set("", time.Time{}, nil)
		mine(t, one, true)
		ctx, stop = one.Keep(t.Context())
		defer stop()
		b.set("one", b.until, errors.New("down"))
		begun := time.Now()
		<-ctx.Done()
		if took := time.Since(begun); took > one.Hold {
			t.Errorf("work went on for %s after the last answer", took)
		}
	})
}

// A loop that is rung for acts at once, and not more often than its gap allows.
func TestLoopIsRung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rung := make(chan struct{}, 1)
		var looks atomic.Int32
		d := Loop{Name: "test", Rung: rung, Gap: 20 * time.Millisecond, Pause: func() time.Duration { return time.Second }, RunOnce: func(context.Context) (int, error) {
			looks.Add(1)
			return 0, nil
		}}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx, nil) }()
		after := func(pause time.Duration, want int32) {
			t.Helper()
			<-time.After(pause)
			synctest.Wait()
			if got := looks.Swap(0); got != want {
				t.Errorf("%d looks, want %d", got, want)
			}
		}
		after(500*time.Millisecond, 1)
		bell.Signal(rung)
		after(time.Microsecond, 1)
		for range 100 {
			bell.Signal(rung)
			<-time.After(time.Millisecond)
		}
		after(0, 5)
		after(10*time.Second, 10) // unasked
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
