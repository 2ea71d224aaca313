package swarm

import (
	"context"
	"errors"
	"path"
	"slices"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

// CreateVolume makes the instance's folder on the node, or finds it there. The config is there before
// the folder, and goes after it: what is on a node and nobody knows of is never cleared away.
func (r *Runtime) CreateVolume(ctx context.Context, w host.Workload) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	made, err := r.register(ctx, w)
	if err != nil {
		return err
	}
	e := r.folderErrand("make", w.Unit, w.Fence, w.Image)
	if w.KeepData {
		e.args[0] = "find"
	}
	err = r.do(ctx, e)
	if made && err != nil && (w.KeepData || fault.CodeOf(err) == fault.CodeImageUnavailable || fault.CodeOf(err) == fault.CodeHostRefused) {
		return errors.Join(err, r.unregister(context.WithoutCancel(ctx), w.Unit)) // nothing was made on the node
	}
	return err
}

// register makes the config that says that the unit has a folder, or finds it, and reports which.
func (r *Runtime) register(ctx context.Context, w host.Workload) (made bool, err error) {
	labels := labelsOn(w, r.deployment, r.at.node)
	labels[labelImage] = w.Image
	name := nameOn(w.Unit, r.at.node)
	c, err := r.config(ctx, w.Unit)
	if errors.Is(err, fault.ErrNotFound) {
		err = r.cluster.change(ctx, "create config "+name, func(ctx context.Context, api *client.Client) error {
			_, err := api.ConfigCreate(ctx, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name, Labels: labels}, Data: []byte(w.Unit)})
			return err
		})
		if !errors.Is(err, fault.ErrConflict) {
			return err == nil, err
		}
		c, err = r.config(ctx, w.Unit) // somebody was faster
	}
	if err != nil {
		return false, err
	}
	switch r.stands(c.Spec.Labels, w.Unit, w.Fence) {
	case fencing.Foreign:
		if w.KeepData {
			return false, r.dataLost(w.Unit)
		}
		return false, r.inTheWay("config", name)
	case fencing.Newer:
		return false, fenced(w.Unit, "folder")
	}
	return false, nil
}

func (r *Runtime) unregister(ctx context.Context, id host.UnitID) error {
	err := r.cluster.change(ctx, "remove config of "+string(id), func(ctx context.Context, api *client.Client) error {
		return api.ConfigRemove(ctx, nameOn(id, r.at.node))
	})
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	return err
}

// folderErrand does something with the unit's folder in the folder of all.
func (r *Runtime) folderErrand(verb string, id host.UnitID, fence int64, image string) errand {
	return errand{
		unit: id, fence: fence, image: image, folder: r.at.data,
		args: []string{verb, r.deployment, fenceText(fence), path.Join("/berth", string(id))},
	}
}

// fill puts the files into the unit's folder, which an errand sees alone. A folder that is not there is
// made anew only for an instance without data.
func (r *Runtime) fill(ctx context.Context, w host.Workload) error {
	files, err := filesOf(w)
	if err != nil {
		return err
	}
	e := errand{
		unit: w.Unit, fence: w.Fence, image: w.Image, files: files, folder: unitFolder(w.Unit, r.at),
		args: []string{"fill", r.deployment, fenceText(w.Fence), "/berth", w.User},
	}
	err = r.do(ctx, e)
	if fault.CodeOf(err) != fault.CodeDataLost || w.KeepData {
		return err
	}
	if err := r.CreateVolume(ctx, w); err != nil {
		return err
	}
	return r.do(ctx, e)
}

// drop removes the folder, by an image that the node has.
func (r *Runtime) drop(ctx context.Context, id host.UnitID, fence int64, image string, s swarm.Service) error {
	candidates := []string{image}
	if c := s.Spec.TaskTemplate.ContainerSpec; c != nil && c.Image != "" {
		candidates = slices.Insert(candidates, 0, c.Image)
	}
	_, _, configs, err := r.all(ctx)
	if err != nil {
		return err
	}
	for _, c := range configs {
		candidates = append(candidates, c.Spec.Labels[labelImage])
	}
	tried := map[string]bool{"": true}
	err = fault.Errorf(fault.CodeImageUnavailable, nil, "host %s: no image is known with which the folder of %s could be removed", r.cluster.name, id)
	for _, candidate := range candidates {
		if tried[candidate] {
			continue
		}
		tried[candidate] = true
		if err = r.do(ctx, r.folderErrand("drop", id, fence, candidate)); fault.CodeOf(err) != fault.CodeImageUnavailable || err == nil {
			return err
		}
	}
	return err
}
