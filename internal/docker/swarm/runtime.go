package swarm

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
	"github.com/berth-project/berth/internal/ttl"
)

const (
	// imageKnownFor is how long an image that a node had is taken to be there still.
	imageKnownFor = 10 * time.Minute
	// pullLimit is how long a pull may take unless the Config says otherwise.
	pullLimit = 30 * time.Minute
	// pingLimit is short: a ping that takes longer tells as much as one that fails.
	pingLimit = 5 * time.Second
	// tidyEvery is how often old errands are looked for.
	tidyEvery = time.Hour
)

// Hosts gives the Runtimes of nodes of swarms. It keeps one Cluster per endpoint.
type Hosts struct {
	config docker.Config

	mu       sync.Mutex
	nodes    map[string]*node    // by endpoint
	clusters map[string]*Cluster // by the endpoint of a swarm, which names no node
}

// node is what is kept of one endpoint.
type node struct {
	cluster *Cluster
	at      address
	log     *slog.Logger
	pull    time.Duration             // how long a pull may take
	images  ttl.Map[string, struct{}] // that it has
	probing chan struct{}             // holds one token while somebody looks for an image
	tidied  ttl.Map[string, struct{}] // by deployment
}

var _ docker.Swarm = (*Hosts)(nil)

// New makes Hosts. It connects to nothing.
func New(config docker.Config) docker.Swarm {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Hosts{config: config, nodes: map[string]*node{}, clusters: map[string]*Cluster{}}
}

// Runtime gives the runtime of the node. It does not connect.
func (h *Hosts) Runtime(host host.Host) (host.Runtime, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := cmp.Or(host.Name, host.Endpoint)
	n, ok := h.nodes[host.Endpoint]
	if !ok {
		at, err := parse(host.Endpoint)
		if err == nil && at.node == "" {
			err = fault.Errorf(fault.CodeHostUnavailable, nil,
				"host %s: its endpoint %q names no node of the swarm (?node=ID)", name, host.Endpoint)
		}
		if err != nil {
			return nil, err
		}
		cluster, err := Open(name, host.Endpoint, h.config)
		if err != nil {
			return nil, err
		}
		n = &node{
			cluster: cluster, at: at, log: h.config.Log.With("host", name),
			pull: cmp.Or(h.config.PullLimit, pullLimit), probing: make(chan struct{}, 1),
		}
		h.nodes[host.Endpoint] = n
	}
	return &Runtime{node: n, deployment: h.config.Deployment}, nil
}

// Nodes implements host.SwarmManagers.
func (h *Hosts) Nodes(ctx context.Context, swarm, endpoint string) ([]host.Node, error) {
	c, err := h.cluster(swarm, endpoint)
	if err != nil {
		return nil, err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]host.Node, len(nodes))
	for i, n := range nodes {
		list[i] = host.Node{ID: n.ID, Hostname: n.Hostname, Address: n.Address, State: n.State, Availability: n.Availability, Labels: n.Labels}
	}
	return list, nil
}

// cluster gives the connection to the managers of a swarm, none of whose nodes is meant.
func (h *Hosts) cluster(swarm, endpoint string) (*Cluster, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.clusters[endpoint]; ok {
		return c, nil
	}
	c, err := Open("swarm "+swarm, endpoint, h.config)
	if err == nil {
		h.clusters[endpoint] = c
	}
	return c, err
}

// Close closes every connection.
func (h *Hosts) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for endpoint, n := range h.nodes {
		errs = append(errs, n.cluster.Close())
		delete(h.nodes, endpoint)
	}
	for endpoint, c := range h.clusters {
		errs = append(errs, c.Close())
		delete(h.clusters, endpoint)
	}
	return errors.Join(errs...)
}

// Runtime runs the instances of one deployment on one node of a swarm.
type Runtime struct {
	*node
	deployment string
}

var _ host.Runtime = (*Runtime)(nil)

// Ping reports whether a manager answers, and has the node. Without a leader they take 20 s to say so.
func (r *Runtime) Ping(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	err := r.cluster.ready(limited, r.at.node)
	if limited.Err() != nil && ctx.Err() == nil && err != nil {
		return fault.Errorf(fault.CodeHostUnavailable, err, "host %s: no manager of the swarm answered within %s", r.cluster.name, pingLimit)
	}
	return err
}

