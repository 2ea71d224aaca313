package provision

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// begin journals that the step begins; the next save writes it.
func (w *work) begin(i int) {
	now := w.cfg.Now()
	w.setStep(i, func(js *Step) {
		js.State, js.StartedAt, js.FinishedAt, js.Error, js.Detail = StepRunning, now, time.Time{}, "", ""
		js.Attempt++
	})
}

// runStep runs one step, whose begin is journaled, within its time, and journals its
// end. That is written together with the begin of what comes next by its first write, so
// a journal costs one write for each step, or for each few that run together.
func (w *work) runStep(ctx context.Context, i int, s step) error {
	stepCtx, cancel := context.WithTimeoutCause(ctx, s.timeout, errStepTimeout)
	w.onStep(s, false)
	err := s.do(stepCtx, w)
	w.onStep(s, true)
	if err != nil && errors.Is(context.Cause(stepCtx), errStepTimeout) {
		code := fault.CodeTimeout
		if fault.CodeOf(err) == fault.CodeProbeFailed {
			code = fault.CodeProbeFailed // which says more
		}
		err = fault.Errorf(code, err, "it took longer than %s: %s", s.timeout, fault.Explain(err))
	}
	cancel()
	now, stopped := w.cfg.Now(), errors.Is(context.Cause(ctx), errBeside)
	w.setStep(i, func(js *Step) {
		js.FinishedAt = now
		if err == nil {
			js.State = StepDone
			return
		}
		if stopped { // no failure of its own
			js.State = StepWaiting
			return
		}
		js.State, js.Error = StepFailed, w.scrub(fault.Explain(err))
	})
	return err
}

func (w *work) onStep(s step, after bool) {
	if w.cfg.OnStep != nil {
		w.cfg.OnStep(w.kind, s.name, after)
	}
}

var errStepTimeout = errors.New("the step's time is up")

func (w *work) setStep(i int, change func(*Step)) {
	w.change(func(job *Job) {
		job.Steps = slices.Clone(job.Steps)
		change(&job.Steps[i])
	})
}

// detailEvery bounds how often the progress of a step is written.
const detailEvery = 500 * time.Millisecond

// detail shows what a step is doing. It is a courtesy: a failed write is left to the
// lease keeper.
func (w *work) detail(ctx context.Context, name, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.job.Steps = slices.Clone(w.job.Steps)
	for i := range w.job.Steps {
		if w.job.Steps[i].Name == name {
			w.job.Steps[i].Detail = text
		}
	}
	if w.cfg.Now().Sub(w.savedAt) >= detailEvery {
		_ = w.saveLocked(ctx, nil)
	}
}
