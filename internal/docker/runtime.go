package docker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
	"github.com/berth-project/berth/internal/tenant"
)

// outputLimit bounds what Output gives, in bytes.
const outputLimit = 64 << 10

// Runtime runs the instances of one deployment on one Docker engine.
type Runtime struct {
	engine     *engine
	deployment string
	log        *slog.Logger
}

var _ host.Runtime = (*Runtime)(nil)

// Ping reports whether the engine answers.
func (r *Runtime) Ping(ctx context.Context) error { return r.engine.ping(ctx) }

// Identity gives the engine's own id.
func (r *Runtime) Identity(ctx context.Context) (string, error) { return r.engine.identity(ctx) }

// Facts gives what the engine says of itself.
func (r *Runtime) Facts(ctx context.Context) (host.EngineFacts, error) { return r.engine.facts(ctx) }

// NanoPerMilli is how many of the engine's billionths of a core are one of ours.
const NanoPerMilli = 1_000_000

// Inspect says what is there of the instance.
func (r *Runtime) Inspect(ctx context.Context, id host.UnitID) (host.Unit, error) {
	c, err := r.own(ctx, id, fencing.Any)
	if err != nil {
		return host.Unit{}, err
	}
	v, err := r.engine.inspectVolume(ctx, nameOf(id))
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return host.Unit{}, err
	}
	ports, _ := published(c)
	ours := err == nil && r.stands(v.Labels, id, fencing.Any) != fencing.Foreign
	u := host.Unit{
		CPUMillis: c.HostConfig.NanoCPUs / NanoPerMilli, MemoryBytes: c.HostConfig.Memory,
		ID:         id,
		Tenant:     tenantOf(c.Config.Labels),
		Fence:      fenceOf(c.Config.Labels),
		Running:    running(c),
		Paused:     c.State.Paused,
		Restarting: c.State.Restarting,
		ExitCode:   c.State.ExitCode,
		OOMKilled:  r.outOfMemory(ctx, c),
		Ports:      ports,
		Container:  true,
		Volume:     ours,
		Created:    moment(c.Created),
		Ended:      endOf(c.State),
	}
	if ours {
		u.Enforcement = enforcementOf(v)
	}
	return u, nil
}

// enforcementOf says what bounds a volume.
func enforcementOf(v volume.Volume) host.Enforcement {
	switch {
	case v.Labels[labelLoop] != "":
		return host.EnforcedByLoop
	case v.Options[optionSize] != "":
		return host.EnforcedByQuota
	default:
		return host.EnforcedByNone
	}
}

// endOf gives when the container ended last. Docker writes the year 1 where it never has.
func endOf(s *container.State) time.Time {
	if at := moment(s.FinishedAt); at.Year() > 1 {
		return at.Truncate(time.Millisecond)
	}
	return time.Time{}
}

// List gives everything of the deployment on the host, ordered by instance: one
// call for the containers, one for the volumes. It does not know OOMKilled.
func (r *Runtime) List(ctx context.Context) ([]host.Unit, error) {
	ours := labelDeployment + "=" + r.deployment
	containers, err := r.engine.listContainers(ctx, ours)
	if err != nil {
		return nil, err
	}
	volumes, err := r.engine.listVolumes(ctx, ours)
	if err != nil {
		return nil, err
	}
	units := map[host.UnitID]host.Unit{}
	for _, c := range containers {
		if id := instanceOf(c.Labels); id != "" {
			units[id] = unitOf(id, c)
		}
	}
	for _, v := range volumes {
		id := instanceOf(v.Labels)
		if id == "" {
			continue
		}
		u, ok := units[id]
		if !ok {
			u = host.Unit{ID: id, Tenant: tenantOf(v.Labels), Fence: fenceOf(v.Labels), Created: moment(v.CreatedAt)}
		}
		u.Volume = true
		units[id] = u
	}
	return slices.SortedFunc(maps.Values(units), func(a, b host.Unit) int { return cmp.Compare(a.ID, b.ID) }), nil
}

// Output gives the last lines that the instance wrote, at most 64 KiB of them.
func (r *Runtime) Output(ctx context.Context, id host.UnitID, lines int) (string, error) {
	c, err := r.own(ctx, id, fencing.Any)
	if err != nil || lines <= 0 {
		return "", err
	}
	var last tail
	if err := r.engine.logs(ctx, c.ID, lines, &last); err != nil {
		return "", err
	}
	return last.String(), nil
}

func instanceOf(labels map[string]string) host.UnitID {
	return host.UnitID(labels[labelInstance])
}

func tenantOf(labels map[string]string) tenant.ID {
	return tenant.ID(labels[labelTenant])
}

// moment reads a time as Docker writes it. One that cannot be read is no time.
func moment(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func fenceOf(labels map[string]string) int64 {
	fence, _ := strconv.ParseInt(labels[labelFence], 10, 64)
	return fence
}

func unitOf(id host.UnitID, c container.Summary) host.Unit {
	u := host.Unit{
		ID:         id,
		Tenant:     tenantOf(c.Labels),
		Fence:      fenceOf(c.Labels),
		Running:    c.State == container.StateRunning || c.State == container.StatePaused,
		Restarting: c.State == container.StateRestarting,
		ExitCode:   exitCodeOf(c.Status),
		Ports:      map[string]int{},
		Container:  true,
		Created:    time.Unix(c.Created, 0).UTC(),
	}
	for name, want := range portsOf(c.Labels) {
		if !u.Running {
			u.Ports[name] = want.host
			continue
		}
		for _, p := range c.Ports {
			if int(p.PrivatePort) == want.container && p.PublicPort != 0 {
				u.Ports[name] = int(p.PublicPort)
			}
		}
	}
	return u
}

// exitStatus is how a list of containers tells the exit code: "Exited (3) 2 minutes
// ago". The list has no field for it, and one more call for each container is what
// List is there to save.
var exitStatus = regexp.MustCompile(`^(?:Exited|Restarting) \((-?\d+)\)`)

func exitCodeOf(status string) int {
	found := exitStatus.FindStringSubmatch(status)
	if found == nil {
		return 0
	}
	code, _ := strconv.Atoi(found[1])
	return code
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - outputLimit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }
