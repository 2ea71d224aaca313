package host

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Runtimes gives the Runtime of a host. It fails with CodeHostUnavailable.
type Runtimes interface {
	Runtime(Host) (Runtime, error)
}

// Runtime runs units on one host. It speaks of units, not of containers, so that an
// orchestrator can stand behind it.
//
// Every call is idempotent: what is already there is adopted if it carries the
// same fencing token, replaced if an older one, and left alone with CodeFenced if
// a newer one; what is already gone is success. A host that does not answer gives
// CodeHostUnavailable. Things of others, without the labels of this deployment,
// are never touched. Package fencing has these rules for runtimes to decide by.
type Runtime interface {
	Platform
	Units
}

// Platform is what concerns a host as a whole.
type Platform interface {
	// Ping reports whether the host's engine answers.
	Ping(context.Context) error
	// Identity gives what the engine calls itself: the same for ever, and no other engine's.
	Identity(context.Context) (string, error)
	// Facts gives what the engine says of itself and of its machine.
	Facts(context.Context) (EngineFacts, error)
	// EnsureImage makes one of the references present and says which: the first one
	// that is there already, else the first one, pulled. However many ask at once, it
	// is pulled once; each is told of the progress. CodeImageUnavailable when it
	// cannot be had.
	EnsureImage(ctx context.Context, references []string, progress func(string)) (string, error)
	// EnsureGolden gives the reference of an image that is Golden.Image with the golden
	// data in it. It is made once per host, image and content, however many ask at once
	// from however many processes, and what was cut off is never taken for whole. Golden
	// data that nobody has asked for within a day and nothing uses is removed. Any error
	// means that there is none now, and nothing else.
	EnsureGolden(ctx context.Context, g Golden, progress func(string)) (string, error)
	// Forget removes what this deployment keeps on the host besides units: golden data and the
	// network that nothing uses. CodeHostInUse while there are units.
	Forget(context.Context) error
	// List gives everything of this deployment on the host, in one call.
	List(context.Context) ([]Unit, error)
	// Watch calls the function with each unit of this deployment that has ended or was
	// removed, until the context ends. It survives a host that goes away: when the host is
	// back, it calls for whatever does not run then, and for what may have been missed it
	// calls with an empty id.
	Watch(ctx context.Context, ended func(UnitID)) error
}

// Units is what concerns one unit of a host.
type Units interface {
	// CreateVolume makes the unit's volume. One on a disk needs the image. With Workload.KeepData it only finds it, or
	// fails with CodeDataLost; so does Create. A volume that is a file system of its own is attached
	// by both and by Start.
	CreateVolume(context.Context, Workload) error
	// Create makes the unit ready to be started.
	Create(context.Context, Workload) error
	// Start starts what was created of the workload, with its files in place before the
	// server, and reads back where it listens, by the names in Workload.Ports. It does not
	// wait for the server. CodePortRefused when the host would not give a port; the unit
	// must then be created anew with another one.
	Start(context.Context, Workload) (map[string]int, error)
	// Adopt puts the workload's files in the place of those that the unit runs with, and
	// its limits. It is no restart: what runs goes on with what it has read. CodeNotFound
	// when nothing runs under that id.
	Adopt(context.Context, Workload) error
	// Settle makes the host leave its ends alone: what has ended stays so until it is
	// started again by a claim, which counts, waits and says so. Only what an earlier
	// version has made is restarted by the host until then.
	Settle(ctx context.Context, id UnitID, fence int64) error
	// Inspect says what is there. CodeNotFound when nothing runs under that id.
	Inspect(context.Context, UnitID) (Unit, error)
	// Space says how large the disk is that its data is on, and what is free there; zero where the host
	// cannot tell. A file system of its own is no disk: that is below it. CodeNotFound when it does not run.
	Space(context.Context, UnitID) (Space, error)
	// Stop asks it to end, and ends it after the grace period. Gone is success.
	Stop(ctx context.Context, id UnitID, fence int64, grace time.Duration) error
	// Remove removes it and, with data, its volume, and comes back only when both are
	// confirmed gone.
	Remove(ctx context.Context, id UnitID, fence int64, data bool) error
	// Output gives the last lines that it wrote, for the explanation of a failure.
	Output(ctx context.Context, id UnitID, lines int) (string, error)
}

// UnitID names a unit: what a subject runs on a host, by the subject's own id.
type UnitID string

