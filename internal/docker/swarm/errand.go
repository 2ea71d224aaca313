package swarm

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// errandScript is what errands run, with no more of an image than a shell, the core utilities and gzip.
//
//go:embed errand.sh
var errandScript string

const (
	// pollEvery is how often is looked again what has become of a task.
	pollEvery = 150 * time.Millisecond
	// errandLimit is how long an errand may take, clearLimit how long to clear it away.
	errandLimit = 2 * time.Minute
	clearLimit  = 30 * time.Second
	// abandonedAfter is when an errand that is there still is nobody's any more.
	abandonedAfter = time.Hour

	// secretBytes is below the 500 KB that a secret may have.
	secretBytes = 480_000

	exitForeign, exitNewer, exitLost = 76, 77, 78
)

// errand is something to be done on the node, by a task that ends: a manager has no other hands there.
type errand struct {
	unit   host.UnitID
	fence  int64
	image  string
	args   []string // of errandScript; none: it only has to start
	folder string   // of the node, which the errand has as /berth; empty: none
	files  []byte   // what it has as /run/berth-files.000 and on
	limit  time.Duration
}

// do does the errand, and clears it away.
func (r *Runtime) do(ctx context.Context, e errand) error {
	limited, cancel := context.WithTimeoutCause(ctx, max(e.limit, errandLimit), errors.New("it took too long"))
	defer cancel()
	spec := r.specOf(e)
	for part := range slices.Chunk(e.files, secretBytes) {
		secret, err := r.putSecret(limited, e, part)
		if err != nil {
			return err
		}
		id := secret.SecretID
		defer r.clear(ctx, "remove secret "+id, func(ctx context.Context, api *client.Client) error {
			return api.SecretRemove(ctx, id)
		})
		c := spec.TaskTemplate.ContainerSpec
		secret.File = &swarm.SecretReferenceFileTarget{
			Name: fmt.Sprintf("/run/berth-files.%03d", len(c.Secrets)), UID: "0", GID: "0", Mode: 0o400,
		}
		c.Secrets = append(c.Secrets, secret)
	}
	var id string
	err := r.cluster.change(limited, "create an errand of "+string(e.unit), func(ctx context.Context, api *client.Client) error {
		answer, err := api.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{})
		id = answer.ID
		return err
	})
	if err != nil {
		return err
	}
	defer r.clear(ctx, "remove an errand of "+string(e.unit), func(ctx context.Context, api *client.Client) error {
		return api.ServiceRemove(ctx, id)
	})
	return r.outcome(limited, e, id)
}

// outcome waits until the errand has ended, and says how.
func (r *Runtime) outcome(ctx context.Context, e errand, service string) error {
	t, err := r.await(ctx, service, func(t swarm.Task) bool { return over(t) || stuck(t) })
	switch {
	case err != nil:
		return err
	case t.Status.State == swarm.TaskStateComplete:
		return nil
	}
	switch exitCode(t) {
	case exitForeign:
		return r.inTheWay("folder", path.Join(r.at.data, string(e.unit)))
	case exitNewer:
		return fault.Errorf(fault.CodeFenced, nil, "the data of instance %s were used under a newer fencing token", e.unit)
	case exitLost:
		return r.dataLost(e.unit)
	}
	return r.taskError(e.unit, t)
}

// await waits for a task of the service that is as asked. A node that goes away meanwhile ends the wait.
func (r *Runtime) await(ctx context.Context, service string, is func(swarm.Task) bool) (swarm.Task, error) {
	for n := 1; ; n++ {
		tasks, err := r.tasks(ctx, filters.Arg("service", service))
		if ctx.Err() != nil {
			return swarm.Task{}, r.late(ctx, tasks)
		}
		if err != nil {
			return swarm.Task{}, err
		}
		if t, ok := latest(tasks); ok && is(t) {
			return t, nil
		}
		if n%20 == 0 {
			if err := r.cluster.ready(ctx, r.at.node); err != nil {
				return swarm.Task{}, err
			}
		}
		if backoff.Wait(ctx, pollEvery) != nil {
			return swarm.Task{}, r.late(ctx, tasks)
		}
	}
}

// late says what a task was waited for in vain.
func (r *Runtime) late(ctx context.Context, tasks []swarm.Task) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Errorf("wait for a task of host %s: %w", r.cluster.name, ctx.Err())
	}
	t, _ := latest(tasks)
	return fault.Errorf(fault.CodeHostUnavailable, context.Cause(ctx), "host %s: a task of the swarm is still %q: %s %s",
		r.cluster.name, t.Status.State, t.Status.Message, t.Status.Err)
}

