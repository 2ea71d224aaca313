package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Reconciler compares what is written with what the hosts have, both ways, and mends
// what differs:
//
//   - an instance that should run and does not is repaired, by a job, on its data;
//   - what a host has of an instance that is deleted, failed or unknown is removed;
//   - ports of such an instance are released once its host has nothing of it.
//
// A host that does not answer is left out: from silence nothing is concluded. Every
// change is made only if the instance is as it was read and has no job, so that the
// reconciler never gets in the way of a worker. Any number of processes may have one;
// a duty lets one of them sweep at a time.
type Reconciler struct {
	Store      Store
	Queue      Queue
	Runtimes   Runtimes
	NewID      NewID
	Now        Clock
	Log        *slog.Logger
	Owner      string
	Every      time.Duration // how often it sweeps
	Grace      time.Duration // what is younger is left alone
	Quarantine time.Duration // how long a freed port rests
	DryRun     bool          // only say what would be done
}

// The settings where the configuration says nothing.
const (
	DefaultReconcileEvery = 10 * time.Second
	DefaultReconcileGrace = time.Minute
)

const (
	reconcileDuty  = "reconcile"
	reconcileBatch = 1000
	// sweepTimeout bounds one sweep of one host.
	sweepTimeout = time.Minute
	// maxOrphans bounds how many one sweep of a host removes; the next goes on.
	maxOrphans = 100
	// listSlack is how much later than a list an instance may have changed, by another
	// machine's clock, for the list still to tell its truth.
	listSlack = 3 * time.Second
)

// RunOnce sweeps every host once, and reports how many things were mended.
func (r *Reconciler) RunOnce(ctx context.Context) (int, error) {
	mine := false
	err := r.Store.Tx(ctx, func(tx Tx) error {
		var err error
		now := r.Now()
		mine, err = tx.TakeDuty(reconcileDuty, r.Owner, now, now.Add(3*r.Every))
		return err
	})
	if err != nil || !mine {
		return 0, err
	}
	hosts, err := r.Store.Hosts(ctx)
	if err != nil {
		return 0, err
	}
	var (
		mended atomic.Int64
		all    sync.WaitGroup
		errs   = make([]error, len(hosts))
	)
	for i, host := range hosts {
		all.Go(func() {
			sweepCtx, cancel := context.WithTimeout(ctx, sweepTimeout)
			defer cancel()
			n, err := r.sweep(sweepCtx, host)
			mended.Add(int64(n))
			if err != nil {
				errs[i] = fmt.Errorf("host %s: %w", host.Name, err)
			}
		})
	}
	all.Wait()
	return int(mended.Load()), errors.Join(errs...)
}

// sweep is one look at one host.
type sweep struct {
	*Reconciler
	host    Host
	runtime Runtime
	began   time.Time
	units   map[InstanceID]Unit // that no row has been found for yet
	seen    map[InstanceID]bool // everything that the host has
	mended  int
	removed int
}

// sweep lists what the host has before it reads the rows. A row is always there before
// anything of its instance is, so nothing in the list can be without a row because it
// is new; and a row that has changed since is left to the next sweep.
func (r *Reconciler) sweep(ctx context.Context, host Host) (int, error) {
	runtime, err := r.Runtimes.Runtime(host)
	if err != nil {
		return 0, err
	}
	s := &sweep{Reconciler: r, host: host, runtime: runtime, began: r.Now(), units: map[InstanceID]Unit{}, seen: map[InstanceID]bool{}}
	units, err := runtime.List(ctx)
	if err != nil {
		return 0, err
	}
	for _, u := range units {
		s.units[u.Instance], s.seen[u.Instance] = u, true
	}
	for _, part := range []func(context.Context) error{s.rows, s.leftOver, s.ports} {
		if err := part(ctx); err != nil {
			return s.mended, err
		}
	}
	return s.mended, nil
}

// rows goes through what should be on the host.
func (s *sweep) rows(ctx context.Context) error {
	for after := InstanceID(""); ; {
		batch, err := s.Store.InstancesOn(ctx, s.host.ID, after, reconcileBatch)
		if err != nil {
			return err
		}
		for _, inst := range batch {
			after = inst.ID
			if err := s.row(ctx, inst); err != nil {
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
	case inst.State == StateFailed && there:
		return s.orphan(ctx, unit, &inst)
	case dead(inst, unit) && s.settled(inst):
		mended, err := s.repair(ctx, inst, ended(unit))
		s.count(mended)
		return err
	}
	return nil
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
			if inst != nil && inst.State != StateDeleted && inst.State != StateFailed {
				continue // it lives on another host, which may be this one under another name
			}
			if err := s.orphan(ctx, s.units[id], inst); err != nil {
				return err
			}
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