// Identity gives the ids of the swarm and of the node, which has another one when it joins again.
func (r *Runtime) Identity(ctx context.Context) (string, error) {
	id, err := r.cluster.identity(ctx)
	if err != nil {
		return "", err
	}
	return id + "/" + r.at.node, r.cluster.ready(ctx, r.at.node)
}

// Facts gives what the managers know of the node. They do not know its storage driver, its kernel or
// what time it is there.
func (r *Runtime) Facts(ctx context.Context) (host.EngineFacts, error) {
	id, err := r.Identity(ctx)
	if err != nil {
		return host.EngineFacts{}, err
	}
	nodes, err := r.cluster.Nodes(ctx)
	if err != nil {
		return host.EngineFacts{}, err
	}
	i := slices.IndexFunc(nodes, func(n Node) bool { return n.ID == r.at.node })
	if i < 0 {
		return host.EngineFacts{}, fault.Errorf(fault.CodeHostUnavailable, nil, "host %s: the swarm has no node %s", r.cluster.name, r.at.node)
	}
	n := nodes[i]
	return host.EngineFacts{
		ID: id, Version: n.EngineVersion, StorageDriver: "overlay2", Arch: host.NormalArch(n.Arch), CPUs: int(n.CPUs), MemoryBytes: n.Memory, MemoryLimit: true,
		Swarm: host.SwarmMember{NodeID: n.ID, Manager: n.Manager, Cluster: strings.Split(id, "/")[0]},
	}, nil
}

// Forget has nothing to remove: what a node has besides instances is the operator's.
func (r *Runtime) Forget(ctx context.Context) error {
	units, err := r.List(ctx)
	if err == nil && len(units) > 0 {
		err = fault.Errorf(fault.CodeHostInUse, nil, "host %s still has %d instances", r.cluster.name, len(units))
	}
	return err
}

// Space does not know: a manager sees no file system of a node.
func (r *Runtime) Space(ctx context.Context, id host.UnitID) (host.Space, error) {
	u, err := r.Inspect(ctx, id)
	if err == nil && !u.Running {
		err = fault.Errorf(fault.CodeNotFound, nil, "instance %s does not run", id)
	}
	return host.Space{}, err
}

// EnsureImage has the node start an errand with each of the references until one does. A node that does
// not have the image pulls it for that; a manager cannot look, and sees no progress.
func (r *Runtime) EnsureImage(ctx context.Context, references []string, progress func(string)) (string, error) {
	if len(references) == 0 {
		return "", fault.Errorf(fault.CodeInternal, nil, "no image is named")
	}
	if err := r.cluster.ready(ctx, r.at.node); err != nil {
		return "", err
	}
	select {
	case r.probing <- struct{}{}:
		defer func() { <-r.probing }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	for _, reference := range references {
		if _, ok := r.images.Get(reference, time.Now()); ok {
			return reference, nil
		}
	}
	var first error
	for _, reference := range references {
		if progress != nil {
			progress("looking for " + reference + " on the node, or pulling it")
		}
		err := r.do(ctx, errand{unit: "image", image: reference, limit: r.pull})
		if err == nil {
			r.images.Put(reference, struct{}{}, time.Now(), imageKnownFor)
			return reference, nil
		}
		if code := fault.CodeOf(err); code != fault.CodeImageUnavailable && code != fault.CodeStartFailed {
			return "", err
		}
		first = cmp.Or(first, err)
	}
	return "", fault.Errorf(fault.CodeImageUnavailable, docker.Cause(first),
		"none of the images %v is on host %s, and none could be pulled: %s; load one on the node, and set "+
			"DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1 in the environment of its dockerd", references, r.cluster.name, docker.Words(first))
}

// forget has the node asked again whether it has the image.
func (r *Runtime) forget(image string) { r.images.Delete(image) }

// EnsureGolden has none: the manager can neither commit an image on a node nor spread one.
func (r *Runtime) EnsureGolden(ctx context.Context, g host.Golden, _ func(string)) (string, error) {
	if err := r.cluster.ready(ctx, r.at.node); err != nil {
		return "", err
	}
	return "", fault.Errorf(fault.CodeImageUnavailable, nil,
		"host %s is a node of a swarm, which keeps no golden data of %s", r.cluster.name, g.Name)
}

// Inspect says what is there of the instance.
func (r *Runtime) Inspect(ctx context.Context, id host.UnitID) (host.Unit, error) {
	if err := r.cluster.ready(ctx, r.at.node); err != nil {
		return host.Unit{}, err
	}
	s, err := r.own(ctx, id, fencing.Any)
	if err != nil {
		return host.Unit{}, err
	}
	tasks, err := r.tasks(ctx, filters.Arg("service", s.ID))
	if err != nil {
		return host.Unit{}, err
	}
	c, err := r.config(ctx, id)
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return host.Unit{}, err
	}
	u := unitOf(s, tasks)
	if limits := s.Spec.TaskTemplate.Resources; limits != nil && limits.Limits != nil {
		u.CPUMillis, u.MemoryBytes = limits.Limits.NanoCPUs/docker.NanoPerMilli, limits.Limits.MemoryBytes
	}
	u.Volume = err == nil && r.stands(c.Spec.Labels, id, fencing.Any) != fencing.Foreign
	return u, nil
}

