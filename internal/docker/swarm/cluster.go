// Package swarm runs instances on the nodes of a Docker Swarm, each node as a host of its own. It
// implements host.Runtimes and host.Runtime for endpoints "swarm://MANAGER[,MANAGER…]?node=ID".
//
// It speaks to managers only, which have no copy into a container, no exec, no events of other
// nodes' containers, and no volumes. So an instance is
//
//   - a service with one task, pinned to its node and never moved or restarted by the swarm: the
//     other node would have no data, and two servers of one instance would answer;
//   - a folder of the node, bound into it. A bind is never made when it is not there, so that no
//     server starts on an empty disk. What is done in it is done by errands (errand.go);
//   - a config without content that says that the folder is there, because a manager cannot look.
//
// cluster.go holds the connections to the managers, service.go maps a workload to the swarm's terms
// without any call, task.go says what has become of a task, lifecycle.go decides what to adopt,
// replace or leave alone.
package swarm

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// sureFor is how long a manager that has answered is taken to answer still.
const sureFor = 5 * time.Second

// Cluster is the connection to the managers of one swarm. The first that answers is used until it
// does not.
type Cluster struct {
	name     string // of the host, for messages
	managers []*docker.Connection
	current  atomic.Int64

	mu   sync.Mutex
	seen time.Time // when the current one answered last
}

// address is what an endpoint says.
type address struct {
	managers []string // "tcp://10.0.0.1:2377"
	node     string
	data     string // the folder of the node that has the folders of instances
}

// defaultData is where a node has the folders of instances.
const defaultData = "/var/lib/berth"

// parse reads "swarm://10.0.0.1:2376,10.0.0.2:2376?node=ID&data=/var/lib/berth".
func parse(endpoint string) (address, error) {
	bad := func() (address, error) {
		return address{}, fault.Errorf(fault.CodeHostUnavailable, nil,
			"%q is not the address of a swarm (swarm://MANAGER:PORT[,MANAGER:PORT…]?node=ID)", endpoint)
	}
	rest, found := strings.CutPrefix(endpoint, docker.SwarmScheme)
	managers, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if !found || managers == "" || err != nil {
		return bad()
	}
	a := address{node: values.Get("node"), data: cmp.Or(values.Get("data"), defaultData)}
	for manager := range strings.SplitSeq(managers, ",") {
		if manager == "" || strings.Contains(manager, "/") {
			return bad()
		}
		a.managers = append(a.managers, "tcp://"+manager)
	}
	if !strings.HasPrefix(a.data, "/") {
		return bad()
	}
	return a, nil
}

// Open makes the connections to the managers of the endpoint. It does not connect yet.
func Open(name, endpoint string, config docker.Config) (*Cluster, error) {
	a, err := parse(endpoint)
	if err != nil {
		return nil, err
	}
	c := &Cluster{name: name}
	for _, manager := range a.managers {
		m, err := docker.Connect(name, manager, config)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.managers = append(c.managers, m)
	}
	return c, nil
}

