package swarm

import (
	"context"
	"errors"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

const (
	// startLimit is how long a node may take to start a task, goneMargin what it may take beyond the
	// grace period to end one.
	startLimit = 2 * time.Minute
	goneMargin = time.Minute
)

// Create puts the files into the unit's folder and makes the service, which runs nothing yet. As with
// containers, what is found under the same claim is adopted only if it runs as it was asked to.
func (r *Runtime) Create(ctx context.Context, w host.Workload) error {
	spec, err := serviceOf(w, r.deployment, r.at)
	if err != nil {
		return err
	}
	if err := r.cluster.isolated(ctx, r.at.node); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.ensureFolder(ctx, w); err != nil {
		return err
	}
	adopted, err := r.makeWay(ctx, w, spec.Labels[docker.LabelSpec])
	if err != nil || adopted {
		return err
	}
	err = r.fill(ctx, w)
	if fault.CodeOf(err) == fault.CodeDataLost && !w.KeepData {
		err = r.fillAnew(ctx, w)
	}
	if err != nil {
		return err
	}
	return r.cluster.change(ctx, "create service "+spec.Name, func(ctx context.Context, api *client.Client) error {
		_, err := api.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{})
		return err
	})
}

// makeWay removes what an earlier claim, or an earlier try, has left under the name.
func (r *Runtime) makeWay(ctx context.Context, w host.Workload, digest string) (adopted bool, err error) {
	s, err := r.service(ctx, w.Unit)
	if errors.Is(err, fault.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch r.stands(s.Spec.Labels, w.Unit, w.Fence) {
	case fencing.Foreign:
		return false, r.inTheWay("service", s.Spec.Name)
	case fencing.Newer:
		return false, fenced(w.Unit, "service")
	case fencing.Same:
		tasks, err := r.tasks(ctx, filters.Arg("service", s.ID))
		if err != nil {
			return false, err
		}
		if t, ok := latest(tasks); ok && running(t) && s.Spec.Labels[docker.LabelSpec] == digest {
			return true, nil
		}
	}
	return false, r.removeService(ctx, w.Unit, s)
}

// Start has the swarm run the service's task, and waits until the node says what has become of it.
func (r *Runtime) Start(ctx context.Context, w host.Workload) (map[string]int, error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	s, err := r.own(ctx, w.Unit, w.Fence)
	if err != nil {
		return nil, err
	}
	ports := docker.UnitOf(s.Spec.Labels).Ports
	tasks, err := r.tasks(ctx, filters.Arg("service", s.ID))
	if err != nil {
		return nil, err
	}
	if t, ok := latest(tasks); ok && running(t) {
		return ports, nil
	}
	// One that has ended is cleared away first: its port, and its place in the service, are free then.
	if wanted(s.Spec) {
		if err := r.scaleDown(ctx, w.Unit, s, w.StopGrace); err != nil {
			return nil, err
		}
	}
	if err := r.scale(ctx, w.Unit, s.ID, 1); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, startLimit, errors.New("it did not start"))
	defer cancel()
	t, err := r.await(limited, s.ID, func(t swarm.Task) bool { return over(t) || running(t) || stuck(t) })
	if err != nil {
		return nil, err
	}
	if !ran(t) {
		return nil, r.startFailed(ctx, w.Unit, s, r.taskError(w.Unit, t))
	}
	return ports, nil // whether it keeps running is for Inspect to say
}

// startFailed clears away a service that did not get its ports, and leaves no other one to be tried
// again by the swarm.
func (r *Runtime) startFailed(ctx context.Context, id host.UnitID, s swarm.Service, err error) error {
	undo := func() error { return r.scale(ctx, id, s.ID, 0) }
	if fault.CodeOf(err) == fault.CodePortRefused {
		undo = func() error { return r.removeService(ctx, id, s) }
	}
	if undone := undo(); undone != nil {
		r.log.WarnContext(ctx, "cannot clear away a service that did not start", "instance", id, "error", undone)
	}
	return err
}

// Adopt puts other files into the folder of an instance that runs. Its limits stay: the swarm changes
// them only with a restart.
func (r *Runtime) Adopt(ctx context.Context, w host.Workload) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	s, err := r.own(ctx, w.Unit, w.Fence)
	if err != nil {
		return err
	}
	tasks, err := r.tasks(ctx, filters.Arg("service", s.ID))
	if err != nil {
		return err
	}
	if t, ok := latest(tasks); !ok || !running(t) {
		return fault.Errorf(fault.CodeNotFound, nil, "instance %s does not run on host %s", w.Unit, r.cluster.name)
	}
	w.KeepData = true
	return r.fill(ctx, w)
}

// Settle has nothing to do: no service is ever restarted by the swarm.
func (r *Runtime) Settle(ctx context.Context, id host.UnitID, fence int64) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	_, err := r.own(ctx, id, fence)
	return err
}

