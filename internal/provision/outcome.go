package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// final decides whether the failure ends the job, and if so turns it round.
func (w *work) final(ctx context.Context, err error) bool {
	code := fault.CodeOf(err)
	if ctx.Err() != nil || code == fault.CodeFenced {
		return false // stopped from outside: not a failure of the job
	}
	now := w.cfg.Now()
	w.change(func(job *Job) {
		job.Error = &JobError{Code: code, Step: runningStep(*job), Message: w.scrub(fault.Explain(err)), Retryable: code.Retryable(), At: now}
		switch {
		case !w.deadline.After(now):
			job.giveUp(deadlineError(*job), now)
		case job.Attempt+1 >= attempts(job.Kind, code):
			job.giveUp(*job.Error, now)
		}
	})
	return w.snapshot().Undoing
}

// scrub takes the instance's secrets out of a text that came from outside.
func (w *work) scrub(text string) string {
	for _, s := range []secret.Secret{w.run.creds.Password, w.run.creds.AdminPassword, w.run.creds.CallbackSecret, w.run.creds.WarmPassword} {
		if !s.Empty() {
			text = strings.ReplaceAll(text, s.Reveal(), secret.Redacted)
		}
	}
	return text
}

// end writes the outcome of a run. The lease keeper has stopped by now.
func (w *work) end(ctx context.Context, outcome error) error {
	now := w.cfg.Now()
	switch {
	case outcome == nil && w.job.Undoing:
		return w.endUndone(ctx, now)
	case outcome == nil:
		return w.endDone(ctx, now)
	case errors.Is(outcome, errHandBack):
		return w.again(ctx, now, now)
	default:
		w.cfg.Log.WarnContext(ctx, "attempt failed", "job", w.job.ID, "instance", w.inst.ID, "kind", w.job.Kind,
			"attempt", w.job.Attempt+1, "undoing", w.job.Undoing, "error", w.scrub(outcome.Error()))
		w.job.Attempt++
		return w.again(ctx, w.job.nextAttempt(now), now)
	}
}

func (w *work) again(ctx context.Context, wakeAt, now time.Time) error {
	if err := w.job.release(wakeAt, now); err != nil {
		return err
	}
	return w.save(ctx, nil)
}

// finish ends job and instance in one transaction, with their events and who is to
// be told of them.
func (w *work) finish(ctx context.Context, f finish, now time.Time) error {
	if err := w.job.move(f.job, now); err != nil {
		return err
	}
	err := w.save(ctx, func(tx Tx) error {
		inst, err := tx.Instance(w.inst.ID)
		if err != nil {
			return err
		}
		if err := w.settle(tx, inst, f, now); err != nil {
			return err
		}
		if err := endJob(tx, endOf{w.cfg.NewID, w.cfg.Vault, w.job, "job." + string(f.job), f.message, now}); err != nil {
			return err
		}
		if f.release {
			rest := w.cfg.Quarantine
			if inst.Tenant == tenant.Nobody {
				rest = 0 // nobody was ever told of it
			}
			if err := tx.RestPorts(inst.ID, now.Add(rest)); err != nil {
				return err
			}
		}
		if f.instance == StateDeleted {
			return tx.DeleteCredentials(inst.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.cfg.Log.InfoContext(ctx, "job ended", "job", w.job.ID, "kind", w.job.Kind, "instance", w.inst.ID, "engine", w.inst.Engine,
		"state", f.job, "took", now.Sub(w.job.CreatedAt).Round(time.Millisecond).String())
	return nil
}

// settle brings the instance to the end of its job.
func (w *work) settle(tx Tx, inst Instance, f finish, now time.Time) error {
	if inst.State == f.instance { // a repair that failed
		inst.Reason, inst.UpdatedAt = f.reason, now
		return tx.UpdateInstance(inst)
	}
	if err := inst.Move(f.instance, f.reason, now); err != nil {
		return err
	}
	inst.KeptUntil = f.keptUntil
	if err := tx.UpdateInstance(inst); err != nil {
		return err
	}
	if err := announce(tx, w.cfg.NewID, newEvent(w.cfg.NewID, "instance."+string(f.instance), inst, w.job.ID, f.message, now)); err != nil {
		return err
	}
	switch f.instance {
	case StateRunning:
		return tx.StartWatch(inst.ID, now.Add(firstProbe()))
	case StateDeleted, StateFailed:
		return tx.EndWatch(inst.ID)
	default:
		return nil
	}
}

// finish says how a job and its instance end.
type finish struct {
	job      JobState
	instance InstanceState
	reason   string // kept on the instance
	message  string // of the events
	release  bool   // container and volume are confirmed gone: its ports may go
	// keptUntil says how long what failed is kept; zero: it is not.
	keptUntil time.Time
}

func (w *work) endDone(ctx context.Context, now time.Time) error {
	w.job.Error = nil
	if w.job.Kind == JobDelete {
		return w.finish(ctx, finish{job: JobSucceeded, instance: StateDeleted, message: "deleted; container, volume and ports are released", release: true}, now)
	}
	if w.job.Kind == JobCreate && w.inst.Tenant == tenant.Nobody {
		return w.finish(ctx, finish{job: JobSucceeded, instance: StateWarm, message: "waits for its tenant"}, now)
	}
	message := fmt.Sprintf("usable at %s:%d", w.inst.Address, w.inst.Port)
	if w.run.notice != "" {
		message += "; " + w.run.notice
	}
	return w.finish(ctx, finish{job: JobSucceeded, instance: StateRunning, reason: w.run.notice, message: message}, now)
}

// endUndone ends a job that gave up. What a delete could not remove keeps its
// ports: a later delete goes on.
func (w *work) endUndone(ctx context.Context, now time.Time) error {
	state := JobFailed
	if w.job.Error.Code == fault.CodeCanceled {
		state = JobCanceled
	}
	message := w.job.Error.Message
	if w.job.Error.Step != "" {
		message = w.job.Error.Step + ": " + message
	}
	if w.job.Kind == JobRepair && w.job.Error.Code != fault.CodeDataLost {
		// Its data may be there: it stays as it is, and is repaired again later.
		return w.finish(ctx, finish{job: state, instance: StateUnhealthy, reason: "it could not be repaired: " + message, message: message}, now)
	}
	if w.job.keeps() && w.inst.Host != "" {
		return w.endKept(ctx, message, now)
	}
	return w.finish(ctx, finish{job: state, instance: StateFailed, reason: message, message: message, release: w.undone()}, now)
}
