package instance

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
)

// remove is the one way into a delete: the instance goes to deleting, with a job. The
// instance has no other job, or one that the caller has cut off, above whose fence it is.
func remove(e *job.Engine, tx Tx, inst Instance, limit time.Duration, callbackURL string) (Accepted, error) {
	now := e.Now()
	if err := inst.Move(StateDeleting, "", now); err != nil {
		return Accepted{}, err
	}
	inst.KeptUntil = time.Time{}
	j, err := newJob(e, JobDelete, "", inst, limit, callbackURL)
	if err != nil {
		return Accepted{}, err
	}
	if err := tx.UpdateInstance(inst); err != nil {
		return Accepted{}, err
	}
	if err := e.Insert(tx, j); err != nil {
		return Accepted{}, err
	}
	return Accepted{Instance: inst, Job: j}, announce(e, tx, EventDeleting, inst, j.ID, "delete accepted", now)
}

// retire has a warm instance deleted, or one that was to become warm and has failed.
// Nothing happens where it is no such instance any more.
func retire(e *job.Engine, tx Tx, warm ID) error {
	inst, err := tx.Instance(warm)
	if err != nil {
		return err
	}
	if !inst.Stock() || (inst.State != StateWarm && inst.State != StateFailed) {
		return fault.ErrConflict
	}
	if err := job.Idle(tx, id.Subject(warm)); err != nil {
		return err
	}
	_, err = remove(e, tx, inst, DefaultDeleteDeadline, "")
	return err
}

// keptBatch limits what one look of RemoveKept takes on.
const keptBatch = 100

// RemoveKept accepts the deletion of failed instances whose time for inspection is over,
// and reports how many.
func (s *Service) RemoveKept(ctx context.Context) (int, error) {
	over, err := s.cfg.Store.KeptInstances(ctx, s.cfg.Now(), keptBatch)
	if err != nil {
		return 0, err
	}
	for n, kept := range over {
		err := s.decide(ctx, func(tx Tx) error {
			inst, err := tx.Instance(kept)
			if err != nil || inst.KeptUntil.IsZero() || inst.State != StateFailed {
				return err // somebody else was faster
			}
			_, _, err = s.beginDelete(tx, kept, "")
			return err
		})
		if err != nil {
			return n, fmt.Errorf("remove the kept %s: %w", kept, err)
		}
	}
	return len(over), nil
}