// Stop has the swarm end the task. The grace period is the one that the workload was created with.
func (r *Runtime) Stop(ctx context.Context, id host.UnitID, fence int64, grace time.Duration) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	s, err := r.own(ctx, id, fence)
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	tasks, err := r.tasks(ctx, filters.Arg("service", s.ID))
	if err != nil {
		return err
	}
	if t, ok := latest(tasks); !ok || over(t) {
		return nil // its last words and its exit code stay
	}
	return r.scaleDown(ctx, id, s, grace)
}

// scaleDown has no task run, and waits until all are gone.
func (r *Runtime) scaleDown(ctx context.Context, id host.UnitID, s swarm.Service, grace time.Duration) error {
	if err := r.scale(ctx, id, s.ID, 0); err != nil {
		if errors.Is(err, fault.ErrNotFound) {
			return nil
		}
		return err
	}
	return r.gone(ctx, id, max(grace, graceOf(s)))
}

func graceOf(s swarm.Service) time.Duration {
	if c := s.Spec.TaskTemplate.ContainerSpec; c != nil && c.StopGracePeriod != nil {
		return *c.StopGracePeriod
	}
	return 0
}

// scale changes how many tasks the service has. A swarm takes a change only of what was looked at last.
func (r *Runtime) scale(ctx context.Context, id host.UnitID, service string, n uint64) error {
	for {
		s, err := r.service(ctx, id)
		if err != nil {
			return err
		}
		if s.ID != service {
			return fault.Errorf(fault.CodeNotFound, nil, "the service of instance %s was replaced on host %s", id, r.cluster.name)
		}
		if s.Spec.Mode.Replicated != nil && s.Spec.Mode.Replicated.Replicas != nil && *s.Spec.Mode.Replicated.Replicas == n {
			return nil
		}
		s.Spec.Mode = replicas(n)
		err = r.cluster.change(ctx, "scale service "+s.Spec.Name, func(ctx context.Context, api *client.Client) error {
			_, err := api.ServiceUpdate(ctx, s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
			return err
		})
		if !outOfSequence(err) {
			return err
		}
		if err := backoff.Wait(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// Remove removes the service and, with data, the folder.
func (r *Runtime) Remove(ctx context.Context, id host.UnitID, fence int64, data bool) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	var c swarm.Config
	if data {
		var err error
		if c, err = r.config(ctx, id); err != nil && !errors.Is(err, fault.ErrNotFound) {
			return err
		}
		if r.stands(c.Spec.Labels, id, fence) == fencing.Newer {
			return fenced(id, "folder")
		}
	}
	s, err := r.own(ctx, id, fence)
	if err == nil {
		err = r.removeService(ctx, id, s)
	}
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return err
	}
	if !data || c.ID == "" || r.stands(c.Spec.Labels, id, fence) == fencing.Foreign {
		return nil
	}
	if image := c.Spec.Labels[labelImage]; image != "" {
		if err := r.drop(ctx, id, fence, image); err != nil {
			return err
		}
	}
	return r.unregister(ctx, id)
}

// removeService comes back when no task of the unit is left on the node.
func (r *Runtime) removeService(ctx context.Context, id host.UnitID, s swarm.Service) error {
	err := r.cluster.change(ctx, "remove service "+s.Spec.Name, func(ctx context.Context, api *client.Client) error {
		return api.ServiceRemove(ctx, s.ID)
	})
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return err
	}
	return r.gone(ctx, id, graceOf(s))
}

// gone waits until no task of the unit is left on the node. A swarm forgets a task when its node has
// ended it.
func (r *Runtime) gone(ctx context.Context, id host.UnitID, grace time.Duration) error {
	limited, cancel := context.WithTimeoutCause(ctx, grace+goneMargin, errors.New("it did not end"))
	defer cancel()
	for n := 1; ; n++ {
		tasks, err := r.tasks(limited, filters.Arg("label", docker.LabelInstance+"="+string(id)),
			filters.Arg("label", docker.LabelDeployment+"="+r.deployment), filters.Arg("node", r.at.node))
		if limited.Err() != nil {
			return r.late(limited, tasks)
		}
		if err != nil {
			return err
		}
		if len(tasks) == 0 {
			return nil
		}
		if n%20 == 0 {
			if err := r.cluster.ready(limited, r.at.node); err != nil {
				return err
			}
		}
		if backoff.Wait(limited, pollEvery) != nil {
			return r.late(limited, tasks)
		}
	}
}

// begin fails unless the node can be reached, and has old errands cleared away now and then.
func (r *Runtime) begin(ctx context.Context) error {
	if err := r.cluster.ready(ctx, r.at.node); err != nil {
		return err
	}
	if r.tidied.Add(r.deployment, struct{}{}, time.Now(), tidyEvery) {
		if err := r.tidy(ctx); err != nil {
			r.log.WarnContext(ctx, "cannot clear old errands away", "error", err)
		}
	}
	return nil
}
