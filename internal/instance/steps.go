package instance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
)

// reserve finds a host and a port.
func (w *work) reserve(ctx context.Context) error {
	if w.run.runtime != nil { // an earlier run has come to here, and steps beside this one use what it chose
		return w.takePort(ctx)
	}
	which, err := w.heldHost(ctx)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		if which == "" {
			h, err := w.place(ctx)
			if err != nil {
				return err
			}
			which = h.ID
		}
		if err := w.useHost(ctx, which); err != nil {
			return err
		}
		which = ""
		w.run.disk, err = w.takeShare(ctx)
		if err == nil {
			break
		}
		// Others may have taken what was left of it since the hosts were read.
		if code := fault.CodeOf(err); code != fault.CodeNoCapacity && code != fault.CodePortsExhausted || try == maxPlaceTries {
			return err
		}
		w.placement.Forget()
	}
	close(w.run.placed)
	close(w.run.noted)
	return nil
}

// heldDisk gives the disk of the host that the instance's data is to be on.
func (w *work) heldDisk(ctx context.Context) (host.Disk, error) {
	held, err := w.cfg.Hosts.Allocations(ctx, host.AllocationFilter{Unit: host.UnitID(w.inst.ID)}, "", 1)
	if err != nil || len(held) == 0 || held[0].Host != w.run.host.ID {
		return host.Disk{}, err
	}
	disks, err := w.cfg.Hosts.Disks(ctx, w.run.host.ID)
	if i := slices.IndexFunc(disks, func(d host.Disk) bool { return d.ID == held[0].Disk }); i >= 0 {
		return disks[i], err
	}
	return host.Disk{}, err
}

// heldHost gives the host of which the instance has a share already: a worker was ended before it
// could write where the instance is to be. That share may be the last there was.
func (w *work) heldHost(ctx context.Context) (host.ID, error) {
	held, err := w.cfg.Hosts.Allocations(ctx, host.AllocationFilter{Unit: host.UnitID(w.inst.ID)}, "", 1)
	if err != nil || len(held) == 0 {
		return "", err
	}
	h, err := w.cfg.Hosts.Host(ctx, held[0].Host)
	h.Reserved = false // that was asked when the share was given
	if err != nil || !h.Takes() {
		return "", fault.IgnoreNotFound(err) // another one is better
	}
	return h.ID, nil
}

// maxPlaceTries limits how many hosts one attempt goes through that had too little left after all.
const maxPlaceTries = 10

// takePort reserves a port on the host that the instance has already.
func (w *work) takePort(ctx context.Context) error {
	_, err := w.takeShare(ctx)
	return err
}

// takeShare reserves the instance's share of the host, with a port, and writes where the instance
// will be. It gives the disk for the data.
func (w *work) takeShare(ctx context.Context) (host.Disk, error) {
	held, err := w.cfg.Ports.Allocate(ctx, w.Claim(), w.run.host, w.inst.ask())
	if err != nil {
		return host.Disk{}, err
	}
	ports := held.Ports
	w.Detail(ctx, "reserve", fmt.Sprintf("port %s on %s", listed(ports), w.run.host.Name))
	return held.Disk, w.save(ctx, func(tx Tx) error {
		inst, err := tx.Instance(w.inst.ID)
		if err != nil {
			return err
		}
		now := w.cfg.Now()
		// An earlier claim, or try, may have ended between the port and this line, and this
		// one has come to another host.
		if inst.Status.Host != w.run.host.ID {
			if err := tx.RestPortsElsewhere(host.UnitID(inst.ID), w.run.host.ID, now.Add(w.cfg.Quarantine)); err != nil {
				return err
			}
		}
		inst.Status.Host, inst.Status.Address, inst.Status.Port, inst.UpdatedAt = w.run.host.ID, w.run.host.Advertise, ports[0], now
		if len(ports) > 1 {
			inst.Status.TLSPort = ports[1]
		}
		inst.Status.CertifiedUntil = w.certifiedUntil()
		if err := tx.UpdateInstance(inst); err != nil {
			return err
		}
		w.setInstance(inst)
		return nil
	})
}

