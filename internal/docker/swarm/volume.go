package swarm

import (
	"cmp"
	"context"
	"errors"
	"path"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

// CreateVolume makes the instance's folder on the node, or finds it there. The config is there before
// the folder, and goes after it: what is on a node and nobody knows of is never cleared away. While no
// image is known yet with which it could be done, it is left to Create.
func (r *Runtime) CreateVolume(ctx context.Context, w host.Workload) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	if w.KeepData {
		return r.findFolder(ctx, w)
	}
	c, err := r.register(ctx, w)
	if err != nil || w.Image == "" && c.Spec.Labels[labelImage] == "" {
		return err
	}
	return r.makeFolder(ctx, w, c)
}

// standsFor fails where the config of the unit is not for the claim to use.
func (r *Runtime) standsFor(w host.Workload, c swarm.Config) error {
	switch r.stands(c.Spec.Labels, w.Unit, w.Fence) {
	case fencing.Foreign:
		if w.KeepData {
			return r.dataLost(w.Unit)
		}
		return r.inTheWay("config", c.Spec.Name)
	case fencing.Newer:
		return fenced(w.Unit, "folder")
	default:
		return nil
	}
}

// register makes the config that says that the unit has a folder, or finds it.
func (r *Runtime) register(ctx context.Context, w host.Workload) (swarm.Config, error) {
	name := nameOn(w.Unit, r.at.node)
	c, err := r.config(ctx, w.Unit)
	if errors.Is(err, fault.ErrNotFound) {
		err = r.cluster.change(ctx, "create config "+name, func(ctx context.Context, api *client.Client) error {
			_, err := api.ConfigCreate(ctx, swarm.ConfigSpec{
				Annotations: swarm.Annotations{Name: name, Labels: labelsOn(w, r.deployment, r.at.node)}, Data: []byte(w.Unit),
			})
			return err
		})
		if err == nil || errors.Is(err, fault.ErrConflict) { // somebody was faster
			c, err = r.config(ctx, w.Unit)
		}
	}
	if err != nil {
		return c, err
	}
	return c, r.standsFor(w, c)
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

// note has the config say which image the node has. One that says none has no folder yet.
func (r *Runtime) note(ctx context.Context, id host.UnitID, image string) error {
	c, err := r.config(ctx, id)
	if err != nil || c.Spec.Labels[labelImage] == image {
		return err
	}
	c.Spec.Labels[labelImage] = image
	return r.cluster.change(ctx, "label config of "+string(id), func(ctx context.Context, api *client.Client) error {
		return api.ConfigUpdate(ctx, c.ID, c.Version, c.Spec)
	})
}

func (r *Runtime) makeFolder(ctx context.Context, w host.Workload, c swarm.Config) error {
	known := c.Spec.Labels[labelImage]
	image := cmp.Or(w.Image, known)
	if known == "" {
		if err := r.note(ctx, w.Unit, image); err != nil {
			return err
		}
	}
	err := r.do(ctx, r.folderErrand("make", w.Unit, w.Fence, image))
	if code := fault.CodeOf(err); known == "" && (code == fault.CodeImageUnavailable || code == fault.CodeHostRefused) {
		return errors.Join(err, r.note(context.WithoutCancel(ctx), w.Unit, "")) // the node has done nothing
	}
	return err
}

// findFolder fails with CodeDataLost unless the folder is there. Where only its config is not, that is
// made anew.
func (r *Runtime) findFolder(ctx context.Context, w host.Workload) error {
	c, err := r.config(ctx, w.Unit)
	lost := errors.Is(err, fault.ErrNotFound)
	if err != nil && !lost {
		return err
	}
	if !lost {
		if err := r.standsFor(w, c); err != nil {
			return err
		}
	}
	done, err := r.doWithAny(ctx, r.folderErrand("find", w.Unit, w.Fence, ""), w.Image, c.Spec.Labels[labelImage])
	if err != nil || !done || !lost {
		return err
	}
	if _, err := r.register(ctx, w); err != nil {
		return err
	}
	return r.note(ctx, w.Unit, w.Image)
}

// ensureFolder makes the folder unless the config says that it was made: fill fails where it is not there.
func (r *Runtime) ensureFolder(ctx context.Context, w host.Workload) error {
	c, err := r.config(ctx, w.Unit)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return r.CreateVolume(ctx, w)
	case err != nil:
		return err
	}
	if err := r.standsFor(w, c); err != nil {
		return err
	}
	if w.KeepData || c.Spec.Labels[labelImage] != "" {
		return nil
	}
	return r.makeFolder(ctx, w, c)
}

// folderErrand does something with the unit's folder in the folder of all.
func (r *Runtime) folderErrand(verb string, id host.UnitID, fence int64, image string) errand {
	return errand{
		unit: id, fence: fence, image: image, folder: r.at.data,
		args: []string{verb, r.deployment, fenceText(fence), path.Join("/berth", string(id))},
	}
}

// doWithAny does the errand with the first of the images that the node has, or of those of other
// instances. It reports whether any was known.
func (r *Runtime) doWithAny(ctx context.Context, e errand, images ...string) (done bool, err error) {
	_, _, configs, err := r.all(ctx)
	if err != nil {
		return false, err
	}
	for _, c := range configs {
		images = append(images, c.Spec.Labels[labelImage])
	}
	tried := map[string]bool{"": true}
	for _, e.image = range images {
		if tried[e.image] {
			continue
		}
		tried[e.image] = true
		if err = r.do(ctx, e); err == nil || fault.CodeOf(err) != fault.CodeImageUnavailable {
			return true, err
		}
	}
	return false, err
}

// fill puts the files into the unit's folder, which an errand sees alone.
func (r *Runtime) fill(ctx context.Context, w host.Workload) error {
	files, err := filesOf(w)
	if err != nil {
		return err
	}
	return r.do(ctx, errand{
		unit: w.Unit, fence: w.Fence, image: w.Image, files: files, folder: unitFolder(w.Unit, r.at),
		args: []string{"fill", r.deployment, fenceText(w.Fence), "/berth", w.User},
	})
}

// fillAnew makes the folder of an instance without data where the making was cut off, and fills it.
func (r *Runtime) fillAnew(ctx context.Context, w host.Workload) error {
	if err := r.CreateVolume(ctx, w); err != nil {
		return err
	}
	return r.fill(ctx, w)
}

// drop removes the folder, by an image that the node has.
func (r *Runtime) drop(ctx context.Context, id host.UnitID, fence int64, images ...string) error {
	done, err := r.doWithAny(ctx, r.folderErrand("drop", id, fence, ""), images...)
	if err == nil && !done {
		err = fault.Errorf(fault.CodeImageUnavailable, nil,
			"host %s: no image is known with which the folder of %s could be removed", r.cluster.name, id)
	}
	return err
}
