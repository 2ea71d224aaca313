package event

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/fault"
)

// Sequencer gives committed events their numbers. Events of transactions that run at the
// same time become visible in an order that nothing written by themselves can tell;
// numbered one after the other, by one at a time, they make a feed that can be followed by
// its numbers alone. Any number of processes may have one: a duty lets one act at a time,
// and where two do all the same, the store lets one of them win.
type Sequencer struct {
	store Store
	bell  bell.Bell
	duty  duty.Duty
}

const (
	// SequencerEvery is how often the sequencer looks when no ring says that there is
	// something.
	SequencerEvery = time.Second
	// SequencerEveryDeaf is how often while rings of other processes are not heard.
	SequencerEveryDeaf = 100 * time.Millisecond
	// SequencerGap is the pause between two looks, so that rings in quick succession are
	// answered with one.
	SequencerGap   = 50 * time.Millisecond
	sequencerDuty  = "sequencer"
	sequencerHold  = 3 * time.Second // a sequencer that vanished is replaced after this
	sequencerAsk   = time.Second     // between two questions for the duty
	sequencerBatch = 500
)

// NewSequencer makes a Sequencer for the process that is called so.
func NewSequencer(store Store, ringer bell.Bell, now clock.Clock, owner string) *Sequencer {
	return &Sequencer{store: store, bell: ringer, duty: duty.Duty{
		Store: store, Now: now, Name: sequencerDuty, Owner: owner, Hold: sequencerHold, AskEvery: sequencerAsk,
	}}
}

// RunOnce numbers what there is, and reports how many events that was.
func (q *Sequencer) RunOnce(ctx context.Context) (int, error) {
	mine, err := q.duty.Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	for done := 0; ; {
		list, err := q.store.UnnumberedEvents(ctx, sequencerBatch)
		if err != nil || len(list) == 0 {
			return done, err
		}
		err = q.store.NumberEvents(ctx, list)
		if errors.Is(err, fault.ErrConflict) { // another process was faster: the next look sees it
			return done, nil
		}
		if err == nil || fault.CodeOf(err) == fault.CodeUnavailable { // without an answer they may have their numbers
			q.bell.Ring(bell.Ring{Kind: RingNumbered})
		}
		if err != nil {
			return done, err
		}
		if done += len(list); len(list) < sequencerBatch {
			return done, nil
		}
	}
}

// Release gives the duty back, so that another process need not wait for its end.
func (q *Sequencer) Release(ctx context.Context) error { return q.duty.Release(ctx) }

const (
	cleanBatch = 500
	// cleanBatches limits how many batches of events one call removes: there are several
	// events for each job.
	cleanBatches = 20
)

// Clean removes events from before, and returns how many.
func Clean(ctx context.Context, store Store, before time.Time) (removed int, err error) {
	for range cleanBatches {
		n, err := store.DeleteEvents(ctx, before, cleanBatch)
		if removed += n; err != nil || n < cleanBatch {
			return removed, err
		}
	}
	return removed, nil
}
