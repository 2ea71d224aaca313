package event

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

// Filter narrows the feed of one tenant; empty fields do not.
type Filter struct {
	Tenant  tenant.ID
	Types   []string // any of them
	Subject id.Subject
}

// Page is a part of a tenant's feed, in the order of the numbers.
type Page struct {
	Events []Event
	// Next is the number to read on after. It is behind the last event of the page, or,
	// where the filter passed over the rest, behind all that there is.
	Next int64
	// Last is the number of the feed's last event, whatever the filter.
	Last int64
}

// MaxPage is how long a page of the feed may be.
const MaxPage = 500

// Feed reads and follows the feeds of tenants.
type Feed struct {
	store Store
	grown bell.Hub[tenant.ID, struct{}]
	bell  bell.Bell
}

// NewFeed makes a Feed.
func NewFeed(store Store, ringer bell.Bell) *Feed {
	f := &Feed{store: store, bell: ringer}
	f.grown.Run = f.watch
	return f
}

// Events returns the page of the tenant's feed behind the number.
func (f *Feed) Events(ctx context.Context, p tenant.Principal, of Filter, after int64, limit int) (Page, error) {
	if err := p.MayAll(tenant.Read); err != nil {
		return Page{}, err
	}
	of.Tenant = p.Tenant
	return f.page(ctx, of, after, limit)
}

func (f *Feed) page(ctx context.Context, of Filter, after int64, limit int) (Page, error) {
	if limit <= 0 {
		limit = page.DefaultLimit
	}
	limit = min(limit, MaxPage)
	// The last number is read first: all up to it can be read from then on, so a page
	// that is not full says that there is nothing more for the filter up to it.
	last, err := f.last(ctx, of.Tenant)
	if err != nil {
		return Page{}, err
	}
	p := Page{Next: max(after, last), Last: last}
	if of.Subject != "" && !id.WellFormed(of.Subject) {
		p.Next = after
	}
	if p.Next == after {
		return p, nil
	}
	if p.Events, err = f.store.Events(ctx, of, after, limit); err != nil {
		return Page{}, err
	}
	if n := len(p.Events); n == limit || n > 0 && p.Events[n-1].Number > p.Next {
		p.Next = p.Events[n-1].Number
	}
	return p, nil
}

// LastEvent returns the number of the tenant's last event; 0: there is none.
func (f *Feed) LastEvent(ctx context.Context, p tenant.Principal) (int64, error) {
	if err := p.MayAll(tenant.Read); err != nil {
		return 0, err
	}
	return f.last(ctx, p.Tenant)
}

func (f *Feed) last(ctx context.Context, owner tenant.ID) (int64, error) {
	last, err := f.store.LastNumbers(ctx, []tenant.ID{owner})
	return last[owner], err
}

const (
	// followPage is small: a slow reader holds one page in memory.
	followPage = 100
	// followPause is the pause before a database that did not answer is asked again.
	followPause = time.Second
)

// Follow hands over every event behind the number, a page at a time, and goes on with
// later ones until the context ends or handing over fails. At every beat on which it has
// nothing to read it hands over an empty page, so that the receiver can see whether its
// client is still there.
func (f *Feed) Follow(ctx context.Context, p tenant.Principal, of Filter, after int64, beat time.Duration, hand func([]Event) error) error {
	if err := p.MayAll(tenant.Read); err != nil {
		return err
	}
	of.Tenant = p.Tenant
	me := f.grown.Join(ctx, of.Tenant, struct{}{})
	defer me.Leave()
	heart := time.NewTicker(beat)
	defer heart.Stop()
	for {
		some, err := f.page(ctx, of, after, followPage)
		again := (<-chan time.Time)(nil)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case fault.CodeOf(err) == fault.CodeUnavailable:
			again = time.After(followPause)
		case err != nil:
			return err
		default:
			after = some.Next
		}
		if len(some.Events) > 0 {
			if err := hand(some.Events); err != nil {
				return err
			}
		}
		if len(some.Events) == followPage {
			continue
		}
		if err := awaitMore(ctx, me.Woken(), again, heart.C, hand); err != nil {
			return err
		}
	}
}

// awaitMore returns when there may be something new.
func awaitMore(ctx context.Context, grown <-chan struct{}, again, beat <-chan time.Time, hand func([]Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
			return nil
		case <-again:
			return nil
		case <-beat:
			if err := hand(nil); err != nil {
				return err
			}
		}
	}
}

// How often the feeds are looked at while somebody follows: the bell says when one has
// grown, so this is for rings that were lost, and more often while the bell does not reach
// the other processes.
const (
	watchEvery     = time.Second
	watchEveryDeaf = 200 * time.Millisecond
)

// watch tells those who follow a feed that it has grown. They are handed no events: each
// reads its own pages, at its own pace, so that a slow one costs nobody anything.
func (f *Feed) watch(ctx context.Context) {
	ctx = tenant.Beyond(ctx) // the first to follow began it, and it looks for those of other tenants, too
	rung, stop := bell.Signals(f.bell, RingNumbered, "")
	defer stop()
	timer := time.NewTimer(0) // what was written before we listened is seen at once
	defer timer.Stop()
	for seen := map[tenant.ID]int64{}; ; {
		select {
		case <-ctx.Done():
			return
		case <-rung:
		case <-timer.C:
		}
		timer.Reset(bell.Interval(f.bell, watchEvery, watchEveryDeaf))
		tenants := f.grown.Keys()
		last, err := f.store.LastNumbers(ctx, tenants)
		if err != nil {
			continue // whoever reads a page finds out, and says so
		}
		for _, t := range tenants {
			last[t] += 0 // one that has no events yet is known, too
			if before, known := seen[t]; !known || before != last[t] {
				f.grown.Wake(t)
			}
		}
		seen = last
	}
}
