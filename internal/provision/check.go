package provision

import (
	"context"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
)

// Check looks at one instance that is said to have ended, and reports whether a repair
// was begun. It is for news of the host; a sweep never asks for single instances.
func (r *Reconciler) Check(ctx context.Context, which InstanceID) (bool, error) {
	inst, err := r.Store.Instance(ctx, which)
	if err != nil || !dead(inst, Unit{}) {
		return false, fault.IgnoreLostRace(err)
	}
	if _, err := r.Store.ActiveJob(ctx, id.Subject(which)); err == nil {
		return false, nil // whoever has it sees for himself
	}
	host, err := r.Store.Host(ctx, inst.Host)
	if err != nil {
		return false, fault.IgnoreLostRace(err)
	}
	runtime, err := r.Runtimes.Runtime(host)
	if err != nil {
		return false, err
	}
	unit, err := runtime.Inspect(ctx, which)
	if err = fault.IgnoreLostRace(err); err != nil {
		return false, err
	}
	if dead(inst, unit) {
		return r.repair(ctx, inst, ended(unit))
	}
	if err := r.restarted(ctx, inst, runtime, unit); err != nil {
		return false, err
	}
	return false, r.probeNow(ctx, which)
}

// restarted says that a server has ended that runs again by now: somebody started it, or
// its host did, as earlier versions told it to. From here on ends are for the reconciler.
func (r *Reconciler) restarted(ctx context.Context, inst Instance, runtime Runtime, unit Unit) error {
	if unit.Ended.IsZero() || r.DryRun {
		return nil
	}
	if err := fault.IgnoreLostRace(runtime.Settle(ctx, inst.ID, inst.Fence)); err != nil {
		return err
	}
	return fault.IgnoreLostRace(r.Store.Tx(ctx, func(tx Tx) error {
		watch, err := tx.Watch(inst.ID)
		if err != nil || !unit.Ended.After(watch.EndedAt) {
			return err // another process has said so
		}
		watch.EndedAt = unit.Ended
		if err := tx.UpdateWatch(watch); err != nil {
			return err
		}
		message := "its server had ended and was started again, not by Berth"
		return announce(r.Jobs, tx, EventInstanceRestarted, inst, "", message, r.Now())
	}))
}

// probeNow has the health watch look at the instance at once.
func (r *Reconciler) probeNow(ctx context.Context, id InstanceID) error {
	return fault.IgnoreLostRace(r.Store.Tx(ctx, func(tx Tx) error {
		watch, err := tx.Watch(id)
		if err != nil {
			return err
		}
		watch.ProbeAt = r.Now()
		return tx.UpdateWatch(watch)
	}))
}