// unitOf gives the unit of a service with these tasks.
func unitOf(s swarm.Service, tasks []swarm.Task) host.Unit {
	u := docker.UnitOf(s.Spec.Labels)
	u.Container, u.Created = true, s.CreatedAt.UTC()
	t, ok := latest(tasks)
	switch {
	case !ok:
	case running(t):
		u.Running = true
	case over(t):
		u.ExitCode, u.Ended = exitCode(t), docker.Moment(t.Status.Timestamp)
	}
	return u
}

// List gives everything of the deployment on the node, ordered by instance.
func (r *Runtime) List(ctx context.Context) ([]host.Unit, error) {
	if err := r.cluster.ready(ctx, r.at.node); err != nil {
		return nil, err
	}
	services, tasks, configs, err := r.all(ctx)
	if err != nil {
		return nil, err
	}
	byService := map[string][]swarm.Task{}
	for _, t := range tasks {
		byService[t.ServiceID] = append(byService[t.ServiceID], t)
	}
	units := map[host.UnitID]host.Unit{}
	for _, s := range services {
		if u := unitOf(s, byService[s.ID]); u.ID != "" {
			units[u.ID] = u
		}
	}
	for _, c := range configs {
		made := docker.UnitOf(c.Spec.Labels)
		if made.ID == "" {
			continue
		}
		u, ok := units[made.ID]
		if !ok {
			u = made
			u.Created, u.Ports = c.CreatedAt.UTC(), nil
		}
		u.Volume = true
		units[made.ID] = u
	}
	return slices.SortedFunc(maps.Values(units), func(a, b host.Unit) int { return cmp.Compare(a.ID, b.ID) }), nil
}

// all lists what the deployment has on the node.
func (r *Runtime) all(ctx context.Context) (services []swarm.Service, tasks []swarm.Task, configs []swarm.Config, err error) {
	labeled := filters.NewArgs()
	for _, label := range ours(r.deployment, r.at.node) {
		labeled.Add("label", label)
	}
	err = r.cluster.read(ctx, "list services", func(ctx context.Context, api *client.Client) (err error) {
		if services, err = api.ServiceList(ctx, swarm.ServiceListOptions{Filters: labeled}); err != nil {
			return err
		}
		if configs, err = api.ConfigList(ctx, swarm.ConfigListOptions{Filters: labeled}); err != nil {
			return err
		}
		tasks, err = api.TaskList(ctx, swarm.TaskListOptions{Filters: labeled})
		return err
	})
	return services, tasks, configs, err
}

// tasks lists those that the filter lets through.
func (r *Runtime) tasks(ctx context.Context, by ...filters.KeyValuePair) (tasks []swarm.Task, err error) {
	err = r.cluster.read(ctx, "list tasks", func(ctx context.Context, api *client.Client) (err error) {
		tasks, err = api.TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(by...)})
		return err
	})
	return tasks, err
}

// Output gives the last lines that the instance wrote.
func (r *Runtime) Output(ctx context.Context, id host.UnitID, lines int) (string, error) {
	if err := r.cluster.ready(ctx, r.at.node); err != nil {
		return "", err
	}
	s, err := r.own(ctx, id, fencing.Any)
	if err != nil || lines <= 0 {
		return "", err
	}
	tasks, err := r.tasks(ctx, filters.Arg("service", s.ID))
	t, ok := latest(tasks)
	if err != nil || !ok {
		return "", err
	}
	var last docker.Tail
	err = r.cluster.read(ctx, "read output of instance "+string(id), func(ctx context.Context, api *client.Client) error {
		stream, err := api.TaskLogs(ctx, t.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lines)})
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }()
		_, err = stdcopy.StdCopy(&last, &last, stream)
		return err
	})
	return last.String(), err
}
