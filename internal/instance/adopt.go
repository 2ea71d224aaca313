package instance

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// adoptWithin limits how long an adoption may take.
const adoptWithin = 10 * time.Second

// adopt makes a warm instance the tenant's. Where that does not work out, what there
// was is removed, and the steps that follow make the instance as if there had been none.
func (w *work) adopt(ctx context.Context) error {
	adoptCtx, cancel := context.WithTimeout(ctx, adoptWithin)
	defer cancel()
	err := w.takeOver(adoptCtx)
	if err == nil {
		w.Finish()
		return nil
	}
	if ctx.Err() != nil || fault.CodeOf(err) == fault.CodeFenced {
		return err
	}
	// The container carries the fence of its making, which tells no two owners of this job
	// apart: only the lease does, so it is asked for right before.
	if err := w.Save(ctx, nil); err != nil {
		return err
	}
	w.Log().WarnContext(ctx, "adoption of a warm instance failed; creating a new one", "instance", w.inst.ID, "job", w.Claim().Job, "error", w.Scrub(err.Error()))
	if err := w.run.runtime.Remove(ctx, host.UnitID(w.inst.ID), w.Claim().Fence, true); err != nil {
		return err
	}
	if err := w.Replan(reserveStep); err != nil {
		return err
	}
	w.Detail(ctx, adoptStep, "adoption of the warm instance failed; creating a new one")
	return nil
}

func (w *work) takeOver(ctx context.Context) error {
	engine, ok := w.run.engine.(Adopter)
	if !ok {
		return fault.Errorf(fault.CodeInternal, nil, "engine %s does not support adoption", w.inst.Spec.Engine)
	}
	if w.Job().Steps[0].Attempt > 1 {
		// A worker vanished in the middle of it, or right behind its end, or is only slow:
		// what it may still do must not be done to what becomes the tenant's.
		return fault.Errorf(fault.CodeConflict, nil, "another worker changed it")
	}
	if err := w.replaceFiles(ctx, w.inst.Status.CertifiedUntil); err != nil {
		return err
	}
	if err := engine.Adopt(ctx, w.inst, w.run.creds); err != nil {
		return err
	}
	return engine.Probe(ctx, w.inst, w.run.creds)
}
