package hosttest

import (
	"crypto/rand"
	"maps"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
	"github.com/berth-project/berth/internal/tenant"
)

// machine is what a host would be: what lies on it stays when runtimes come and go,
// and runtimes of several deployments can share it.
type machine struct {
	mu         sync.Mutex
	identity   string
	facts      host.EngineFacts
	space      host.Space
	containers map[host.UnitID]*container
	volumes    map[host.UnitID]*volume
	images     map[string]bool
	goldens    map[string]int // how often it was made, by reference
	noRegistry bool
	pulls      map[string]int
	waiting    map[string]int // who waits for a pull, by reference
	hold       <-chan struct{}
	taken      map[int]bool // host ports that somebody else has
	quota      bool         // volumes in the engine's own folder are bounded
	watchers   map[*watcher]bool
}

// watcher is one call of Watch.
type watcher struct {
	owner string
	news  chan host.UnitID
}

// tell tells everybody who watches the owner's instances.
func (m *machine) tell(owner string, id host.UnitID) {
	for w := range m.watchers {
		if w.owner == owner {
			select {
			case w.news <- id:
			default: // news may be lost
			}
		}
	}
}

type container struct {
	created  time.Time
	ended    time.Time
	owner    string // the deployment; empty: somebody else's
	workload host.Workload
	behavior Behavior
	running  bool
	settled  bool
	exitCode int
	oom      bool
	output   string
}

type volume struct {
	created time.Time
	tenant  tenant.ID
	owner   string
	fence   int64
	disk    string // the folder that it is below
	bound   host.Enforcement
	user    string
	files   map[string]host.File
	used    int64 // bytes, beside the files
	refuses bool  // its server takes nothing more
}

// mark says who made the container; nil: there is none.
func (c *container) mark() *fencing.Mark {
	if c == nil {
		return nil
	}
	return &fencing.Mark{Deployment: c.owner, Fence: c.workload.Fence}
}

// mark says who made the volume; nil: there is none.
func (v *volume) mark() *fencing.Mark {
	if v == nil {
		return nil
	}
	return &fencing.Mark{Deployment: v.owner, Fence: v.fence}
}

func newMachine() *machine {
	return &machine{
		identity: rand.Text(),
		space:    host.Space{SizeBytes: 100 << 30, FreeBytes: 50 << 30},
		facts: host.EngineFacts{
			Version: "28.5.2", StorageDriver: "overlay2", CgroupVersion: "2", OS: "a test", Kernel: "6.1.0", Arch: "amd64", CPUs: 8,
			MemoryBytes: 32 << 30, MemoryLimit: true,
		},
		containers: map[host.UnitID]*container{},
		volumes:    map[host.UnitID]*volume{},
		images:     map[string]bool{},
		goldens:    map[string]int{},
		pulls:      map[string]int{},
		waiting:    map[string]int{},
		taken:      map[int]bool{},
		watchers:   map[*watcher]bool{},
	}
}

// portHolder gives the instance that runs with the host port.
func (m *machine) portHolder(port int) (host.UnitID, bool) {
	for id, c := range m.containers {
		if !c.running {
			continue
		}
		for _, p := range c.workload.Ports {
			if p.Host == port {
				return id, true
			}
		}
	}
	return "", false
}

func (c *container) unit(m *machine) host.Unit {
	id := c.workload.Unit
	v, ok := m.volumes[id]
	return host.Unit{
		ID:        id,
		Tenant:    c.workload.Tenant,
		Container: true,
		Created:   c.created,
		Ended:     c.ended,
		Fence:     c.workload.Fence,
		Running:   c.running,
		ExitCode:  c.exitCode,
		OOMKilled: c.oom,
		Ports:     c.ports(),
		Volume:    ok && v.owner == c.owner,
		CPUMillis: c.workload.Resources.CPUMillis, MemoryBytes: c.workload.Resources.MemoryBytes,
		Enforcement: v.enforcement(),
	}
}

// enforcement says what bounds the volume; nil: there is none.
func (v *volume) enforcement() host.Enforcement {
	if v == nil {
		return ""
	}
	return v.bound
}

func (c *container) ports() map[string]int {
	ports := map[string]int{}
	for _, p := range c.workload.Ports {
		ports[p.Name] = p.Host
	}
	return ports
}

func (c *container) end(b Behavior) {
	c.ended = time.Now().UTC().Truncate(time.Millisecond)
	c.running, c.exitCode, c.oom = false, b.ExitCode, b.OOMKilled
	c.output += b.Output
}

func (v *volume) put(w host.Workload) {
	v.user = w.User
	files := map[string]host.File{}
	maps.Copy(files, v.files)
	for _, f := range w.Files {
		files[f.Path] = f
	}
	v.files = files
}
