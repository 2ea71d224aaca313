package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
)

// Runner runs jobs: it claims one, runs the steps that are not done yet, and ends
// it. Any number of Runners, in any number of processes, may be told of the same
// job at once; one of them gets it.
type Runner struct {
	cfg     RunnerConfig
	goldens resting
	hosts   hostList
}

// RunnerConfig is what a Runner needs.
type RunnerConfig struct {
	Store    Store
	Queue    Queue
	Ports    Ports
	Runtimes Runtimes
	Vault    secret.Vault
	Catalog  Catalog
	NewID    id.Maker
	Now      clock.Clock
	Log      *slog.Logger
	// Owner names this worker, for people who look at a job.
	Owner string
	// LeaseTTL is how long a worker that vanished keeps its jobs.
	LeaseTTL time.Duration
	// Quarantine is how long a freed port rests.
	Quarantine time.Duration
	// KeepFailed is how long a failed create is kept where that was asked for.
	KeepFailed time.Duration
	// Contact excuses workers that lost a job while the database was away; nil: each has
	// crashed.
	Contact *Contact
	// OnStep, if set, is told of every step right before and right after its work,
	// before the journal is written: where faults are injected.
	OnStep func(kind JobKind, step string, after bool)
}

// Bounds of the patience with a job.
const (
	DefaultLeaseTTL   = 10 * time.Second
	DefaultQuarantine = 2 * time.Minute
	maxCreateAttempts = 4
	// maxFullAttempts is for a host whose ports are all taken or resting: long enough
	// for those that rest to come back.
	maxFullAttempts = 10
	maxCrashes      = 5
	firstBackoff    = time.Second
	lastBackoff     = 30 * time.Second
	// undoGrace is how long a job that gave up tries to clean up, whatever its deadline.
	// What it cannot clean up in that time, because its host is away, is the reconciler's.
	undoGrace = 30 * time.Second
	// minUndo is what the last try gets all the same, and lastUndoBackoff the longest
	// pause between two.
	minUndo         = 10 * time.Second
	lastUndoBackoff = 5 * time.Second
	// endTimeout bounds the last write of a run, which goes on even when the worker is
	// told to stop.
	endTimeout = 10 * time.Second
)

// NewRunner makes a Runner.
func NewRunner(cfg RunnerConfig) *Runner {
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = DefaultLeaseTTL
	}
	if cfg.Quarantine == 0 {
		cfg.Quarantine = DefaultQuarantine
	}
	if cfg.KeepFailed == 0 {
		cfg.KeepFailed = DefaultKeepFailed
	}
	cfg.Store = WakingStore(cfg.Store, cfg.Queue, cfg.Log)
	return &Runner{cfg: cfg, goldens: resting{until: map[string]rest{}}}
}

// errNotClaimable says that there is nothing to do: the job has ended, or
// somebody else is at it.
var errNotClaimable = errors.New("nothing to claim")

// errHandBack is the cause of a run that ends because the process is stopping.
var errHandBack = errors.New("the worker is stopping")

// Run does what is left of the job. nil means that there is no more for this call
// to do: the job has ended, waits for its next attempt, or is somebody else's. An
// error means that the outcome could not be written; the lease will run out and
// the relay wakes somebody else.
func (r *Runner) Run(ctx context.Context, id id.Job) error {
	w, err := r.claim(ctx, id)
	if errors.Is(err, errNotClaimable) || errors.Is(err, fault.ErrNotFound) || errors.Is(err, fault.ErrFenced) || errors.Is(err, fault.ErrConflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("claim %s: %w", id, err)
	}
	r.cfg.Log.InfoContext(ctx, "job claimed", "job", id, "instance", w.claim.Instance, "kind", w.kind, "fence", w.claim.Fence, "worker", r.cfg.Owner)
	leaseCtx, lost := context.WithCancelCause(ctx)
	keeper := make(chan struct{})
	go func() {
		defer close(keeper)
		w.keepLease(leaseCtx, lost)
	}()
	outcome := w.work(leaseCtx)
	cause := context.Cause(leaseCtx)
	lost(nil)
	<-keeper

	if errors.Is(outcome, fault.ErrFenced) || errors.Is(cause, fault.ErrFenced) {
		r.cfg.Log.WarnContext(ctx, "job lost to another owner", "job", id, "fence", w.claim.Fence)
		w.withdraw(ctx)
		return nil
	}
	if ctx.Err() != nil && outcome != nil {
		outcome = errHandBack
	}
	endCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := w.end(endCtx, outcome); err != nil && !errors.Is(err, fault.ErrFenced) {
		return fmt.Errorf("end %s: %w", id, err)
	}
	return nil
}

