// Package simulated runs instances on hosts that do not exist. It implements
// host.Runtimes and host.Runtime with latencies and failure rates that are
// given, so that thousands of hosts and hundreds of thousands of jobs can go through
// the real API, queue, database and workers on one machine.
//
// A host is a folder with one file for each instance, which all worker processes
// share; what a dead worker has made is there for the next one, for the sweeps and for
// whoever looks. Nothing is started, nothing listens, no file of a workload is kept. It
// knows nothing of jobs, databases and queues, and is used only where
// BERTH_SIMULATED_HOSTS asks for it.
package simulated

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// Hosts gives the Runtime of any simulated host.
type Hosts struct {
	deployment string
	root       string
	ready      time.Duration

	mu    sync.Mutex
	hosts map[string]*machine // by endpoint
}

var _ host.Runtimes = (*Hosts)(nil)

// machine is one of them, as this process sees it.
type machine struct {
	dir string
	set settings

	mu       sync.Mutex // guards draw and watchers
	draw     *rand.Rand
	watchers map[chan host.UnitID]string // whose news it wants, by deployment
}

// New makes the hosts of a deployment, below the folder that the endpoint names.
func New(endpoint, deployment string) (*Hosts, error) {
	root, set, err := parse(endpoint)
	if err != nil {
		return nil, err
	}
	return &Hosts{deployment: deployment, root: root, ready: set.ready, hosts: map[string]*machine{}}, nil
}

// Is reports whether an endpoint is a simulated one.
func Is(endpoint string) bool { return strings.HasPrefix(endpoint, scheme) }

// Runtime gives the runtime of the host. An endpoint that is no simulated one fails with
// CodeHostUnavailable.
func (h *Hosts) Runtime(of host.Host) (host.Runtime, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one, ok := h.hosts[of.Endpoint]
	if !ok {
		dir, set, err := parse(of.Endpoint)
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		if err != nil {
			return nil, fault.Errorf(fault.CodeHostUnavailable, err, "host %s: %v", of.Name, err)
		}
		name := fnv.New64a()
		_, _ = name.Write([]byte(dir))
		one = &machine{
			dir: dir, set: set, watchers: map[chan host.UnitID]string{},
			draw: rand.New(rand.NewPCG(set.seed, name.Sum64())), //nolint:gosec // a simulation is to be repeatable
		}
		h.hosts[of.Endpoint] = one
	}
	return &Runtime{host: one, deployment: h.deployment}, nil
}

// Close has nothing to close.
func (h *Hosts) Close() error { return nil }

// Each gives so many hosts like the one given, whose endpoint is that of their common
// folder. Their tenants would reach them by their names.
func Each(like host.Host, count int) ([]host.Host, error) {
	if _, _, err := parse(like.Endpoint); err != nil {
		return nil, err
	}
	path, query, _ := strings.Cut(like.Endpoint, "?")
	list := make([]host.Host, count)
	for i := range list {
		list[i] = like
		list[i].Name = hostName(like.Name, i)
		list[i].Advertise = list[i].Name
		list[i].Endpoint = path + "/" + list[i].Name
		if query != "" {
			list[i].Endpoint += "?" + query
		}
	}
	return list, nil
}

// file is where the instance is on the host of that name.
func (h *Hosts) file(name string, id host.UnitID) string {
	return filepath.Join(h.root, filepath.Base(name), string(id)+suffix)
}
