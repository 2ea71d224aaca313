package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

const (
	// pollEvery is how often is looked again while Docker finishes what it began.
	pollEvery = 100 * time.Millisecond
	// settleWithin is how long Docker may take to let go of a name or a volume.
	settleWithin = 15 * time.Second
)

// CreateVolume makes the instance's volume, or finds it there. A volume keeps the
// labels that it was made with, so one of an earlier claim is as good.
func (r *Runtime) CreateVolume(ctx context.Context, w host.Workload) error {
	v, err := r.volume(ctx, w)
	if err != nil {
		return err
	}
	// Docker answers with the old one where there is one of that name.
	switch r.stands(v.Labels, w.Unit, w.Fence) {
	case fencing.Foreign:
		return r.inTheWay("volume", v.Name)
	case fencing.Newer:
		return fenced(w.Unit, "volume")
	default:
		return r.attachLoop(ctx, v, w.Unit)
	}
}

// volume makes the volume, or only finds it.
func (r *Runtime) volume(ctx context.Context, w host.Workload) (volume.Volume, error) {
	if !w.KeepData {
		v, err := r.boundedVolume(ctx, w)
		if err != nil || !halfMade(v) {
			return v, err
		}
		r.log.InfoContext(ctx, "recreating a volume that the engine created incompletely", "instance", w.Unit, "volume", v.Name)
		if err := r.engine.removeVolume(ctx, v.Name); err != nil && !errors.Is(err, fault.ErrNotFound) {
			return v, err
		}
		return r.boundedVolume(ctx, w)
	}
	v, err := r.engine.inspectVolume(ctx, nameOf(w.Unit))
	if errors.Is(err, fault.ErrNotFound) || (err == nil && r.stands(v.Labels, w.Unit, w.Fence) == fencing.Foreign) {
		return v, fault.Errorf(fault.CodeDataLost, cause(err), "the volume %s with the instance's data is gone from host %s",
			nameOf(w.Unit), r.engine.name)
	}
	return v, err
}

// halfMade reports whether the volume, which has an instance's name, is what an engine
// leaves that ends while it makes one: first comes the folder, then come its labels, and
// what it does not know the labels of it finds again without any. There are no data in
// it, because a container gets it only afterwards; one in use cannot be removed.
func halfMade(v volume.Volume) bool { return len(v.Labels) == 0 }

// Create makes the container, with its files in the volume unless it takes them when it
// starts.
//
// A crash can come after any line. What is then found under this claim is adopted
// only if it runs as it was asked to, because only a complete container is ever
// started; anything else is made anew, which is cheap and needs no mark for
// "complete" that could itself be missing.
func (r *Runtime) Create(ctx context.Context, w host.Workload) error {
	s, err := specOf(w, r.deployment)
	if err != nil {
		return err
	}
	if err := r.CreateVolume(ctx, w); err != nil {
		return err
	}
	return r.create(ctx, w, s)
}

// create makes the container on the volume.
func (r *Runtime) create(ctx context.Context, w host.Workload, s spec) error {
	id, err := r.createContainer(ctx, w, s)
	if err != nil || id == "" {
		return err
	}
	if w.KeepData {
		// From here on the container holds the volume. Is it still the one with the data?
		if _, err := r.volume(ctx, w); err != nil {
			if fault.CodeOf(err) == fault.CodeDataLost {
				r.removeEmpty(ctx, w.Unit, id)
			}
			return err
		}
	}
	if s.Config.OpenStdin {
		return nil
	}
	return r.fill(ctx, w, id)
}

// createContainer gives the id of the new container, "" if one was adopted.
func (r *Runtime) createContainer(ctx context.Context, w host.Workload, s spec) (string, error) {
	patience, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for {
		adopted, err := r.makeWay(ctx, w, s)
		if err != nil || adopted {
			return "", err
		}
		if err := r.ensureNetwork(ctx); err != nil {
			return "", err
		}
		id, err := r.engine.createContainer(ctx, s)
		switch {
		case err == nil:
			return id, nil
		case errors.Is(err, fault.ErrNotFound):
			return "", fault.Errorf(fault.CodeImageUnavailable, cause(err), "image %s is not on host %s", w.Image, r.engine.name)
		case !errors.Is(err, fault.ErrConflict):
			return "", err
		}
		// Somebody was faster, or Docker has not let go of the name yet: look again.
		if backoff.Wait(patience, pollEvery) != nil {
			return "", err
		}
	}
}

