package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
)

const (
	// repairDeadline bounds a repair; the reconciler asks for the next one.
	repairDeadline = 10 * time.Minute
	// maxRepairAttempts is small: what one repair cannot do, a later one may.
	maxRepairAttempts = 2
)

// dataThere finds the instance's volume.
func (w *work) dataThere(ctx context.Context) error {
	if w.run.runtime == nil {
		return fault.Errorf(fault.CodeDataLost, nil, "the instance was never placed on a host")
	}
	err := w.run.runtime.CreateVolume(ctx, host.Workload{
		Unit: host.UnitID(w.inst.ID), Tenant: w.inst.Tenant, Engine: w.inst.Spec.Engine, Fence: w.Claim().Fence, KeepData: true,
	})
	switch {
	case errors.Is(err, fault.ErrDataLost):
		return w.dataLost(ctx, err)
	case err != nil || !w.inst.Status.DataLost:
		return err
	}
	// It had failed, and its port was released.
	if err := w.takePort(ctx); err != nil {
		return err
	}
	return w.markData(ctx, false)
}

// dataLost notes that the data was not there, before anything follows from that: what
// comes back of it is kept.
func (w *work) dataLost(ctx context.Context, lost error) error {
	if err := host.CheckLoss(ctx, w.cfg.Hosts, roll{w.cfg.Store}, w.run.runtime, w.run.host.ID, w.cfg.Now()); err != nil {
		return err
	}
	if err := w.markData(ctx, true); err != nil {
		return err
	}
	return lost
}

func (w *work) markData(ctx context.Context, lost bool) error {
	return w.save(ctx, func(tx Tx) error {
		inst, err := tx.Instance(w.inst.ID)
		if err != nil || inst.Status.DataLost == lost {
			return err
		}
		inst.Status.DataLost, inst.UpdatedAt = lost, w.cfg.Now()
		if err := tx.UpdateInstance(inst); err != nil {
			return err
		}
		inst.Rev++
		w.setInstance(inst)
		return nil
	})
}

// dead reports whether the instance should run and nothing runs for it. That its host is
// about to start it again, as earlier versions had it do, changes nothing: it would go on
// for ever.
func dead(inst Instance, unit host.Unit) bool {
	return inst.shouldRun() && !unit.Running
}

// repair says that the instance is down, and has it repaired unless that was tried
// just now. Nothing happens where the instance has changed since it was read, or has a
// job by now.
func (m *Mender) repair(ctx context.Context, inst Instance, why string) (bool, error) {
	if m.DryRun {
		m.Log.InfoContext(ctx, "dry run: would repair", "instance", inst.ID, "host", inst.Status.Host, "reason", why)
		return false, nil
	}
	if inst.State == StateWarm {
		return m.replace(ctx, inst, why)
	}
	var (
		j     job.Job
		begun bool
	)
	err := m.Store.Tx(ctx, func(tx Tx) error {
		now := m.Now()
		if err := job.Idle(tx, id.Subject(inst.ID)); err != nil {
			return err
		}
		watch, err := watchOf(tx, inst.ID, now)
		if err != nil {
			return err
		}
		begun = !watch.repairAt().After(now)
		if err := m.markDown(tx, inst, why, begun, now); err != nil || !begun {
			return err
		}
		watch.repaired(now)
		if err := tx.UpdateWatch(watch); err != nil {
			return err
		}
		if j, err = newJob(m.Jobs, JobRepair, "", inst, repairDeadline, ""); err != nil {
			return err
		}
		if err := m.Jobs.Insert(tx, j); err != nil {
			return err
		}
		message := fmt.Sprintf("%s; repair %d started", why, watch.Repairs)
		return announce(m.Jobs, tx, EventRepairing, inst, j.ID, message, now)
	})
	if err != nil || !begun {
		return false, fault.IgnoreLostRace(err)
	}
	m.Log.WarnContext(ctx, "repairing an instance", "instance", inst.ID, "host", inst.Status.Host, "job", j.ID, "reason", why)
	return true, nil
}

// markDown makes the instance unhealthy. Of one that is that already the reason is
// written anew when a repair begins, so that the row is known to be as it was read.
func (m *Mender) markDown(tx Tx, inst Instance, why string, begun bool, now time.Time) error {
	if inst.State == StateUnhealthy {
		if !begun {
			return nil // the reason of the last repair says more
		}
		inst.Reason, inst.UpdatedAt = why, now
		return tx.UpdateInstance(inst)
	}
	if err := inst.Move(StateUnhealthy, why, now); err != nil {
		return err
	}
	if err := tx.UpdateInstance(inst); err != nil {
		return err
	}
	return announce(m.Jobs, tx, EventUnhealthy, inst, "", why, now)
}

// watchOf gives the instance's watch, and makes it where there is none.
func watchOf(tx Tx, id ID, now time.Time) (Watch, error) {
	watch, err := tx.Watch(id)
	if !errors.Is(err, fault.ErrNotFound) {
		return watch, err
	}
	if err := tx.StartWatch(id, now.Add(firstProbe())); err != nil {
		return Watch{}, err
	}
	return tx.Watch(id)
}
