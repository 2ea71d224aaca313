package hosttest

import (
	"maps"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// Behavior is what a server does when it is started. The zero value runs for ever.
type Behavior struct {
	Ends      bool // at once
	ExitCode  int
	OOMKilled bool
	Output    string // what it writes
}

// Behave sets what the servers do that are created from now on. The function must
// not call the Runtime.
func (r *Runtime) Behave(f func(host.Workload) Behavior) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behave = f
}

func (r *Runtime) behavior(w host.Workload) Behavior {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.behave == nil {
		return Behavior{}
	}
	return r.behave(w)
}

// Crash ends a server that runs. It reports whether there was one.
func (r *Runtime) Crash(id host.UnitID, b Behavior) bool {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	c, ok := r.machine.containers[id]
	if !ok || !c.running {
		return false
	}
	c.end(b)
	r.machine.tell(c.owner, id)
	return true
}

// Lose removes the container, and with data the volume, as somebody would by hand.
func (r *Runtime) Lose(id host.UnitID, data bool) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	delete(r.machine.containers, id)
	if data {
		delete(r.machine.volumes, id)
	}
	r.machine.tell(r.deployment, id)
}

// Away is what a host without its disk does not have; Back gives it back.
type Away struct {
	containers map[host.UnitID]*container
	volumes    map[host.UnitID]*volume
}

// LoseAll takes everything away, as a host does that comes up without its disk.
func (r *Runtime) LoseAll() Away {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	away := Away{r.machine.containers, r.machine.volumes}
	r.machine.containers, r.machine.volumes = map[host.UnitID]*container{}, map[host.UnitID]*volume{}
	return away
}

// Back gives back what was away.
func (r *Runtime) Back(away Away) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	maps.Copy(r.machine.containers, away.containers)
	maps.Copy(r.machine.volumes, away.volumes)
}

// Stick makes removals hang whose volume somebody else uses; nil: none.
func (r *Runtime) Stick(stuck func(host.UnitID) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stuck = stuck
}

// SetSpace makes the disk of the machine another one.
func (r *Runtime) SetSpace(s host.Space) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	r.machine.space = s
}

// SetFacts makes the engine say something else of itself; its name stays.
func (r *Runtime) SetFacts(f host.EngineFacts) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	r.machine.facts = f
}

// SetIdentity makes another engine answer.
func (r *Runtime) SetIdentity(id string) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	r.machine.identity = id
}

// SetProbe sets the answer of Probe for servers that run; nil: success.
func (r *Runtime) SetProbe(f func(host.UnitID) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probe = f
}

// Probe is what a fake engine's Probe asks: it fails where the server does not run,
// and else as SetProbe says.
func (r *Runtime) Probe(id host.UnitID) error {
	r.machine.mu.Lock()
	c, ok := r.machine.containers[id]
	up := ok && c.owner == r.deployment && c.running
	r.machine.mu.Unlock()
	if !up {
		return fault.Errorf(fault.CodeProbeFailed, nil, "connection refused")
	}
	r.mu.Lock()
	probe := r.probe
	r.mu.Unlock()
	if probe == nil {
		return nil
	}
	return probe(id)
}

// TakePort makes the host refuse the port, as if another process had it.
func (r *Runtime) TakePort(port int) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	r.machine.taken[port] = true
}

// FreePort gives back a port that TakePort took.
func (r *Runtime) FreePort(port int) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	delete(r.machine.taken, port)
}

// AddForeign puts a container and a volume of somebody else under the instance's
// names.
func (r *Runtime) AddForeign(id host.UnitID) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	r.machine.containers[id] = &container{workload: host.Workload{Unit: id}}
	r.machine.volumes[id] = &volume{}
}

// ForeignThere reports whether the things of AddForeign are still there.
func (r *Runtime) ForeignThere(id host.UnitID) bool {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	c, ok1 := r.machine.containers[id]
	v, ok2 := r.machine.volumes[id]
	return ok1 && ok2 && c.owner == "" && v.owner == ""
}

// Workload gives what the instance's container was created from.
func (r *Runtime) Workload(id host.UnitID) (w host.Workload, settled, ok bool) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	c, ok := r.machine.containers[id]
	if !ok || c.owner != r.deployment {
		return host.Workload{}, false, false
	}
	return c.workload, c.settled, true
}

// File gives a file in the instance's volume, and its owner as "uid:gid".
func (r *Runtime) File(id host.UnitID, path string) (f host.File, owner string, ok bool) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	v, ok := r.machine.volumes[id]
	if !ok {
		return host.File{}, "", false
	}
	f, ok = v.files[path]
	return f, v.user, ok
}

// Grace gives how long the unit was given to end by itself, when it was last asked to.
func (r *Runtime) Grace(id host.UnitID) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.grace[id]
}
