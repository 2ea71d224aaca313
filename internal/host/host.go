package host

import (
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// ID names a host ("hst_…").
type ID string

// Prefix is the prefix of the ids.
const Prefix = "hst"

// Host is a place that units run on.
type Host struct {
	ID        ID
	Name      string // unique
	Endpoint  string // of its engine: "unix:///var/run/docker.sock", "tcp://10.0.0.7:2376", "ssh://root@10.0.0.7"
	Advertise string // the address that tenants connect to
	Bind      string // the address that ports are published on
	PortLow   int    // the first port that instances may get
	PortHigh  int    // the last one
	// Engine is what its engine calls itself; empty before the first contact.
	Engine string
	// MissingSince is since when much of what should be there is not; zero: it is.
	MissingSince time.Time

	Source Source
	State  State
	Reason string // why it is in this state, where that needs saying
	Health Health
	// HealthNote says what is wrong, and HealthSince since when; both are zero where all is well.
	HealthNote  string
	HealthSince time.Time
	// Where it is. Empty: nobody has said.
	Region, Zone, Rack string
	Arch               string // as Docker calls it: "amd64", "arm64"
	Purpose            string // for people
	Labels             map[string]string
	Reserved           bool // nothing is placed there that does not name it
	Found              Found
	Capacity           Capacity
	Used               Used

	// HostKey is the public key that its machine must show, as a line of known_hosts has it.
	HostKey string
	// BeforeState is the state that it goes back to where the job that is at it fails.
	BeforeState State
	// TakenOver says that it was there before this pool was: what it has that nobody knows of
	// is left alone.
	TakenOver bool
	// Import says how it became a host.
	Import ImportOptions
	// Checks are what the last look at it has found.
	Checks []Check

	Fence     int64 // the highest fencing token of its jobs
	Rev       int64 // grows with every write of those who manage it; a write names the one it saw
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Source says who keeps a host.
type Source string

// The sources of hosts.
const (
	// FromEnvironment is a host that each worker registers as its settings say.
	FromEnvironment Source = "environment"
	// FromPool is a host that an operator has added.
	FromPool Source = "pool"
)

// Found is what was found on a host when it was looked at last; zero: nobody has looked.
type Found struct {
	CPUMillis     int64 // thousandths of a core
	MemoryBytes   int64
	OS            string // "Debian GNU/Linux 12 (bookworm)"
	Kernel        string // "6.1.0-18-amd64"
	EngineVersion string // "28.5.2"
	StorageDriver string // "overlay2"
	At            time.Time
}

// Overcommit says how much of what a host has is given away, in percent, behind what is kept
// for the system; 0: all are given that ask, as the host can run more than it has memory and
// cores for.
type Overcommit struct {
	CPUPercent    int
	MemoryPercent int
	CPUMillis     int64 // kept for the system
	MemoryBytes   int64
}

// Capacity is what a host has to give away; 0: it is not limited.
type Capacity struct {
	Overcommit  Overcommit
	CPUMillis   int64
	MemoryBytes int64
}

// Used is what units hold of a host: the sum of their allocations.
type Used struct {
	CPUMillis   int64
	MemoryBytes int64
	Units       int64
}

// capacity returns what the host has to give away of what was found; where nobody has looked yet,
// it is not limited until then. What is limited has at least 1, because 0 is not limited.
func (o Overcommit) capacity(f Found) Capacity {
	c := Capacity{Overcommit: o}
	if f.At.IsZero() {
		return c
	}
	if o.CPUPercent > 0 {
		c.CPUMillis = max(1, f.CPUMillis*int64(o.CPUPercent)/100-o.CPUMillis)
	}
	if o.MemoryPercent > 0 {
		c.MemoryBytes = max(1, f.MemoryBytes/100*int64(o.MemoryPercent)-o.MemoryBytes)
	}
	return c
}

// The overcommit of a host that joins the pool, where nobody says another: cores are shared,
// memory is not.
const (
	defaultCPUPercent     = 400
	defaultMemoryPercent  = 100
	defaultReservedCPU    = 250
	defaultReservedMemory = 512 << 20
)

// DefaultOvercommit returns that of a host of the pool.
func DefaultOvercommit() Overcommit {
	return Overcommit{
		CPUPercent: defaultCPUPercent, MemoryPercent: defaultMemoryPercent, CPUMillis: defaultReservedCPU, MemoryBytes: defaultReservedMemory,
	}
}

// Health says whether a host can be worked with now. It is no state: what it stops goes on when
// it is over, and nothing is lost.
type Health string

// The healths of a host.
const (
	Healthy     Health = "healthy"
	Unreachable Health = "unreachable" // its engine does not answer
	DiskFull    Health = "disk_full"   // a disk of it has hardly any space left
)

// State is where a host is in its life. Operators move it, by jobs or at once.
//
//	importing ──► online ◄──► cordoned ◄──► draining
//	   │  ▲         │             │
//	   ▼  │         ▼             ▼
//	  failed ──► deleting ◄───────┘   (back to what it was where that does not work out)
//	                │
//	                ▼
//	             deleted
type State string

// The states of a host.
const (
	StateImporting State = "importing" // a job makes it a host
	StateOnline    State = "online"    // units are placed there
	StateCordoned  State = "cordoned"  // what is there stays; nothing is placed there
	StateDraining  State = "draining"  // a job moves away what can be moved
	StateFailed    State = "failed"    // it could not be made a host; Reason says why
	StateDeleting  State = "deleting"  // a job takes it out of the pool
	StateDeleted   State = "deleted"   // it is gone; only events and jobs tell of it
)

// moves is the whole rule: what is not in it cannot happen.
var moves = map[State][]State{
	StateImporting: {StateOnline, StateCordoned, StateFailed, StateDeleting},
	StateOnline:    {StateCordoned, StateDeleting},
	StateCordoned:  {StateOnline, StateDraining, StateDeleting},
	StateDraining:  {StateCordoned, StateDeleting},
	StateFailed:    {StateImporting, StateDeleting},
	StateDeleting:  {StateDeleted, StateOnline, StateCordoned, StateFailed},
	StateDeleted:   {},
}

// States lists every state, in the order of a life.
func States() []State {
	return []State{StateImporting, StateOnline, StateCordoned, StateDraining, StateFailed, StateDeleting, StateDeleted}
}

// CanBecome reports whether the state table allows the move.
func (s State) CanBecome(next State) bool { return slices.Contains(moves[s], next) }

// Move changes the state, or fails with CodeConflict where the table forbids it.
func (h *Host) Move(next State, reason string, now time.Time) error {
	if !h.State.CanBecome(next) {
		return fault.Errorf(fault.CodeHostState, nil, "host %s is %s; it cannot become %s", h.Name, h.State, next)
	}
	h.State, h.Reason, h.UpdatedAt = next, reason, now
	return nil
}

// Joined reports whether the host is one that units may be on: its engine is known and Berth
// looks after what is there.
func (h *Host) Joined() bool {
	switch h.State {
	case StateImporting, StateFailed, StateDeleted:
		return h.Source == FromPool && h.Engine != ""
	default:
		return true
	}
}
