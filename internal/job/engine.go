package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
)

// Engine writes jobs within transactions. Every job is inserted and ended here, so that
// what follows a commit follows each: workers are woken, waiters told, events announced.
type Engine struct {
	Kinds  *Registry
	Events *event.Log
	Queue  bell.Queue
	Bell   bell.Bell
	NewID  id.Maker
	Now    clock.Clock
	Log    *slog.Logger
}

// RingEnded is rung when the job with the ID has ended.
const RingEnded bell.Kind = "ended"

// The types of events about jobs.
const (
	EventSucceeded = "job.succeeded"
	EventFailed    = "job.failed"
	EventCanceled  = "job.canceled"
)

// relayGrace is how long the relay leaves a new job to the process that wrote it.
const relayGrace = 2 * time.Second

// New returns a queued job of the kind for the subject, which has limit from now until its
// deadline. Its plan is the one with that first step; empty: the ordinary one. The caller
// fills in the rest: Tenant, Class, CallbackURL, OnFailure.
func (e *Engine) New(kind Kind, subject id.Subject, firstStep string, limit time.Duration) (Job, error) {
	def, err := e.Kinds.find(kind)
	if err != nil {
		return Job{}, err
	}
	steps, err := def.journal(firstStep)
	if err != nil {
		return Job{}, err
	}
	now := e.Now()
	return Job{
		ID: id.Job(e.NewID(Prefix)), Subject: subject, Kind: kind, State: Queued, Steps: steps, Generation: 1,
		WakeAt: now.Add(relayGrace), Deadline: now.Add(limit), CreatedAt: now, UpdatedAt: now,
	}, nil
}

// Insert writes a new job; after the commit a worker is woken.
func (e *Engine) Insert(tx Tx, j Job) error {
	if !j.State.Ended() {
		e.wake(tx, j)
	}
	return tx.InsertJob(j)
}

// wake has a worker woken after the commit. What the queue does not take the relay finds.
func (e *Engine) wake(tx Tx, j Job) {
	def, err := e.Kinds.find(j.Kind)
	if err != nil {
		return // a newer release's job
	}
	task := j.task(def.pool(j))
	tx.OnCommit(func(ctx context.Context) { bell.WakeAll(ctx, e.Queue, e.Log, task) })
}

// InsertEnded writes a job that is done already, so that whoever asks for jobs or callbacks
// sees it like any other.
func (e *Engine) InsertEnded(tx Tx, j Job, message string) (Job, error) {
	for _, state := range []State{Running, Succeeded} {
		if err := j.Move(state, e.Now()); err != nil {
			return Job{}, err
		}
	}
	callback := e.callback(tx, j)
	if err := e.Insert(tx, j); err != nil {
		return Job{}, err
	}
	return j, e.announceEnd(tx, j, message, callback)
}

// Idle fails with CodeBusy where the subject has a job that has not ended.
func Idle(tx Tx, subject id.Subject) error {
	j, err := tx.ActiveJob(subject)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return &fault.Error{Code: fault.CodeBusy, Message: "another job is active on " + string(subject), Job: j.ID}
}

// CutOff ends a job from outside, because what it works on is to be deleted. The fence goes
// up, so that the worker that has it is refused at its next write and stops. What it did is
// for the delete to remove.
func (e *Engine) CutOff(tx Tx, j Job, message string) error {
	fence := j.Fence
	j.Fence++
	j.Error = &Error{Code: fault.CodeCanceled, Step: j.RunningStep(), Message: message}
	j.UndoSteps()
	if err := j.Move(Canceled, e.Now()); err != nil {
		return err
	}
	callback := e.callback(tx, j)
	if err := e.writeEnd(tx, j, fence); err != nil {
		return err
	}
	if err := e.cancelChildren(tx, j); err != nil {
		return err
	}
	return e.announceEnd(tx, j, message, callback)
}

