package instance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
)

// outcome says how an instance is left by its job.
type outcome struct {
	state   State
	reason  string // kept on the instance
	message string // of the events
	release bool   // container and volume are confirmed gone: its ports may go
	// keptUntil says how long what failed is kept; zero: it is not.
	keptUntil time.Time
}

// Scrub implements job.Work: it removes the instance's secrets from a text that came from
// outside.
func (w *work) Scrub(text string) string {
	for _, s := range []secret.Secret{w.run.creds.Password, w.run.creds.AdminPassword, w.run.creds.CallbackSecret, w.run.creds.WarmPassword} {
		if !s.Empty() {
			text = strings.ReplaceAll(text, s.Reveal(), secret.Redacted)
		}
	}
	return text
}

// End implements job.Work: it brings the instance to the end of its job.
func (w *work) End(t job.Tx, j job.Job) (string, error) {
	tx, now := within(t), j.FinishedAt
	inst, err := tx.Instance(w.inst.ID)
	if err != nil {
		return "", err
	}
	o := w.outcome(j)
	if err := w.settle(tx, inst, o, j); err != nil {
		return "", err
	}
	if o.release {
		rest := w.cfg.Quarantine
		if inst.Stock() {
			rest = 0 // nobody was ever told of it
		}
		if err := host.GiveBack(tx, host.AllocationFilter{Unit: host.UnitID(inst.ID)}, now.Add(rest)); err != nil {
			return "", err
		}
	}
	if o.state == StateDeleted {
		return o.message, tx.DeleteCredentials(inst.ID)
	}
	return o.message, nil
}

func (w *work) outcome(j job.Job) outcome {
	switch {
	case j.State != job.Succeeded:
		return w.outcomeOfFailure(j)
	case j.Kind == JobDelete:
		return outcome{state: StateDeleted, message: "deleted; container, volume and ports are released", release: true}
	case j.Kind == JobCreate && w.inst.Stock():
		return outcome{state: StateWarm, message: "warm and ready for adoption"}
	case j.Kind == JobStop:
		return outcome{state: StateStopped, reason: "stopped on request", message: "stopped; its data, its disk and its ports are kept"}
	case j.Kind == JobRenew:
		return w.unchanged("its certificate was renewed; it is good until " + w.inst.Status.CertifiedUntil.Format(time.RFC3339))
	}
	message := fmt.Sprintf("usable at %s:%d", w.inst.Status.Address, w.inst.Status.Port)
	if w.run.notice != "" {
		message += "; " + w.run.notice
	}
	return outcome{state: StateRunning, reason: w.run.notice, message: message}
}

// unchanged leaves the instance as it is.
func (w *work) unchanged(message string) outcome {
	return outcome{state: w.inst.State, reason: w.inst.Reason, message: message}
}

// begun reports whether a worker has begun the step, whatever became of it.
func begun(j job.Job, step string) bool {
	return slices.ContainsFunc(j.Steps, func(s job.Step) bool { return s.Name == step && s.Attempt > 0 })
}

// failures begin the reason of an instance whose job gave up and left its data as it is.
var failures = map[job.Kind]string{
	JobRepair: "it could not be repaired: ", JobRestart: "it could not be restarted: ", JobStop: "it could not be stopped: ", JobStart: "it could not be started: ",
}

// outcomeOfFailure is that of a job that gave up. What a delete could not remove keeps its
// ports: a later delete goes on.
func (w *work) outcomeOfFailure(j job.Job) outcome {
	message := j.Error.Message
	if j.Error.Step != "" {
		message = j.Error.Step + ": " + message
	}
	if j.Kind == JobRenew {
		return w.unchanged(message)
	}
	switch {
	case j.Error.Code == fault.CodeDataLost:
	case j.Kind == JobStart && !begun(j, startName):
		return outcome{state: StateStopped, reason: "it could not be started: " + message, message: message}
	case j.Kind == JobStop || onKeptData(j.Kind):
		// Its data may be there: it stays as it is, and is repaired later, or again.
		return outcome{state: StateUnhealthy, reason: failures[j.Kind] + message, message: message}
	}
	if j.Keeps() && w.inst.Status.Host != "" {
		until := j.FinishedAt.Add(w.cfg.KeepFailed)
		message += fmt.Sprintf("; container, volume and port are kept for inspection until %s, or until the instance is deleted", until.Format(time.RFC3339))
		return outcome{state: StateFailed, reason: message, message: message, keptUntil: until}
	}
	return outcome{state: StateFailed, reason: message, message: message, release: j.Kind != JobDelete && j.NothingDone()}
}

// settle writes the instance as its job leaves it.
func (w *work) settle(tx Tx, inst Instance, o outcome, j job.Job) error {
	now := j.FinishedAt
	if inst.State == o.state { // a repair that failed, or a renewal
		inst.Reason, inst.UpdatedAt = o.reason, now
		return tx.UpdateInstance(inst)
	}
	if err := inst.Move(o.state, o.reason, now); err != nil {
		return err
	}
	inst.KeptUntil = o.keptUntil
	if err := tx.UpdateInstance(inst); err != nil {
		return err
	}
	if err := announce(w.Engine(), tx, "instance."+string(o.state), inst, j.ID, o.message, now); err != nil {
		return err
	}
	switch o.state {
	case StateRunning:
		return tx.StartWatch(inst.ID, now.Add(firstProbe()))
	case StateUnhealthy: // it may run after all
		_, err := watchOf(tx, inst.ID, now)
		return err
	case StateStopped:
		return errors.Join(giveUp(tx, inst), tx.EndWatch(inst.ID))
	case StateDeleted, StateFailed:
		return tx.EndWatch(inst.ID)
	default:
		return nil
	}
}
