package instance

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
)

// Mender mends what a look at the hosts finds of instances. It implements Residents.
type Mender struct {
	Store      Store
	Hosts      host.Reader
	Runtimes   host.Runtimes
	Jobs       *job.Engine
	Now        clock.Clock
	Log        *slog.Logger
	Quarantine time.Duration // how long a freed port rests
	DryRun     bool          // only say what would be done
}

var _ host.Residents = (*Mender)(nil)

// resident returns the instance as the host room sees it.
func (i *Instance) resident() host.Resident {
	r := host.Resident{ID: host.UnitID(i.ID), State: string(i.State), Fence: i.Fence, Rev: i.Rev, UpdatedAt: i.UpdatedAt}
	switch {
	case i.shouldRun():
		r.Wants = host.WantsServer
	case i.State == StateDeleted:
		r.Wants = host.WantsNothing
	case i.kept() || i.State == StateStopped:
		r.Wants = host.WantsToStay
	case i.State == StateFailed && i.Status.DataLost:
		r.Wants = host.WantsData
	case i.State == StateFailed:
		r.Wants = host.WantsNothing
	}
	return r
}

// roll implements Roll.
type roll struct{ store Reader }

// On implements Roll.
func (r roll) On(ctx context.Context, h host.ID, after host.UnitID, limit int) ([]host.Resident, error) {
	found, err := r.store.InstancesOn(ctx, h, ID(after), limit)
	list := make([]host.Resident, len(found))
	for i := range found {
		list[i] = found[i].resident()
	}
	return list, err
}

// Find implements Roll.
func (r roll) Find(ctx context.Context, units []host.UnitID) (map[host.UnitID]host.Resident, error) {
	ids := make([]ID, len(units))
	for i, unit := range units {
		ids[i] = ID(unit)
	}
	found, err := r.store.InstancesByID(ctx, ids)
	known := make(map[host.UnitID]host.Resident, len(found))
	for i := range found {
		known[host.UnitID(found[i].ID)] = found[i].resident()
	}
	return known, err
}

// On implements Residents.
func (m *Mender) On(ctx context.Context, host host.ID, after host.UnitID, limit int) ([]host.Resident, error) {
	return roll{m.Store}.On(ctx, host, after, limit)
}

// Find implements Residents.
func (m *Mender) Find(ctx context.Context, units []host.UnitID) (map[host.UnitID]host.Resident, error) {
	return roll{m.Store}.Find(ctx, units)
}

// Repair implements Residents.
func (m *Mender) Repair(ctx context.Context, r host.Resident, why string) (bool, error) {
	inst, err := m.Store.Instance(ctx, ID(r.ID))
	if err != nil || inst.Rev != r.Rev {
		return false, fault.IgnoreLostRace(err) // it is not as it was read
	}
	return m.repair(ctx, inst, why)
}

// Idle implements Residents.
func (m *Mender) Idle(ctx context.Context, unit host.UnitID) error {
	return m.Store.Tx(ctx, func(tx Tx) error { return job.Idle(tx, id.Subject(unit)) })
}

// Removed implements Residents.
func (m *Mender) Removed(ctx context.Context, u host.Unit, r *host.Resident, message string) error {
	return m.Store.Tx(ctx, func(tx Tx) error {
		about := Instance{ID: ID(u.ID), Tenant: u.Tenant}
		if r != nil {
			var err error
			if about, err = tx.Instance(about.ID); err != nil {
				return fault.IgnoreLostRace(err)
			}
		}
		return announce(m.Jobs, tx, EventOrphanRemoved, about, "", message, m.Now())
	})
}

// Release implements Residents.
func (m *Mender) Release(ctx context.Context, unit host.UnitID, r *host.Resident, why string) (bool, error) {
	if m.DryRun {
		m.Log.InfoContext(ctx, "dry run: would release ports", "instance", unit, "reason", why)
		return false, nil
	}
	err := m.Store.Tx(ctx, func(tx Tx) error {
		now := m.Now()
		if err := job.Idle(tx, id.Subject(unit)); err != nil {
			return err
		}
		if err := host.GiveBack(tx, host.AllocationFilter{Unit: unit}, now.Add(m.Quarantine)); err != nil || r == nil {
			return err
		}
		inst, err := tx.Instance(ID(unit))
		if err != nil {
			return err
		}
		return announce(m.Jobs, tx, EventPortsReleased, inst, "", "its ports were released: "+why, now)
	})
	if err != nil {
		return false, fault.IgnoreLostRace(err)
	}
	m.Log.WarnContext(ctx, "released ports", "instance", unit, "reason", why)
	return true, nil
}

// Rehome implements Residents.
func (m *Mender) Rehome(ctx context.Context, on host.Host, u host.Unit) (bool, error) {
	rehomed := false
	err := m.Store.Tx(ctx, func(tx Tx) error {
		rehomed = false
		inst, err := tx.Instance(ID(u.ID))
		if errors.Is(err, fault.ErrNotFound) || err == nil && inst.State == StateDeleted {
			return nil
		}
		if err != nil {
			return err
		}
		if inst.Status.Host == on.ID {
			rehomed = true
			return nil
		}
		if _, err := m.Hosts.Host(ctx, inst.Status.Host); !errors.Is(err, fault.ErrNotFound) {
			return err // its own host is another one
		}
		if err := job.Idle(tx, id.Subject(inst.ID)); err != nil {
			return err
		}
		rehomed, inst.Status.Host, inst.Status.Address, inst.UpdatedAt = true, on.ID, on.Advertise, m.Now()
		if err := tx.UpdateInstance(inst); err != nil {
			return err
		}
		if err := host.GiveBack(tx, host.AllocationFilter{Unit: u.ID}, m.Now()); err != nil {
			return err
		}
		for name, port := range u.Ports {
			if err := tx.HoldPort(on.ID, port, u.ID, name); err != nil {
				return err
			}
		}
		return nil
	})
	return rehomed, err
}
