package docker

import (
	"context"
	"fmt"
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// A volume on a disk of its own is a folder of that disk, under the name of the volume: Docker mounts
// it, and neither makes nor removes it. A container that ends at once does, from the image of the
// instance. It leaves a mark on the disk, without which nothing there is taken for gone: the disk
// may not be mounted.

const (
	// labelDisk and labelImage are on a volume that is on a disk: the folder of the disk, and the
	// image by which its data can be removed.
	labelDisk  = "berth.disk"
	labelImage = "berth.image"
	// labelErrand is on a container that works on a disk: the instance's id.
	labelErrand  = "berth.errand"
	errandSuffix = "-errand"
	diskMark     = ".berth"
	errandMemory = 64 << 20
)

const (
	makeFolder   = `: >>"/disk/$2" && mkdir -p "/disk/$1" && chmod 0711 "/disk/$1"`
	makeBeside   = `[ -e "/disk/$2" ] || exit 3; ` + makeFolder
	removeFolder = `[ -e "/disk/$2" ] || exit 3; rm -rf "/disk/$1" && [ ! -e "/disk/$1" ]`
	// noMark is the exit code where the disk has no mark.
	noMark = 3
)

// onDisk makes a volume one on a disk.
func onDisk(options *volume.CreateOptions, w host.Workload) {
	options.DriverOpts = bound(w.Disk + "/" + nameOf(w.Unit))
	options.Labels[labelDisk], options.Labels[labelImage] = w.Disk, w.Image
}

// bound has a volume's driver bind a folder of the machine.
func bound(folder string) map[string]string {
	return map[string]string{"type": "none", "o": "bind", "device": folder}
}

// diskVolume makes the folder, and the volume on it.
func (r *Runtime) diskVolume(ctx context.Context, w host.Workload) (volume.Volume, error) {
	if w.Enforcement == host.EnforcedByLoop {
		return r.loopVolume(ctx, w)
	}
	if w.Image == "" {
		return volume.Volume{}, fault.Errorf(fault.CodeInternal, nil, "the volume of %s on disk %s needs an image", w.Unit, w.Disk)
	}
	options := volumeOf(w, r.deployment, false)
	onDisk(&options, w)
	script := makeFolder
	if w.DiskShared {
		script = makeBeside
	}
	code, err := r.errand(ctx, w.Unit, w.Fence, w.Image, w.Disk, script)
	switch {
	case err != nil || code == 0:
	case code == noMark && w.DiskShared:
		err = fault.Errorf(fault.CodeHostUnavailable, nil, "disk %s of host %s is not there, because it has nothing of the instances that are on it; mount it", w.Disk, r.engine.name)
	default:
		err = fault.Errorf(fault.CodeHostRefused, nil, "the folder of %s could not be made on disk %s of host %s (code %d); check that the disk is mounted and writable",
			w.Unit, w.Disk, r.engine.name, code)
	}
	if err != nil {
		return volume.Volume{}, err
	}
	return r.engine.createVolume(ctx, options)
}

// clearDisk removes what a volume has on a disk, and confirms it.
func (r *Runtime) clearDisk(ctx context.Context, v volume.Volume, id host.UnitID, fence int64) error {
	disk := v.Labels[labelDisk]
	switch {
	case disk == "":
		return nil
	case v.Labels[labelLoop] != "":
		return r.onLoops(ctx, disk, func(d host.LoopDisk) error { return d.Remove(ctx, id, "") })
	}
	code, err := r.errand(ctx, id, fence, v.Labels[labelImage], disk, removeFolder)
	switch {
	case err != nil || code == 0:
		return err
	case code == noMark:
		return fault.Errorf(fault.CodeHostUnavailable, nil, "disk %s of host %s is not there, and the data of %s may be on it; mount it", disk, r.engine.name, id)
	default:
		return fault.Errorf(fault.CodeInternal, nil, "the data of %s could not be removed from disk %s of host %s (code %d)", id, disk, r.engine.name, code)
	}
}

// errand runs a script on a disk, in a container that goes when it has ended, and gives its exit code.
func (r *Runtime) errand(ctx context.Context, id host.UnitID, fence int64, image, disk, script string) (int, error) {
	pids, init := int64(32), true
	s := spec{
		Name: nameOf(id) + errandSuffix,
		Config: &container.Config{
			Image: image, User: "0:0", Entrypoint: []string{"/bin/sh", "-c", script, "errand", nameOf(id), diskMark},
			Labels:      map[string]string{labelDeployment: r.deployment, labelErrand: string(id), labelFence: strconv.FormatInt(fence, 10)},
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		HostConfig: &container.HostConfig{
			AutoRemove: true, NetworkMode: "none", ReadonlyRootfs: true, Init: &init,
			Mounts:      []mount.Mount{{Type: mount.TypeBind, Source: disk, Target: "/disk"}},
			CapDrop:     []string{"ALL"},
			CapAdd:      []string{"DAC_OVERRIDE", "FOWNER"}, // what is there belongs to the server's user
			SecurityOpt: []string{"no-new-privileges"},
			Resources:   container.Resources{Memory: errandMemory, MemorySwap: errandMemory, PidsLimit: &pids},
		},
	}
	made, err := r.errandContainer(ctx, s, id)
	if err != nil {
		return 0, err
	}
	return r.engine.runToEnd(ctx, made)
}

// errandContainer makes the container, in the place of one that somebody has left.
func (r *Runtime) errandContainer(ctx context.Context, s spec, id host.UnitID) (string, error) {
	old, err := r.engine.inspectContainer(ctx, s.Name)
	if err == nil && (old.Config.Labels[labelDeployment] != r.deployment || old.Config.Labels[labelErrand] != string(id)) {
		return "", r.inTheWay("container", s.Name)
	}
	if err == nil {
		err = r.removeContainer(ctx, old.ID)
	}
	if forgive(err, fault.ErrNotFound) != nil {
		return "", err
	}
	made, err := r.engine.createContainer(ctx, s)
	if code := fault.CodeOf(err); err != nil && (code == fault.CodeNotFound || code == fault.CodeHostRefused || code == fault.CodeInternal) {
		return "", fault.Errorf(fault.CodeHostRefused, err, "host %s cannot work on the disk: %s", r.engine.name, words(cause(err)))
	}
	return made, err
}

// runToEnd starts a container that removes itself, and gives its exit code.
func (e *engine) runToEnd(ctx context.Context, id string) (code int, err error) {
	err = e.change(ctx, "run container "+id, func(ctx context.Context) error {
		ended, failed := e.api.ContainerWait(ctx, id, container.WaitConditionRemoved)
		if err := e.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
			return err
		}
		select {
		case end := <-ended:
			if end.Error != nil {
				return fmt.Errorf("wait for container %s: %s", id, end.Error.Message)
			}
			code = int(end.StatusCode)
			return nil
		case err := <-failed:
			return err
		}
	})
	return code, err
}
