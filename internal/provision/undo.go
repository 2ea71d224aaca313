package provision

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// undo takes back what a create did. A delete has nothing to take back, and a repair
// leaves what it found, unless there is no data left to keep it for; and it never
// removes data, which may be there after all. Ports and
// credentials are not its business: they go in the transaction that ends the job,
// so that they are never gone before the instance is.
func (w *work) undo(ctx context.Context) error {
	if w.kind != JobCreate && w.snapshot().Error.Code != fault.CodeDataLost {
		return nil
	}
	if w.inst.Host == "" {
		w.change((*Job).undoSteps)
		return nil
	}
	if job := w.snapshot(); job.keeps() {
		return nil
	}
	if w.snapshot().Crashes > 2*maxCrashes {
		w.leaveBehind("it ended its worker again and again")
		return nil
	}
	err := w.cleanUp(ctx)
	if err == nil {
		w.change((*Job).undoSteps)
		return nil
	}
	if job := w.snapshot(); fault.CodeOf(err) != fault.CodeFenced && ctx.Err() == nil && !w.cfg.Now().Before(job.undoneBy()) {
		why := "its host does not answer"
		if fault.CodeOf(err) != fault.CodeHostUnavailable {
			why = w.scrub(fault.Explain(err))
		}
		w.leaveBehind(why)
		return nil
	}
	return err
}

// cleanUp removes what the host has of the instance. A host that does not answer must
// not hold the job for longer than it may last.
func (w *work) cleanUp(ctx context.Context) error {
	err := w.useHost(ctx, w.inst.Host)
	if errors.Is(err, fault.ErrNotFound) {
		return nil // nobody knows that host any more
	}
	if err != nil {
		return err
	}
	job := w.snapshot()
	limit := max(minUndo, job.undoneBy().Sub(w.cfg.Now()))
	tryCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = w.run.runtime.Remove(tryCtx, w.inst.ID, w.claim.Fence, w.kind == JobCreate)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return fault.Errorf(fault.CodeTimeout, err, "removing it from host %s took longer than %s", w.run.host.Name, limit.Round(time.Second))
	}
	return err
}

// leaveBehind ends a clean-up that cannot be finished, because every job must end. The
// reconciler goes on with it. Until its host has nothing of the instance any more its
// ports stay reserved: its container may be there.
func (w *work) leaveBehind(why string) {
	w.change(func(job *Job) {
		e := *job.Error
		e.Message += "; the clean-up could not be finished: " + why + "; what is left on its host is removed when that can be done, and its port stays reserved until then"
		job.Error = &e
	})
}

// withdraw is the last act of a worker that lost its create, or its repair, to a
// delete or a cancel. The call to the host that it was cut off in may have had its effect after
// the new owner had removed everything, so it removes what carries its own fence, or
// an older one. Where the new owner goes on with the create, nothing is touched.
func (w *work) withdraw(ctx context.Context) {
	if w.kind == JobDelete || w.run.runtime == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	job, err := w.cfg.Store.Job(ctx, w.claim.Job)
	if err == nil && (job.State == JobCanceled || (job.Undoing && w.kind == JobCreate)) && !job.keeps() {
		err = w.run.anytime.Remove(ctx, w.inst.ID, w.claim.Fence, true)
	}
	if err != nil {
		w.cfg.Log.WarnContext(ctx, "could not look behind a lost create", "job", w.claim.Job, "instance", w.inst.ID, "error", err)
	}
}

// undone reports whether nothing that was done is left.
func (w *work) undone() bool {
	if w.job.Kind == JobDelete {
		return false
	}
	for _, s := range w.job.Steps {
		if s.State == StepDone || s.State == StepRunning {
			return false
		}
	}
	return true
}
