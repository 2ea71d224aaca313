package docker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/berth-project/berth/internal/host"
)

// One method per API call. Containers that are changed are named by their own id,
// never by the name, which may belong to another one meanwhile.

// identity gives the id that the engine has made for itself. Up to 20.10 it is kept in
// /etc/docker, since then with its data.
func (e *engine) identity(ctx context.Context) (id string, err error) {
	err = e.within(ctx, min(pingLimit, e.limit), "read its id", func(ctx context.Context) error {
		info, err := e.api.Info(ctx)
		if err != nil {
			return err
		}
		id = info.ID
		return e.isDocker(ctx)
	})
	return id, err
}

// archs are the names of architectures as images have them, by what kernels call them.
var archs = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// facts gives what the engine says of itself and of its machine.
func (e *engine) facts(ctx context.Context) (f host.EngineFacts, err error) {
	err = e.within(ctx, min(pingLimit, e.limit), "read what it is", func(ctx context.Context) error {
		info, err := e.api.Info(ctx)
		if err != nil {
			return err
		}
		f = host.EngineFacts{
			ID: info.ID, Version: info.ServerVersion, StorageDriver: info.Driver, CgroupVersion: info.CgroupVersion, RootDir: info.DockerRootDir,
			OS: info.OperatingSystem, Kernel: info.KernelVersion, Arch: cmp.Or(archs[info.Architecture], info.Architecture), CPUs: info.NCPU,
			MemoryBytes: info.MemTotal, MemoryLimit: info.MemoryLimit,
		}
		f.Clock, _ = time.Parse(time.RFC3339Nano, info.SystemTime) // zero where it cannot be read
		return e.isDocker(ctx)
	})
	return f, err
}

// clock gives the engine's own time, as events are asked for by.
func (e *engine) clock(ctx context.Context) (now string, err error) {
	err = e.within(ctx, min(pingLimit, e.limit), "read its clock", func(ctx context.Context) error {
		info, err := e.api.Info(ctx)
		now = info.SystemTime
		return err
	})
	return now, err
}

func (e *engine) imageThere(ctx context.Context, reference string) error {
	return e.read(ctx, "look for image "+reference, func(ctx context.Context) error {
		_, err := e.api.ImageInspect(ctx, reference)
		return err
	})
}

func (e *engine) inspectImage(ctx context.Context, reference string) (i image.InspectResponse, err error) {
	err = e.read(ctx, "inspect image "+reference, func(ctx context.Context) (err error) {
		i, err = e.api.ImageInspect(ctx, reference)
		return err
	})
	return i, err
}

// listImages gives the images that have the label, those without a name too.
func (e *engine) listImages(ctx context.Context, label string) (all []image.Summary, err error) {
	err = e.read(ctx, "list images", func(ctx context.Context) (err error) {
		all, err = e.api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
		return err
	})
	return all, err
}

func (e *engine) tag(ctx context.Context, reference, name string) error {
	return e.change(ctx, "tag image "+name, func(ctx context.Context) error {
		return e.api.ImageTag(ctx, reference, name)
	})
}

// removeImage leaves an image that a container uses, and the images that it is made
// upon.
func (e *engine) removeImage(ctx context.Context, id string) error {
	return e.change(ctx, "remove image "+id, func(ctx context.Context) error {
		_, err := e.api.ImageRemove(ctx, id, image.RemoveOptions{})
		return err
	})
}

// work gives a figure that grows while the container does something: the processor time
// that it has had, and the bytes that it has read and written.
func (e *engine) work(ctx context.Context, id string) (done uint64, err error) {
	err = e.read(ctx, "read the statistics of container "+id, func(ctx context.Context) error {
		answer, err := e.api.ContainerStatsOneShot(ctx, id)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		var stats container.StatsResponse
		if err := json.NewDecoder(answer.Body).Decode(&stats); err != nil {
			return err
		}
		done = stats.CPUStats.CPUUsage.TotalUsage
		for _, io := range stats.BlkioStats.IoServiceBytesRecursive {
			done += io.Value
		}
		return nil
	})
	return done, err
}

// commit makes the container's own layer an image, which has the labels. It may take
// longer than other calls, and takes no slot.
func (e *engine) commit(ctx context.Context, id, reference string, labels map[string]string) error {
	return e.within(ctx, e.golden.total, "commit container "+id, func(ctx context.Context) error {
		_, err := e.api.ContainerCommit(ctx, id, container.CommitOptions{Reference: reference, Config: &container.Config{Labels: labels}})
		return err
	})
}

func (e *engine) createVolume(ctx context.Context, options volume.CreateOptions) (v volume.Volume, err error) {
	err = e.change(ctx, "create volume "+options.Name, func(ctx context.Context) (err error) {
		v, err = e.api.VolumeCreate(ctx, options)
		return err
	})
	return v, err
}

func (e *engine) inspectVolume(ctx context.Context, name string) (v volume.Volume, err error) {
	err = e.read(ctx, "inspect volume "+name, func(ctx context.Context) (err error) {
		v, err = e.api.VolumeInspect(ctx, name)
		return err
	})
	return v, err
}

func (e *engine) removeVolume(ctx context.Context, name string) error {
	return e.change(ctx, "remove volume "+name, func(ctx context.Context) error {
		return e.api.VolumeRemove(ctx, name, false)
	})
}

