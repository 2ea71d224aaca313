// Package docker runs instances on Docker engines. It implements
// host.Runtimes and host.Runtime and is, with package swarm below it, the only one
// that imports the Docker SDK.
//
// It owns what an instance is in the terms of Docker: one container and one named
// volume, both named after the instance's id and labeled with the deployment, the
// instance and the fencing token of the claim that made them. It knows nothing of
// engines, jobs, databases or queues.
//
// Its layers, from the bottom: engine.go holds the connection to one engine,
// calls.go has one method per API call (each with a time limit and its errors
// translated by errors.go), spec.go, files.go and handover.go map a Workload to
// Docker's terms without any call (handover.sh is what a container runs that takes its
// files by itself), and lifecycle.go decides what to adopt, replace or leave alone.
// image.go and golden.go see to the images, in flights that many can wait for.
package docker

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// Config says how to use the engines of all hosts. Zero values mean the default.
type Config struct {
	// Deployment marks what is ours. Things without it are never touched.
	Deployment string
	Log        *slog.Logger
	// CertPath is a folder with ca.pem, cert.pem and key.pem for hosts reached by TCP,
	// as DOCKER_CERT_PATH; empty: no TLS.
	CertPath string
	// Dial connects to the engine of a host of the pool, and to any that is reached by SSH: it knows
	// what each is reached with. nil: there are no such hosts.
	Dial func(context.Context, host.Host) (net.Conn, error)
	// Shell logs in to the machine of a host of the pool that is reached by SSH; nil: there are no such
	// hosts. It is needed for volumes that are file systems of their own.
	Shell func(context.Context, host.Host) (host.Shell, error)
	// Parallel bounds the changing calls at once per host (8), and Reads those that only
	// look (32). Neither waits for the other.
	Parallel int
	Reads    int
	// CallLimit is how long one call may take of an engine that is silent otherwise (30 s);
	// of one that answers pings it may take ten times as long, because that is only busy.
	// Stopping may take its grace period and 10 s more.
	CallLimit time.Duration
	// PullLimit is how long one pull may take (30 min), PullStall how long it may show
	// no progress (1 min).
	PullLimit time.Duration
	PullStall time.Duration
	// GoldenLimit is how long the making of golden data may stand still (45 s), GoldenTotal
	// how long it may take (5 min), and GoldenIdle how long golden data is kept when nobody
	// asks for it and nothing uses it (24 h).
	GoldenLimit time.Duration
	GoldenTotal time.Duration
	GoldenIdle  time.Duration
	// Swarm gives the runtimes of the hosts whose endpoint begins with SwarmScheme; nil: there are
	// none such.
	Swarm func(Config) Swarm
}

// SwarmScheme begins the endpoints of nodes of a swarm.
const SwarmScheme = "swarm://"

// Swarm gives the runtimes of nodes of swarms, lists these nodes, and closes what it uses.
type Swarm interface {
	host.Runtimes
	host.SwarmManagers
	Close() error
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Parallel = cmp.Or(c.Parallel, 8)
	c.Reads = cmp.Or(c.Reads, 32)
	c.CallLimit = cmp.Or(c.CallLimit, 30*time.Second)
	c.PullLimit = cmp.Or(c.PullLimit, 30*time.Minute)
	c.PullStall = cmp.Or(c.PullStall, time.Minute)
	c.GoldenLimit = cmp.Or(c.GoldenLimit, 45*time.Second)
	c.GoldenTotal = cmp.Or(c.GoldenTotal, 5*time.Minute)
	c.GoldenIdle = cmp.Or(c.GoldenIdle, 24*time.Hour)
	return c
}

// Hosts gives the Runtime of any host. It keeps one client per engine, made when
// it is first asked for.
type Hosts struct {
	config Config

	mu      sync.Mutex
	closed  bool
	engines map[way]*engine
	swarm   Swarm // nil: none
}

// way is how an engine is reached.
type way struct {
	endpoint string
	host     host.ID // of the pool, which have secrets of their own; else empty
	hostKey  string
}

func wayTo(h host.Host) way {
	if h.Source != host.FromPool {
		return way{endpoint: h.Endpoint}
	}
	return way{h.Endpoint, h.ID, h.HostKey}
}

// dialer gives what connects to the host; nil: its endpoint is enough.
func (h *Hosts) dialer(to host.Host) func(context.Context) (net.Conn, error) {
	tunneled := strings.HasPrefix(to.Endpoint, "ssh://") || to.Source == host.FromPool && strings.HasPrefix(to.Endpoint, "tcp://")
	if h.config.Dial == nil || !tunneled {
		return nil
	}
	return func(ctx context.Context) (net.Conn, error) { return h.config.Dial(ctx, to) }
}

// login gives what logs in to the host's machine; nil: nothing does.
func (h *Hosts) login(to host.Host) func(context.Context) (host.Shell, error) {
	if h.config.Shell == nil || to.Source != host.FromPool || !strings.HasPrefix(to.Endpoint, "ssh://") {
		return nil
	}
	return func(ctx context.Context) (host.Shell, error) { return h.config.Shell(ctx, to) }
}

var _ host.Runtimes = (*Hosts)(nil)

// New makes Hosts. It connects to nothing.
func New(config Config) *Hosts {
	h := &Hosts{config: config.withDefaults(), engines: map[way]*engine{}}
	if config.Swarm != nil {
		h.swarm = config.Swarm(h.config)
	}
	return h
}

// Runtime gives the runtime of the host. It does not connect; an endpoint that
// cannot be one fails with CodeHostUnavailable.
func (h *Hosts) Runtime(host host.Host) (host.Runtime, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := cmp.Or(host.Name, host.Endpoint)
	if h.closed {
		return nil, fault.Errorf(fault.CodeHostUnavailable, nil, "host %s: Berth is shutting down", name)
	}
	if h.swarm != nil && strings.HasPrefix(host.Endpoint, SwarmScheme) {
		return h.swarm.Runtime(host)
	}
	e, ok := h.engines[wayTo(host)]
	if !ok {
		var err error
		if e, err = newEngine(name, host.Endpoint, h.config, h.dialer(host)); err != nil {
			return nil, err
		}
		e.shell = h.login(host)
		h.engines[wayTo(host)] = e
	}
	return &Runtime{engine: e, deployment: h.config.Deployment, log: h.config.Log.With("host", name)}, nil
}

var _ host.SwarmManagers = (*Hosts)(nil)

// Nodes implements host.SwarmManagers.
func (h *Hosts) Nodes(ctx context.Context, swarm, endpoint string) ([]host.Node, error) {
	h.mu.Lock()
	of := h.swarm
	if h.closed {
		of = nil
	}
	h.mu.Unlock()
	if of == nil {
		return nil, fault.Errorf(fault.CodeHostUnavailable, nil, "swarm %s: this process connects to no swarm", swarm)
	}
	return of.Nodes(ctx, swarm, endpoint)
}

// Close ends pulls that are under way, waits for them, and closes every client.
func (h *Hosts) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	var first error
	if h.swarm != nil {
		first = h.swarm.Close()
	}
	for way, e := range h.engines {
		if err := e.close(); err != nil && first == nil {
			first = err
		}
		delete(h.engines, way)
	}
	return first
}
