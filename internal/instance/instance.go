package instance

import (
	"maps"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/tenant"
)

// Instance is one data service of one tenant: what was asked for (Spec), what is there
// (Status), and where it is in its life (State).
type Instance struct {
	ID     ID
	Tenant tenant.ID
	Name   string // unique among the tenant's instances that are not deleted
	Labels map[string]string
	Spec   Spec
	Status Status
	State  State
	Reason string // why it is in this state, where that needs saying
	Fence  int64  // the highest fencing token handed out for this instance

	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt time.Time // zero until deleted
	KeptUntil time.Time // of a failed one that is kept for inspection; else zero
	Rev       int64     // grows with every write; a write names the one it saw
}

// Spec is what was asked for. Jobs bring the instance to it, and none changes it.
type Spec struct {
	Engine     string
	Version    string
	Plan       string // "custom" where explicit resources were asked for
	Resources  host.Resources
	Parameters Parameters // complete: what was asked for, and the defaults for the rest
	// Ports is how many ports of its host it takes; 0, of earlier releases, is one. A second
	// one is for connections with TLS.
	Ports      int
	RequireTLS bool // the server refuses connections without TLS
	Placement  host.Where
}

// Status is what is there, as far as jobs and sweeps have seen it.
type Status struct {
	Host    host.ID // empty until it is placed
	Address string  // what tenants connect to; empty until it is placed
	Port    int     // 0 until it is reserved
	TLSPort int     // 0 where there is no second one
	// CertifiedUntil is the end of the certificate that its server proves its address by;
	// zero: it has none of the deployment's authority.
	CertifiedUntil time.Time
	DataLost       bool // it failed because its volume was gone; whatever comes back of it is kept
	Disk           Disk // what it has on the disk; written by UpdateDisk only
}

// Parameters are the settings of an engine, by name. Values are string, int64 or
// bool, as the engine's schema says.
type Parameters map[string]any

// Clone gives a copy that can be changed.
func (p Parameters) Clone() Parameters { return maps.Clone(p) }

// String gives the value of a parameter as a string, "" where it is none.
func (p Parameters) String(name string) string { s, _ := p[name].(string); return s }

// Int gives the value of a parameter as an integer, 0 where it is none.
func (p Parameters) Int(name string) int64 { n, _ := p[name].(int64); return n }

// Stock reports whether the instance was made for the warm pool and has no tenant yet. This is
// the one place that knows how its row says so: by the tenant, as the releases do that may
// still be at work beside this one.
func (i Instance) Stock() bool { return i.Tenant == tenant.Nobody }

// kept reports whether a failed create is left as it is for inspection. The janitor
// has it deleted when its time is up.
func (i *Instance) kept() bool { return i.State == StateFailed && !i.KeptUntil.IsZero() }

// ports returns how many ports of its host the instance takes.
func (s Spec) ports() int { return max(s.Ports, 1) }

// need returns what the instance needs of a host.
func (i *Instance) need() host.Need {
	return host.Need{Tenant: i.Tenant, Resources: i.Spec.Resources, Ports: i.Spec.ports(), Where: i.Spec.Placement}
}

// ask returns what the instance is to hold on its host.
func (i *Instance) ask() host.Ask {
	return host.Ask{Tenant: i.Tenant, Resources: i.Spec.Resources, Ports: i.Spec.portNames(), Where: i.Spec.Placement}
}

// portNames returns what each of them is for. A port is held under its name.
func (s Spec) portNames() []string {
	return []string{s.Engine, s.Engine + "-tls"}[:s.ports()]
}

// shouldRun reports whether a server is to be there, and its data.
func (i *Instance) shouldRun() bool {
	return i.State == StateRunning || i.State == StateUnhealthy || i.State == StateWarm
}

// State is where an instance is in its life.
//
//	   ┌──────── warm ◄──┐
//	   ▼                 │
//	pending ──► provisioning ──► running ◄──► unhealthy
//	   │             │            ▲  │           │
//	   │             │            │  ▼           │
//	   │             │           stopped         │
//	   │             │                           │
//	   │             │     running, stopped, unhealthy ──► updating ──► back, or failed
//	   ▼             ▼                           ▼
//	   └─────────────┴── deleting ◄── failed ◄───┘   (to unhealthy when lost data is there again)
//	                        │  ▲        ▲
//	                        │  └────────┘  (a delete that could not finish)
//	                        ▼
//	                     deleted
type State string

// The states of an instance.
const (
	StatePending      State = "pending"      // accepted, no worker has begun
	StateProvisioning State = "provisioning" // a worker is at it
	StateRunning      State = "running"      // proven usable with the tenant's credentials
	StateUnhealthy    State = "unhealthy"    // was running, does not answer now
	StateStopped      State = "stopped"      // stopped on request
	StateUpdating     State = "updating"     // being changed
	StateDeleting     State = "deleting"     // being removed
	StateDeleted      State = "deleted"      // gone; readable for a while
	StateWarm         State = "warm"         // proven usable, and nobody's; no tenant ever sees it
	StateFailed       State = "failed"       // gave up; Reason says why
)

// moves is the whole rule: what is not in it cannot happen.
var moves = map[State][]State{
	StatePending:      {StateProvisioning, StateDeleting, StateFailed},
	StateProvisioning: {StateRunning, StateWarm, StateDeleting, StateFailed},
	StateWarm:         {StatePending, StateDeleting},
	StateRunning:      {StateUnhealthy, StateStopped, StateUpdating, StateDeleting, StateFailed},
	StateUnhealthy:    {StateRunning, StateStopped, StateUpdating, StateDeleting, StateFailed},
	StateStopped:      {StateRunning, StateUpdating, StateDeleting, StateFailed},
	StateUpdating:     {StateRunning, StateUnhealthy, StateStopped, StateDeleting, StateFailed},
	StateDeleting:     {StateDeleted, StateFailed},
	StateFailed:       {StateDeleting, StateUnhealthy},
	StateDeleted:      {},
}

// States lists every state, in the order of a life.
func States() []State {
	return []State{
		StatePending, StateProvisioning, StateRunning, StateUnhealthy, StateStopped, StateUpdating, StateDeleting,
		StateDeleted, StateFailed, StateWarm,
	}
}

// CanBecome reports whether the state table allows the move.
func (s State) CanBecome(next State) bool {
	return slices.Contains(moves[s], next)
}

// Move changes the state, or fails with CodeInternal where the table forbids it.
func (i *Instance) Move(next State, reason string, now time.Time) error {
	if !i.State.CanBecome(next) {
		return fault.Errorf(fault.CodeInternal, nil, "instance %s cannot change from state %s to %s", i.ID, i.State, next)
	}
	i.State, i.Reason, i.UpdatedAt = next, reason, now
	if next == StateDeleted {
		i.DeletedAt = now
	}
	return nil
}
