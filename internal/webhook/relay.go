package webhook

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/fault"
)

// Relay wakes deliveries that are due and have no live task. Any number of processes may
// have one; a duty lets one act at a time.
type Relay struct {
	Store Store
	Queue bell.Queue
	Now   clock.Clock
	Log   *slog.Logger
	Owner string

	after string // the receiver that was looked at last
}

const (
	// RelayEvery is how often the relay looks.
	RelayEvery = time.Second
	relayDuty  = "relay/deliveries"
	relayHold  = 3 * time.Second // a relay that vanished is replaced after this
	relayBatch = 500
	// relayGrace is how long the relay leaves a new delivery to the process that wrote it.
	relayGrace = 2 * time.Second
	// receiverLooks is how many batches of receivers one look goes through, unless it has
	// woken enough before.
	receiverLooks = 4
	// rewakeAfter is when a delivery whose task waits in the queue is looked at again.
	rewakeAfter = 5 * time.Second
)

// RunOnce wakes what is due now, and reports how many were woken. It wakes one delivery for
// each receiver; who takes it goes on with the others. So a receiver for which very much
// waits costs and delays no more than one for which there is a single one. Where there are
// more receivers than one look is for, the next one begins where this one ended.
func (r *Relay) RunOnce(ctx context.Context) (woken int, err error) {
	mine, err := (&duty.Duty{Store: r.Store, Now: r.Now, Name: relayDuty, Owner: r.Owner, Hold: relayHold}).Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	now := r.Now()
	for look := 0; look < receiverLooks && woken < relayBatch; look++ {
		due, last, err := r.Store.DueDeliveries(ctx, now, r.after, relayBatch)
		if err != nil {
			return woken, err
		}
		for _, d := range due {
			if err := r.wake(ctx, d, now); err != nil {
				return woken, err
			}
			woken++
		}
		if r.after = last; last == "" {
			break
		}
	}
	return woken, nil
}

func (r *Relay) wake(ctx context.Context, d Delivery, now time.Time) error {
	generation, err := bell.Rewake(ctx, r.Queue, d.task())
	if err != nil {
		return err
	}
	after := d
	after.Generation, after.WakeAt = generation, now.Add(rewakeAfter)
	err = r.Store.Tx(ctx, func(tx Tx) error { return tx.UpdateDelivery(after, d) })
	if errors.Is(err, fault.ErrConflict) {
		return nil
	}
	return err
}
