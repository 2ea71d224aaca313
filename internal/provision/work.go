package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// work is one claimed job while this worker is at it.
type work struct {
	*Runner
	claim    Claim
	kind     JobKind
	deadline time.Time

	mu      sync.Mutex // guards job and savedAt: the steps and the lease keeper both write
	job     Job
	savedAt time.Time

	inst Instance
	run  running
}

// running is what the steps of a job share; it is made anew by every run.
type running struct {
	engine  Engine
	creds   Credentials
	host    Host
	runtime Runtime
	image   string
}

// snapshot gives the job as it is at this moment.
func (w *work) snapshot() Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.job
}

// change changes the job in memory; the next save writes it. Steps and Error are
// shared with snapshots, so a change replaces them.
func (w *work) change(change func(*Job)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.job)
}

// save writes the job under its fence, with whatever else belongs to the same
// moment.
func (w *work) save(ctx context.Context, also func(Tx) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.saveLocked(ctx, also)
}

func (w *work) saveLocked(ctx context.Context, also func(Tx) error) error {
	now := w.cfg.Now()
	job := w.job
	job.UpdatedAt = now
	if job.State == JobRunning {
		job.LeaseUntil = now.Add(w.cfg.LeaseTTL)
		job.WakeAt = job.LeaseUntil
	}
	err := w.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.UpdateJob(job, w.claim.Fence); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
	if err == nil {
		w.job, w.savedAt = job, now
	}
	return err
}

// keepLease renews the lease until the context ends. When somebody else has the
// job, or the lease has run out because the database could not be reached, it
// takes the run's context away.
func (w *work) keepLease(ctx context.Context, lost context.CancelCauseFunc) {
	ticker := time.NewTicker(w.cfg.LeaseTTL / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		saveCtx, cancel := context.WithTimeout(ctx, w.cfg.LeaseTTL/3)
		err := w.save(saveCtx, nil)
		cancel()
		if errors.Is(err, ErrFenced) || (err != nil && w.leaseOver()) {
			lost(Errorf(CodeFenced, err, "the lease of %s is lost", w.claim.Job))
			return
		}
	}
}

func (w *work) leaseOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.job.LeaseUntil.After(w.cfg.Now())
}

// work runs the steps, and where they fail for good, takes back what they did.
// The error says that the run is to be tried again later.
func (w *work) work(ctx context.Context) error {
	if !w.snapshot().Undoing {
		err := w.forward(ctx)
		if err == nil || !w.final(ctx, err) {
			return err
		}
		if err := w.save(ctx, nil); err != nil {
			return err
		}
	}
	return w.undo(ctx)
}

// forward runs what is not done yet.
func (w *work) forward(ctx context.Context) error {
	ctx, cancel := context.WithDeadline(ctx, w.deadline)
	defer cancel()
	if err := w.prepare(ctx); err != nil {
		return err
	}
	for i := 0; ; i++ {
		job := w.snapshot() // a step may change what comes after it
		plan := job.plan()
		if i == len(plan) {
			return nil
		}
		if job.Steps[i].State == StepDone {
			continue
		}
		if err := w.runStep(ctx, i, plan[i]); err != nil {
			return err
		}
	}
}

// prepare gathers what every step needs.
func (w *work) prepare(ctx context.Context) error {
	var err error
	if w.run.engine, err = w.cfg.Catalog.Find(w.inst.Engine); err != nil && w.kind != JobDelete {
		return err
	}
	if w.kind != JobDelete {
		sealed, err := w.cfg.Store.Credentials(ctx, w.inst.ID)
		if err != nil {
			return err
		}
		if w.run.creds, err = OpenCredentials(w.cfg.Vault, w.inst.ID, sealed); err != nil {
			return err
		}
	}
	if w.inst.Host == "" {
		return nil
	}
	err = w.useHost(ctx, w.inst.Host)
	if w.kind == JobDelete && errors.Is(err, ErrNotFound) {
		w.cfg.Log.WarnContext(ctx, "the host of a delete is not known any more; nothing can be removed there", "instance", w.inst.ID, "host", w.inst.Host)
		return nil
	}
	return err
}

func (w *work) useHost(ctx context.Context, id HostID) error {
	host, err := w.cfg.Store.Host(ctx, id)
	if err != nil {
		return err
	}
	w.run.host = host
	w.run.runtime, err = w.cfg.Runtimes.Runtime(host)
	return err
}