// makeWay removes what an earlier claim, or an earlier try, has left under the name.
func (r *Runtime) makeWay(ctx context.Context, w host.Workload, s spec) (adopted bool, err error) {
	c, err := r.engine.inspectContainer(ctx, s.Name)
	if errors.Is(err, fault.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch r.stands(c.Config.Labels, w.Unit, w.Fence) {
	case fencing.Foreign:
		return false, r.inTheWay("container", s.Name)
	case fencing.Newer:
		return false, fenced(w.Unit, "container")
	case fencing.Same:
		if running(c) && c.Config.Labels[labelSpec] == s.digest() {
			return true, nil
		}
	case fencing.Older:
	}
	r.log.DebugContext(ctx, "replacing a container", "instance", w.Unit, "container", c.ID,
		"fence", c.Config.Labels[labelFence], "state", c.State.Status)
	if err := r.removeContainer(ctx, c.ID); err != nil {
		return false, err
	}
	return false, r.removeFiller(ctx, w.Unit, w.Fence)
}

// Start starts the instance and reads back where it listens. Whether it keeps
// running is for Inspect to say: of one that has ended already the ports are given
// that it was asked to have.
func (r *Runtime) Start(ctx context.Context, w host.Workload) (map[string]int, error) {
	c, err := r.own(ctx, w.Unit, w.Fence)
	if err != nil {
		return nil, err
	}
	if !c.State.Running {
		if err := r.attachVolume(ctx, w.Unit); err != nil {
			return nil, err
		}
		if err := r.start(ctx, c, w); err != nil {
			return nil, r.startFailed(ctx, w.Unit, c.ID, err)
		}
		if c, err = r.engine.inspectContainer(ctx, c.ID); err != nil {
			return nil, err
		}
	}
	ports, missing := published(c)
	if len(missing) > 0 {
		// Engine 29.1 may start a container without its ports (moby 51758).
		err := fault.Errorf(fault.CodePortRefused, nil, "host %s did not publish %v", r.engine.name, missing)
		return nil, r.startFailed(ctx, w.Unit, c.ID, err)
	}
	return ports, nil
}

// start starts the container with its files in place, or on their way.
func (r *Runtime) start(ctx context.Context, c container.InspectResponse, w host.Workload) error {
	if !c.Config.OpenStdin {
		return r.networkGone(r.engine.startContainer(ctx, c.ID))
	}
	files, err := inputOf(w)
	if err != nil {
		return err
	}
	return r.networkGone(r.engine.startWith(ctx, c.ID, files))
}

// startFailed clears away a container that did not get its ports: its ports cannot
// be changed any more.
func (r *Runtime) startFailed(ctx context.Context, instance host.UnitID, id string, err error) error {
	switch fault.CodeOf(err) {
	case fault.CodePortRefused:
		if err := r.removeContainer(ctx, id); err != nil {
			// Create replaces it anyway.
			r.log.WarnContext(ctx, "cannot remove a container that has no ports", "instance", instance, "container", id, "error", err)
		}
		return err
	case fault.CodeHostRefused:
		return fault.Errorf(fault.CodeHostRefused, cause(err), "host %s refuses to start instance %s: %s",
			r.engine.name, instance, words(cause(err)))
	case fault.CodeInternal:
		if ctx.Err() != nil {
			return err
		}
		return fault.Errorf(fault.CodeStartFailed, cause(err), "host %s could not start instance %s: %s",
			r.engine.name, instance, words(cause(err)))
	default:
		return err
	}
}

// Adopt puts other files into the volume of a container that runs. Docker lets them into
// a volume even where all else is read-only.
func (r *Runtime) Adopt(ctx context.Context, w host.Workload) error {
	archive, err := archiveOf(w)
	if err != nil {
		return err
	}
	c, err := r.own(ctx, w.Unit, w.Fence)
	if err != nil {
		return err
	}
	if !running(c) {
		return fault.Errorf(fault.CodeNotFound, nil, "instance %s does not run on host %s", w.Unit, r.engine.name)
	}
	if limit := c.HostConfig.PidsLimit; w.PidsLimit > 0 && (limit == nil || *limit != w.PidsLimit) {
		if err := r.engine.setPidsLimit(ctx, c.ID, w.PidsLimit); err != nil {
			return err
		}
	}
	return r.engine.copyFiles(ctx, c.ID, w.DataPath, archive)
}

// Settle makes the engine leave the instance's ends alone. Containers are made so; those
// of earlier versions were restarted by Docker, as fast as they ended and unseen.
func (r *Runtime) Settle(ctx context.Context, id host.UnitID, fence int64) error {
	c, err := r.own(ctx, id, fence)
	if err != nil {
		return err
	}
	if c.HostConfig.RestartPolicy.IsNone() {
		return nil
	}
	return r.engine.setRestartPolicy(ctx, c.ID, container.RestartPolicyDisabled)
}

// Stop asks the instance to end, and ends it after the grace period.
func (r *Runtime) Stop(ctx context.Context, id host.UnitID, fence int64, grace time.Duration) error {
	c, err := r.own(ctx, id, fence)
	if err == nil && c.State.Running { // also while it is between two restarts
		err = r.engine.stopContainer(ctx, c.ID, grace)
	}
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	return err
}

// Remove removes the container and, with data, the volume. It comes back only when
// the engine says that they are gone. Things of others under these names are not
// the instance's: it is gone, and they stay.
func (r *Runtime) Remove(ctx context.Context, id host.UnitID, fence int64, data bool) error {
	c, err := r.own(ctx, id, fence)
	if err == nil {
		err = r.removeContainer(ctx, c.ID)
	}
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return err
	}
	if !data {
		return nil
	}
	return r.removeVolume(ctx, id, fence)
}

