package swarm

import (
	"errors"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// over reports whether the task has ended, or will never run.
func over(t swarm.Task) bool {
	switch t.Status.State {
	case swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed, swarm.TaskStateRejected,
		swarm.TaskStateRemove, swarm.TaskStateOrphaned:
		return true
	default:
		return false
	}
}

func running(t swarm.Task) bool { return t.Status.State == swarm.TaskStateRunning }

// ran reports whether the task's server runs, or has run and ended.
func ran(t swarm.Task) bool {
	return running(t) || t.Status.State == swarm.TaskStateComplete ||
		t.Status.State == swarm.TaskStateFailed && exitCode(t) != 0 && !strings.HasPrefix(t.Status.Err, "starting container failed")
}

// outOfSequence reports whether a change was refused because somebody else has changed the same meanwhile.
func outOfSequence(err error) bool {
	return err != nil && strings.Contains(docker.Words(err), "update out of sequence")
}

// stuck reports whether the task waits for something that its node does not have, and says so.
func stuck(t swarm.Task) bool {
	return t.Status.State == swarm.TaskStatePending && strings.Contains(t.Status.Err, "no suitable node")
}

// latest gives the task that was made last.
func latest(tasks []swarm.Task) (last swarm.Task, ok bool) {
	for _, t := range tasks {
		if !ok || t.CreatedAt.After(last.CreatedAt) {
			last, ok = t, true
		}
	}
	return last, ok
}

func exitCode(t swarm.Task) int {
	if t.Status.ContainerStatus == nil {
		return 0
	}
	return t.Status.ContainerStatus.ExitCode
}

// taskError says why the unit's task does not run. A node tells that in words only.
func (r *Runtime) taskError(unit host.UnitID, t swarm.Task) error {
	said := errors.New(t.Status.Err)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(t.Status.Err, w) {
				return true
			}
		}
		return false
	}
	image := ""
	if t.Spec.ContainerSpec != nil {
		image = t.Spec.ContainerSpec.Image
	}
	if err := docker.PortRefused(r.cluster.name, said); err != nil {
		return err
	}
	switch {
	case has("host-mode port already in use"):
		return fault.Errorf(fault.CodePortRefused, said, "host %s refused to publish the port", r.cluster.name)
	case has("bind source path does not exist: " + r.at.data + "/"):
		return r.dataLost(unit)
	case has("bind source path does not exist"):
		return fault.Errorf(fault.CodeHostRefused, said,
			"host %s: the node has no folder %s for the data of instances; make it (mkdir -p), and keep it on a disk", r.cluster.name, r.at.data)
	case has("No such image", "pull access denied", "manifest unknown", "manifest for", "repository does not exist"):
		r.forget(image)
		return fault.Errorf(fault.CodeImageUnavailable, said, "image %s is not on host %s and could not be pulled", image, r.cluster.name)
	case has("no suitable node"):
		return fault.Errorf(fault.CodeHostUnavailable, said,
			"host %s: the swarm gives the node no tasks: %s", r.cluster.name, t.Status.Err)
	default:
		return fault.Errorf(fault.CodeStartFailed, said,
			"host %s could not start instance %s: %s (%s)", r.cluster.name, unit, t.Status.Err, t.Status.State)
	}
}

func (r *Runtime) dataLost(unit host.UnitID) error {
	return fault.Errorf(fault.CodeDataLost, nil, "the folder with the data of instance %s is gone from host %s", unit, r.cluster.name)
}

func (r *Runtime) inTheWay(kind, name string) error {
	return fault.Errorf(fault.CodeInternal, nil,
		"host %s has a %s %s that is not of this deployment (label %s=%s); it was left alone: remove or rename it",
		r.cluster.name, kind, name, docker.LabelDeployment, r.deployment)
}

func fenced(id host.UnitID, what string) error {
	return fault.Errorf(fault.CodeFenced, nil, "the %s of instance %s was created under a newer fencing token", what, id)
}
