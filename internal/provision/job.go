package provision

import (
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

// JobKind says what a job does.
type JobKind string

// The kinds of jobs.
const (
	JobCreate JobKind = "instance.create"
	JobDelete JobKind = "instance.delete"
	JobRepair JobKind = "instance.repair" // asked for by the reconciler
)

// Job is one asynchronous operation on one instance. Its row is also the outbox:
// while it is not ended, WakeAt says when it must be looked at again.
type Job struct {
	ID       id.Job
	Tenant   tenant.ID
	Instance InstanceID
	Engine   string
	Kind     JobKind
	State    JobState
	Steps    []Step
	Error    *JobError // why it failed, or why the last attempt did

	Attempt int // failures that were tried again
	Crashes int // workers that vanished while they owned it
	// Undoing is set once the job has given up and is taking back what it did; Error
	// then holds why.
	Undoing bool

	Fence      int64  // the token of the current, or last, owner
	Owner      string // the worker that holds the lease; empty: nobody
	LeaseUntil time.Time
	Generation int64     // of its task in the queue; a new one makes a new task
	WakeAt     time.Time // when the relay looks at it; zero once ended

	CallbackURL string
	OnFailure   FailurePolicy // of a create
	Deadline    time.Time
	CreatedAt   time.Time
	StartedAt   time.Time // zero until a worker has begun
	FinishedAt  time.Time // zero until it has ended
	UpdatedAt   time.Time
}

// JobError tells a user why a job failed.
type JobError struct {
	Code      fault.Code
	Step      string // the step that failed; empty: none had begun
	Message   string
	Retryable bool // whether asking again, unchanged, can help
	// At is when it happened; of a job that gave up: when it began to clean up.
	At time.Time
}

// JobState is where a job is in its life.
//
//	queued ──► running ──► succeeded
//	  ▲  │        │ └────► failed
//	  │  │        │ └────► canceled
//	  │  └────────┼──────► canceled, failed
//	  └───────────┘ (waits for its next attempt)
type JobState string

// The states of a job.
const (
	JobQueued    JobState = "queued"
	JobRunning   JobState = "running"
	JobSucceeded JobState = "succeeded"
	JobFailed    JobState = "failed"
	JobCanceled  JobState = "canceled"
)

var jobMoves = map[JobState][]JobState{
	JobQueued:    {JobRunning, JobFailed, JobCanceled},
	JobRunning:   {JobRunning, JobQueued, JobSucceeded, JobFailed, JobCanceled},
	JobSucceeded: {},
	JobFailed:    {},
	JobCanceled:  {},
}

// JobStates lists every state of a job.
func JobStates() []JobState {
	return []JobState{JobQueued, JobRunning, JobSucceeded, JobFailed, JobCanceled}
}

// CanBecome reports whether the state table allows the move. A running job may be
// claimed again, once its lease is over.
func (s JobState) CanBecome(next JobState) bool { return slices.Contains(jobMoves[s], next) }

// Ended reports whether nothing more will happen.
func (s JobState) Ended() bool { return len(jobMoves[s]) == 0 }

// move changes the state and what follows from it.
func (j *Job) move(next JobState, now time.Time) error {
	if !j.State.CanBecome(next) {
		return fault.Errorf(fault.CodeInternal, nil, "job %s cannot go from %s to %s", j.ID, j.State, next)
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

// undoSteps says that what was done, or begun, is taken back.
func (j *Job) undoSteps() { j.turnSteps(StepUndone, StepDone, StepRunning) }

// giveUp turns the job round: from now on it takes back what it did.
func (j *Job) giveUp(why JobError, now time.Time) {
	why.At = now
	j.Undoing, j.Error = true, &why
}

// undoneBy gives until when a job that gave up goes on cleaning up.
func (j *Job) undoneBy() time.Time { return j.Error.At.Add(undoGrace) }

// release gives the job back to the queue, to be woken as a new task.
func (j *Job) release(wakeAt, now time.Time) error {
	if j.State == JobRunning {
		if err := j.move(JobQueued, now); err != nil {
			return err
		}
	}
	j.Owner, j.LeaseUntil, j.WakeAt, j.UpdatedAt = "", time.Time{}, wakeAt, now
	j.Generation++
	return nil
}

// claimable reports whether a worker may take the job now.
func (j *Job) claimable(now time.Time) bool {
	return !j.State.Ended() && !j.LeaseUntil.After(now)
}

// Progress gives how far the job is, in percent of its steps.
func (j *Job) Progress() int {
	if j.State == JobSucceeded {
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

// Step is one journaled part of a job. A retry goes on behind the last step that
// is done.
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
