package instance

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

// ForceDelete deletes an instance without waiting for its host: the instance is deleted
// when this returns. What its host still has is removed by the reconciler when the host
// answers; until then the instance keeps its ports, so that nobody else is given one
// that its container may still hold.
func (s *Service) ForceDelete(ctx context.Context, p tenant.Principal, engine string, id ID, callbackURL string) (Accepted, error) {
	if err := p.May(tenant.Change); err != nil {
		return Accepted{}, err
	}
	if _, err := s.Get(ctx, p, engine, id); err != nil {
		return Accepted{}, err
	}
	if wrong := s.checkCallback(ctx, callbackURL); wrong != nil {
		return Accepted{}, fault.Invalid(wrong)
	}
	by, accepted := p.String(), Accepted{}
	err := s.decide(ctx, func(tx Tx) error {
		var err error
		if accepted, err = s.forceDelete(tx, id, callbackURL, by); err != nil {
			return err
		}
		return s.note(tx, p, tenant.Deed{
			Action: tenant.ActInstanceForceDelete, On: string(id), Job: accepted.Job.ID, Detail: fmt.Sprintf("name %s, host %s", accepted.Instance.Name, accepted.Instance.Status.Host),
		})
	})
	if err != nil {
		return Accepted{}, err
	}
	s.cfg.Log.WarnContext(ctx, "instance deleted by force", "instance", id, "tenant", p.Tenant, "by", by, "host", accepted.Instance.Status.Host, "job", accepted.Job.ID)
	return accepted, nil
}

func (s *Service) forceDelete(tx Tx, which ID, callbackURL, by string) (Accepted, error) {
	now := s.cfg.Now()
	active, err := tx.ActiveJob(id.Subject(which))
	if err == nil {
		err = s.jobs.CutOff(tx, active, cutOffMessage)
	}
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return Accepted{}, err
	}
	inst, err := tx.Instance(which)
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
	reason := "deleted by force; its container and volume are removed once the host responds"
	if err := inst.Move(StateDeleted, reason, now); err != nil {
		return Accepted{}, err
	}
	inst.Fence = max(inst.Fence, active.Fence) + 1 // above whoever is still at it
	if err := tx.UpdateInstance(inst); err != nil {
		return Accepted{}, err
	}
	message := fmt.Sprintf("deleted by force by %s while it was %s; its ports stay reserved until its container is removed", by, was)
	j, err := newJob(s.jobs, JobDelete, "", inst, s.cfg.DeleteDeadline, callbackURL)
	if err != nil {
		return Accepted{}, err
	}
	j.Fence = inst.Fence
	for i := range j.Steps {
		j.Steps[i].Detail = "left to the reconciler"
	}
	if j, err = s.jobs.InsertEnded(tx, j, message); err != nil {
		return Accepted{}, err
	}
	for _, kind := range []string{EventDeleteForced, EventDeleted} {
		if err := announce(s.jobs, tx, kind, inst, j.ID, message, now); err != nil {
			return Accepted{}, err
		}
	}
	if err := tx.EndWatch(which); err != nil {
		return Accepted{}, err
	}
	return Accepted{Instance: inst, Job: j}, tx.DeleteCredentials(which)
}
