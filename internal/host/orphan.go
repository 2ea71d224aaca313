package host

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
)

// orphan is what a host has of one that is deleted, failed, or (nil) unknown.
type orphan struct {
	unit     Unit
	resident *Resident
}

// removeTimeout bounds the removal of one orphan. A volume that somebody else uses is not
// let go of, however long one waits.
const removeTimeout = 5 * time.Second

// stuckRetries is how long an orphan that could not be removed is left alone.
var stuckRetries = backoff.Exponential{First: 10 * time.Second, Most: 10 * time.Minute}

// stuck remembers the orphans of a host that could not be removed.
type stuck map[UnitID]stuckOrphan

type stuckOrphan struct {
	times int
	again time.Time
}

// failed has the orphan left alone for a while.
func (s stuck) failed(id UnitID, now time.Time) {
	times := s[id].times + 1
	s[id] = stuckOrphan{times, now.Add(stuckRetries.After(times))}
}

// orphaned notes something to be removed. What is young is left alone: somebody may be
// at it whom we do not see.
func (s *sweep) orphaned(unit Unit, r *Resident) {
	young := s.began.Add(-s.Grace)
	if unit.Created.After(young) || (r != nil && r.UpdatedAt.After(young)) {
		return
	}
	s.orphans = append(s.orphans, orphan{unit, r})
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
		return cmp.Compare(s.stuck[a.unit.ID].times, s.stuck[b.unit.ID].times)
	})
	for _, o := range s.orphans {
		if s.removed >= maxOrphans || ctx.Err() != nil {
			break // the next sweep goes on
		}
		if s.stuck[o.unit.ID].again.After(s.Now()) {
			continue
		}
		if err := s.removeOrphan(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// removeOrphan removes one. What is left of one whose data was lost may be all that there
// is of it: its volume stays.
func (s *sweep) removeOrphan(ctx context.Context, o orphan) error {
	which, fence, why, data := o.unit.ID, o.unit.Fence, "the instance is not known", true
	if r := o.resident; r != nil {
		fence, why, data = max(fence, r.Fence), "the instance is "+r.State, r.Wants != WantsData
	}
	if s.DryRun {
		s.Log.InfoContext(ctx, "dry run: would remove an orphan", "instance", which, "host", s.host.Name, "reason", why)
		return nil
	}
	removeCtx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	// A delete that was asked for just now removes it as well, and says so.
	err := s.Residents.Idle(removeCtx, which)
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
	return s.Residents.Removed(ctx, o.unit, o.resident, "its remains on host "+s.host.Name+" were removed: "+why)
}
