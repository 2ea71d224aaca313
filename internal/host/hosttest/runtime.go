package hosttest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

// Runtime is a host.Runtime in memory. It keeps the contract, and has
// switches for what goes wrong (Fail, TakePort, Behave, Crash, SetProbe).
type Runtime struct {
	machine    *machine
	deployment string

	mu     sync.Mutex
	faults map[Method]*Fault
	calls  map[Method]int
	onCall func(context.Context, Method, host.UnitID)
	behave func(host.Workload) Behavior
	probe  func(host.UnitID) error
	stuck  func(host.UnitID) bool
	grace  map[host.UnitID]time.Duration
}

var _ host.Runtime = (*Runtime)(nil)

// NewRuntime makes the runtime of a deployment on a host of its own, which has no
// image but gets every one that is asked for.
func NewRuntime(deployment string) *Runtime {
	return &Runtime{machine: newMachine(), deployment: deployment, faults: map[Method]*Fault{}, calls: map[Method]int{}, grace: map[host.UnitID]time.Duration{}}
}

// Beside makes the runtime of another deployment on the same host.
func (r *Runtime) Beside(deployment string) *Runtime {
	other := NewRuntime(deployment)
	other.machine = r.machine
	return other
}

// Ping succeeds unless a fault is switched on.
func (r *Runtime) Ping(ctx context.Context) error {
	return r.call(ctx, MethodPing, "", func() error { return nil })
}

// Identity gives the name of the machine; SetIdentity changes it.
func (r *Runtime) Identity(ctx context.Context) (id string, err error) {
	err = r.call(ctx, MethodIdentity, "", func() error {
		id = r.machine.identity
		return nil
	})
	return id, err
}

// Facts gives what SetFacts has set, under the name of the machine.
func (r *Runtime) Facts(ctx context.Context) (facts host.EngineFacts, err error) {
	err = r.call(ctx, MethodFacts, "", func() error {
		facts = r.machine.facts
		facts.ID = r.machine.identity
		return nil
	})
	return facts, err
}

// Space gives what SetSpace has set, for a unit that runs.
func (r *Runtime) Space(ctx context.Context, id host.UnitID) (space host.Space, err error) {
	err = r.call(ctx, MethodSpace, id, func() error {
		if c := r.machine.containers[id]; c == nil || !c.running || c.owner != r.deployment {
			return fault.ErrNotFound
		}
		space = r.machine.space
		return nil
	})
	return space, err
}

// CreateVolume makes the volume.
func (r *Runtime) CreateVolume(ctx context.Context, w host.Workload) error {
	return r.call(ctx, MethodCreateVolume, w.Unit, func() error { return r.createVolume(w) })
}

func (r *Runtime) createVolume(w host.Workload) error {
	create, err := r.claim(w.Unit, w.Fence).CreateVolume(r.machine.volumes[w.Unit].mark(), w.KeepData)
	if create {
		if w.Disk == "" && r.machine.quota {
			w.Enforcement = host.EnforcedByQuota
		}
		r.machine.volumes[w.Unit] = &volume{owner: r.deployment, fence: w.Fence, tenant: w.Tenant, disk: w.Disk, bound: w.Enforcement, created: time.Now()}
	}
	return err
}

// Create makes the container, with its volume and files.
func (r *Runtime) Create(ctx context.Context, w host.Workload) error {
	return r.call(ctx, MethodCreate, w.Unit, func() error {
		if err := r.createVolume(w); err != nil {
			return err
		}
		c := r.machine.containers[w.Unit]
		asAsked := c != nil && c.running && slices.Equal(c.workload.Ports, w.Ports)
		create, err := r.claim(w.Unit, w.Fence).CreateContainer(c.mark(), asAsked)
		if err != nil || !create {
			return err
		}
		delete(r.machine.containers, w.Unit)
		if !r.machine.images[w.Image] {
			return fault.Errorf(fault.CodeImageUnavailable, nil, "image %s is not on the host", w.Image)
		}
		// The caller may go on using its slices.
		w.Ports, w.Files = slices.Clone(w.Ports), slices.Clone(w.Files)
		r.machine.volumes[w.Unit].put(w)
		r.machine.containers[w.Unit] = &container{owner: r.deployment, created: time.Now(), workload: w, behavior: r.behavior(w)}
		return nil
	})
}