// claim takes the job: a higher fence on job and instance, a lease, and the
// instance on its way.
func (r *Runner) claim(ctx context.Context, id id.Job) (*work, error) {
	w := &work{Runner: r}
	err := r.cfg.Store.Tx(ctx, func(tx Tx) error {
		now := r.cfg.Now()
		job, err := tx.Job(id)
		if err != nil {
			return err
		}
		if !job.claimable(now) {
			return errNotClaimable
		}
		inst, err := tx.Instance(job.Instance)
		if err != nil {
			return err
		}
		before := job.Fence
		r.take(&job, &inst, now)
		if err := tx.UpdateJob(job, before); err != nil {
			return err
		}
		begins := job.Kind == JobCreate && inst.State == StatePending
		if begins {
			if err := inst.Move(StateProvisioning, "", now); err != nil {
				return err
			}
		}
		if err := tx.UpdateInstance(inst); err != nil {
			return err
		}
		if begins {
			event := newEvent(r.cfg.NewID, EventInstanceProvisioning, inst, job.ID, "a worker has begun", now)
			if err := announce(tx, r.cfg.NewID, event); err != nil {
				return err
			}
		}
		inst.Rev++
		w.job, w.inst, w.kind, w.deadline = job, inst, job.Kind, job.Deadline
		w.claim = Claim{Job: job.ID, Instance: inst.ID, Fence: job.Fence}
		return nil
	})
	return w, err
}

// take makes the job this worker's.
func (r *Runner) take(job *Job, inst *Instance, now time.Time) {
	if job.State == JobRunning && !r.cfg.Contact.away(job.LeaseUntil.Add(-r.cfg.LeaseTTL), job.LeaseUntil) {
		job.Crashes++ // it was never handed back, and could have been
	}
	job.Fence = max(job.Fence, inst.Fence) + 1
	inst.Fence = job.Fence
	job.State, job.Owner, job.UpdatedAt = JobRunning, r.cfg.Owner, now
	job.LeaseUntil = now.Add(r.cfg.LeaseTTL)
	job.WakeAt = job.LeaseUntil
	if job.StartedAt.IsZero() {
		job.StartedAt = now
	}
	if job.Undoing {
		return
	}
	job.redoWhatCarriesTheFence()
	switch {
	case job.Crashes > maxCrashes:
		job.giveUp(JobError{
			Code: fault.CodeWorkerCrashed, Step: runningStep(*job),
			Message: fmt.Sprintf("%d workers vanished while they were at this job, so it was stopped", job.Crashes),
		}, now)
	case !job.Deadline.After(now):
		job.giveUp(deadlineError(*job), now)
	}
}

// deadlineError explains a job that took too long, by what its last attempt failed
// of, where that is known.
func deadlineError(job Job) JobError {
	e := JobError{Code: fault.CodeDeadline, Step: runningStep(job), Retryable: true}
	e.Message = fmt.Sprintf("the job did not end within %s", job.Deadline.Sub(job.CreatedAt).Round(time.Second))
	if last := job.Error; last != nil {
		e.Step = last.Step
		e.Message += "; its last attempt failed: " + last.Message
	}
	return e
}

// attempts gives how often a job is tried when it fails so. A delete goes on until
// its deadline.
func attempts(kind JobKind, code fault.Code) int {
	switch {
	case kind == JobDelete && (code.Retryable() || code == fault.CodeHostRefused):
		return math.MaxInt
	case !code.Retryable():
		return 1
	case code == fault.CodeHostUnavailable, code == fault.CodeUnavailable:
		return math.MaxInt // it is not the job's fault; its deadline bounds the wait
	case kind == JobRepair:
		return maxRepairAttempts
	case code == fault.CodePortsExhausted:
		return maxFullAttempts
	default:
		return maxCreateAttempts
	}
}

// nextAttempt gives when a job that was just tried is tried again. It never sleeps
// past the moment when it has to end.
func (j *Job) nextAttempt(now time.Time) time.Time {
	pause, limit := backoff(j.Attempt), j.Deadline
	if j.Undoing {
		pause, limit = min(pause, lastUndoBackoff), j.undoneBy()
	}
	next := now.Add(pause)
	if limit.After(now) && next.After(limit) {
		return limit
	}
	return next
}

// backoff gives the pause before the next attempt: exponential, capped, and with
// jitter so that what failed together does not come back together.
func backoff(attempt int) time.Duration {
	d := min(firstBackoff<<min(attempt, 10), lastBackoff)
	return d/2 + rand.N(d/2) //nolint:gosec // jitter, not a secret
}
