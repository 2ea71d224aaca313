package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

// Delete accepts the removal of an instance. Delete always wins: a create that is
// still going on is cut off by raising its fence, and the delete cleans up behind
// it. Asked again while it is deleting, it gives the same job.
func (s *Service) Delete(ctx context.Context, p tenant.Principal, engine string, id ID, callbackURL string) (Accepted, error) {
	if err := p.May(tenant.Change); err != nil {
		return Accepted{}, err
	}
	if _, err := s.Get(ctx, p, engine, id); err != nil {
		return Accepted{}, err
	}
	if wrong := s.checkCallback(ctx, callbackURL); wrong != nil {
		return Accepted{}, fault.Invalid(wrong)
	}
	var accepted Accepted
	err := s.decide(ctx, func(tx Tx) error {
		var err error
		var began bool
		if accepted, began, err = s.beginDelete(tx, id, callbackURL); err != nil || !began {
			return err
		}
		return s.note(tx, p, tenant.Deed{Action: tenant.ActInstanceDelete, On: string(id), Job: accepted.Job.ID, Detail: "name " + accepted.Instance.Name})
	})
	if err != nil {
		return Accepted{}, err
	}
	return accepted, nil
}

// beginDelete also reports whether this began it: it may be under way already.
func (s *Service) beginDelete(tx Tx, which ID, callbackURL string) (a Accepted, began bool, err error) {
	active, err := tx.ActiveJob(id.Subject(which))
	switch {
	case errors.Is(err, fault.ErrNotFound):
	case err != nil:
		return Accepted{}, false, err
	case active.Kind == JobDelete && callbackURL != "" && callbackURL != active.CallbackURL:
		return Accepted{}, false, &fault.Error{
			Code: fault.CodeBusy, Job: active.ID, RetryAfter: time.Second,
			Message: fmt.Sprintf("instance %s is already being deleted with another callback_url, or none; wait for job %s", which, active.ID),
		}
	case active.Kind == JobDelete:
		inst, err := tx.Instance(which)
		return Accepted{Instance: inst, Job: active}, false, err
	default:
		if err := s.jobs.CutOff(tx, active, cutOffMessage); err != nil {
			return Accepted{}, false, err
		}
	}
	inst, err := tx.Instance(which)
	if err != nil {
		return Accepted{}, false, err
	}
	if inst.State == StateDeleted {
		return Accepted{}, false, gone(inst)
	}
	if active.ID != "" {
		inst.Fence = max(inst.Fence, active.Fence) + 1
	}
	a, err = remove(s.jobs, tx, inst, s.cfg.DeleteDeadline, callbackURL)
	return a, true, err
}

const cutOffMessage = "the instance was deleted while this job was running"

func gone(inst Instance) error {
	return fault.Errorf(fault.CodeGone, nil, "instance %s was deleted at %s", inst.ID, inst.DeletedAt.Format(time.RFC3339))
}
