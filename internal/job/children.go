package job

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// childPoll is when a job that waits for its children is looked at again, unless one of
// them wakes it as it ends.
const childPoll = 5 * time.Second

// awaiting says that a job has nothing to do until its children have ended. It is no
// failure: the worker is given back.
type awaiting struct{ live int }

func (a awaiting) Error() string {
	if a.live == 1 {
		return "waiting for a job that it started"
	}
	return fmt.Sprintf("waiting for %d jobs that it started", a.live)
}

// childFailed is the failure of a child, after which trying the parent again makes no
// sense: the child has been tried as often as that helps.
type childFailed struct{ err error }

func (c childFailed) Error() string { return c.err.Error() }

func (c childFailed) Unwrap() error { return c.err }

// Children runs other jobs as a part of the step that calls it, which returns whatever it
// returns. start is called once for the step, in a transaction: it makes the jobs' subjects
// and returns the jobs, which New has made. While they have not ended, the worker is given
// back; the step runs again when they have. A child that did not succeed fails the job.
// Cancelling the job, its deadline and its rollback reach the children.
func (r *Run) Children(ctx context.Context, stepName string, start func(Tx) ([]Job, error)) error {
	var mine []Job
	err := r.Save(ctx, func(tx Tx) error {
		all, err := tx.ChildJobs(r.claim.Job)
		if err != nil {
			return err
		}
		mine = slices.DeleteFunc(all, func(c Job) bool { return c.ParentStep != stepName })
		if len(mine) > 0 {
			return nil
		}
		if mine, err = start(tx); err != nil {
			return err
		}
		for i := range mine {
			c := &mine[i]
			c.Parent, c.ParentStep, c.Tenant = r.claim.Job, stepName, r.job.Tenant
			if r.job.Deadline.Before(c.Deadline) {
				c.Deadline = r.job.Deadline
			}
			if err := r.runner.Insert(tx, *c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	live := 0
	for _, c := range mine {
		if !c.State.Ended() {
			live++
		}
	}
	if live > 0 {
		return awaiting{live}
	}
	var failed []string
	var first *Error
	for _, c := range mine {
		if c.State != Succeeded {
			failed = append(failed, fmt.Sprintf("%s of %s: %s", c.Kind, c.Subject, c.Error.Message))
			if first == nil {
				first = c.Error
			}
		}
	}
	if first == nil {
		return nil
	}
	return childFailed{fault.Errorf(first.Code, nil, "%s", strings.Join(failed, "; "))}
}

// cancelChildren cancels what has not ended of what the job has started. A child that may
// not be canceled goes on to its own end.
func (e *Engine) cancelChildren(tx Tx, parent Job) error {
	children, err := tx.ChildJobs(parent.ID)
	if err != nil {
		return err
	}
	for _, c := range children {
		def, err := e.Kinds.find(c.Kind)
		if err != nil {
			return err
		}
		if c.State.Ended() || c.Undoing || !def.cancelable {
			continue
		}
		if _, err := e.Cancel(tx, c, fmt.Sprintf("job %s, which started this one, was stopped", parent.ID)); err != nil {
			return err
		}
	}
	return nil
}

// wakeParent has a worker look at the job that has started this one, which may wait for it.
func (e *Engine) wakeParent(tx Tx, j Job) error {
	if j.Parent == "" {
		return nil
	}
	parent, err := tx.Job(j.Parent)
	if err == nil && !parent.State.Ended() {
		e.wake(tx, parent)
	}
	return fault.IgnoreNotFound(err)
}

// stopChildren cancels the children of a job that is rolled back, and has it wait for their
// end: what they made is removed before what they were made upon.
func (r *Run) stopChildren(ctx context.Context) error {
	live := 0
	err := r.Save(ctx, func(tx Tx) error {
		children, err := tx.ChildJobs(r.claim.Job)
		if err != nil {
			return err
		}
		live = 0
		for _, c := range children {
			if !c.State.Ended() {
				live++
			}
		}
		if live == 0 {
			return nil
		}
		return r.runner.cancelChildren(tx, r.job)
	})
	if err == nil && live > 0 {
		return awaiting{live}
	}
	return err
}