// Close closes the connections.
func (c *Cluster) Close() error {
	var errs []error
	for _, m := range c.managers {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// manager gives one that answers, the current one if it does.
func (c *Cluster) manager(ctx context.Context) (*docker.Connection, error) {
	c.mu.Lock()
	sure := time.Since(c.seen) < sureFor
	c.mu.Unlock()
	begin := int(c.current.Load())
	if sure {
		return c.managers[begin], nil
	}
	var first error
	for i := range c.managers {
		n := (begin + i) % len(c.managers)
		err := c.managers[n].Ping(ctx)
		if err == nil {
			c.current.Store(int64(n))
			c.note(time.Now())
			return c.managers[n], nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		first = cmp.Or(first, err)
	}
	return nil, first
}

func (c *Cluster) note(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = at
}

// call is one call of a manager's API.
type call = func(context.Context, *client.Client) error

// read makes a call that changes nothing, of the next manager where one is away.
func (c *Cluster) read(ctx context.Context, doing string, do call) error {
	var err error
	for range c.managers {
		err = c.once(ctx, doing, do, (*docker.Connection).Read)
		if fault.CodeOf(err) != fault.CodeHostUnavailable || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// change makes a changing call. Where it fails, the next call is another manager's.
func (c *Cluster) change(ctx context.Context, doing string, do call) error {
	return c.once(ctx, doing, do, (*docker.Connection).Change)
}

func (c *Cluster) once(ctx context.Context, doing string, do call,
	within func(*docker.Connection, context.Context, string, func(context.Context) error) error,
) error {
	m, err := c.manager(ctx)
	if err != nil {
		return err
	}
	err = within(m, ctx, doing, func(ctx context.Context) error { return do(ctx, m.API()) })
	if leaderless(err) {
		err = fault.Errorf(fault.CodeHostUnavailable, docker.Cause(err),
			"host %s: the swarm has no leader at the moment (%s); more than half of its managers must run", c.name, doing)
	}
	if fault.CodeOf(err) == fault.CodeHostUnavailable && ctx.Err() == nil {
		c.current.CompareAndSwap(c.index(m), (c.index(m)+1)%int64(len(c.managers)))
		c.note(time.Time{})
	}
	return err
}

func (c *Cluster) index(m *docker.Connection) int64 { return int64(slices.Index(c.managers, m)) }

// leaderless reports whether a manager could not reach one that decides: it says so in words only.
func leaderless(err error) bool {
	if err == nil || fault.CodeOf(err) != fault.CodeInternal && fault.CodeOf(err) != fault.CodeHostRefused {
		return false
	}
	text := docker.Words(err)
	for _, words := range []string{
		"does not have a leader", "DeadlineExceeded", "deadline exceeded", "code = Unavailable", "connection refused",
		"not a swarm manager", "raft: no elected", "lost leadership", "raft: failed to process the request", "not yet part of a raft cluster",
	} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// identity gives the swarm's own id.
func (c *Cluster) identity(ctx context.Context) (id string, err error) {
	err = c.read(ctx, "read the id of the swarm", func(ctx context.Context, api *client.Client) error {
		s, err := api.SwarmInspect(ctx)
		id = s.ID
		return err
	})
	return id, err
}

// Node is a node of a swarm, which may be a host.
type Node struct {
	ID            string
	Hostname      string
	Address       string
	Availability  string // "active", "pause", "drain"
	State         string // "ready", "down", "unknown", "disconnected"
	Manager       bool
	Labels        map[string]string
	CPUs          float64
	Memory        int64 // bytes
	Arch          string
	EngineVersion string
}

// Nodes lists the nodes of the swarm, by host name.
func (c *Cluster) Nodes(ctx context.Context) ([]Node, error) {
	var all []swarm.Node
	err := c.read(ctx, "list the nodes of the swarm", func(ctx context.Context, api *client.Client) (err error) {
		all, err = api.NodeList(ctx, swarm.NodeListOptions{})
		return err
	})
	nodes := make([]Node, 0, len(all))
	for _, n := range all {
		nodes = append(nodes, nodeOf(n))
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Hostname, b.Hostname), cmp.Compare(a.ID, b.ID)) })
	return nodes, err
}

func nodeOf(n swarm.Node) Node {
	return Node{
		ID: n.ID, Hostname: n.Description.Hostname, Address: addressOf(n),
		Availability: string(n.Spec.Availability), State: string(n.Status.State), Manager: n.ManagerStatus != nil,
		Labels: n.Spec.Labels, CPUs: float64(n.Description.Resources.NanoCPUs) / 1e9, Memory: n.Description.Resources.MemoryBytes,
		Arch: n.Description.Platform.Architecture, EngineVersion: n.Description.Engine.EngineVersion,
	}
}

// addressOf gives the address by which the managers know a node; empty: they do not. Of a manager they
// may have only the one that it listens at as a manager.
func addressOf(n swarm.Node) string {
	usable := func(address string) bool {
		ip, err := netip.ParseAddr(address)
		return address != "" && (err != nil || !ip.IsUnspecified() && !ip.IsLoopback())
	}
	if usable(n.Status.Addr) {
		return n.Status.Addr
	}
	if n.ManagerStatus != nil {
		if address, _, err := net.SplitHostPort(n.ManagerStatus.Addr); err == nil && usable(address) {
			return address
		}
	}
	return ""
}

// node looks for a node.
func (c *Cluster) node(ctx context.Context, id string) (n swarm.Node, err error) {
	err = c.read(ctx, "look for node "+id, func(ctx context.Context, api *client.Client) (err error) {
		n, _, err = api.NodeInspectWithRaw(ctx, id)
		return err
	})
	if errors.Is(err, fault.ErrNotFound) {
		err = fault.Errorf(fault.CodeHostUnavailable, docker.Cause(err), "host %s: the swarm has no node %s", c.name, id)
	}
	return n, err
}

// ready fails unless the node can be reached by its managers, and gets tasks from them. What a node
// that cannot be reached runs is not known, and on one that gets no tasks nothing can be made or removed.
func (c *Cluster) ready(ctx context.Context, id string) error {
	n, err := c.node(ctx, id)
	switch {
	case err != nil:
	case n.Status.State == swarm.NodeStateReady && n.Spec.Availability != "" && n.Spec.Availability != swarm.NodeAvailabilityActive:
		name := n.Description.Hostname
		err = fault.Errorf(fault.CodeHostUnavailable, nil, "host %s: the swarm gives node %s no tasks, because its availability is %s; on a manager: docker node update --availability active %s",
			c.name, name, n.Spec.Availability, name)
	case n.Status.State != swarm.NodeStateReady:
		err = fault.Errorf(fault.CodeHostUnavailable, nil, "host %s: node %s of the swarm is %s: %s",
			c.name, n.Description.Hostname, n.Status.State, cmp.Or(n.Status.Message, "no message"))
	}
	return err
}

// isolated fails unless an operator says that the node keeps instances apart.
func (c *Cluster) isolated(ctx context.Context, id string) error {
	n, err := c.node(ctx, id)
	if err == nil && n.Spec.Labels[host.LabelIsolated] != "true" {
		name := n.Description.Hostname
		err = fault.Errorf(fault.CodeHostRefused, nil, "host %s: nobody has said that node %s keeps instances apart: "+
			`set "icc": false and "ip-masq": false in the daemon.json of the node, restart its engine, and run on a manager: `+
			"docker node update --label-add %s=true %s", c.name, name, host.LabelIsolated, name)
	}
	return err
}
