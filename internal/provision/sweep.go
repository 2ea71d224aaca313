package provision

import (
	"context"
	"maps"
	"slices"
	"time"
)

// sweep is one look at one host.
type sweep struct {
	*Reconciler
	host    Host
	runtime Runtime
	began   time.Time
	units   map[InstanceID]Unit // that no row has been found for yet
	seen    map[InstanceID]bool // everything that the host has
	missing []Instance          // whose data the host does not have
	orphans []orphan
	stuck   stuck
	mended  int
	removed int
}

// sweep lists what the host has before it reads the rows. A row is always there before
// anything of its instance is, so nothing in the list can be without a row because it
// is new; and a row that has changed since is left to the next sweep.
//
// What helps somebody comes before what only tidies up, and what may take long comes
// last: repairs, then ports, then removals.
func (r *Reconciler) sweep(ctx context.Context, host Host, memory *hostSweeps) (int, error) {
	runtime, err := r.Runtimes.Runtime(host)
	if err != nil {
		return 0, err
	}
	s := &sweep{
		Reconciler: r, host: host, runtime: runtime, began: r.Now(), stuck: memory.stuck,
		units: map[InstanceID]Unit{}, seen: map[InstanceID]bool{},
	}
	units, err := runtime.List(ctx)
	if err != nil {
		return 0, err
	}
	for _, u := range units {
		s.units[u.Instance], s.seen[u.Instance] = u, true
	}
	believed, err := s.rows(ctx)
	if err != nil || !believed {
		return s.mended, err
	}
	for _, part := range []func(context.Context) error{s.leftOver, s.ports, s.removeOrphans} {
		if err := part(ctx); err != nil {
			return s.mended, err
		}
	}
	if s.removed > 0 && ctx.Err() == nil {
		err = s.ports(ctx) // of what has just been removed
	}
	return s.mended, err
}

// rows goes through what should be on the host. It reports whether the host can be
// believed in what it does not have.
func (s *sweep) rows(ctx context.Context) (bool, error) {
	expected := 0
	err := eachOn(ctx, s.Store, s.host.ID, func(inst Instance) error {
		if inst.shouldRun() {
			expected++
		}
		return s.row(ctx, inst)
	})
	if err != nil {
		return false, err
	}
	believed, err := s.believed(ctx, expected)
	if err != nil || !believed {
		return false, err
	}
	for _, inst := range s.missing {
		if err := s.mend(ctx, inst, "its data is gone"); err != nil {
			return false, err
		}
	}
	return true, nil
}

// eachOn goes through the instances of the host that are not deleted.
func eachOn(ctx context.Context, store Store, host HostID, do func(Instance) error) error {
	for after := InstanceID(""); ; {
		batch, err := store.InstancesOn(ctx, host, after, reconcileBatch)
		if err != nil {
			return err
		}
		for _, inst := range batch {
			after = inst.ID
			if err := do(inst); err != nil {
				return err
			}
		}
		if len(batch) < reconcileBatch {
			return nil
		}
	}
}

func (s *sweep) row(ctx context.Context, inst Instance) error {
	unit, there := s.units[inst.ID]
	delete(s.units, inst.ID)
	switch {
	case inst.State == StateFailed && inst.DataLost && unit.Volume && s.settled(inst):
		return s.mend(ctx, inst, "its data is there again")
	case inst.State == StateFailed && there:
		s.orphaned(unit, &inst)
	case !dead(inst, unit) || !s.settled(inst):
	case unit.Volume:
		return s.mend(ctx, inst, s.ended(ctx, unit))
	default:
		s.missing = append(s.missing, inst)
	}
	return nil
}

func (s *sweep) mend(ctx context.Context, inst Instance, why string) error {
	mended, err := s.repair(ctx, inst, why)
	s.count(mended)
	return err
}

// ended describes a unit that does not run. A list does not tell whether one that was
// killed had run out of memory.
func (s *sweep) ended(ctx context.Context, unit Unit) string {
	if unit.ExitCode == killed && unit.Container {
		if seen, err := s.runtime.Inspect(ctx, unit.Instance); err == nil && !seen.Running {
			unit = seen
		}
	}
	return ended(unit)
}

// settled reports whether the list of this sweep is newer than the instance's state.
func (s *sweep) settled(inst Instance) bool { return inst.UpdatedAt.Before(s.began.Add(-listSlack)) }

// leftOver goes through what the host has and no living row of it has claimed.
func (s *sweep) leftOver(ctx context.Context) error {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(s.units)), reconcileBatch) {
		found, err := s.Store.InstancesByID(ctx, ids)
		if err != nil {
			return err
		}
		rows := map[InstanceID]*Instance{}
		for i := range found {
			rows[found[i].ID] = &found[i]
		}
		for _, id := range ids {
			inst := rows[id]
			if inst != nil && inst.State != StateDeleted && (inst.State != StateFailed || inst.DataLost) {
				continue // it lives on another host, which may be this one under another name
			}
			s.orphaned(s.units[id], inst)
		}
	}
	return nil
}

// ports releases what is held for instances that the host has nothing of.
func (s *sweep) ports(ctx context.Context) error {
	for after := InstanceID(""); ; {
		ids, err := s.Store.StrandedPorts(ctx, s.host.ID, after, reconcileBatch)
		if err != nil {
			return err
		}
		found, err := s.Store.InstancesByID(ctx, ids)
		if err != nil {
			return err
		}
		known := map[InstanceID]*Instance{}
		for i := range found {
			known[found[i].ID] = &found[i]
		}
		for _, id := range ids {
			after = id
			inst := known[id]
			if s.seen[id] || (inst != nil && (inst.kept() || !s.settled(*inst))) {
				continue
			}
			mended, err := s.releasePorts(ctx, id, inst, "nothing of it is left on host "+s.host.Name)
			if err != nil {
				return err
			}
			s.count(mended)
		}
		if len(ids) < reconcileBatch {
			return nil
		}
	}
}

func (s *sweep) count(mended bool) {
	if mended {
		s.mended++
	}
}
