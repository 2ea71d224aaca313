// Package job owns durable asynchronous work: jobs with a journal of steps, the lease and
// the fencing token by which one worker owns a job, retries, deadlines, cancellation,
// rollback, child jobs, and the relay that wakes whatever is due. A kind of job is
// registered as a Definition. The package must not know what jobs are about: a job names
// its Subject by id, and the subject's room does the work.
package job

import (
	"slices"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

// Prefix begins the ids of jobs.
const Prefix = "job"

// Kind says what a job does: the kind of its subject and a verb, "instance.create".
type Kind string

// Job is one asynchronous operation on one subject. Its row is also the outbox: while it is
// not ended, WakeAt says when it must be looked at again.
type Job struct {
	ID      id.Job
	Tenant  tenant.ID
	Subject id.Subject
	// Class is what the subject is filed under in lists and metrics: an instance's engine.
	Class string
	Kind  Kind
	State State
	Steps []Step
	Error *Error // why it failed, or why the last attempt did

	Attempt int // failures that were retried
	Crashes int // workers that vanished while they owned it
	// Undoing is set once the job has given up and is rolled back; Error then holds why.
	Undoing bool

	Fence      int64  // the token of the current, or last, owner
	Owner      string // the worker that holds the lease; empty: nobody
	LeaseUntil time.Time
	Generation int64     // of its task in the queue; a new one makes a new task
	WakeAt     time.Time // when the relay looks at it; zero once ended

	// Parent is the job that started this one, in its step ParentStep; empty: none did.
	Parent     id.Job
	ParentStep string

	CallbackURL string
	OnFailure   FailurePolicy
	Deadline    time.Time
	CreatedAt   time.Time
	StartedAt   time.Time // zero until a worker has begun
	FinishedAt  time.Time // zero until it has ended
	UpdatedAt   time.Time
}

// Error tells a user why a job failed.
type Error struct {
	Code      fault.Code
	Step      string // the step that failed; empty: none had begun
	Message   string
	Retryable bool // whether asking again, unchanged, can help
	// At is when it happened; of a job that gave up: when its rollback began.
	At time.Time
}

// FailurePolicy says what becomes of what a failed job has made.
type FailurePolicy string

// The policies. What is kept is kept for inspection, and for a while.
const (
	OnFailureCleanup FailurePolicy = "cleanup" // the default
	OnFailureKeep    FailurePolicy = "keep"
)

// OrDefault returns the policy where none was asked for.
func (p FailurePolicy) OrDefault() FailurePolicy {
	if p == "" {
		return OnFailureCleanup
	}
	return p
}

// Check refuses a policy that there is not.
func (p FailurePolicy) Check() []fault.FieldError {
	switch p {
	case "", OnFailureCleanup, OnFailureKeep:
		return nil
	}
	return []fault.FieldError{{Field: "on_failure", Message: "must be cleanup (the default) or keep"}}
}

// State is where a job is in its life. The service accepts a job as queued; a worker that
// claims it makes it running; the worker, or a request that cuts it off, ends it.
//
//	queued ──► running ──► succeeded
//	  ▲  │        │ └────► failed
//	  │  │        │ └────► canceled
//	  │  └────────┼──────► canceled, failed
//	  └───────────┘ (waits for its next attempt, or for its children)
type State string

// The states of a job.
const (
	Queued    State = "queued"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

var moves = map[State][]State{
	Queued:    {Running, Failed, Canceled},
	Running:   {Running, Queued, Succeeded, Failed, Canceled},
	Succeeded: {},
	Failed:    {},
	Canceled:  {},
}

// States lists every state of a job.
func States() []State { return []State{Queued, Running, Succeeded, Failed, Canceled} }

// CanBecome reports whether the state table allows the move. A running job may be claimed
// again, once its lease is over.
func (s State) CanBecome(next State) bool { return slices.Contains(moves[s], next) }

// Ended reports whether nothing more will happen.
func (s State) Ended() bool { return len(moves[s]) == 0 }

// Move changes the state and what follows from it.
func (j *Job) Move(next State, now time.Time) error {
	if !j.State.CanBecome(next) {
		return fault.Errorf(fault.CodeInternal, nil, "job %s cannot change from state %s to %s", j.ID, j.State, next)
	}
	j.State, j.UpdatedAt = next, now
	if next.Ended() {
		j.FinishedAt, j.WakeAt, j.Owner, j.LeaseUntil = now, time.Time{}, "", time.Time{}
		j.turnSteps(StepFailed, StepRunning) // a worker vanished in the middle of it
	}
	return nil
}

// turnSteps gives the steps in one of the states another one.
func (j *Job) turnSteps(to StepState, from ...StepState) {
	j.Steps = slices.Clone(j.Steps)
	for i := range j.Steps {
		if slices.Contains(from, j.Steps[i].State) {
			j.Steps[i].State = to
		}
	}
}

// UndoSteps says that what was done, or begun, is taken back.
func (j *Job) UndoSteps() { j.turnSteps(StepUndone, StepDone, StepRunning) }

// giveUp turns the job round: from now on it is rolled back.
func (j *Job) giveUp(why Error, now time.Time) {
	why.At = now
	j.Undoing, j.Error = true, &why
}

// UndoneBy returns until when a job that gave up goes on with its rollback.
func (j *Job) UndoneBy() time.Time { return j.Error.At.Add(undoGrace) }

// Keeps reports whether what the job made is kept. Whoever cancels wants it gone.
func (j *Job) Keeps() bool {
	return j.OnFailure == OnFailureKeep && j.Undoing && j.Error != nil && j.Error.Code != fault.CodeCanceled
}

// release gives the job back to the queue, to be woken as a new task.
func (j *Job) release(wakeAt, now time.Time) error {
	if j.State == Running {
		if err := j.Move(Queued, now); err != nil {
			return err
		}
	}
	j.Owner, j.LeaseUntil, j.WakeAt, j.UpdatedAt = "", time.Time{}, wakeAt, now
	j.Generation++
	return nil
}

// claimable reports whether a worker may take the job now.
func (j *Job) claimable(now time.Time) bool { return !j.State.Ended() && !j.LeaseUntil.After(now) }

// task returns the wake-up call for the job.
func (j *Job) task(pool bell.Pool) bell.Task {
	return bell.Task{Pool: pool, ID: string(j.ID), Generation: j.Generation}
}

// Progress returns how far the job is, in percent of its steps.
func (j *Job) Progress() int {
	if j.State == Succeeded {
		return 100
	}
	if len(j.Steps) == 0 {
		return 0
	}
	done := 0
	for _, s := range j.Steps {
		if s.State == StepDone {
			done++
		}
	}
	return done * 100 / len(j.Steps)
}

// RunningStep returns the name of the step that failed, or else of the first that is not
// done.
func (j *Job) RunningStep() (name string) {
	for _, s := range j.Steps {
		switch {
		case s.State == StepFailed:
			return s.Name
		case s.State != StepDone && name == "":
			name = s.Name
		}
	}
	return name
}

// NothingDone reports whether no step has an effect that was not taken back.
func (j *Job) NothingDone() bool {
	return !slices.ContainsFunc(j.Steps, func(s Step) bool { return s.State == StepDone || s.State == StepRunning })
}

// Step is one journaled part of a job. A retry goes on behind the last step that is done.
type Step struct {
	Name       string
	State      StepState
	Attempt    int    // how often it was begun
	Detail     string // what it is doing, or has found
	Error      string // why its last attempt failed
	StartedAt  time.Time
	FinishedAt time.Time
}

// StepState is where a step is.
type StepState string

// The states of a step.
const (
	StepWaiting StepState = "waiting"
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepUndone  StepState = "undone" // was done, and then taken back
)

// Claim is the right of one worker to one job and its subject, until another worker has a
// higher fence. Every write of a worker names its claim.
type Claim struct {
	Job     id.Job
	Subject id.Subject
	Fence   int64
}
