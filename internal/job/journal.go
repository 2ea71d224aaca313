package job

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// begin journals that the step begins; the next save writes it.
func (r *Run) begin(i int) {
	now := r.runner.Now()
	r.setStep(i, func(js *Step) {
		js.State, js.StartedAt, js.FinishedAt, js.Error, js.Detail = StepRunning, now, time.Time{}, "", ""
		js.Attempt++
	})
}

// runStep runs one step, whose begin is journaled, within its time, and journals its
// end. That is written together with the begin of what comes next by its first write, so
// a journal costs one write for each step, or for each few that run together.
func (r *Run) runStep(ctx context.Context, i int, s step) error {
	stepCtx, cancel := context.WithTimeoutCause(ctx, s.timeout, errStepTimeout)
	r.onStep(s, false)
	err := s.do(stepCtx, r.work)
	r.onStep(s, true)
	if err != nil && errors.Is(context.Cause(stepCtx), errStepTimeout) {
		code := fault.CodeTimeout
		if fault.CodeOf(err) == fault.CodeProbeFailed {
			code = fault.CodeProbeFailed // which says more
		}
		err = fault.Errorf(code, err, "it took longer than %s: %s", s.timeout, fault.Explain(err))
	}
	cancel()
	now, stopped := r.runner.Now(), errors.Is(context.Cause(ctx), errBeside)
	r.setStep(i, func(js *Step) {
		js.FinishedAt = now
		if err == nil {
			js.State = StepDone
			return
		}
		var later awaiting
		switch {
		case errors.As(err, &later):
			js.State, js.Detail = StepWaiting, later.Error()
			return
		case stopped: // no failure of its own
			js.State = StepWaiting
			return
		}
		js.State, js.Error = StepFailed, r.work.Scrub(fault.Explain(err))
	})
	return err
}

func (r *Run) onStep(s step, after bool) {
	if r.runner.cfg.OnStep != nil {
		r.runner.cfg.OnStep(r.def.kind, s.name, after)
	}
}

var errStepTimeout = errors.New("the step timed out")

func (r *Run) setStep(i int, change func(*Step)) {
	r.Change(func(job *Job) {
		job.Steps = slices.Clone(job.Steps)
		change(&job.Steps[i])
	})
}

// detailEvery limits how often the progress of a step is written.
const detailEvery = 500 * time.Millisecond

// Detail shows what a step is doing. It is a courtesy: a failed write is left to the lease
// keeper.
func (r *Run) Detail(ctx context.Context, name, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.job.Steps = slices.Clone(r.job.Steps)
	for i := range r.job.Steps {
		if r.job.Steps[i].Name == name {
			r.job.Steps[i].Detail = text
		}
	}
	if r.runner.Now().Sub(r.savedAt) >= detailEvery {
		_ = r.saveLocked(ctx, nil)
	}
}