// runStep runs one step within its time, journaling its begin and its end. The end
// of a step is written together with the begin of the next by the next call's
// first write, so a journal costs one write a step.
func (w *work) runStep(ctx context.Context, i int, s step) error {
	now := w.cfg.Now()
	w.setStep(i, func(js *Step) {
		js.State, js.StartedAt, js.FinishedAt, js.Error, js.Detail = StepRunning, now, time.Time{}, "", ""
		js.Attempt++
	})
	if err := w.save(ctx, nil); err != nil {
		return err
	}
	stepCtx, cancel := context.WithTimeoutCause(ctx, s.timeout, errStepTimeout)
	w.onStep(s, false)
	err := s.do(stepCtx, w)
	w.onStep(s, true)
	if err != nil && errors.Is(context.Cause(stepCtx), errStepTimeout) {
		code := CodeTimeout
		if CodeOf(err) == CodeProbeFailed {
			code = CodeProbeFailed // which says more
		}
		err = Errorf(code, err, "it took longer than %s: %s", s.timeout, explain(err))
	}
	cancel()
	now = w.cfg.Now()
	w.setStep(i, func(js *Step) {
		js.FinishedAt = now
		if err == nil {
			js.State = StepDone
			return
		}
		js.State, js.Error = StepFailed, w.scrub(explain(err))
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

// detail shows what the running step is doing. It is a courtesy: a failed write is
// left to the lease keeper.
func (w *work) detail(ctx context.Context, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.job.Steps = slices.Clone(w.job.Steps)
	for i := range w.job.Steps {
		if w.job.Steps[i].State == StepRunning {
			w.job.Steps[i].Detail = text
		}
	}
	if w.cfg.Now().Sub(w.savedAt) >= detailEvery {
		_ = w.saveLocked(ctx, nil)
	}
}

// final decides whether the failure ends the job, and if so turns it round.
func (w *work) final(ctx context.Context, err error) bool {
	code := CodeOf(err)
	if ctx.Err() != nil || code == CodeFenced {
		return false // stopped from outside: not a failure of the job
	}
	now := w.cfg.Now()
	w.change(func(job *Job) {
		job.Error = &JobError{Code: code, Step: runningStep(*job), Message: w.scrub(explain(err)), Retryable: code.Passing(), At: now}
		switch {
		case !w.deadline.After(now):
			job.giveUp(deadlineError(*job), now)
		case job.Attempt+1 >= attempts(job.Kind, code):
			job.giveUp(*job.Error, now)
		}
	})
	return w.snapshot().Undoing
}

// explain gives the words for people: the message of the domain's error, without
// the chain of causes that belongs into the log.
func explain(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// scrub takes the instance's secrets out of a text that came from outside.
func (w *work) scrub(text string) string {
	for _, s := range []Secret{w.run.creds.Password, w.run.creds.AdminPassword, w.run.creds.CallbackSecret} {
		if !s.Empty() {
			text = strings.ReplaceAll(text, s.Reveal(), redacted)
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
	var calls []Task
	err := w.save(ctx, func(tx Tx) error {
		inst, err := tx.Instance(w.inst.ID)
		if err != nil {
			return err
		}
		if calls, err = w.settle(tx, inst, f, now); err != nil {
			return err
		}
		more, err := endJob(tx, endOf{w.cfg.NewID, w.cfg.Vault, w.job, "job." + string(f.job), f.message, now})
		if err != nil {
			return err
		}
		calls = append(calls, more...)
		if f.release {
			rest := w.cfg.Quarantine
			if inst.Tenant == TenantNobody {
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
	wakeAll(ctx, w.cfg.Queue, w.cfg.Log, calls)
	return nil
}

// settle brings the instance to the end of its job, and gives who is to be told.
func (w *work) settle(tx Tx, inst Instance, f finish, now time.Time) ([]Task, error) {
	if inst.State == f.instance { // a repair that failed
		inst.Reason, inst.UpdatedAt = f.reason, now
		return nil, tx.UpdateInstance(inst)
	}
	if err := inst.Move(f.instance, f.reason, now); err != nil {
		return nil, err
	}
	inst.KeptUntil = f.keptUntil
	if err := tx.UpdateInstance(inst); err != nil {
		return nil, err
	}
	calls, err := announce(tx, w.cfg.NewID, newEvent(w.cfg.NewID, "instance."+string(f.instance), inst, w.job.ID, f.message, now))
	if err != nil {
		return nil, err
	}
	switch f.instance {
	case StateRunning:
		err = tx.StartWatch(inst.ID, now.Add(firstProbe()))
	case StateDeleted, StateFailed:
		err = tx.EndWatch(inst.ID)
	}
	return calls, err
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
	if w.job.Kind == JobCreate && w.inst.Tenant == TenantNobody {
		return w.finish(ctx, finish{job: JobSucceeded, instance: StateWarm, message: "waits for its tenant"}, now)
	}
	return w.finish(ctx, finish{job: JobSucceeded, instance: StateRunning, message: fmt.Sprintf("usable at %s:%d", w.inst.Address, w.inst.Port)}, now)
}

// endUndone ends a job that gave up. What a delete could not remove keeps its
// ports: a later delete goes on.
func (w *work) endUndone(ctx context.Context, now time.Time) error {
	state := JobFailed
	if w.job.Error.Code == CodeCanceled {
		state = JobCanceled
	}
	message := w.job.Error.Message
	if w.job.Error.Step != "" {
		message = w.job.Error.Step + ": " + message
	}
	if w.job.Kind == JobRepair && w.job.Error.Code != CodeDataLost {
		// Its data may be there: it stays as it is, and is repaired again later.
		return w.finish(ctx, finish{job: state, instance: StateUnhealthy, reason: "it could not be repaired: " + message, message: message}, now)
	}
	if w.job.keeps() && w.inst.Host != "" {
		return w.endKept(ctx, message, now)
	}
	return w.finish(ctx, finish{job: state, instance: StateFailed, reason: message, message: message, release: w.undone()}, now)
}
