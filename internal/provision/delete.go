package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// Delete accepts the removal of an instance. Delete always wins: a create that is
// still going on is cut off by raising its fence, and the delete cleans up behind
// it. Asked again while it is deleting, it gives the same job.
func (s *Service) Delete(ctx context.Context, tenant tenant.ID, engine string, id InstanceID, callbackURL string) (Accepted, error) {
	if _, err := s.Get(ctx, tenant, engine, id); err != nil {
		return Accepted{}, err
	}
	if wrong := s.checkCallback(ctx, callbackURL); wrong != nil {
		return Accepted{}, fault.Invalid(wrong)
	}
	var accepted Accepted
	err := s.decide(ctx, func(tx Tx) error {
		var err error
		accepted, err = s.beginDelete(tx, id, callbackURL)
		return err
	})
	if err != nil {
		return Accepted{}, err
	}
	return accepted, nil
}

func (s *Service) beginDelete(tx Tx, id InstanceID, callbackURL string) (Accepted, error) {
	now := s.cfg.Now()
	active, err := tx.ActiveJob(id)
	switch {
	case errors.Is(err, fault.ErrNotFound):
	case err != nil:
		return Accepted{}, err
	case active.Kind == JobDelete && callbackURL != "" && callbackURL != active.CallbackURL:
		return Accepted{}, &fault.Error{
			Code: fault.CodeBusy, Job: active.ID, RetryAfter: time.Second,
			Message: fmt.Sprintf("instance %s is being deleted already, without this callback; wait for job %s", id, active.ID),
		}
	case active.Kind == JobDelete:
		inst, err := tx.Instance(id)
		return Accepted{Instance: inst, Job: active}, err
	default:
		if err := s.cutOff(tx, active, now); err != nil {
			return Accepted{}, err
		}
	}
	inst, err := tx.Instance(id)
	if err != nil {
		return Accepted{}, err
	}
	if inst.State == StateDeleted {
		return Accepted{}, gone(inst)
	}
	if err := inst.Move(StateDeleting, "", now); err != nil {
		return Accepted{}, err
	}
	inst.KeptUntil = time.Time{}
	if active.ID != "" {
		inst.Fence = max(inst.Fence, active.Fence) + 1
	}
	job := s.newJob(JobDelete, inst, s.cfg.DeleteDeadline, callbackURL, now)
	if err := tx.UpdateInstance(inst); err != nil {
		return Accepted{}, err
	}
	if err := tx.InsertJob(job); err != nil {
		return Accepted{}, err
	}
	event := newEvent(s.cfg.NewID, EventInstanceDeleting, inst, job.ID, "delete accepted", now)
	return Accepted{Instance: inst, Job: job}, announce(tx, s.cfg.NewID, event)
}

// cutOff ends a job from outside. The fence goes up, so that the worker that has
// it is refused at its next write and stops.
func (s *Service) cutOff(tx Tx, job Job, now time.Time) error {
	fence := job.Fence
	job.Fence++
	job.Error = &JobError{Code: fault.CodeCanceled, Step: runningStep(job), Message: "the instance was deleted while this job was running"}
	job.undoSteps() // by the delete
	if err := job.move(JobCanceled, now); err != nil {
		return err
	}
	if err := tx.UpdateJob(job, fence); err != nil {
		return err
	}
	return endJob(tx, endOf{newID: s.cfg.NewID, vault: s.cfg.Vault, job: job, event: EventJobCanceled, message: job.Error.Message, now: now})
}

func gone(inst Instance) error {
	return fault.Errorf(fault.CodeGone, nil, "instance %s was deleted at %s", inst.ID, inst.DeletedAt.Format(time.RFC3339))
}

func runningStep(job Job) (name string) {
	for _, s := range job.Steps {
		switch {
		case s.State == StepFailed:
			return s.Name
		case s.State != StepDone && name == "":
			name = s.Name
		}
	}
	return name
}