func (r *Runtime) specOf(e errand) swarm.ServiceSpec {
	command := []string{"/bin/sh", "-c", ":"}
	if len(e.args) > 0 {
		command = append([]string{"/bin/sh", "-c", errandScript, "berth"}, e.args...)
	}
	grace := time.Second
	c := &swarm.ContainerSpec{
		Image: e.image, Command: command[:1], Args: command[1:], User: "0:0", ReadOnly: true, StopGracePeriod: &grace,
		// The folders belong to the users that the servers run as.
		CapabilityDrop: []string{"ALL"}, CapabilityAdd: []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"},
	}
	if e.folder != "" {
		c.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: e.folder, Target: "/berth"}}
	}
	return swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "berth-errand-" + strings.ToLower(rand.Text()), Labels: r.errandLabels(e)},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: c, Placement: pinned(r.at.node), RestartPolicy: &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone},
			Resources: &swarm.ResourceRequirements{Limits: &swarm.Limit{MemoryBytes: 128 << 20, Pids: 64}},
			LogDriver: &swarm.Driver{Name: "json-file", Options: map[string]string{"max-size": "1m"}},
		},
		// No job: 20.10 leaves the container of a job on its node for good.
		Mode: replicas(1),
	}
}

func (r *Runtime) errandLabels(e errand) map[string]string {
	return map[string]string{docker.LabelDeployment: r.deployment, labelNode: r.at.node, labelErrand: string(e.unit)}
}

// putSecret makes a secret that an errand finds its files in. It carries unit and fence, for people.
func (r *Runtime) putSecret(ctx context.Context, e errand, data []byte) (*swarm.SecretReference, error) {
	secret := &swarm.SecretReference{
		SecretName: fmt.Sprintf("%s-%s-%s", docker.NameOf(e.unit), fenceText(e.fence), strings.ToLower(rand.Text()[:8])),
	}
	err := r.cluster.change(ctx, "create a secret of "+string(e.unit), func(ctx context.Context, api *client.Client) error {
		answer, err := api.SecretCreate(ctx, swarm.SecretSpec{
			Annotations: swarm.Annotations{Name: secret.SecretName, Labels: r.errandLabels(e)}, Data: data,
		})
		secret.SecretID = answer.ID
		return err
	})
	return secret, err
}

// clear removes what an errand has left, also for a caller who has gone. What stays because of an error
// goes with the next tidying.
func (r *Runtime) clear(ctx context.Context, doing string, do call) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearLimit)
	defer cancel()
	if err := r.cluster.change(ctx, doing, do); err != nil && !errors.Is(err, fault.ErrNotFound) {
		r.log.WarnContext(ctx, "cannot clear an errand away", "error", err)
	}
}

// filesOf gives the workload's files as errand.sh reads them, compressed: mode, path and content of each.
func filesOf(w host.Workload) ([]byte, error) {
	names, err := docker.Relative(w)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	to := gzip.NewWriter(&b) // which never fails into a buffer
	for i, f := range w.Files {
		if strings.ContainsAny(names[i], " \n\t\\") {
			return nil, fault.Errorf(fault.CodeInternal, nil, "file %q has a name that is not supported", f.Path)
		}
		_, _ = fmt.Fprintf(to, "%04o %s %s\n", f.Mode&0o777, names[i], base64.StdEncoding.EncodeToString([]byte(f.Content.Reveal())))
	}
	_, _ = fmt.Fprintln(to, "end")
	if err := to.Close(); err != nil {
		return nil, fmt.Errorf("pack files: %w", err)
	}
	return b.Bytes(), nil
}

// tidy removes errands and secrets that nobody waits for any more.
func (r *Runtime) tidy(ctx context.Context) error {
	labeled := filters.NewArgs()
	for _, label := range append(ours(r.deployment, r.at.node), labelErrand) {
		labeled.Add("label", label)
	}
	old := func(m swarm.Meta) bool { return time.Since(m.CreatedAt) > abandonedAfter }
	return r.cluster.change(ctx, "clear old errands away", func(ctx context.Context, api *client.Client) error {
		services, err := api.ServiceList(ctx, swarm.ServiceListOptions{Filters: labeled})
		for _, s := range services {
			if old(s.Meta) {
				err = errors.Join(err, api.ServiceRemove(ctx, s.ID))
			}
		}
		secrets, listed := api.SecretList(ctx, swarm.SecretListOptions{Filters: labeled})
		for _, s := range secrets {
			if old(s.Meta) {
				err = errors.Join(err, api.SecretRemove(ctx, s.ID))
			}
		}
		return errors.Join(err, listed)
	})
}
