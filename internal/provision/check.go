package provision

import "context"

// Check looks at one instance that is said to have ended, and reports whether a repair
// was begun. It is for news of the host; a sweep never asks for single instances.
func (r *Reconciler) Check(ctx context.Context, id InstanceID) (bool, error) {
	inst, err := r.Store.Instance(ctx, id)
	if err != nil || !dead(inst, Unit{}) {
		return false, overtaken(err)
	}
	if _, err := r.Store.ActiveJob(ctx, id); err == nil {
		return false, nil // whoever has it sees for himself
	}
	host, err := r.Store.Host(ctx, inst.Host)
	if err != nil {
		return false, overtaken(err)
	}
	runtime, err := r.Runtimes.Runtime(host)
	if err != nil {
		return false, err
	}
	unit, err := runtime.Inspect(ctx, id)
	if err = overtaken(err); err != nil {
		return false, err
	}
	if dead(inst, unit) {
		return r.repair(ctx, inst, ended(unit))
	}
	return false, r.probeNow(ctx, id)
}

// probeNow has the health watch look at the instance at once.
func (r *Reconciler) probeNow(ctx context.Context, id InstanceID) error {
	return overtaken(r.Store.Tx(ctx, func(tx Tx) error {
		watch, err := tx.Watch(id)
		if err != nil {
			return err
		}
		watch.ProbeAt = r.Now()
		return tx.UpdateWatch(watch)
	}))
}
