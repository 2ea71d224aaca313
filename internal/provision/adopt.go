package provision

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// adoptStep is the first step of a create that was given a warm instance.
const adoptStep = "adopt"

func adoptSteps() []step {
	return append([]step{{name: adoptStep, timeout: 30 * time.Second, do: adopt, fenced: true}}, createSteps()...)
}

// adoptWithin bounds the hope that a warm instance will do.
const adoptWithin = 10 * time.Second

// adopt makes a warm instance the tenant's. Where that does not work out, what there
// was is removed, and the steps that follow make the instance as if there had been none.
func adopt(ctx context.Context, w *work) error {
	hope, cancel := context.WithTimeout(ctx, adoptWithin)
	defer cancel()
	err := w.adopt(hope)
	if err == nil {
		w.change(func(job *Job) { job.Steps = job.Steps[:1:1] }) // there is nothing more to do
		return nil
	}
	if ctx.Err() != nil || fault.CodeOf(err) == fault.CodeFenced {
		return err
	}
	// The container carries the fence of its making, which tells no two owners of this job
	// apart: only the lease does, so it is asked for right before.
	if err := w.save(ctx, nil); err != nil {
		return err
	}
	w.cfg.Log.WarnContext(ctx, "a warm instance would not do; making one anew", "instance", w.inst.ID, "job", w.claim.Job, "error", w.scrub(err.Error()))
	if err := w.run.runtime.Remove(ctx, w.inst.ID, w.claim.Fence, true); err != nil {
		return err
	}
	w.change(func(job *Job) { job.Steps = append(job.Steps[:1:1], waiting(createSteps())...) })
	w.detail(ctx, adoptStep, "the warm instance would not do; one is made anew")
	return nil
}

func (w *work) adopt(ctx context.Context) error {
	engine, ok := w.run.engine.(Adopter)
	if !ok {
		return fault.Errorf(fault.CodeInternal, nil, "engine %s adopts nothing", w.inst.Engine)
	}
	if w.snapshot().Steps[0].Attempt > 1 {
		// A worker vanished in the middle of it, or right behind its end, or is only slow:
		// what it may still do must not be done to what becomes the tenant's.
		return fault.Errorf(fault.CodeConflict, nil, "another worker was at it")
	}
	load, err := engine.Workload(w.inst, w.run.creds)
	if err != nil {
		return err
	}
	load.Fence = w.claim.Fence
	if err := w.run.runtime.Adopt(ctx, load); err != nil {
		return err
	}
	if err := engine.Adopt(ctx, w.inst, w.run.creds); err != nil {
		return err
	}
	return engine.Probe(ctx, w.inst, w.run.creds)
}
