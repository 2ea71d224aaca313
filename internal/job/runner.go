package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
)

// Runner does jobs: it claims one, runs the steps that are not done yet, and ends it. Any
// number of Runners, in any number of processes, may be told of the same job at once; one
// of them gets it.
type Runner struct {
	*Engine
	cfg   RunnerConfig
	turns turns
}

// RunnerConfig is what a Runner needs.
type RunnerConfig struct {
	Engine *Engine
	Store  Store
	// Owner names this worker, for people who look at a job.
	Owner string
	// LeaseTTL is how long a worker that vanished keeps its jobs.
	LeaseTTL time.Duration
	// Contact excuses workers that lost a job while the database was away; nil: each has
	// crashed.
	Contact *Contact
	// OnStep, if set, is told of every step right before and right after its work, before
	// the journal is written: where faults are injected.
	OnStep func(kind Kind, step string, after bool)
}

// The limits of how long a job is tried.
const (
	DefaultLeaseTTL = 10 * time.Second
	// MaxCrashes is how many workers a job may end before it is rolled back.
	MaxCrashes = 5
	// undoGrace is how long a job that gave up tries to roll back, whatever its deadline.
	// What it cannot clean up in that time is the subject's room's to do later.
	undoGrace = 30 * time.Second
	// lastUndoBackoff is the longest pause between two tries of that.
	lastUndoBackoff = 5 * time.Second
	// endTimeout limits the last write of a run, which goes on even when the worker is told
	// to stop.
	endTimeout = 10 * time.Second
)

// NewRunner makes a Runner.
func NewRunner(cfg RunnerConfig) *Runner {
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = DefaultLeaseTTL
	}
	return &Runner{Engine: cfg.Engine, cfg: cfg}
}

// errNotClaimable says that there is nothing to do: the job has ended, or another worker
// has it.
var errNotClaimable = errors.New("nothing to claim")

// errHandBack is the cause of a run that ends because the process is stopping.
var errHandBack = errors.New("the worker is stopping")

// Run does what is left of the job, or, where jobs have to wait, of the one whose turn it is
// (fair.go). nil means that there is no more for this call to do: the job has ended, waits for
// its turn or its next attempt, or is another worker's. An error means
// that the outcome of a task could not be stored; the lease will run out and the relay wakes another
// worker.
func (r *Runner) Run(ctx context.Context, woken id.Job) error {
	run, err := r.begin(ctx, woken)
	if errors.Is(err, errNotClaimable) || fault.IgnoreLostRace(err) == nil && err != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("claim %s: %w", woken, err)
	}
	job := run.claim.Job
	r.Log.InfoContext(ctx, "job claimed", "job", job, "subject", run.claim.Subject, "kind", run.def.kind, "fence", run.claim.Fence, "worker", r.cfg.Owner)
	leaseCtx, lost := context.WithCancelCause(ctx)
	keeper := make(chan struct{})
	go func() {
		defer close(keeper)
		run.keepLease(leaseCtx, lost)
	}()
	outcome := run.do(leaseCtx)
	cause := context.Cause(leaseCtx)
	lost(nil)
	<-keeper

	if errors.Is(outcome, fault.ErrFenced) || errors.Is(cause, fault.ErrFenced) {
		r.Log.WarnContext(ctx, "job lost to another owner", "job", job, "fence", run.claim.Fence)
		run.withdraw(ctx)
		return nil
	}
	if ctx.Err() != nil && outcome != nil {
		outcome = errHandBack
	}
	endCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := run.end(endCtx, outcome); err != nil && !errors.Is(err, fault.ErrFenced) {
		return fmt.Errorf("end %s: %w", job, err)
	}
	return nil
}

// claim takes the job: a higher fence on the job and its subject, a lease, and the subject
// on its way.
func (r *Runner) claim(ctx context.Context, job id.Job) (run *Run, err error) {
	err = r.cfg.Store.Tx(ctx, func(tx Tx) error {
		now := r.Now()
		j, err := tx.Job(job)
		if err != nil {
			return err
		}
		if !j.claimable(now) {
			return errNotClaimable
		}
		def, err := r.Kinds.find(j.Kind)
		if err != nil {
			return err
		}
		run = &Run{runner: r, def: def, deadline: j.Deadline}
		work, seen, err := def.find(tx, run, j)
		if err != nil {
			return err
		}
		before := j.Fence
		j.Fence = max(before, seen) + 1
		r.take(&j, def, now)
		if err := tx.UpdateJob(j, before); err != nil {
			return err
		}
		run.work, run.job, run.claim = work, j, Claim{Job: j.ID, Subject: j.Subject, Fence: j.Fence}
		return work.Begin(tx, j)
	})
	return run, err
}

// take makes the job this worker's.
func (r *Runner) take(j *Job, def *definition, now time.Time) {
	if j.State == Running && !r.cfg.Contact.Away(j.LeaseUntil.Add(-r.cfg.LeaseTTL), j.LeaseUntil) {
		j.Crashes++ // it was never handed back, and could have been
	}
	j.State, j.Owner, j.UpdatedAt = Running, r.cfg.Owner, now
	j.LeaseUntil = now.Add(r.cfg.LeaseTTL)
	j.WakeAt = j.LeaseUntil
	if j.StartedAt.IsZero() {
		j.StartedAt = now
	}
	if j.Undoing {
		return
	}
	def.resetFencedSteps(j)
	switch {
	case j.Crashes > MaxCrashes:
		j.giveUp(Error{
			Code: fault.CodeWorkerCrashed, Step: j.RunningStep(),
			Message: fmt.Sprintf("%d workers crashed or lost their lease while running this job, so it was stopped", j.Crashes),
		}, now)
	case !j.Deadline.After(now):
		j.giveUp(deadlineError(*j), now)
	}
}

// withdraw lets the subject's room look behind a job that another worker has now.
func (r *Run) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	j, err := r.runner.cfg.Store.Job(ctx, r.claim.Job)
	if err == nil {
		err = r.work.Withdraw(ctx, j)
	}
	if err != nil {
		r.runner.Log.WarnContext(ctx, "could not clean up after a lost job", "job", r.claim.Job, "subject", r.claim.Subject, "error", err)
	}
}

// retries are the pauses after an attempt that failed.
var retries = backoff.Exponential{First: 2 * time.Second, Most: 30 * time.Second, Jitter: 0.5}

// nextAttempt returns when a job that was just tried is tried again. It never sleeps past
// the moment when it has to end.
func (j *Job) nextAttempt(now time.Time) time.Time {
	pause, limit := retries.After(j.Attempt), j.Deadline
	if j.Undoing {
		pause, limit = min(pause, lastUndoBackoff), j.UndoneBy()
	}
	next := now.Add(pause)
	if limit.After(now) && next.After(limit) {
		return limit
	}
	return next
}