func (e *engine) listVolumes(ctx context.Context, label string) (volumes []*volume.Volume, err error) {
	err = e.read(ctx, "list volumes", func(ctx context.Context) error {
		answer, err := e.api.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
		volumes = answer.Volumes
		return err
	})
	return volumes, err
}

func (e *engine) inspectNetwork(ctx context.Context, name string) (n network.Inspect, err error) {
	err = e.read(ctx, "inspect network "+name, func(ctx context.Context) (err error) {
		n, err = e.api.NetworkInspect(ctx, name, network.InspectOptions{})
		return err
	})
	return n, err
}

func (e *engine) createNetwork(ctx context.Context, name string, options network.CreateOptions) error {
	return e.change(ctx, "create network "+name, func(ctx context.Context) error {
		_, err := e.api.NetworkCreate(ctx, name, options)
		return err
	})
}

func (e *engine) createContainer(ctx context.Context, s spec) (id string, err error) {
	err = e.change(ctx, "create container "+s.Name, func(ctx context.Context) error {
		answer, err := e.api.ContainerCreate(ctx, s.Config, s.HostConfig, nil, nil, s.Name)
		id = answer.ID
		return err
	})
	return id, err
}

// copyFiles unpacks the archive in the folder of the container.
func (e *engine) copyFiles(ctx context.Context, id, folder string, archive []byte) error {
	return e.change(ctx, "copy files to container "+id, func(ctx context.Context) error {
		return e.api.CopyToContainer(ctx, id, folder, bytes.NewReader(archive), container.CopyToContainerOptions{})
	})
}

func (e *engine) startContainer(ctx context.Context, id string) error {
	return e.change(ctx, "start container "+id, func(ctx context.Context) error {
		return e.api.ContainerStart(ctx, id, container.StartOptions{})
	})
}

// startWith starts a container with the text on its standard input. Whether it took all
// of that is for the container to say: one that needs nothing may have ended its input.
func (e *engine) startWith(ctx context.Context, id string, input []byte) error {
	return e.change(ctx, "start container "+id, func(ctx context.Context) error {
		to, err := e.attach(ctx, id)
		if err != nil {
			return err
		}
		defer to.Close()
		written := make(chan struct{})
		go func() {
			defer close(written)
			if _, err := to.Conn.Write(input); err == nil {
				_ = to.CloseWrite()
			}
		}()
		if err := e.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
			return err
		}
		select {
		case <-written:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// attach connects to the container's standard input. The client does not heed the context
// while it waits for the engine's answer.
func (e *engine) attach(ctx context.Context, id string) (types.HijackedResponse, error) {
	type answer struct {
		to  types.HijackedResponse
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		to, err := e.api.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: true})
		answered <- answer{to, upgradeRefused(err)}
	}()
	select {
	case a := <-answered:
		return a.to, a.err
	case <-ctx.Done():
		go func() {
			if a := <-answered; a.err == nil {
				a.to.Close()
			}
		}()
		return types.HijackedResponse{}, ctx.Err()
	}
}

// stopContainer takes no slot: it waits more than it works, and stopping many must
// not keep others from being created.
func (e *engine) stopContainer(ctx context.Context, id string, grace time.Duration) error {
	seconds := wholeSeconds(grace)
	return e.within(ctx, grace+stopMargin, "stop container "+id, func(ctx context.Context) error {
		return e.api.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds})
	})
}

func (e *engine) setRestartPolicy(ctx context.Context, id string, policy container.RestartPolicyMode) error {
	return e.change(ctx, "update container "+id, func(ctx context.Context) error {
		_, err := e.api.ContainerUpdate(ctx, id, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: policy}})
		return err
	})
}

// setPidsLimit changes how many processes and threads the container may have.
func (e *engine) setPidsLimit(ctx context.Context, id string, limit int64) error {
	return e.change(ctx, "update container "+id, func(ctx context.Context) error {
		_, err := e.api.ContainerUpdate(ctx, id, container.UpdateConfig{Resources: container.Resources{PidsLimit: &limit}})
		return err
	})
}

// removeContainer also ends it, and removes the anonymous volumes that the image
// asked for.
func (e *engine) removeContainer(ctx context.Context, id string) error {
	return e.change(ctx, "remove container "+id, func(ctx context.Context) error {
		return e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	})
}

func (e *engine) inspectContainer(ctx context.Context, idOrName string) (c container.InspectResponse, err error) {
	err = e.read(ctx, "inspect container "+idOrName, func(ctx context.Context) (err error) {
		c, err = e.api.ContainerInspect(ctx, idOrName)
		return err
	})
	return c, err
}

func (e *engine) listContainers(ctx context.Context, label string) (all []container.Summary, err error) {
	err = e.read(ctx, "list containers", func(ctx context.Context) (err error) {
		all, err = e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label))})
		return err
	})
	return all, err
}

// logs writes the last lines of both streams, in the order they came.
func (e *engine) logs(ctx context.Context, id string, lines int, to io.Writer) error {
	return e.read(ctx, "read output of container "+id, func(ctx context.Context) error {
		stream, err := e.api.ContainerLogs(ctx, id, container.LogsOptions{
			ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lines),
		})
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }()
		_, err = stdcopy.StdCopy(to, to, stream)
		return err
	})
}

// wholeSeconds rounds up, because to Docker zero means at once.
func wholeSeconds(d time.Duration) int {
	return int(math.Ceil(d.Seconds()))
}
