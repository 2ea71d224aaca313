package job

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// Run is one claimed job while this worker is at it.
type Run struct {
	runner   *Runner
	def      *definition
	claim    Claim
	deadline time.Time
	work     Work

	mu      sync.Mutex // guards job and savedAt: steps that run in parallel and the lease keeper write
	job     Job
	savedAt time.Time
}

// Claim returns the right to the job, which guards every write.
func (r *Run) Claim() Claim { return r.claim }

// Engine returns what announces events and starts other jobs, within a transaction of Save.
func (r *Run) Engine() *Engine { return r.runner.Engine }

// Log returns where to log.
func (r *Run) Log() *slog.Logger { return r.runner.Log }

// Kind returns what the job does.
func (r *Run) Kind() Kind { return r.def.kind }

// Deadline returns when the job must have ended.
func (r *Run) Deadline() time.Time { return r.deadline }

// Job returns the job as it is at this moment.
func (r *Run) Job() Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.job
}

// Change changes the job in memory; the next save writes it. Steps and Error are shared
// with what Job has returned, so a change replaces them.
func (r *Run) Change(change func(*Job)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.job)
}

// Replan has the steps of the plan with that first step follow those that are done.
func (r *Run) Replan(firstStep string) error {
	steps, err := r.def.journal(firstStep)
	if err != nil {
		return err
	}
	r.Change(func(j *Job) {
		n := 0
		for n < len(j.Steps) && j.Steps[n].State != StepWaiting {
			n++
		}
		j.Steps = append(j.Steps[:n:n], steps...)
	})
	return nil
}

// Finish drops the steps that have not begun: nothing more is needed.
func (r *Run) Finish() {
	r.Change(func(j *Job) {
		n := 0
		for n < len(j.Steps) && j.Steps[n].State != StepWaiting {
			n++
		}
		j.Steps = j.Steps[:n:n]
	})
}

// Save writes the job under its fence, with whatever else belongs to the same moment. The
// function may use the job of the transaction, and must not call the Run.
func (r *Run) Save(ctx context.Context, also func(Tx) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saveLocked(ctx, also)
}

func (r *Run) saveLocked(ctx context.Context, also func(Tx) error) error {
	now := r.runner.Now()
	j := r.job
	j.UpdatedAt = now
	if j.State == Running {
		j.LeaseUntil = now.Add(r.runner.cfg.LeaseTTL)
		j.WakeAt = j.LeaseUntil
	}
	err := r.runner.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := r.write(tx, j); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
	if err == nil {
		r.job, r.savedAt = j, now
	}
	return err
}

func (r *Run) write(tx Tx, j Job) error {
	if j.State.Ended() {
		return r.runner.writeEnd(tx, j, r.claim.Fence)
	}
	return tx.UpdateJob(j, r.claim.Fence)
}

// keepLease renews the lease until the context ends. When another worker has the job, or
// the lease has run out because the database could not be reached, it ends the run's
// context.
func (r *Run) keepLease(ctx context.Context, lost context.CancelCauseFunc) {
	ticker := time.NewTicker(r.runner.cfg.LeaseTTL / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		saveCtx, cancel := context.WithTimeout(ctx, r.runner.cfg.LeaseTTL/3)
		err := r.Save(saveCtx, nil)
		cancel()
		if errors.Is(err, fault.ErrFenced) || (err != nil && r.leaseOver()) {
			lost(fault.Errorf(fault.CodeFenced, err, "the lease of %s is lost", r.claim.Job))
			return
		}
	}
}

// Held fails once the lease is over by this worker's own clock.
func (r *Run) Held() error {
	if r.leaseOver() {
		return fault.Errorf(fault.CodeFenced, nil, "the lease of %s has expired", r.claim.Job)
	}
	return nil
}

func (r *Run) leaseOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.job.LeaseUntil.After(r.runner.Now())
}

// do runs the steps, and where they fail for good, rolls back what they did. The error says
// that the run is to be tried again later.
func (r *Run) do(ctx context.Context) error {
	if !r.Job().Undoing {
		err := r.forward(ctx)
		if err == nil || !r.final(ctx, err) {
			return err
		}
		if err := r.Save(ctx, nil); err != nil {
			return err
		}
	}
	if err := r.stopChildren(ctx); err != nil {
		return err
	}
	return r.work.Undo(ctx)
}

