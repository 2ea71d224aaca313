// Package duty owns periodic work that one process does for all: a lease on the work in the
// database, so that one process at a time does it, and the loop that does it again and again.
// It must not know what the work is.
package duty

import (
	"context"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/clock"
)

// Store keeps who has which duty.
type Store interface {
	// TakeDuty gives the named duty to the owner until then, unless another owner has it
	// now. The owner of a duty extends or shortens it.
	TakeDuty(ctx context.Context, name, owner string, now, until time.Time) (bool, error)
}

// Duty is one process's claim to a piece of periodic work.
type Duty struct {
	Store Store
	Now   clock.Clock
	Name  string
	Owner string
	// Hold is how long a process that vanished keeps the duty.
	Hold time.Duration
	// AskEvery is the pause between two questions to the store, in which the last answer
	// holds: a look must not always cost a write. Zero: every look asks.
	AskEvery time.Duration

	mu    sync.Mutex
	until time.Time // the duty is ours until then
	next  time.Time // when to ask again
}

// Mine reports whether this process has the duty now, and takes it where nobody has it.
func (d *Duty) Mine(ctx context.Context) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.Now()
	if now.Before(d.next) {
		return now.Before(d.until), nil
	}
	return d.take(ctx, now)
}

func (d *Duty) take(ctx context.Context, now time.Time) (bool, error) {
	d.next = now.Add(d.AskEvery)
	until := now.Add(d.Hold)
	mine, err := d.Store.TakeDuty(ctx, d.Name, d.Owner, now, until)
	if err != nil {
		return false, err
	}
	if d.until = (time.Time{}); mine {
		d.until = until
	}
	return mine, nil
}

// Release gives the duty back, so that another process need not wait for its end.
func (d *Duty) Release(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.Now()
	if !now.Before(d.until) {
		return nil
	}
	d.until, d.next = time.Time{}, time.Time{}
	_, err := d.Store.TakeDuty(ctx, d.Name, d.Owner, now, now)
	return err
}

// Keep renews the duty every third of Hold while work is under way that may take longer
// than that. The context that it returns ends when another process has the duty, or may
// have it because the store does not answer. The caller calls stop when the work is done.
func (d *Duty) Keep(ctx context.Context) (kept context.Context, stop func()) {
	kept, over := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { d.keep(kept, over) })
	return kept, func() {
		over()
		keeper.Wait()
	}
}

func (d *Duty) keep(ctx context.Context, over context.CancelFunc) {
	every := d.Hold / 3
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for renewed := d.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		d.mu.Lock()
		mine, err := d.take(ctx, d.Now())
		d.mu.Unlock()
		switch {
		case err == nil && mine:
			renewed = d.Now()
		case err == nil, d.Now().Sub(renewed) >= 2*every:
			over()
			return
		}
	}
}
