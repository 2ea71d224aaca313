package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// ForceDelete deletes an instance without waiting for its host: the instance is deleted
// when this returns. What its host still has is removed by the reconciler when the host
// answers; until then the instance keeps its ports, so that nobody else is given one
// that its container may still hold. By says who asked, for the record.
func (s *Service) ForceDelete(ctx context.Context, tenant tenant.ID, engine string, id InstanceID, callbackURL, by string) (Accepted, error) {
	if _, err := s.Get(ctx, tenant, engine, id); err != nil {
		return Accepted{}, err
	}
	if wrong := s.checkCallback(ctx, callbackURL); wrong != nil {
		return Accepted{}, fault.Invalid(wrong)
	}
	var accepted Accepted
	err := s.decide(ctx, func(tx Tx) error {
		var err error
		accepted, err = s.forceDelete(tx, id, callbackURL, by)
		return err
	})
	if err != nil {
		return Accepted{}, err
	}
	s.cfg.Log.WarnContext(ctx, "instance deleted by force", "instance", id, "tenant", tenant, "by", by, "host", accepted.Instance.Host, "job", accepted.Job.ID)
	return accepted, nil
}

func (s *Service) forceDelete(tx Tx, id InstanceID, callbackURL, by string) (Accepted, error) {
	now := s.cfg.Now()
	active, err := tx.ActiveJob(id)
	if err == nil {
		err = s.cutOff(tx, active, now)
	}
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return Accepted{}, err
	}
	inst, err := tx.Instance(id)
	if err != nil {
		return Accepted{}, err
	}
	was := inst.State
	if was == StateDeleted {
		return Accepted{}, gone(inst)
	}
	if was != StateDeleting {
		if err := inst.Move(StateDeleting, "", now); err != nil {
			return Accepted{}, err
		}
	}
	reason := "deleted by force; what is left on its host is removed when the host answers"
	if err := inst.Move(StateDeleted, reason, now); err != nil {
		return Accepted{}, err
	}
	inst.Fence = max(inst.Fence, active.Fence) + 1 // above whoever is still at it
	if err := tx.UpdateInstance(inst); err != nil {
		return Accepted{}, err
	}
	message := fmt.Sprintf("deleted by force by %s while it was %s; its ports stay reserved until its host has nothing of it", by, was)
	job, err := s.forcedJob(tx, inst, callbackURL, message, now)
	if err != nil {
		return Accepted{}, err
	}
	for _, kind := range []string{EventInstanceDeleteForced, EventInstanceDeleted} {
		if err := announce(tx, s.cfg.NewID, newEvent(s.cfg.NewID, kind, inst, job.ID, message, now)); err != nil {
			return Accepted{}, err
		}
	}
	if err := tx.EndWatch(id); err != nil {
		return Accepted{}, err
	}
	return Accepted{Instance: inst, Job: job}, tx.DeleteCredentials(id)
}

// forcedJob writes the delete as a job that has ended, so that whoever asks for jobs or
// callbacks sees a delete like any other.
func (s *Service) forcedJob(tx Tx, inst Instance, callbackURL, message string, now time.Time) (Job, error) {
	job := s.newJob(JobDelete, inst, s.cfg.DeleteDeadline, callbackURL, now)
	job.Fence = inst.Fence
	for i := range job.Steps {
		job.Steps[i].Detail = "left to the reconciler"
	}
	for _, state := range []JobState{JobRunning, JobSucceeded} {
		if err := job.move(state, now); err != nil {
			return Job{}, err
		}
	}
	if err := tx.InsertJob(job); err != nil {
		return Job{}, err
	}
	err := endJob(tx, endOf{newID: s.cfg.NewID, vault: s.cfg.Vault, job: job, event: EventJobSucceeded, message: message, now: now})
	return job, err
}