// removeContainer comes back when the engine knows no such container any more.
func (r *Runtime) removeContainer(ctx context.Context, id string) error {
	for {
		err := r.engine.removeContainer(ctx, id)
		// A conflict: somebody else's removal is under way.
		if err != nil && !errors.Is(err, fault.ErrNotFound) && !errors.Is(err, fault.ErrConflict) {
			return err
		}
		_, err = r.engine.inspectContainer(ctx, id)
		if errors.Is(err, fault.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := backoff.Wait(ctx, pollEvery); err != nil {
			return fmt.Errorf("wait until container %s is gone: %w", id, err)
		}
	}
}

func (r *Runtime) removeVolume(ctx context.Context, id host.UnitID, fence int64) error {
	patience, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for {
		v, err := r.engine.inspectVolume(ctx, nameOf(id))
		if errors.Is(err, fault.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		switch r.stands(v.Labels, id, fence) {
		case fencing.Foreign:
			if !halfMade(v) && !r.empty(v, id) {
				return nil
			}
		case fencing.Newer:
			return fenced(id, "volume")
		}
		if err = r.clearDisk(ctx, v, id, fence); err == nil {
			err = r.engine.removeVolume(ctx, v.Name)
		}
		switch {
		case err == nil, errors.Is(err, fault.ErrNotFound):
			continue // and have it confirmed
		case !errors.Is(err, fault.ErrConflict):
			return err
		}
		// In use: by what its files came through, by a container that is on its way out, or
		// by one that somebody has attached.
		if err := r.removeFiller(ctx, id, fence); err != nil && fault.CodeOf(err) != fault.CodeInternal {
			return err
		}
		if backoff.Wait(patience, pollEvery) != nil {
			return fault.Errorf(fault.CodeInternal, cause(err),
				"volume %s on host %s is in use by a container that is not Berth's; remove that container", v.Name, r.engine.name)
		}
	}
}

// empty reports whether Docker made the volume where one with data should have been.
func (r *Runtime) empty(v volume.Volume, id host.UnitID) bool {
	return v.Labels[labelDeployment] == r.deployment && v.Labels[labelEmpty] == string(id)
}

// removeEmpty removes a container that was never started, and the volume that Docker made
// for it. What stays is never taken for data, and goes with the instance.
func (r *Runtime) removeEmpty(ctx context.Context, instance host.UnitID, id string) {
	err := r.removeContainer(ctx, id)
	if err == nil {
		var v volume.Volume
		if v, err = r.engine.inspectVolume(ctx, nameOf(instance)); err == nil && r.empty(v, instance) {
			err = r.engine.removeVolume(ctx, v.Name)
		}
	}
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		r.log.WarnContext(ctx, "cannot remove an empty volume", "instance", instance, "error", err)
	}
}

// own finds the instance's container for a claim: CodeNotFound when there is none
// of ours, CodeFenced when it was made under a newer claim. One of an older claim
// is for the newest claim to use.
func (r *Runtime) own(ctx context.Context, id host.UnitID, fence int64) (container.InspectResponse, error) {
	c, err := r.engine.inspectContainer(ctx, nameOf(id))
	if err != nil {
		return c, err
	}
	switch r.stands(c.Config.Labels, id, fence) {
	case fencing.Foreign:
		return c, fault.Errorf(fault.CodeNotFound, nil,
			"host %s has no container of instance %s (%s is not Berth's)", r.engine.name, id, nameOf(id))
	case fencing.Newer:
		return c, fenced(id, "container")
	default:
		return c, nil
	}
}

func (r *Runtime) inTheWay(kind, name string) error {
	return fault.Errorf(fault.CodeInternal, nil,
		"host %s has a %s named %s that is not of this deployment (label %s=%s); it was left alone: remove or rename it",
		r.engine.name, kind, name, labelDeployment, r.deployment)
}

// running leaves out a container that waits between two restarts.
func running(c container.InspectResponse) bool { return c.State.Running && !c.State.Restarting }

// published gives the host's ports by name, and which ones are missing. Of a
// container that does not run the ports are given that it was asked to have.
func published(c container.InspectResponse) (ports map[string]int, missing []string) {
	ports = map[string]int{}
	for name, want := range portsOf(c.Config.Labels) {
		if !running(c) {
			ports[name] = want.host
			continue
		}
		found := 0
		for _, binding := range c.NetworkSettings.Ports[tcp(want.container)] {
			if port, err := strconv.Atoi(binding.HostPort); err == nil && (port == want.host || want.host == 0) {
				found = port
			}
		}
		if found == 0 {
			missing = append(missing, fmt.Sprintf("port %d as %s", want.host, name))
			continue
		}
		ports[name] = found
	}
	return ports, missing
}