// Start starts the container and gives its ports.
func (r *Runtime) Start(ctx context.Context, w host.Workload) (ports map[string]int, err error) {
	err = r.call(ctx, MethodStart, w.Unit, func() error {
		c, err := r.own(w.Unit, w.Fence)
		if err != nil {
			return err
		}
		ports = c.ports()
		if c.running {
			return nil
		}
		for _, p := range c.workload.Ports {
			if _, held := r.machine.portHolder(p.Host); held || r.machine.taken[p.Host] {
				delete(r.machine.containers, w.Unit)
				return r.claim(w.Unit, w.Fence).PortRefused(p.Host)
			}
		}
		c.running, c.exitCode, c.oom = true, 0, false
		if c.behavior.Ends {
			c.end(c.behavior)
		} else {
			c.output += c.behavior.Output
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ports, nil
}

// Adopt puts other files in the volume of what runs.
func (r *Runtime) Adopt(ctx context.Context, w host.Workload) error {
	return r.call(ctx, MethodAdopt, w.Unit, func() error {
		c := r.machine.containers[w.Unit]
		if err := r.claim(w.Unit, w.Fence).UseRunning(c.mark(), c != nil && c.running); err != nil {
			return err
		}
		r.machine.volumes[w.Unit].put(w)
		c.workload.PidsLimit = w.PidsLimit
		return nil
	})
}

// Settle marks the container as one whose ends are left alone.
func (r *Runtime) Settle(ctx context.Context, id host.UnitID, fence int64) error {
	return r.call(ctx, MethodSettle, id, func() error {
		c, err := r.own(id, fence)
		if err != nil {
			return err
		}
		c.settled = true
		return nil
	})
}

// Inspect says what is there.
func (r *Runtime) Inspect(ctx context.Context, id host.UnitID) (u host.Unit, err error) {
	err = r.call(ctx, MethodInspect, id, func() error {
		c, err := r.own(id, fencing.Any)
		if err != nil {
			return err
		}
		u = c.unit(r.machine)
		return nil
	})
	return u, err
}

// Stop ends the container at once, with exit code 0.
func (r *Runtime) Stop(ctx context.Context, id host.UnitID, fence int64, grace time.Duration) error {
	return r.call(ctx, MethodStop, id, func() error {
		r.mu.Lock()
		r.grace[id] = grace
		r.mu.Unlock()
		c, err := r.own(id, fence)
		if err == nil && c.running {
			c.end(Behavior{})
			r.machine.tell(c.owner, id)
		}
		return fencing.IgnoreGone(err)
	})
}

// Remove removes the container and, with data, the volume.
func (r *Runtime) Remove(ctx context.Context, id host.UnitID, fence int64, data bool) error {
	r.mu.Lock()
	stuck := data && r.stuck != nil && r.stuck(id)
	r.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	return r.call(ctx, MethodRemove, id, func() error {
		remove, err := r.claim(id, fence).Remove(r.machine.containers[id].mark(), r.machine.volumes[id].mark(), data)
		if remove.Container {
			delete(r.machine.containers, id)
			r.machine.tell(r.deployment, id)
		}
		if remove.Volume {
			delete(r.machine.volumes, id)
		}
		return fencing.IgnoreGone(err)
	})
}

// List gives everything of the deployment, ordered by instance.
func (r *Runtime) List(ctx context.Context) (units []host.Unit, err error) {
	err = r.call(ctx, MethodList, "", func() error {
		for _, c := range r.machine.containers {
			if c.owner == r.deployment {
				units = append(units, c.unit(r.machine))
			}
		}
		for id, v := range r.machine.volumes {
			c, ok := r.machine.containers[id]
			if v.owner == r.deployment && (!ok || c.owner != r.deployment) {
				units = append(units, host.Unit{ID: id, Tenant: v.tenant, Fence: v.fence, Volume: true, Created: v.created})
			}
		}
		slices.SortFunc(units, func(a, b host.Unit) int { return cmp.Compare(a.ID, b.ID) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return units, nil
}

// Watch tells of every instance that ends or is removed.
func (r *Runtime) Watch(ctx context.Context, ended func(host.UnitID)) error {
	w := &watcher{owner: r.deployment, news: make(chan host.UnitID, 1000)}
	if err := r.call(ctx, MethodWatch, "", func() error {
		r.machine.watchers[w] = true
		return nil
	}); err != nil {
		return err
	}
	defer func() {
		r.machine.mu.Lock()
		defer r.machine.mu.Unlock()
		delete(r.machine.watchers, w)
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case id := <-w.news:
			ended(id)
		}
	}
}

// Output gives the last lines that the container wrote.
func (r *Runtime) Output(ctx context.Context, id host.UnitID, lines int) (text string, err error) {
	err = r.call(ctx, MethodOutput, id, func() error {
		c, err := r.own(id, fencing.Any)
		if err != nil {
			return err
		}
		all := strings.SplitAfter(c.output, "\n")
		if last := len(all) - 1; all[last] == "" {
			all = all[:last]
		}
		text = strings.Join(all[max(0, len(all)-max(lines, 0)):], "")
		return nil
	})
	return text, err
}

// claim is who asks, by the rules of fencing.
func (r *Runtime) claim(id host.UnitID, fence int64) fencing.Claim {
	return fencing.Claim{Deployment: r.deployment, Unit: id, Fence: fence}
}

// own finds the container for a claim.
func (r *Runtime) own(id host.UnitID, fence int64) (*container, error) {
	c := r.machine.containers[id]
	return c, r.claim(id, fence).Use(c.mark())
}
