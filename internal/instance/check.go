package instance

import (
	"context"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
)

// Check implements Residents. It is for news of the host; a sweep never asks for single
// instances.
func (m *Mender) Check(ctx context.Context, of host.UnitID) (bool, error) {
	which := ID(of)
	inst, err := m.Store.Instance(ctx, which)
	if err != nil || !dead(inst, host.Unit{}) {
		return false, fault.IgnoreLostRace(err)
	}
	if _, err := m.Store.ActiveJob(ctx, id.Subject(which)); err == nil {
		return false, nil // whoever has it sees for himself
	}
	h, err := m.Hosts.Host(ctx, inst.Status.Host)
	if err != nil {
		return false, fault.IgnoreLostRace(err)
	}
	runtime, err := m.Runtimes.Runtime(h)
	if err != nil {
		return false, err
	}
	unit, err := runtime.Inspect(ctx, host.UnitID(which))
	if err = fault.IgnoreLostRace(err); err != nil {
		return false, err
	}
	if dead(inst, unit) {
		return m.repair(ctx, inst, unit.Ending())
	}
	if err := m.restarted(ctx, inst, runtime, unit); err != nil {
		return false, err
	}
	return false, m.probeNow(ctx, which)
}

// restarted says that a server has ended that runs again by now: somebody started it, or
// its host did, as earlier versions told it to. From here on ends are for the reconciler.
func (m *Mender) restarted(ctx context.Context, inst Instance, runtime host.Runtime, unit host.Unit) error {
	if unit.Ended.IsZero() || m.DryRun {
		return nil
	}
	if err := fault.IgnoreLostRace(runtime.Settle(ctx, host.UnitID(inst.ID), inst.Fence)); err != nil {
		return err
	}
	return fault.IgnoreLostRace(m.Store.Tx(ctx, func(tx Tx) error {
		watch, err := tx.Watch(inst.ID)
		if err != nil || !unit.Ended.After(watch.EndedAt) {
			return err // another process has said so
		}
		watch.EndedAt = unit.Ended
		if err := tx.UpdateWatch(watch); err != nil {
			return err
		}
		message := "its server ended and was restarted by something other than Berth"
		return announce(m.Jobs, tx, EventRestarted, inst, "", message, m.Now())
	}))
}

// probeNow has the health watch look at the instance at once.
func (m *Mender) probeNow(ctx context.Context, id ID) error {
	return fault.IgnoreLostRace(m.Store.Tx(ctx, func(tx Tx) error {
		watch, err := tx.Watch(id)
		if err != nil {
			return err
		}
		watch.ProbeAt = m.Now()
		return tx.UpdateWatch(watch)
	}))
}
