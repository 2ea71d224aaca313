package provision

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

// EventFilter narrows the feed of one tenant; empty fields do not.
type EventFilter struct {
	Tenant   tenant.ID
	Types    []string // any of them
	Instance InstanceID
}

// EventPage is a part of a tenant's feed, in the order of the numbers.
type EventPage struct {
	Events []Event
	// Next is the number to read on after. It is behind the last event of the page, or,
	// where the filter passed over the rest, behind all that there is.
	Next int64
	// Last is the number of the feed's last event, whatever the filter.
	Last int64
}

// EventReader reads events that are numbered: per tenant, from 1, without gaps, in
// the order in which they were written. Once a number can be read, every lower one
// can, for as long as the events are kept.
type EventReader interface {
	// Events gives the first events behind the number.
	Events(ctx context.Context, f EventFilter, after int64, limit int) ([]Event, error)
	// LastNumbers gives the highest number of each tenant; one without events is not in
	// the answer.
	LastNumbers(context.Context, []tenant.ID) (map[tenant.ID]int64, error)
	// UnnumberedEvents gives committed events that have no number yet, in the order in
	// which they were written.
	UnnumberedEvents(ctx context.Context, limit int) ([]UnnumberedEvent, error)
}

// EventTx writes events beside Tx.AppendEvent.
type EventTx interface {
	// NumberEvents gives the events, in the order given, the next numbers of their
	// tenants, and fails with CodeConflict where somebody else has numbered one of them.
	NumberEvents([]UnnumberedEvent) error
	// DeleteEvents removes numbered events that are older than given.
	DeleteEvents(before time.Time, limit int) (int, error)
}

// UnnumberedEvent names an event to the store.
type UnnumberedEvent struct {
	Row    int64 // the store's own; grows in the order of writing
	Tenant tenant.ID
}

// MaxEventPage is how long a page of the feed may be.
const MaxEventPage = 500

// Events gives the page of the feed behind the number.
func (s *Service) Events(ctx context.Context, f EventFilter, after int64, limit int) (EventPage, error) {
	if limit <= 0 {
		limit = page.DefaultLimit
	}
	limit = min(limit, MaxEventPage)
	// The last number is read first: all up to it can be read from then on, so a page
	// that is not full says that there is nothing more for the filter up to it.
	last, err := s.cfg.Store.LastNumbers(ctx, []tenant.ID{f.Tenant})
	if err != nil {
		return EventPage{}, err
	}
	page := EventPage{Next: max(after, last[f.Tenant]), Last: last[f.Tenant]}
	if f.Instance != "" && !id.WellFormed(f.Instance) {
		page.Next = after
	}
	if page.Next == after {
		return page, nil
	}
	if page.Events, err = s.cfg.Store.Events(ctx, f, after, limit); err != nil {
		return EventPage{}, err
	}
	if n := len(page.Events); n == limit || n > 0 && page.Events[n-1].Number > page.Next {
		page.Next = page.Events[n-1].Number
	}
	return page, nil
}

// LastEvent gives the number of the tenant's last event; 0: there is none.
func (s *Service) LastEvent(ctx context.Context, owner tenant.ID) (int64, error) {
	last, err := s.cfg.Store.LastNumbers(ctx, []tenant.ID{owner})
	return last[owner], err
}

const (
	// followPage is small: a slow reader holds one page in memory.
	followPage = 100
	// followPause is the pause before a database that did not answer is asked again.
	followPause = time.Second
)

// Follow hands over every event behind the number, a page at a time, and goes on
// with what comes, until the context ends or handing over fails. At every beat on
// which it has nothing to read it hands over an empty page, so that the receiver can
// see whether its client is still there.
func (s *Service) Follow(ctx context.Context, f EventFilter, after int64, beat time.Duration, hand func([]Event) error) error {
	me := s.followers.join(ctx, f.Tenant)
	defer me.leave()
	heart := time.NewTicker(beat)
	defer heart.Stop()
	for {
		page, err := s.Events(ctx, f, after, followPage)
		again := (<-chan time.Time)(nil)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case fault.CodeOf(err) == fault.CodeUnavailable:
			again = time.After(followPause)
		case err != nil:
			return err
		default:
			after = page.Next
		}
		if len(page.Events) > 0 {
			if err := hand(page.Events); err != nil {
				return err
			}
		}
		if len(page.Events) == followPage {
			continue
		}
		if err := me.wait(ctx, again, heart.C, hand); err != nil {
			return err
		}
	}
}

// wait returns when there may be something new.
func (one *follower) wait(ctx context.Context, again, beat <-chan time.Time, hand func([]Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-one.grown:
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

// Sequencer gives committed events their numbers. Events of transactions that run at
// the same time become visible in an order that nothing written by themselves can
// tell; numbered one after the other, by one at a time, they make a feed that can be
// followed by its numbers alone. Any number of processes may have one: a duty lets
// one act at a time, and where two do all the same, the store lets one of them win.
type Sequencer struct {
	Store Store
	Now   clock.Clock
	Owner string

	once sync.Once
	duty *duty.Duty
}

const (
	// SequencerEvery is how often the sequencer looks when no ring says that there is
	// something.
	SequencerEvery = time.Second
	// SequencerEveryDeaf is how often while rings of other processes are not heard.
	SequencerEveryDeaf = 100 * time.Millisecond
	// SequencerGap is the pause between two looks, so that rings that come in quick
	// succession are answered with one.
	SequencerGap   = 50 * time.Millisecond
	sequencerDuty  = "sequencer"
	sequencerHold  = 3 * time.Second // a sequencer that vanished is replaced after this
	sequencerAsk   = time.Second     // between two questions for the duty
	sequencerBatch = 500
)

// RunOnce numbers what there is, and reports how many events that was.
func (q *Sequencer) RunOnce(ctx context.Context) (int, error) {
	mine, err := q.onDuty().Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	for done := 0; ; {
		list, err := q.Store.UnnumberedEvents(ctx, sequencerBatch)
		if err != nil || len(list) == 0 {
			return done, err
		}
		err = q.Store.Tx(ctx, func(tx Tx) error { return tx.NumberEvents(list) })
		if errors.Is(err, fault.ErrConflict) { // somebody else was faster: the next look sees it
			return done, nil
		}
		if err != nil {
			return done, err
		}
		if done += len(list); len(list) < sequencerBatch {
			return done, nil
		}
	}
}

// onDuty returns the duty, which is asked for once a second only: a look must not cost a
// write.
func (q *Sequencer) onDuty() *duty.Duty {
	q.once.Do(func() {
		q.duty = newDuty(q.Store, q.Now, sequencerDuty, q.Owner, sequencerHold)
		q.duty.AskEvery = sequencerAsk
	})
	return q.duty
}

// Release gives the duty back, so that another process need not wait for its end.
func (q *Sequencer) Release(ctx context.Context) error { return q.onDuty().Release(ctx) }
