package provision

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
)

// orphan is what a host has of an instance that is deleted, failed, or (nil) unknown.
type orphan struct {
	unit Unit
	inst *Instance
}

const (
	// removeTimeout bounds the removal of one orphan. A volume that somebody else uses
	// is not let go of, however long one waits.
	removeTimeout = 5 * time.Second
	// One that could not be removed is left alone for firstStuckPause, and twice as long
	// every further time.
	firstStuckPause = 10 * time.Second
	lastStuckPause  = 10 * time.Minute
)

// stuck remembers the orphans of a host that could not be removed.
type stuck map[InstanceID]stuckOrphan

type stuckOrphan struct {
	times int
	again time.Time
}

// failed has the orphan left alone for a while.
func (s stuck) failed(id InstanceID, now time.Time) {
	times := s[id].times + 1
	s[id] = stuckOrphan{times, now.Add(min(firstStuckPause<<min(times-1, 10), lastStuckPause))}
}

// orphaned notes something to be removed. What is young is left alone: somebody may be
// at it whom we do not see.
func (s *sweep) orphaned(unit Unit, inst *Instance) {
	if inst != nil && inst.kept() {
		return
	}
	young := s.began.Add(-s.Grace)
	if unit.Created.After(young) || (inst != nil && inst.UpdatedAt.After(young)) {
		return
	}
	s.orphans = append(s.orphans, orphan{unit, inst})
}

// removeOrphans removes as many as it can, those first that have not failed before: none
// must keep another from being removed.
func (s *sweep) removeOrphans(ctx context.Context) error {
	for id := range s.stuck {
		if !s.seen[id] {
			delete(s.stuck, id)
		}
	}
	slices.SortStableFunc(s.orphans, func(a, b orphan) int {
		return cmp.Compare(s.stuck[a.unit.Instance].times, s.stuck[b.unit.Instance].times)
	})
	for _, o := range s.orphans {
		if s.removed >= maxOrphans || ctx.Err() != nil {
			break // the next sweep goes on
		}
		if s.stuck[o.unit.Instance].again.After(s.Now()) {
			continue
		}
		if err := s.removeOrphan(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// removeOrphan removes one. What is left of an instance whose data was lost may be all
// that there is of it: its volume stays.
func (s *sweep) removeOrphan(ctx context.Context, o orphan) error {
	which, fence, why, data := o.unit.Instance, o.unit.Fence, "the instance is not known", true
	if o.inst != nil {
		fence, why, data = max(fence, o.inst.Fence), "the instance is "+string(o.inst.State), !o.inst.DataLost || o.inst.State == StateDeleted
	}
	if s.DryRun {
		s.Log.InfoContext(ctx, "dry run: would remove an orphan", "instance", which, "host", s.host.Name, "reason", why)
		return nil
	}
	removeCtx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	// A delete that was asked for just now removes it as well, and says so.
	err := s.Store.Tx(removeCtx, func(tx Tx) error { return job.Idle(tx, id.Subject(which)) })
	if err == nil {
		err = s.runtime.Remove(removeCtx, which, fence, data)
	}
	if err != nil {
		if fault.IgnoreLostRace(err) != nil && ctx.Err() == nil {
			s.stuck.failed(which, s.Now())
			s.Log.WarnContext(ctx, "an orphan could not be removed", "instance", which, "host", s.host.Name, "error", err,
				"again", s.stuck[which].again.Format(time.RFC3339))
		}
		return nil // the others must not wait for this one
	}
	s.removed++
	s.count(true)
	delete(s.seen, which)
	delete(s.stuck, which)
	s.Log.WarnContext(ctx, "removed an orphan", "instance", which, "host", s.host.Name, "container", o.unit.Container, "volume", o.unit.Volume, "reason", why)
	about := Instance{ID: which, Tenant: o.unit.Tenant}
	if o.inst != nil {
		about = *o.inst
	}
	message := "what host " + s.host.Name + " still had of it was removed: " + why
	return s.Store.Tx(ctx, func(tx Tx) error {
		return announce(s.Jobs, tx, EventInstanceOrphanRemoved, about, "", message, s.Now())
	})
}

// releasePorts puts the ports of an instance to rest that is deleted, failed or
// unknown (nil).
func (r *Reconciler) releasePorts(ctx context.Context, which InstanceID, inst *Instance, why string) (bool, error) {
	if r.DryRun {
		r.Log.InfoContext(ctx, "dry run: would release ports", "instance", which, "reason", why)
		return false, nil
	}
	err := r.Store.Tx(ctx, func(tx Tx) error {
		now := r.Now()
		if err := job.Idle(tx, id.Subject(which)); err != nil {
			return err
		}
		if err := tx.RestPorts(which, now.Add(r.Quarantine)); err != nil || inst == nil {
			return err
		}
		return announce(r.Jobs, tx, EventInstancePortsReleased, *inst, "", "its ports were released: "+why, now)
	})
	if err != nil {
		return false, fault.IgnoreLostRace(err)
	}
	r.Log.WarnContext(ctx, "released ports", "instance", which, "reason", why)
	return true, nil
}
