package provision

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
)

// Relay wakes what is due and has no live task: a job whose accept could not tell
// the queue, one that waits for its next attempt, one whose worker has vanished,
// one whose task Redis has lost. Any number of processes may have one; a duty in
// the database lets one of them act at a time.
type Relay struct {
	Store Store
	Queue Queue
	Now   clock.Clock
	Log   *slog.Logger
	Owner string

	after string // the receiver that was looked at last
}

const (
	// RelayEvery is how often the relay looks.
	RelayEvery = time.Second
	relayDuty  = "relay"
	relayHold  = 3 * time.Second // a relay that vanished is replaced after this
	relayBatch = 500
	// receiverLooks is how many batches of receivers one look goes through, unless
	// it has woken enough before.
	receiverLooks = 4
	// rewakeAfter is when a job whose task waits in the queue is looked at again.
	rewakeAfter = 5 * time.Second
)

// RunOnce wakes what is due now, and reports how many were woken.
func (r *Relay) RunOnce(ctx context.Context) (int, error) {
	now := r.Now()
	mine, err := newDuty(r.Store, r.Now, relayDuty, r.Owner, relayHold).Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	jobs, err := r.wakeJobs(ctx, now)
	if err != nil {
		return jobs, err
	}
	deliveries, err := r.wakeDeliveries(ctx, now)
	return jobs + deliveries, err
}

func (r *Relay) wakeJobs(ctx context.Context, now time.Time) (int, error) {
	due, err := r.Store.DueJobs(ctx, now, relayBatch)
	if err != nil {
		return 0, err
	}
	for i, job := range due {
		generation := job.Generation
		if job.State == JobRunning {
			generation++ // its worker has vanished with the task
		}
		generation, err := r.enqueue(ctx, job.task(), generation)
		if err != nil {
			return i, err
		}
		err = r.Store.Tx(ctx, func(tx Tx) error { return tx.RescheduleJob(job, generation, now.Add(rewakeAfter)) })
		if err != nil && !errors.Is(err, fault.ErrConflict) { // a conflict: somebody has it by now
			return i, err
		}
	}
	return len(due), nil
}

// wakeDeliveries wakes one delivery for each receiver; who takes it goes on with the
// others. So a receiver for which very much waits costs and delays no more than one
// for which there is a single one. Where there are more receivers than one look is
// for, the next one begins where this one ended.
func (r *Relay) wakeDeliveries(ctx context.Context, now time.Time) (int, error) {
	woken := 0
	for look := 0; look < receiverLooks && woken < relayBatch; look++ {
		due, last, err := r.Store.DueDeliveries(ctx, now, r.after, relayBatch)
		if err != nil {
			return woken, err
		}
		for _, d := range due {
			if err := r.wakeDelivery(ctx, d, now); err != nil {
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

func (r *Relay) wakeDelivery(ctx context.Context, d Delivery, now time.Time) error {
	generation, err := r.enqueue(ctx, d.task(), d.Generation)
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

// enqueue makes the task, under a new generation where an old task is in the way,
// and gives the generation that it took.
func (r *Relay) enqueue(ctx context.Context, task Task, generation int64) (int64, error) {
	task.Generation = generation
	err := r.Queue.Enqueue(ctx, task)
	if errors.Is(err, fault.ErrConflict) {
		task.Generation++
		err = r.Queue.Enqueue(ctx, task)
	}
	if errors.Is(err, fault.ErrConflict) {
		err = nil // two in the way: the next look takes the one after
	}
	return task.Generation, err
}