// Workload is what a unit runs, in the terms of no particular runtime.
type Workload struct {
	Unit      UnitID
	Tenant    tenant.ID
	Engine    string
	Fence     int64
	Image     string
	Command   []string // replaces the image's own entrypoint and command
	User      string   // "uid:gid", numbers, so that the image needs no such user
	Resources Resources
	PidsLimit int64
	Ports     []PortBinding
	Bind      string // the host address to publish on
	// DataPath is where the unit's volume is mounted. Its root belongs to User.
	DataPath string
	// Disk is the folder of the host that the volume's data is below; empty: the engine's own.
	Disk string
	// DiskShared says that others have data on Disk, so that a disk without any is another one: theirs
	// is not mounted.
	DiskShared bool
	// Enforcement is that of Disk. Where the volume is there already, it stays as it was made.
	Enforcement Enforcement
	// Scratch are writable places in memory, with their sizes in bytes. All else
	// outside DataPath is read-only.
	Scratch map[string]int64
	// Files are put below DataPath before the server starts, owned by User.
	Files []File
	// UserOwnsData says that DataPath belongs to User in the image, too, as far as is known:
	// a process of theirs can then put the files in place, which is quicker.
	UserOwnsData bool
	// FileBytes is what no single file may grow beyond; 0: no limit. The server must be one
	// that goes on when it cannot write.
	FileBytes int64
	StopGrace time.Duration
	// KeepData says that the unit has data: its volume must be there already.
	KeepData bool
}

// RefusedPort is the cause of CodePortRefused where the host has said which port it was.
type RefusedPort struct {
	Port int
	Err  error // of the host's; nil: none
}

func (e *RefusedPort) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("port %d is taken", e.Port)
	}
	return e.Err.Error()
}

func (e *RefusedPort) Unwrap() error { return e.Err }

// PortBinding publishes a port of the unit on the host.
type PortBinding struct {
	Name      string // "redis"
	Container int
	Host      int
}

// File is a file to put in place.
type File struct {
	Path    string        // absolute, below Workload.DataPath
	Mode    uint32        // permission bits
	Content secret.Secret // many of them hold passwords, so all are handled as if they did
}

// Resources are the limits that a unit runs under.
type Resources struct {
	CPUMillis   int64 // thousandths of a core
	MemoryBytes int64
	DiskBytes   int64 // counted when hosts are filled; measured, and enforced (see instance.Disk)
}

// DiskSlack is how far the files of a unit may go beyond its disk when there is free space
// within them: a quarter of it.
func (r Resources) DiskSlack() int64 { return r.DiskBytes / 4 }

// DiskCeiling is what a host that can refuse more lets a unit's volume hold: twice its disk,
// for what is written between two measurements, and twice its memory, for files that are
// written anew from there. One that hits it is in trouble; others on the host are not. It is the
// size of a file system of its own, too.
func (r Resources) DiskCeiling() int64 {
	if r.DiskBytes <= 0 {
		return 0
	}
	return 2 * (r.DiskBytes + r.MemoryBytes)
}

// Golden says how to make golden data: what the first start of every unit of a kind would
// make alike, at a cost. It holds no secret and nothing of one unit: keys, server ids,
// accounts and passwords are each one's own, and made when it starts.
type Golden struct {
	Name  string // for people: "mysql 9.7"
	Image string // the base
	// Command makes the data below Path and ends with 0 when it is whole. It runs
	// without a network and with little memory.
	Command   []string
	User      string // "uid:gid"
	Path      string // a folder below the root that the image does not have
	Files     []File // below Path
	Scratch   map[string]int64
	Resources Resources
	PidsLimit int64
}

// Unit is what a host has of a subject.
type Unit struct {
	ID         UnitID
	Tenant     tenant.ID
	Fence      int64
	Running    bool
	Paused     bool           // it runs, and does nothing (a list does not know)
	Restarting bool           // it has ended, and the host is about to start it again
	Ended      time.Time      // when it ended last; zero: never, or not known (a list does not)
	ExitCode   int            // where it has ended
	OOMKilled  bool           // it ended because it used more memory than its limit
	Ports      map[string]int // host ports by name
	Container  bool           // there is more of it than a volume
	Volume     bool           // its volume exists
	// Enforcement is what refuses that its volume holds more than Resources.DiskCeiling (a list does not know).
	Enforcement Enforcement
	Created     time.Time // when the host made it; zero: not known
	// CPUMillis and MemoryBytes are what its container may use; 0: it is not limited (a list does not know).
	CPUMillis, MemoryBytes int64
}

// Ending describes a unit that does not run.
func (u *Unit) Ending() string {
	switch {
	case !u.Container && !u.Volume:
		return "its container is gone"
	case !u.Container:
		return "its container is gone; its data is intact"
	case u.OOMKilled:
		return "its server was killed because it needed more memory than its plan allows"
	default:
		return fmt.Sprintf("its server exited with code %d", u.ExitCode)
	}
}

// Killed is the exit code of what a SIGKILL has ended.
const Killed = 137
