package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// step is one part of a job. It is idempotent: run again after a crash at any line
// it comes to the same end.
type step struct {
	name    string
	timeout time.Duration
	do      func(context.Context, *work) error
	// fenced steps make or prove the thing that carries the fence, or the port that the
	// start may have given back, so a new owner runs them again rather than trust what
	// an old one may still be changing.
	fenced bool
	// beside says that the step runs at the same time as the one before it.
	beside bool
}

// createSteps gives the steps of a create. It is a function because one of them may
// begin a job itself.
func createSteps() []step {
	return []step{
		{name: "reserve", timeout: 30 * time.Second, do: reserve, fenced: true},
		{name: "image", timeout: 10 * time.Minute, do: image, beside: true},
		{name: "data", timeout: time.Minute, do: data, beside: true},
		{name: "start", timeout: 2 * time.Minute, do: start, fenced: true},
		{name: "ready", timeout: 2 * time.Minute, do: ready, fenced: true},
	}
}

var deleteSteps = []step{
	{name: "remove", timeout: 2 * time.Minute, do: remove},
	{name: "data", timeout: 2 * time.Minute, do: removeData},
}

func stepsOf(kind JobKind) []step {
	switch kind {
	case JobDelete:
		return deleteSteps
	case JobRepair:
		return repairSteps
	default:
		return createSteps()
	}
}

func waiting(list []step) []Step {
	steps := make([]Step, 0, len(list))
	for _, s := range list {
		steps = append(steps, Step{Name: s.name, State: StepWaiting})
	}
	return steps
}

// plan gives the steps that the job's journal is of. The journal may be shorter: a
// warm instance that was adopted needs no more.
func (j *Job) plan() []step {
	list := stepsOf(j.Kind)
	if j.Kind == JobCreate && len(j.Steps) > 0 && j.Steps[0].Name == adoptStep {
		list = adoptSteps()
	}
	return list[:min(len(list), len(j.Steps))]
}

func (j *Job) redoWhatCarriesTheFence() {
	steps := slices.Clone(j.Steps)
	for i, s := range j.plan() {
		if s.name == adoptStep && len(steps) > 1 {
			continue // it did not work out, and what was there is gone
		}
		if s.fenced && steps[i].State == StepDone {
			steps[i].State = StepWaiting
		}
	}
	j.Steps = steps
}

// reserve finds a host and a port.
func reserve(ctx context.Context, w *work) error {
	if w.run.runtime != nil {
		return w.takePort(ctx)
	}
	host, err := w.place(ctx)
	if err != nil {
		return err
	}
	if err := w.useHost(ctx, host.ID); err != nil {
		return err
	}
	close(w.run.placed)
	if err := w.takePort(ctx); err != nil {
		return err
	}
	close(w.run.noted)
	return nil
}

// takePort reserves a port and writes where the instance will be.
func (w *work) takePort(ctx context.Context) error {
	port, err := w.cfg.Ports.Allocate(ctx, w.claim, w.run.host, w.inst.Engine)
	if err != nil {
		return err
	}
	w.detail(ctx, "reserve", fmt.Sprintf("port %d on %s", port, w.run.host.Name))
	return w.save(ctx, func(tx Tx) error {
		inst, err := tx.Instance(w.inst.ID)
		if err != nil {
			return err
		}
		now := w.cfg.Now()
		// An earlier claim, or try, may have ended between the port and this line, and this
		// one has come to another host.
		if inst.Host != w.run.host.ID {
			if err := tx.RestPortsElsewhere(inst.ID, w.run.host.ID, now.Add(w.cfg.Quarantine)); err != nil {
				return err
			}
		}
		inst.Host, inst.Address, inst.Port, inst.UpdatedAt = w.run.host.ID, w.run.host.Advertise, port, now
		if err := tx.UpdateInstance(inst); err != nil {
			return err
		}
		w.inst = inst
		return nil
	})
}

