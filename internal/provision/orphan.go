package provision

import "context"

// orphan removes what a host has of an instance that is deleted, failed, or (nil)
// unknown. What is young is left alone: somebody may be at it whom we do not see.
func (s *sweep) orphan(ctx context.Context, unit Unit, inst *Instance) error {
	if inst != nil && inst.kept() {
		return nil
	}
	young := s.began.Add(-s.Grace)
	if unit.Created.After(young) || (inst != nil && inst.UpdatedAt.After(young)) || s.removed >= maxOrphans {
		return nil
	}
	id, fence, why := unit.Instance, unit.Fence, "the instance is not known"
	if inst != nil {
		fence, why = max(fence, inst.Fence), "the instance is "+string(inst.State)
	}
	if s.DryRun {
		s.Log.InfoContext(ctx, "dry run: would remove an orphan", "instance", id, "host", s.host.Name, "reason", why)
		return nil
	}
	// A delete that was asked for just now removes it as well, and says so.
	err := s.Store.Tx(ctx, func(tx Tx) error { return idle(tx, id) })
	if err == nil {
		err = s.runtime.Remove(ctx, id, fence, true)
	}
	if err != nil {
		if overtaken(err) != nil {
			s.Log.WarnContext(ctx, "an orphan could not be removed", "instance", id, "host", s.host.Name, "error", err)
		}
		return ctx.Err() // the others must not wait for this one
	}
	s.removed++
	s.count(true)
	delete(s.seen, id)
	s.Log.WarnContext(ctx, "removed an orphan", "instance", id, "host", s.host.Name, "container", unit.Container, "volume", unit.Volume, "reason", why)
	about := Instance{ID: id, Tenant: unit.Tenant}
	if inst != nil {
		about = *inst
	}
	message := "what host " + s.host.Name + " still had of it was removed: " + why
	return s.Store.Tx(ctx, func(tx Tx) error {
		return tell(tx, s.NewID, newEvent(s.NewID, EventInstanceOrphanRemoved, about, "", message, s.Now()))
	})
}

// releasePorts puts the ports of an instance to rest that is deleted, failed or
// unknown (nil).
func (r *Reconciler) releasePorts(ctx context.Context, id InstanceID, inst *Instance, why string) (bool, error) {
	if r.DryRun {
		r.Log.InfoContext(ctx, "dry run: would release ports", "instance", id, "reason", why)
		return false, nil
	}
	err := r.Store.Tx(ctx, func(tx Tx) error {
		now := r.Now()
		if err := idle(tx, id); err != nil {
			return err
		}
		if err := tx.RestPorts(id, now.Add(r.Quarantine)); err != nil || inst == nil {
			return err
		}
		return tell(tx, r.NewID, newEvent(r.NewID, EventInstancePortsReleased, *inst, "", "its ports were released: "+why, now))
	})
	if err != nil {
		return false, overtaken(err)
	}
	r.Log.WarnContext(ctx, "released ports", "instance", id, "reason", why)
	return true, nil
}

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
