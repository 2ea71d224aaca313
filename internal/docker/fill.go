package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// fillerSuffix ends the name of the container that files are copied through.
const fillerSuffix = "-files"

// fillerData is where a filler has the volume: where no image has anything.
const fillerData = "/berth-data"

// fillLimit is how long a filler may take to be cleared away when its work is done.
const fillLimit = 30 * time.Second

// fill puts the workload's files into the volume of its container, and gives the volume's
// folder to the workload's user, whoever has it in the image.
//
// The container itself cannot take them: all but its volume is read-only, and from below
// the volume its folder has no name that every engine accepts (".." is refused by newer
// ones, "." is skipped by all). So another container, which is writable and never started,
// has the volume, too, and gets an archive that names the folder from the root.
//
// A worker that has lost its claim cannot write over what the next one has put there: that
// one removes first the container and then the filler, and this one makes first the filler
// and then looks for the container.
func (r *Runtime) fill(ctx context.Context, w host.Workload, id string) error {
	archive, err := archiveFor(w, fillerData)
	if err != nil {
		return err
	}
	filler, err := r.createFiller(ctx, w)
	if err != nil {
		return err
	}
	if _, err = r.engine.inspectContainer(ctx, id); err == nil {
		err = r.engine.copyFiles(ctx, filler, "/", archive)
	}
	clear, cancel := context.WithTimeout(context.WithoutCancel(ctx), fillLimit)
	defer cancel()
	return errors.Join(err, r.removeContainer(clear, filler))
}

func (r *Runtime) createFiller(ctx context.Context, w host.Workload) (id string, err error) {
	s := fillerOf(w, r.deployment)
	patience, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for {
		id, err = r.engine.createContainer(ctx, s)
		if !errors.Is(err, fault.ErrConflict) {
			return id, err
		}
		if err := r.removeFiller(ctx, w.Unit, w.Fence); err != nil {
			return "", err
		}
		if backoff.Wait(patience, pollEvery) != nil {
			return "", err
		}
	}
}

// removeFiller removes the filler that an earlier claim, or an earlier try, has left.
func (r *Runtime) removeFiller(ctx context.Context, id host.UnitID, fence int64) error {
	name := nameOf(id) + fillerSuffix
	c, err := r.engine.inspectContainer(ctx, name)
	if err != nil {
		return forgive(err, fault.ErrNotFound)
	}
	made, err := strconv.ParseInt(c.Config.Labels[labelFence], 10, 64)
	switch {
	case err != nil || c.Config.Labels[labelDeployment] != r.deployment || c.Config.Labels[labelFiller] != string(id):
		return r.inTheWay("container", name)
	case made > fence:
		return fenced(id, "container")
	}
	return r.removeContainer(ctx, c.ID)
}

// fillerOf gives the container that has the workload's volume and is never started. It is
// not labeled as the instance's container, because whoever looks for that must not find two.
func fillerOf(w host.Workload, deployment string) spec {
	return spec{
		Name: nameOf(w.Unit) + fillerSuffix,
		Config: &container.Config{
			Image:      w.Image,
			Entrypoint: []string{"/never/started"},
			Labels: map[string]string{
				labelDeployment: deployment,
				labelFiller:     string(w.Unit),
				labelFence:      fmt.Sprint(w.Fence),
			},
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		HostConfig: &container.HostConfig{
			Mounts: []mount.Mount{{
				Type:          mount.TypeVolume,
				Source:        nameOf(w.Unit),
				Target:        fillerData,
				VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: volumeLabels(w, deployment)},
			}},
			NetworkMode: "none",
			CapDrop:     []string{"ALL"},
		},
	}
}
