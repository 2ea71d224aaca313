package instance

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// keepDisk measures the disk of an instance, has its server refuse or accept writes as
// follows from that, and writes and tells what has changed. It gives the pause until the
// next measurement. Whether the instance can be used otherwise plays no part: one whose
// tenant has taken all connections fills the disk all the same.
func (h *Health) keepDisk(ctx context.Context, inst Instance, engine Engine, creds Credentials) (time.Duration, error) {
	keeper, ok := engine.(DiskKeeper)
	limit := inst.Spec.Resources.DiskBytes
	if !ok || limit <= 0 {
		return h.Every, nil
	}
	before, next := inst.Status.Disk, inst.Status.Disk
	refuse := func(used int64) bool {
		next.UsedBytes, next.State = used, before.State.Next(used, limit)
		return next.State == DiskFull
	}
	used, err := keeper.KeepDisk(ctx, inst, creds, refuse)
	switch {
	case fault.CodeOf(err) == fault.CodeForbidden && err != nil:
		return h.Every, nil // it is measured when it is started again
	case err != nil:
		return h.Every, err
	}
	next.UsedBytes, next.State, next.SeenAt = used, before.State.Next(used, limit), h.Now()
	next.Bound = h.diskBound(ctx, inst)
	if before.worthWriting(next, limit) {
		if err := h.writeDisk(ctx, inst, before, next); err != nil {
			return h.Every, err
		}
	}
	return diskPause(before, next, limit, h.Every), nil
}

// diskBound gives who keeps the instance to its disk. The host is asked until it has
// answered once; empty: it has not.
func (h *Health) diskBound(ctx context.Context, inst Instance) DiskBound {
	if known := inst.Status.Disk.Bound; known != "" {
		return known
	}
	if h.Runtimes == nil {
		return ""
	}
	on, err := h.Hosts.Host(ctx, inst.Status.Host)
	if err != nil {
		return ""
	}
	runtime, err := h.Runtimes.Runtime(on)
	if err != nil {
		return ""
	}
	unit, err := runtime.Inspect(ctx, host.UnitID(inst.ID))
	if err != nil {
		return ""
	}
	return boundBy(unit.Enforcement)
}

// writeDisk writes what was measured, and tells of a threshold that was crossed. Of two who
// have seen the same crossing one writes and tells.
func (h *Health) writeDisk(ctx context.Context, inst Instance, before, next Disk) error {
	kind, message := diskEvent(before, next, inst.Spec.Resources.DiskBytes)
	err := h.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.UpdateDisk(inst.ID, before, next); err != nil || kind == "" {
			return err
		}
		return announce(h.Jobs, tx, kind, inst, "", message, next.SeenAt)
	})
	if err == nil && kind != "" {
		h.Log.InfoContext(ctx, "disk use crossed a threshold", "instance", inst.ID, "disk", next.State, "used", next.UsedBytes,
			"limit", inst.Spec.Resources.DiskBytes)
	}
	return fault.IgnoreLostRace(err)
}
