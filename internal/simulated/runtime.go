package simulated

import (
	"context"
	"errors"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
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
	if err := pause(ctx, length); err != nil {
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

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
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

// own is a change of a container that is there and no newer claim's.
func (r *Runtime) own(ctx context.Context, id host.UnitID, fence int64, do func(*thing) error) error {
	return r.change(ctx, id, func(t *thing) error {
		switch {
		case t.Container == nil || t.Deployment != r.deployment:
			return notFound(id)
		case t.Container.Fence > fence:
			return fenced("container", id)
		}
		return do(t)
	})
}

// Ping implements host.Runtime.
func (r *Runtime) Ping(ctx context.Context) error {
	return r.host.call(ctx, func() error { return nil })
}

// Identity implements host.Runtime: a host is its folder.
func (r *Runtime) Identity(ctx context.Context) (string, error) {
	return r.host.dir, r.Ping(ctx)
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

// CreateVolume implements host.Runtime.
func (r *Runtime) CreateVolume(ctx context.Context, w host.Workload) error {
	return r.change(ctx, w.Unit, func(t *thing) error { return r.createVolume(t, w) })
}

func (r *Runtime) createVolume(t *thing, w host.Workload) error {
	switch {
	case (t.Volume == nil || t.Deployment != r.deployment) && w.KeepData:
		return fault.Errorf(fault.CodeDataLost, nil, "the volume of instance %s is gone", w.Unit)
	case t.Deployment != r.deployment:
		return fault.Errorf(fault.CodeInternal, nil, "the host has a %s that is not of this deployment", w.Unit)
	case t.Volume == nil:
		t.Tenant, t.Volume = w.Tenant, &volume{Fence: w.Fence, Created: time.Now()}
	case t.Volume.Fence > w.Fence:
		return fenced("volume", w.Unit)
	}
	return nil
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
		if c := t.Container; c != nil {
			switch {
			case c.Fence > w.Fence:
				return fenced("container", w.Unit)
			case c.Fence == w.Fence && c.Running && maps.Equal(c.Ports, ports):
				return nil
			}
		}
		t.Container = &container{Fence: w.Fence, Created: time.Now(), Ports: ports}
		return nil
	})
}

// Start implements host.Runtime.
func (r *Runtime) Start(ctx context.Context, w host.Workload) (map[string]int, error) {
	var ports map[string]int
	refused := false
	err := r.own(ctx, w.Unit, w.Fence, func(t *thing) error {
		if ports = t.Container.Ports; t.Container.Running {
			return nil
		}
		free, err := r.host.takePorts(t)
		if err != nil {
			return err
		}
		if refused = !free; refused {
			t.Container = nil
			return nil
		}
		t.Container.Running, t.Container.Started = true, time.Now()
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case refused:
		return nil, fault.Errorf(fault.CodePortRefused, nil, "the host refused to publish one of the ports %v", ports)
	}
	return ports, nil
}

// Adopt implements host.Runtime.
func (r *Runtime) Adopt(ctx context.Context, w host.Workload) error {
	return r.own(ctx, w.Unit, w.Fence, func(t *thing) error {
		if !t.Container.Running {
			return notFound(w.Unit)
		}
		return nil
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
		if err == nil && (t == nil || t.Container == nil || t.Deployment != r.deployment) {
			err = notFound(id)
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
	return ignoreNotFound(err)
}

// Remove implements host.Runtime.
func (r *Runtime) Remove(ctx context.Context, id host.UnitID, fence int64, data bool) error {
	err := r.change(ctx, id, func(t *thing) error {
		if t.Deployment != r.deployment {
			return notFound(id)
		}
		if t.Container != nil {
			if t.Container.Fence > fence {
				return fenced("container", id)
			}
			t.Container = nil
			r.host.tell(r.deployment, id)
		}
		if data && t.Volume != nil {
			if t.Volume.Fence > fence {
				return fenced("volume", id)
			}
			t.Volume = nil
		}
		return nil
	})
	return ignoreNotFound(err)
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
	}
	return u
}

func notFound(id host.UnitID) error {
	return fault.Errorf(fault.CodeNotFound, nil, "the host has no instance %s", id)
}

func fenced(what string, id host.UnitID) error {
	return fault.Errorf(fault.CodeFenced, nil, "the %s of instance %s was created under a newer fencing token", what, id)
}

func ignoreNotFound(err error) error {
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	return err
}