// image makes the image present on the host.
func image(ctx context.Context, w *work) error {
	if err := comes(ctx, w.run.placed); err != nil {
		return err
	}
	inst := w.instance()
	version, ok := w.run.engine.Describe().Version(inst.Version)
	if !ok {
		return fault.Errorf(fault.CodeImageUnavailable, nil, "this worker has no %s %s", inst.Engine, inst.Version)
	}
	ref, err := w.run.runtime.EnsureImage(ctx, version.Images, func(text string) { w.detail(ctx, "image", text) })
	if err != nil {
		return err
	}
	w.run.image = ref
	w.detail(ctx, "image", ref)
	return w.golden(ctx)
}

// workload renders what to run, under the claim's fence.
func (w *work) workload(ctx context.Context) (Workload, error) {
	if w.run.image == "" {
		// An earlier run did the image step; this only looks the reference up again.
		if err := image(ctx, w); err != nil {
			return Workload{}, err
		}
	}
	load, err := w.run.engine.Workload(w.inst, w.run.creds)
	if err != nil {
		return Workload{}, err
	}
	load.Fence, load.Image, load.Bind = w.claim.Fence, w.run.image, w.run.host.Bind
	load.KeepData = w.kind == JobRepair
	load.UserOwnsData = load.UserOwnsData && w.snapshot().Attempt == 0 // what failed once is done the sure way
	for i := range load.Ports {
		load.Ports[i].Host = w.inst.Port
	}
	if maker, ok := w.run.engine.(Keymaker); ok && !load.KeepData {
		keys, err := maker.NewKeys()
		if err != nil {
			return Workload{}, err
		}
		load.Files = append(load.Files, keys...)
	}
	if seeder, ok := w.run.engine.(Seeder); ok && !load.KeepData && !w.run.golden {
		load.Files = append(load.Files, seeder.Seeds()...)
	}
	return load, nil
}

// data makes the volume.
func data(ctx context.Context, w *work) error {
	if err := comes(ctx, w.run.noted); err != nil {
		return err
	}
	inst := w.instance()
	return w.run.runtime.CreateVolume(ctx, Workload{Instance: inst.ID, Tenant: inst.Tenant, Engine: inst.Engine, Fence: w.claim.Fence})
}

// maxPortTries bounds how many refused ports one attempt goes through.
const maxPortTries = 20

// start creates and starts the instance. A port that the host refuses is marked,
// and the next one is tried.
func start(ctx context.Context, w *work) error {
	for try := 1; ; try++ {
		load, err := w.workload(ctx)
		if err != nil {
			return err
		}
		if err := w.run.runtime.Create(ctx, load); errors.Is(err, fault.ErrDataLost) {
			return w.dataLost(ctx, err)
		} else if err != nil {
			return err
		}
		_, err = w.run.runtime.Start(ctx, load)
		if fault.CodeOf(err) != fault.CodePortRefused || err == nil {
			return err
		}
		if w.kind == JobRepair { // its tenants know it by its port
			return fault.Errorf(fault.CodePortRefused, err, "host %s would not give port %d back; another program uses it", w.run.host.Name, w.inst.Port)
		}
		if try == maxPortTries {
			return fault.Errorf(fault.CodePortRefused, err, "the host refused %d ports one after the other, the last was %d; other programs use BERTH_PORT_RANGE", try, w.inst.Port)
		}
		w.detail(ctx, "start", fmt.Sprintf("port %d is in use on the host, trying another", w.inst.Port))
		if err := w.cfg.Ports.Refused(ctx, w.claim, w.run.host, w.inst.Port); err != nil {
			return err
		}
		if err := w.takePort(ctx); err != nil {
			return err
		}
	}
}

