package job

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/fault"
)

// Relay wakes jobs that are due and have no live task: one whose accept could not tell the
// queue, one that waits for its next attempt, one whose worker has vanished, one whose task
// Redis has lost. Any number of processes may have one; a duty lets one act at a time.
type Relay struct {
	*Engine
	store Store
	duty  duty.Duty
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

// NewRelay makes a Relay for the process that is called so.
func NewRelay(engine *Engine, store Store, owner string) *Relay {
	return &Relay{Engine: engine, store: store, duty: duty.Duty{Store: store, Now: engine.Now, Name: relayDuty, Owner: owner, Hold: relayHold}}
}

// RunOnce wakes what is due now, and reports how many were woken.
func (r *Relay) RunOnce(ctx context.Context) (int, error) {
	mine, err := r.duty.Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	now := r.Now()
	due, err := r.store.DueJobs(ctx, now, relayBatch)
	if err != nil {
		return 0, err
	}
	for i, j := range due {
		if err := r.rewake(ctx, j, now); err != nil {
			return i, err
		}
	}
	return len(due), nil
}

func (r *Relay) rewake(ctx context.Context, j Job, now time.Time) error {
	def, err := r.Kinds.find(j.Kind)
	if err != nil { // it is put off, so that many of them never hide the others
		r.Log.DebugContext(ctx, "leaving a job of an unknown kind to workers of another release", "job", j.ID, "kind", j.Kind)
		return r.putOff(ctx, j, j.Generation, now)
	}
	task := j.task(def.pool(j))
	if j.State == Running {
		task.Generation++ // its worker has vanished with the task
	}
	generation, err := bell.Rewake(ctx, r.Queue, task)
	if err != nil {
		return err
	}
	return r.putOff(ctx, j, generation, now)
}

// putOff says when the job is looked at again.
func (r *Relay) putOff(ctx context.Context, j Job, generation int64, now time.Time) error {
	err := r.store.Tx(ctx, func(tx Tx) error { return tx.RescheduleJob(j, generation, now.Add(rewakeAfter)) })
	if errors.Is(err, fault.ErrConflict) { // a worker has it by now
		return nil
	}
	return err
}