// refused returns which of the ports the host has refused: all, where it does not say.
func refused(err error, ports []int) []int {
	var one *host.RefusedPort
	if errors.As(err, &one) && slices.Contains(ports, one.Port) {
		return []int{one.Port}
	}
	return ports
}

// listed writes ports for people.
func listed(ports []int) string { return strings.Trim(fmt.Sprint(ports), "[]") }

// hostPorts returns the ports of the host that the instance has, in the order of their names.
// A worker of an earlier release has reserved one, whatever the instance was accepted with.
func (i *Instance) hostPorts() []int {
	if i.Status.TLSPort == 0 {
		return []int{i.Status.Port}
	}
	return []int{i.Status.Port, i.Status.TLSPort}
}

// image makes the image present on the host.
func (w *work) image(ctx context.Context) error {
	if err := await(ctx, w.run.placed); err != nil {
		return err
	}
	inst := w.instance()
	version, ok := w.run.engine.Describe().Version(inst.Spec.Version)
	if !ok {
		return fault.Errorf(fault.CodeImageUnavailable, nil, "this worker has no %s %s", inst.Spec.Engine, inst.Spec.Version)
	}
	ref, err := w.run.runtime.EnsureImage(ctx, version.Images, func(text string) { w.Detail(ctx, "image", text) })
	if err != nil {
		return err
	}
	w.run.image = ref
	w.Detail(ctx, "image", ref)
	if err := w.golden(ctx); err != nil {
		return err
	}
	w.run.known.Do(func() { close(w.run.imaged) })
	return nil
}

// workload renders what to run, under the claim's fence.
func (w *work) workload(ctx context.Context) (host.Workload, error) {
	if w.run.image == "" {
		// An earlier run did the image step; this only looks the reference up again.
		if err := w.image(ctx); err != nil {
			return host.Workload{}, err
		}
	}
	if err := w.certify(w.inst.Status.CertifiedUntil); err != nil {
		return host.Workload{}, err
	}
	load, err := w.run.engine.Workload(w.inst, w.run.creds)
	if err != nil {
		return host.Workload{}, err
	}
	load.Fence, load.Image, load.Bind = w.Claim().Fence, w.run.image, w.run.host.Bind
	load.KeepData = onKeptData(w.Kind())
	if !load.KeepData {
		w.ontoDisk(&load)
	}
	load.UserOwnsData = load.UserOwnsData && w.Job().Attempt == 0 // what failed once is done the sure way
	for i, port := range w.inst.hostPorts() {
		load.Ports[i].Host = port
	}
	if maker, ok := w.run.engine.(Keymaker); ok && !load.KeepData {
		keys, err := maker.NewKeys()
		if err != nil {
			return host.Workload{}, err
		}
		load.Files = append(load.Files, keys...)
	}
	if seeder, ok := w.run.engine.(Seeder); ok && !load.KeepData && !w.run.golden {
		load.Files = append(load.Files, seeder.Seeds()...)
	}
	return load, nil
}

// ontoDisk has the volume of a workload made on the disk that the instance is booked on.
func (w *work) ontoDisk(load *host.Workload) {
	load.Disk, load.Enforcement, load.DiskShared = w.run.disk.Path, w.run.disk.Enforcement, w.run.disk.Units > 1
}

// data makes the volume.
func (w *work) data(ctx context.Context) error {
	if err := await(ctx, w.run.noted); err != nil {
		return err
	}
	inst := w.instance()
	load := host.Workload{
		Unit: host.UnitID(inst.ID), Tenant: inst.Tenant, Engine: inst.Spec.Engine, Fence: w.Claim().Fence, Resources: inst.Spec.Resources,
	}
	if w.run.disk.Path != "" { // which needs the image
		if err := w.awaitImage(ctx); err != nil {
			return err
		}
		load.Image = w.run.image
		w.ontoDisk(&load)
	}
	return w.run.runtime.CreateVolume(ctx, load)
}

// awaitImage waits for the step beside this one that finds the image. Where an earlier run did
// that step, it only looks the reference up again.
func (w *work) awaitImage(ctx context.Context) error {
	for _, s := range w.Job().Steps {
		if s.Name == "image" && s.State == job.StepDone && w.run.image == "" {
			return w.image(ctx)
		}
	}
	return await(ctx, w.run.imaged)
}

