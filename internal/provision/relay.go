package provision

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Relay wakes what is due and has no live task: a job whose accept could not tell
// the queue, one that waits for its next attempt, one whose worker has vanished,
// one whose task Redis has lost. Any number of processes may have one; a duty in
// the database lets one of them act at a time.
type Relay struct {
	Store Store
	Queue Queue
	Now   Clock
	Log   *slog.Logger
	Owner string
}

const (
	// RelayEvery is how often the relay looks.
	RelayEvery = time.Second
	relayDuty  = "relay"
	relayHold  = 3 * time.Second // a relay that vanished is replaced after this
	relayBatch = 500
	// rewakeAfter is when a job whose task waits in the queue is looked at again.
	rewakeAfter = 5 * time.Second
)

// RunOnce wakes what is due now, and reports how many were woken.
func (r *Relay) RunOnce(ctx context.Context) (int, error) {
	now := r.Now()
	mine := false
	err := r.Store.Tx(ctx, func(tx Tx) error {
		var err error
		mine, err = tx.TakeDuty(relayDuty, r.Owner, now, now.Add(relayHold))
		return err
	})
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
		if err != nil && !errors.Is(err, ErrConflict) { // a conflict: somebody has it by now
			return i, err
		}
	}
	return len(due), nil
}

func (r *Relay) wakeDeliveries(ctx context.Context, now time.Time) (int, error) {
	due, err := r.Store.DueDeliveries(ctx, now, relayBatch)
	if err != nil {
		return 0, err
	}
	for i, d := range due {
		generation, err := r.enqueue(ctx, d.task(), d.Generation)
		if err != nil {
			return i, err
		}
		after := d
		after.Generation, after.WakeAt = generation, now.Add(rewakeAfter)
		err = r.Store.Tx(ctx, func(tx Tx) error { return tx.UpdateDelivery(after, d) })
		if err != nil && !errors.Is(err, ErrConflict) {
			return i, err
		}
	}
	return len(due), nil
}

// enqueue makes the task, under a new generation where an old task is in the way,
// and gives the generation that it took.
func (r *Relay) enqueue(ctx context.Context, task Task, generation int64) (int64, error) {
	task.Generation = generation
	err := r.Queue.Enqueue(ctx, task)
	if errors.Is(err, ErrConflict) {
		task.Generation++
		err = r.Queue.Enqueue(ctx, task)
	}
	if errors.Is(err, ErrConflict) {
		err = nil // two in the way: the next look takes the one after
	}
	return task.Generation, err
}

// Janitor removes what nobody needs any more.
type Janitor struct {
	Store Store
	Now   Clock
	Owner string
	// Retention is how long deleted instances, ended jobs and stored answers stay
	// readable.
	Retention time.Duration
	// EventRetention is how long events are; zero: as long as there is a database.
	EventRetention time.Duration
	// Service deletes the failed instances that were kept for inspection; nil: nobody
	// does.
	Service *Service
}

const (
	// JanitorEvery is how often the janitor looks.
	JanitorEvery = time.Minute
	janitorDuty  = "janitor"
	janitorBatch = 500
)

// RunOnce removes one batch, and reports how many rows it was.
func (j *Janitor) RunOnce(ctx context.Context) (int, error) {
	now, removed, mine := j.Now(), 0, false
	err := j.Store.Tx(ctx, func(tx Tx) error {
		var err error
		mine, err = tx.TakeDuty(janitorDuty, j.Owner, now, now.Add(JanitorEvery))
		if err != nil || !mine {
			return err
		}
		removed, err = tx.DeleteExpired(now.Add(-j.Retention), janitorBatch)
		return err
	})
	if err != nil || !mine {
		return removed, err
	}
	events, err := j.removeEvents(ctx, now)
	if err != nil || j.Service == nil {
		return removed + events, err
	}
	kept, err := j.Service.RemoveKept(ctx)
	return removed + events + kept, err
}

// eventBatches bounds how many batches of events one look removes: there are several
// for each job.
const eventBatches = 20

func (j *Janitor) removeEvents(ctx context.Context, now time.Time) (removed int, err error) {
	for n := 0; n < eventBatches && j.EventRetention > 0; n++ {
		batch := 0
		err = j.Store.Tx(ctx, func(tx Tx) error {
			batch, err = tx.DeleteEvents(now.Add(-j.EventRetention), janitorBatch)
			return err
		})
		if removed += batch; err != nil || batch < janitorBatch {
			break
		}
	}
	return removed, err
}