// Cancel turns a job round: the worker that has it is cut off by a higher fence, and the
// job is taken up again to be rolled back, and its children with it.
func (e *Engine) Cancel(tx Tx, j Job, why string) (Job, error) {
	now, fence := e.Now(), j.Fence
	j.Fence++
	j.giveUp(Error{Code: fault.CodeCanceled, Step: j.RunningStep(), Message: why}, now)
	if err := j.release(now, now); err != nil {
		return Job{}, err
	}
	if err := tx.UpdateJob(j, fence); err != nil {
		return Job{}, err
	}
	e.wake(tx, j)
	return j, e.cancelChildren(tx, j)
}

// writeEnd writes a job that has ended; after the commit those who wait for it are told.
func (e *Engine) writeEnd(tx Tx, j Job, fence int64) error {
	tx.OnCommit(func(context.Context) { e.Bell.Ring(bell.Ring{Kind: RingEnded, ID: string(j.ID)}) })
	if err := tx.UpdateJob(j, fence); err != nil {
		return err
	}
	return e.wakeParent(tx, j)
}

// callback returns the job's callback, with the secret that signs it now: the end of the
// job may be the end of that. Nil: none was asked for.
func (e *Engine) callback(tx Tx, j Job) *event.Callback {
	if j.CallbackURL == "" {
		return nil
	}
	sec, err := e.Kinds.CallbackSecret(tx, j.Subject)
	return &event.Callback{URL: j.CallbackURL, Secret: sec, Err: err}
}

func (e *Engine) announceEnd(tx Tx, j Job, message string, callback *event.Callback) error {
	return e.Events.Announce(tx, event.Announcement{
		Event: event.Event{
			Tenant: j.Tenant, Type: "job." + string(j.State), Subject: j.Subject, Job: j.ID, Message: message, At: j.FinishedAt,
		},
		Snapshot: e.Kinds.Snapshot(tx, j.Subject, j.ID),
		Callback: callback,
	})
}

// Snapshot returns the data of an event about the subject and the job, which may be empty.
// What has gone meanwhile is left out.
func (r *Registry) Snapshot(tx Tx, subject id.Subject, job id.Job) func() ([]event.Part, error) {
	return func() (parts []event.Part, err error) {
		if job != "" {
			j, err := tx.Job(job)
			if err == nil {
				parts = append(parts, snapshotOf(j))
			} else if !errors.Is(err, fault.ErrNotFound) {
				return nil, err
			}
		}
		known, err := r.subject(subject)
		if subject == "" || errors.Is(err, fault.ErrNotFound) {
			return parts, nil
		}
		part, err := known.Snapshot(tx, subject)
		if err == nil {
			parts = append(parts, part)
		}
		return parts, fault.IgnoreNotFound(err)
	}
}

// snapshot is what events tell of a job.
type snapshot struct {
	ID    id.Job         `json:"id"`
	Kind  Kind           `json:"kind"`
	State State          `json:"state"`
	Error *snapshotError `json:"error,omitempty"`
}

type snapshotError struct {
	Code      fault.Code `json:"code"`
	Step      string     `json:"step,omitempty"`
	Message   string     `json:"message"`
	Retryable bool       `json:"retryable"`
}

func snapshotOf(j Job) event.Part {
	s := snapshot{ID: j.ID, Kind: j.Kind, State: j.State}
	if e := j.Error; e != nil && j.State != Succeeded {
		s.Error = &snapshotError{Code: e.Code, Step: e.Step, Message: e.Message, Retryable: e.Retryable}
	}
	return event.Part{Name: "job", Value: s}
}

// deadlineError explains a job that took too long, by what its last attempt failed of,
// where that is known.
func deadlineError(j Job) Error {
	e := Error{Code: fault.CodeDeadline, Step: j.RunningStep(), Retryable: true}
	e.Message = fmt.Sprintf("the job did not end within %s", j.Deadline.Sub(j.CreatedAt).Round(time.Second))
	if last := j.Error; last != nil {
		e.Step = last.Step
		e.Message += "; its last attempt failed: " + last.Message
	}
	return e
}
