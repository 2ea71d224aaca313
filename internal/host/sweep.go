package host

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
	units   map[UnitID]Unit // that no row has been found for yet
	seen    map[UnitID]bool // everything that the host has
	missing []Resident      // whose data the host does not have
	orphans []orphan
	stuck   stuck
	mended  int
	removed int
}

// sweep lists what the host has before it reads the rows. A row is always there before
// anything of its unit is, so nothing in the list can be without a row because it
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
		units: map[UnitID]Unit{}, seen: map[UnitID]bool{},
	}
	units, err := runtime.List(ctx)
	if err != nil {
		return 0, err
	}
	for _, u := range units {
		s.units[u.ID], s.seen[u.ID] = u, true
	}
	believed, err := s.rows(ctx)
	if err != nil || !believed {
		return s.mended, err
	}
	for _, part := range []func(context.Context) error{s.leftOver, s.ports, s.settleBooks, s.removeOrphans} {
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
	err := eachOn(ctx, s.Residents, s.host.ID, func(r Resident) error {
		if r.Wants == WantsServer {
			expected++
		}
		return s.row(ctx, r)
	})
	if err != nil {
		return false, err
	}
	believed, err := s.believed(ctx, expected)
	if err != nil || !believed {
		return false, err
	}
	for _, r := range s.missing {
		if err := s.repair(ctx, r, "its data is gone"); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s *sweep) row(ctx context.Context, r Resident) error {
	unit, there := s.units[r.ID]
	delete(s.units, r.ID)
	switch {
	case r.Wants == WantsData && unit.Volume && s.settled(r):
		return s.repair(ctx, r, "its data is back")
	case r.Wants == WantsData || r.Wants == WantsNothing:
		if there {
			s.orphaned(unit, &r)
		}
	case r.Wants != WantsServer || unit.Running || !s.settled(r):
	case unit.Volume:
		return s.repair(ctx, r, s.ended(ctx, unit))
	default:
		s.missing = append(s.missing, r)
	}
	return nil
}

func (s *sweep) repair(ctx context.Context, r Resident, why string) error {
	begun, err := s.Residents.Repair(ctx, r, why)
	s.count(begun)
	return err
}

// ended describes a unit that does not run. A list does not tell whether one that was
// killed had run out of memory.
func (s *sweep) ended(ctx context.Context, unit Unit) string {
	if unit.ExitCode == Killed && unit.Container {
		if seen, err := s.runtime.Inspect(ctx, unit.ID); err == nil && !seen.Running {
			unit = seen
		}
	}
	return unit.Ending()
}

// settled reports whether the list of this sweep is newer than the resident's state.
func (s *sweep) settled(r Resident) bool { return r.UpdatedAt.Before(s.began.Add(-listSlack)) }

// leftOver goes through what the host has and no living row of it has claimed.
func (s *sweep) leftOver(ctx context.Context) error {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(s.units)), reconcileBatch) {
		known, err := s.Residents.Find(ctx, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			r, ok := known[id]
			switch {
			case !ok && s.host.TakenOver:
				// It was there before this pool knew of it: an operator decides.
			case !ok:
				s.orphaned(s.units[id], nil)
			case r.Wants == WantsNothing:
				s.orphaned(s.units[id], &r)
			} // else it lives on another host, which may be this one under another name
		}
	}
	return nil
}

// ports releases what is held for those that the host has nothing of.
func (s *sweep) ports(ctx context.Context) error {
	for after := UnitID(""); ; {
		ids, err := s.Store.Stranded(ctx, s.host.ID, after, reconcileBatch)
		if err != nil {
			return err
		}
		known, err := s.Residents.Find(ctx, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			after = id
			if s.seen[id] {
				continue
			}
			var resident *Resident
			if r, ok := known[id]; ok {
				if resident = &r; r.Wants == WantsToStay || !s.settled(r) {
					continue
				}
			}
			released, err := s.Residents.Release(ctx, id, resident, "nothing of it remains on host "+s.host.Name)
			if err != nil {
				return err
			}
			s.count(released)
		}
		if len(ids) < reconcileBatch {
			return nil
		}
	}
}

// settleBooks makes good what workers of earlier releases leave out, who keep no books.
func (s *sweep) settleBooks(ctx context.Context) error {
	if s.DryRun {
		return nil
	}
	mended, err := (&books{store: s.Store, now: s.Now, log: s.Log}).settle(ctx, s.host)
	for _, what := range mended {
		s.Log.WarnContext(ctx, "the books of a host were not right", "host", s.host.Name, "what", what)
	}
	return err
}

func (s *sweep) count(mended bool) {
	if mended {
		s.mended++
	}
}
