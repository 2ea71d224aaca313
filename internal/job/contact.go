package job

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
)

// Contact knows when this process could not reach the database of late. A worker that
// is cut off from the database loses its leases as one that has died does. Who takes
// such a job has to tell the two apart, and cannot ask: but where it was cut off itself
// while the lease ran out, it knows nothing against the other. A process that has just
// been started remembers no outage, so that a job that ends its worker again and again
// is found out also where there is one worker.
type Contact struct {
	now   clock.Clock
	least time.Duration // shorter outages cost nobody a lease

	mu      sync.Mutex
	calls   map[*time.Time]bool // when each began that has no answer yet
	failing time.Time           // when the first call began that failed since the last answer; zero: none
	last    outage
}

type outage struct{ from, until time.Time }

// NewContact makes a Contact for leases of that length.
func NewContact(now clock.Clock, leaseTTL time.Duration) *Contact {
	return &Contact{now: now, least: leaseTTL / 2, calls: map[*time.Time]bool{}}
}

// Observe is told of a transaction that begins, and returns what is told of its end.
func (c *Contact) Observe() (ended func(error)) {
	begun := c.begin()
	return func(err error) { c.end(begun, err) }
}

func (c *Contact) begin() *time.Time {
	begun := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[&begun] = true
	return &begun
}

func (c *Contact) end(begun *time.Time, err error) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, begun)
	switch {
	case errors.Is(err, context.Canceled): // the caller would not wait
	case fault.CodeOf(err) == fault.CodeUnavailable || errors.Is(err, context.DeadlineExceeded):
		c.failing = earliest(c.failing, *begun)
	default: // any other answer is one
		from := earliest(c.failing, *begun)
		if c.failing = (time.Time{}); now.Sub(from) < c.least {
			return
		}
		if from.Sub(c.last.until) < c.least { // it was back for no more than a moment
			from = c.last.from
		}
		c.last = outage{from, now}
	}
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// Away reports whether the database was away at some time between the two, or still is.
// Nobody's Contact never was.
func (c *Contact) Away(from, until time.Time) bool {
	if c == nil {
		return false
	}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	open := c.failing
	for begun := range c.calls {
		open = earliest(open, *begun)
	}
	if !open.IsZero() && now.Sub(open) >= c.least && open.Before(until) {
		return true
	}
	return c.last.from.Before(until) && c.last.until.After(from)
}