// Readiness is asked for again after a share of the time that it has taken so far: at
// first a quarter, in steps of firstProbeStep to laterProbeStep, and then a fiftieth, so
// that what is noticed late is little beside the start.
const (
	firstShare     = 4
	laterShare     = 50
	firstProbeStep = time.Millisecond
	laterProbeStep = 5 * time.Millisecond
	lastProbeStep  = 100 * time.Millisecond
	// probeTimeout is how long one try may take.
	probeTimeout = 5 * time.Second
	inspectEvery = 500 * time.Millisecond
)

// probePause gives how long to wait for the next try.
func probePause(soFar time.Duration) time.Duration {
	return min(max(soFar/laterShare, min(max(soFar/firstShare, firstProbeStep), laterProbeStep)), lastProbeStep)
}

// proof tries once whether the instance can be used: by the tenant's credentials, over the
// address that the tenant will use. What was repaired may have a tenant who has changed the
// password inside; that is no reason to call it broken.
func (w *work) proof(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	caretaker, ok := w.run.engine.(Caretaker)
	if !ok || w.kind != JobRepair {
		return w.run.engine.Probe(ctx, w.inst, w.run.creds)
	}
	found, err := caretaker.Look(ctx, w.inst, w.run.creds)
	w.run.notice = found.Notice
	return err
}

// ready waits until the instance can be used.
func ready(ctx context.Context, w *work) error {
	begun := w.cfg.Now()
	inspected := begun
	for {
		err := w.proof(ctx)
		if err == nil {
			return nil
		}
		now := w.cfg.Now()
		if now.Sub(inspected) >= inspectEvery {
			inspected = now
			if err := w.stillThere(ctx); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fault.Errorf(fault.CodeProbeFailed, err, "the server runs but does not answer on %s:%d: %s", w.inst.Address, w.inst.Port, fault.Explain(err))
		case <-time.After(probePause(now.Sub(begun))):
		}
	}
}

// killed is the exit code of what a SIGKILL has ended.
const killed = 137

// stillThere tells a server that is slow from one that has ended.
func (w *work) stillThere(ctx context.Context) error {
	unit, err := w.run.runtime.Inspect(ctx, w.inst.ID)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return fault.Errorf(fault.CodeStartFailed, err, "somebody removed the container while it was starting")
	case err != nil:
		return err
	case unit.Fence > w.claim.Fence:
		return fault.Errorf(fault.CodeFenced, nil, "instance %s has a newer owner", w.inst.ID)
	case unit.Running:
		return nil
	case unit.OOMKilled:
		return fault.Errorf(fault.CodeStartFailed, nil, "the server needed more memory than the plan's %d MiB; take a larger plan", w.inst.Resources.MemoryBytes>>20)
	}
	if unit.ExitCode == killed { // engines do not always notice why
		return fault.Errorf(fault.CodeStartFailed, nil, "the server was killed (code %d), perhaps because it needed more memory than the plan's %d MiB: %s",
			unit.ExitCode, w.inst.Resources.MemoryBytes>>20, w.lastWords(ctx))
	}
	return fault.Errorf(fault.CodeStartFailed, nil, "the server ended with code %d: %s", unit.ExitCode, w.lastWords(ctx))
}

// lastWords gives the end of what the server wrote.
func (w *work) lastWords(ctx context.Context) string {
	out, err := w.run.runtime.Output(ctx, w.inst.ID, 5)
	if err != nil || strings.TrimSpace(out) == "" {
		return "it wrote nothing"
	}
	return w.scrub(strings.Join(strings.Fields(out), " "))
}

// remove ends and removes the container. What is deleted needs no farewell.
func remove(ctx context.Context, w *work) error {
	if w.run.runtime == nil {
		return nil // it was never placed, or its host is not known any more
	}
	return w.run.runtime.Remove(ctx, w.inst.ID, w.claim.Fence, false)
}

// removeData removes the volume.
func removeData(ctx context.Context, w *work) error {
	if w.run.runtime == nil {
		return nil
	}
	return w.run.runtime.Remove(ctx, w.inst.ID, w.claim.Fence, true)
}
