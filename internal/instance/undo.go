package instance

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
)

// minUndo is what the last try to clean up gets, however late it is.
const minUndo = 10 * time.Second

// Undo implements job.Work: it rolls back a create. A delete has nothing to take back, and
// a repair leaves what it found, unless there is no data left to keep it for; and it never
// removes data, which may be there after all. Ports and credentials are released in the
// transaction that ends the job, so that they are never gone before the instance is.
func (w *work) Undo(ctx context.Context) error {
	j := w.Job()
	switch {
	case w.Kind() != JobCreate && j.Error.Code != fault.CodeDataLost:
		return nil
	case w.inst.Status.Host == "":
		w.Change((*job.Job).UndoSteps)
		return nil
	case j.Keeps():
		return nil
	case j.Crashes > 2*job.MaxCrashes:
		w.leaveBehind("it crashed its worker repeatedly")
		return nil
	}
	err := w.cleanUp(ctx)
	if err == nil {
		w.Change((*job.Job).UndoSteps)
		return nil
	}
	if j := w.Job(); fault.CodeOf(err) != fault.CodeFenced && ctx.Err() == nil && !w.cfg.Now().Before(j.UndoneBy()) {
		why := "its host does not answer"
		if fault.CodeOf(err) != fault.CodeHostUnavailable {
			why = w.Scrub(fault.Explain(err))
		}
		w.leaveBehind(why)
		return nil
	}
	return err
}

// cleanUp removes what the host has of the instance. A host that does not answer must not
// hold the job for longer than it may last.
func (w *work) cleanUp(ctx context.Context) error {
	err := w.useHost(ctx, w.inst.Status.Host)
	if errors.Is(err, fault.ErrNotFound) {
		return nil // that host is not registered any more
	}
	if err != nil {
		return err
	}
	j := w.Job()
	limit := max(minUndo, j.UndoneBy().Sub(w.cfg.Now()))
	tryCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = w.run.runtime.Remove(tryCtx, host.UnitID(w.inst.ID), w.Claim().Fence, w.Kind() == JobCreate)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return fault.Errorf(fault.CodeTimeout, err, "removing it from host %s took longer than %s", w.run.host.Name, limit.Round(time.Second))
	}
	return err
}

// leaveBehind ends a clean-up that cannot be finished, because every job must end. The
// reconciler goes on with it. Until its host has nothing of the instance any more its ports
// stay reserved: its container may be there.
func (w *work) leaveBehind(why string) {
	w.Change(func(j *job.Job) {
		e := *j.Error
		e.Message += "; the cleanup could not be finished: " + why + "; what is left on the host is removed later, and the port stays reserved until then"
		j.Error = &e
	})
}

// Withdraw implements job.Work, for a worker that lost its create, or its repair, to a
// delete or a cancel. The call to the host that it was cut off in may have had its effect
// after the new owner had removed everything, so it removes what carries its own fence, or
// an older one. Where the new owner goes on with the create, nothing is touched.
func (w *work) Withdraw(ctx context.Context, j job.Job) error {
	if w.Kind() == JobDelete || w.run.runtime == nil || j.Keeps() {
		return nil
	}
	if j.State == job.Canceled || (j.Undoing && w.Kind() == JobCreate) {
		return w.run.anytime.Remove(ctx, host.UnitID(w.inst.ID), w.Claim().Fence, true)
	}
	return nil
}
