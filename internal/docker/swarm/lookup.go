package swarm

import (
	"context"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

// own finds the unit's service for a claim, as package docker does a container.
func (r *Runtime) own(ctx context.Context, id host.UnitID, fence int64) (swarm.Service, error) {
	s, err := r.service(ctx, id)
	if err != nil {
		return s, err
	}
	switch r.stands(s.Spec.Labels, id, fence) {
	case fencing.Foreign:
		return swarm.Service{}, fault.Errorf(fault.CodeNotFound, nil,
			"host %s has no service of instance %s (%s is not Berth's)", r.cluster.name, id, s.Spec.Name)
	case fencing.Newer:
		return s, fenced(id, "service")
	default:
		return s, nil
	}
}

func (r *Runtime) stands(labels map[string]string, id host.UnitID, fence int64) fencing.Standing {
	return docker.Stands(labels, r.deployment, id, fence)
}

func (r *Runtime) service(ctx context.Context, id host.UnitID) (s swarm.Service, err error) {
	name := nameOn(id, r.at.node)
	err = r.cluster.read(ctx, "inspect service "+name, func(ctx context.Context, api *client.Client) (err error) {
		s, _, err = api.ServiceInspectWithRaw(ctx, name, swarm.ServiceInspectOptions{})
		return err
	})
	return s, err
}

func (r *Runtime) config(ctx context.Context, id host.UnitID) (c swarm.Config, err error) {
	name := nameOn(id, r.at.node)
	err = r.cluster.read(ctx, "inspect config "+name, func(ctx context.Context, api *client.Client) (err error) {
		c, _, err = api.ConfigInspectWithRaw(ctx, name)
		return err
	})
	return c, err
}
