package simulated

import (
	"context"
	"errors"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

// Runtime implements host.Runtime on one simulated host.
type Runtime struct {
	host       *machine
	deployment string
}

var _ host.Runtime = (*Runtime)(nil)

var errLost = errors.New("the call was lost")

// call takes the time of a call, and perhaps loses it, before or after its effect.
func (h *machine) call(ctx context.Context, do func() error) error {
	h.mu.Lock()
	length := h.set.latency
	if h.set.jitter > 0 {
		length += time.Duration(h.draw.Int64N(2*int64(h.set.jitter)+1)) - h.set.jitter
	}
	lost, late := h.draw.Float64() < h.set.failures, h.draw.Float64() < 0.5
	h.mu.Unlock()
	if err := backoff.Wait(ctx, length); err != nil {
		return err
	}
	if lost && !late {
		return unavailable(errLost)
	}
	if err := do(); !lost {
		return err
	}
	return unavailable(errLost)
}

// change is a call that changes what there is of an instance, while nobody else does.
func (r *Runtime) change(ctx context.Context, id host.UnitID, do func(*thing) error) error {
	return r.host.call(ctx, func() error {
		return r.host.locked(func() error {
			t, err := r.host.read(id)
			if err != nil {
				return err
			}
			if t == nil {
				t = &thing{Deployment: r.deployment, id: id}
			}
			if err := do(t); err != nil {
				return err
			}
			return r.host.write(t)
		})
	})
}

// own is a change of a container that the claim may use.
func (r *Runtime) own(ctx context.Context, id host.UnitID, fence int64, do func(*thing) error) error {
	return r.change(ctx, id, func(t *thing) error {
		there, _ := t.marks(r.deployment)
		if err := r.claim(id, fence).Use(there); err != nil {
			return err
		}
		return do(t)
	})
}

// claim is who asks, by the rules of fencing.
func (r *Runtime) claim(id host.UnitID, fence int64) fencing.Claim {
	return fencing.Claim{Deployment: r.deployment, Unit: id, Fence: fence}
}

// Ping implements host.Runtime.
func (r *Runtime) Ping(ctx context.Context) error {
	return r.host.call(ctx, func() error { return nil })
}

// Identity implements host.Runtime: a host is its folder.
func (r *Runtime) Identity(ctx context.Context) (string, error) {
	return r.host.dir, r.Ping(ctx)
}

// Facts implements host.Runtime: every host is as large as a usual one.
func (r *Runtime) Facts(ctx context.Context) (host.EngineFacts, error) {
	return host.EngineFacts{
		ID: r.host.dir, Version: "28.5.2", StorageDriver: "simulated", CgroupVersion: "2", OS: "simulated", Kernel: "6.1.0", Arch: "amd64",
		CPUs: 64, MemoryBytes: 256 << 30, MemoryLimit: true,
	}, r.Ping(ctx)
}

// EnsureImage implements host.Runtime: every image is there.
func (r *Runtime) EnsureImage(ctx context.Context, references []string, _ func(string)) (string, error) {
	return references[0], r.Ping(ctx)
}

// EnsureGolden implements host.Runtime: there is none, which costs nothing here.
func (r *Runtime) EnsureGolden(ctx context.Context, _ host.Golden, _ func(string)) (string, error) {
	if err := r.Ping(ctx); err != nil {
		return "", err
	}
	return "", fault.Errorf(fault.CodeImageUnavailable, nil, "a simulated host has no golden data")
}

// Forget implements host.Runtime: there is nothing but units.
func (r *Runtime) Forget(ctx context.Context) error {
	units, err := r.List(ctx)
	if err == nil && len(units) > 0 {
		err = fault.Errorf(fault.CodeHostInUse, nil, "there are still %d instances", len(units))
	}
	return err
}

// Space implements host.Runtime: there is always enough.
func (r *Runtime) Space(ctx context.Context, id host.UnitID) (host.Space, error) {
	unit, err := r.Inspect(ctx, id)
	if err == nil && !unit.Running {
		err = fault.Errorf(fault.CodeNotFound, nil, "%s does not run", id)
	}
	return host.Space{SizeBytes: 4 << 40, FreeBytes: 2 << 40}, err
}

// CreateVolume implements host.Runtime.
func (r *Runtime) CreateVolume(ctx context.Context, w host.Workload) error {
	return r.change(ctx, w.Unit, func(t *thing) error { return r.createVolume(t, w) })
}

func (r *Runtime) createVolume(t *thing, w host.Workload) error {
	_, there := t.marks(r.deployment)
	create, err := r.claim(w.Unit, w.Fence).CreateVolume(there, w.KeepData)
	if create {
		t.Tenant, t.Volume = w.Tenant, &volume{Fence: w.Fence, Created: time.Now()}
	}
	return err
}

// Create implements host.Runtime.
func (r *Runtime) Create(ctx context.Context, w host.Workload) error {
	ports := map[string]int{}
	for _, p := range w.Ports {
		ports[p.Name] = p.Host
	}
	return r.change(ctx, w.Unit, func(t *thing) error {
		if err := r.createVolume(t, w); err != nil {
			return err
		}
		there, _ := t.marks(r.deployment)
		asAsked := t.Container != nil && t.Container.Running && maps.Equal(t.Container.Ports, ports)
		create, err := r.claim(w.Unit, w.Fence).CreateContainer(there, asAsked)
		if create {
			t.Container = &container{
				Fence: w.Fence, Created: time.Now(), Ports: ports, CPU: w.Resources.CPUMillis, Memory: w.Resources.MemoryBytes,
			}
		}
		return err
	})
}

// Start implements host.Runtime.
func (r *Runtime) Start(ctx context.Context, w host.Workload) (map[string]int, error) {
	var ports map[string]int
	refused := 0
	err := r.own(ctx, w.Unit, w.Fence, func(t *thing) error {
		if ports = t.Container.Ports; t.Container.Running {
			return nil
		}
		var err error
		if refused, err = r.host.takePorts(t); err != nil {
			return err
		}
		if refused != 0 {
			t.Container = nil
			return nil
		}
		t.Container.Running, t.Container.Started = true, time.Now()
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case refused != 0:
		return nil, r.claim(w.Unit, w.Fence).PortRefused(refused)
	}
	return ports, nil
}

// Adopt implements host.Runtime.
func (r *Runtime) Adopt(ctx context.Context, w host.Workload) error {
	return r.change(ctx, w.Unit, func(t *thing) error {
		there, _ := t.marks(r.deployment)
		return r.claim(w.Unit, w.Fence).UseRunning(there, t.Container != nil && t.Container.Running)
	})
}

// Settle implements host.Runtime.
func (r *Runtime) Settle(ctx context.Context, id host.UnitID, fence int64) error {
	return r.own(ctx, id, fence, func(t *thing) error {
		t.Container.Settled = true
		return nil
	})
}

// Inspect implements host.Runtime.
func (r *Runtime) Inspect(ctx context.Context, id host.UnitID) (u host.Unit, err error) {
	err = r.host.call(ctx, func() error {
		t, err := r.host.read(id)
		if err == nil {
			there, _ := t.marks(r.deployment)
			err = r.claim(id, fencing.Any).Use(there)
		}
		if err == nil {
			u = t.unit()
		}
		return err
	})
	return u, err
}

// Stop implements host.Runtime.
func (r *Runtime) Stop(ctx context.Context, id host.UnitID, fence int64, _ time.Duration) error {
	err := r.own(ctx, id, fence, func(t *thing) error {
		if t.Container.Running {
			t.Container.Running = false
			r.host.tell(r.deployment, id)
		}
		return nil
	})
	return fencing.IgnoreGone(err)
}

// Remove implements host.Runtime.
func (r *Runtime) Remove(ctx context.Context, id host.UnitID, fence int64, data bool) error {
	err := r.change(ctx, id, func(t *thing) error {
		container, volume := t.marks(r.deployment)
		remove, err := r.claim(id, fence).Remove(container, volume, data)
		if remove.Container {
			t.Container = nil
			r.host.tell(r.deployment, id)
		}
		if remove.Volume {
			t.Volume = nil
		}
		return err
	})
	return fencing.IgnoreGone(err)
}

// List implements host.Runtime.
func (r *Runtime) List(ctx context.Context) (units []host.Unit, err error) {
	err = r.host.call(ctx, func() error {
		entries, err := os.ReadDir(r.host.dir)
		if err != nil {
			return unavailable(err)
		}
		for _, entry := range entries {
			name, ok := strings.CutSuffix(entry.Name(), suffix)
			if !ok {
				continue
			}
			if t, err := r.host.read(host.UnitID(name)); err != nil {
				return err
			} else if t != nil && t.Deployment == r.deployment {
				units = append(units, t.unit())
			}
		}
		return nil
	})
	return units, err
}

// Watch implements host.Runtime. It tells what this process has ended; what others
// have, the sweeps find.
func (r *Runtime) Watch(ctx context.Context, ended func(host.UnitID)) error {
	if err := r.Ping(ctx); err != nil {
		return err
	}
	news := make(chan host.UnitID, 100)
	r.host.mu.Lock()
	r.host.watchers[news] = r.deployment
	r.host.mu.Unlock()
	defer func() {
		r.host.mu.Lock()
		defer r.host.mu.Unlock()
		delete(r.host.watchers, news)
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case id := <-news:
			ended(id)
		}
	}
}

func (h *machine) tell(deployment string, id host.UnitID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for news, of := range h.watchers {
		if of != deployment {
			continue
		}
		select {
		case news <- id:
		default: // news may be lost
		}
	}
}

// Output implements host.Runtime: a simulated server says nothing.
func (r *Runtime) Output(ctx context.Context, id host.UnitID, _ int) (string, error) {
	_, err := r.Inspect(ctx, id)
	return "", err
}

func (t *thing) unit() host.Unit {
	u := host.Unit{ID: t.id, Tenant: t.Tenant, Volume: t.Volume != nil}
	if t.Volume != nil {
		u.Fence, u.Created = t.Volume.Fence, t.Volume.Created
	}
	if c := t.Container; c != nil {
		u.Container, u.Fence, u.Created, u.Running, u.Ports = true, c.Fence, c.Created, c.Running, c.Ports
		u.CPUMillis, u.MemoryBytes = c.CPU, c.Memory
	}
	return u
}