// forward runs what is not done yet.
func (r *Run) forward(ctx context.Context) error {
	ctx, cancel := context.WithDeadline(ctx, r.deadline)
	defer cancel()
	if err := r.work.Open(ctx); err != nil {
		return err
	}
	for i := 0; ; {
		plan := r.def.plan(r.Job().Steps) // a step may change what follows it
		if i >= len(plan) {
			return nil
		}
		n := beside(plan[i:])
		if err := r.runSteps(ctx, i, plan[i:i+n]); err != nil {
			return err
		}
		i += n
	}
}

// final decides whether the failure ends the job, and if so turns it round.
func (r *Run) final(ctx context.Context, err error) bool {
	code := fault.CodeOf(err)
	if ctx.Err() != nil || code == fault.CodeFenced || isAwaiting(err) {
		return false // stopped from outside, or waiting: not a failure of the job
	}
	now := r.runner.Now()
	var child childFailed
	hopeless := errors.As(err, &child)
	r.Change(func(j *Job) {
		j.Error = &Error{Code: code, Step: j.RunningStep(), Message: r.work.Scrub(fault.Explain(err)), Retryable: code.Retryable(), At: now}
		switch {
		case !r.deadline.After(now):
			j.giveUp(deadlineError(*j), now)
		case hopeless, j.Attempt+1 >= r.def.attempts(code):
			j.giveUp(*j.Error, now)
		}
	})
	return r.Job().Undoing
}

func isAwaiting(err error) bool {
	var later awaiting
	return errors.As(err, &later)
}

// end writes the outcome of a run. The lease keeper has stopped by now.
func (r *Run) end(ctx context.Context, outcome error) error {
	now := r.runner.Now()
	switch {
	case outcome == nil:
		return r.finish(ctx, now)
	case errors.Is(outcome, errHandBack):
		return r.again(ctx, now, now)
	case isAwaiting(outcome):
		return r.await(ctx, now)
	default:
		r.runner.Log.WarnContext(ctx, "attempt failed", "job", r.job.ID, "subject", r.job.Subject, "kind", r.job.Kind,
			"attempt", r.job.Attempt+1, "undoing", r.job.Undoing, "error", r.work.Scrub(outcome.Error()))
		r.job.Attempt++
		return r.again(ctx, r.job.nextAttempt(now), now)
	}
}

func (r *Run) again(ctx context.Context, wakeAt, now time.Time) error {
	if err := r.job.release(wakeAt, now); err != nil {
		return err
	}
	return r.Save(ctx, nil)
}

// await gives the worker back until a child wakes the job. One that has ended since the
// step looked has found nobody to wake.
func (r *Run) await(ctx context.Context, now time.Time) error {
	if err := r.job.release(now.Add(childPoll), now); err != nil {
		return err
	}
	return r.Save(ctx, func(tx Tx) error {
		children, err := tx.ChildJobs(r.claim.Job)
		if err != nil {
			return err
		}
		for _, c := range children {
			if !c.State.Ended() {
				return nil
			}
		}
		r.runner.wake(tx, r.job)
		return nil
	})
}

// finish ends the job and its subject's part in one transaction, with the events and who is
// to be told of them.
func (r *Run) finish(ctx context.Context, now time.Time) error {
	state := Succeeded
	switch {
	case r.job.Undoing && r.job.Error.Code == fault.CodeCanceled:
		state = Canceled
	case r.job.Undoing:
		state = Failed
	default:
		r.job.Error = nil
	}
	if err := r.job.Move(state, now); err != nil {
		return err
	}
	err := r.Save(ctx, func(tx Tx) error {
		callback := r.runner.callback(tx, r.job)
		message, err := r.work.End(tx, r.job)
		if err != nil {
			return err
		}
		return r.runner.announceEnd(tx, r.job, message, callback)
	})
	if err != nil {
		return err
	}
	r.runner.Log.InfoContext(ctx, "job ended", "job", r.job.ID, "kind", r.job.Kind, "subject", r.job.Subject, "class", r.job.Class,
		"state", state, "took", now.Sub(r.job.CreatedAt).Round(time.Millisecond).String())
	return nil
}