// maxPortTries bounds how many refused ports one attempt goes through.
const maxPortTries = 20

// start creates and starts the instance. A port that the host refuses is marked,
// and the next one is tried.
func (w *work) start(ctx context.Context) error {
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
		if onKeptData(w.Kind()) { // its tenants know it by its port
			return fault.Errorf(fault.CodePortRefused, err, "host %s cannot give port %s back to the instance, because another program uses it", w.run.host.Name, listed(w.inst.hostPorts()))
		}
		if try == maxPortTries {
			return fault.Errorf(fault.CodePortRefused, err, "the host refused %d ports in a row, the last one %s; other programs use ports of BERTH_PORT_RANGE", try, listed(w.inst.hostPorts()))
		}
		w.Detail(ctx, "start", fmt.Sprintf("port %s is in use on the host; trying another", listed(w.inst.hostPorts())))
		for _, port := range refused(err, w.inst.hostPorts()) {
			if err := w.cfg.Ports.Refused(ctx, w.Claim(), w.run.host, port); err != nil {
				return err
			}
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
	if !ok || !onKeptData(w.Kind()) {
		return w.run.engine.Probe(ctx, w.inst, w.run.creds)
	}
	found, err := caretaker.Look(ctx, w.inst, w.run.creds)
	w.run.notice = found.Notice
	return err
}

// ready waits until the instance can be used.
func (w *work) ready(ctx context.Context) error {
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
			return fault.Errorf(fault.CodeProbeFailed, err, "the server runs but does not answer on %s:%d: %s", w.inst.Status.Address, w.inst.Status.Port, fault.Explain(err))
		case <-time.After(probePause(now.Sub(begun))):
		}
	}
}

// stillThere tells a server that is slow from one that has ended.
func (w *work) stillThere(ctx context.Context) error {
	unit, err := w.run.runtime.Inspect(ctx, host.UnitID(w.inst.ID))
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return fault.Errorf(fault.CodeStartFailed, err, "the container was removed by something other than Berth while it was starting")
	case err != nil:
		return err
	case unit.Fence > w.Claim().Fence:
		return fault.Errorf(fault.CodeFenced, nil, "instance %s was claimed by another job or worker", w.inst.ID)
	case unit.Running:
		return nil
	case unit.OOMKilled:
		return fault.Errorf(fault.CodeStartFailed, nil, "the server needed more memory than the plan's %d MiB; take a larger plan", w.inst.Spec.Resources.MemoryBytes>>20)
	}
	if unit.ExitCode == host.Killed { // engines do not always notice why
		return fault.Errorf(fault.CodeStartFailed, nil, "the server was killed (code %d), perhaps because it needed more memory than the plan's %d MiB: %s",
			unit.ExitCode, w.inst.Spec.Resources.MemoryBytes>>20, w.lastWords(ctx))
	}
	return fault.Errorf(fault.CodeStartFailed, nil, "the server exited with code %d: %s", unit.ExitCode, w.lastWords(ctx))
}

// lastWords gives the end of what the server wrote.
func (w *work) lastWords(ctx context.Context) string {
	out, err := w.run.runtime.Output(ctx, host.UnitID(w.inst.ID), 5)
	if err != nil || strings.TrimSpace(out) == "" {
		return "it wrote nothing"
	}
	return w.Scrub(strings.Join(strings.Fields(out), " "))
}

// remove ends and removes the container. What is deleted needs no farewell.
func (w *work) remove(ctx context.Context) error {
	if w.run.runtime == nil {
		return nil // it was never placed, or its host is not known any more
	}
	return w.run.runtime.Remove(ctx, host.UnitID(w.inst.ID), w.Claim().Fence, false)
}

// removeData removes the volume.
func (w *work) removeData(ctx context.Context) error {
	if w.run.runtime == nil {
		return nil
	}
	return w.run.runtime.Remove(ctx, host.UnitID(w.inst.ID), w.Claim().Fence, true)
}
