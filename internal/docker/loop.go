package docker

import (
	"context"
	"errors"
	"strconv"

	"github.com/docker/docker/api/types/volume"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

// A volume that is a file system of its own is a file of its disk, which scripts on the machine make,
// mount and remove (host.LoopDisk). Docker's volume binds a folder that there is in that file system
// only: while it is not mounted, as after a reboot, the engine finds no such folder and starts nothing.

// labelLoop is on a volume that is a file system of its own on its disk: its size in bytes.
const labelLoop = "berth.loop"

// loopVolume makes the volume, and the file system that it is in.
//
// The disk is marked first, so that a delete can tell one without the file from one that is not
// mounted; then comes the volume, by which a delete knows of the file; and then the file. So a crash
// after any line leaves nothing that a delete does not find.
func (r *Runtime) loopVolume(ctx context.Context, w host.Workload) (volume.Volume, error) {
	size := w.Resources.DiskCeiling()
	if size <= 0 {
		return volume.Volume{}, fault.Errorf(fault.CodeInternal, nil, "the volume of %s on disk %s needs a size", w.Unit, w.Disk)
	}
	if err := r.readyDisk(ctx, w.Disk); err != nil {
		return volume.Volume{}, err
	}
	options := volumeOf(w, r.deployment, false)
	options.DriverOpts = bound(host.LoopFolder(w.Disk, w.Unit))
	options.Labels[labelDisk], options.Labels[labelLoop] = w.Disk, strconv.FormatInt(size, 10)
	v, err := r.engine.createVolume(ctx, options)
	stands := r.stands(v.Labels, w.Unit, w.Fence)
	if err != nil || v.Labels[labelLoop] == "" || stands == fencing.Foreign || stands == fencing.Newer {
		return v, err // the caller looks at what it is
	}
	return v, r.onLoops(ctx, v.Labels[labelDisk], func(d host.LoopDisk) error {
		made, err := d.Make(ctx, w.Unit, size)
		if err != nil || made == "" {
			return err
		}
		// A delete that came in between did not find the file.
		if _, err := r.engine.inspectVolume(ctx, v.Name); !errors.Is(err, fault.ErrNotFound) {
			return err
		}
		if err := d.Remove(ctx, w.Unit, made); err != nil {
			return err
		}
		return fenced(w.Unit, "volume")
	})
}

// readyDisk has the disk marked, and the machine's tools looked for, once in the life of this process. A
// disk that volumes are on already has its mark, if it is mounted.
func (r *Runtime) readyDisk(ctx context.Context, disk string) error {
	if _, known := r.engine.ready.Load(disk); known {
		return nil
	}
	used, err := r.engine.listVolumes(ctx, labelDisk+"="+disk)
	if err != nil {
		return err
	}
	err = r.onLoops(ctx, disk, func(d host.LoopDisk) error { return d.Ready(ctx, len(used) > 0) })
	if err == nil {
		r.engine.ready.Store(disk, true)
	}
	return err
}

// attachLoop mounts the file system of a volume that is one of its own, unless it is.
func (r *Runtime) attachLoop(ctx context.Context, v volume.Volume, id host.UnitID) error {
	if v.Labels[labelLoop] == "" {
		return nil
	}
	return r.onLoops(ctx, v.Labels[labelDisk], func(d host.LoopDisk) error { return d.Attach(ctx, id) })
}

// attachVolume is attachLoop for the unit's volume, if it is on a machine that Berth logs in to.
func (r *Runtime) attachVolume(ctx context.Context, id host.UnitID) error {
	v, err := r.loopOf(ctx, id)
	if err != nil {
		return err
	}
	return r.attachLoop(ctx, v, id)
}

// loopOf gives the unit's volume if it may be a file system of its own.
func (r *Runtime) loopOf(ctx context.Context, id host.UnitID) (volume.Volume, error) {
	if r.engine.shell == nil {
		return volume.Volume{}, nil
	}
	v, err := r.engine.inspectVolume(ctx, nameOf(id))
	return v, forgive(err, fault.ErrNotFound)
}

// loopSpace gives the space of the disk below a volume that is a file system of its own, and whether
// it is one.
func (r *Runtime) loopSpace(ctx context.Context, id host.UnitID) (space host.Space, loop bool, err error) {
	v, err := r.loopOf(ctx, id)
	if err != nil || v.Labels[labelLoop] == "" {
		return host.Space{}, false, err
	}
	err = r.onLoops(ctx, v.Labels[labelDisk], func(d host.LoopDisk) error {
		space, err = d.Space(ctx)
		return err
	})
	return space, true, err
}

// onLoops does something on a disk of the engine's machine.
func (r *Runtime) onLoops(ctx context.Context, disk string, do func(host.LoopDisk) error) error {
	if r.engine.shell == nil {
		return fault.Errorf(fault.CodeHostUnavailable, nil, "disk %s of host %s has file systems of their own, which need a login to the machine: "+
			"its endpoint must be ssh://USER@ADDRESS", disk, r.engine.name)
	}
	sh, err := r.engine.shell(ctx)
	if err != nil {
		return err
	}
	defer sh.Close() //nolint:errcheck // nothing is lost by it
	err = do(host.LoopDisk{Shell: sh, Path: disk})
	if code := fault.CodeOf(err); err != nil && code != fault.CodeFenced && ctx.Err() == nil {
		return fault.Errorf(code, err, "host %s: %s", r.engine.name, fault.Explain(err))
	}
	return err
}
