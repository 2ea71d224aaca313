package docker

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

// Space asks the unit itself: an engine does not tell, and its disk may be out of this machine's
// sight. Every image that has a shell has df (POSIX).
func (r *Runtime) Space(ctx context.Context, id host.UnitID) (host.Space, error) {
	c, err := r.own(ctx, id, fencing.Any)
	if err != nil {
		return host.Space{}, err
	}
	if !running(c) {
		return host.Space{}, fault.Errorf(fault.CodeNotFound, nil, "instance %s does not run", id)
	}
	if space, loop, err := r.loopSpace(ctx, id); loop || err != nil {
		return space, err
	}
	for _, m := range c.Mounts {
		if m.Type == mount.TypeVolume && m.Name == nameOf(id) {
			out, err := r.engine.exec(ctx, c.ID, "df", "-Pk", m.Destination)
			if err != nil {
				return host.Space{}, err
			}
			return parseSpace(m.Destination, out)
		}
	}
	return host.Space{}, fault.Errorf(fault.CodeNotFound, nil, "instance %s has no volume", id)
}

// parseSpace reads the second line of `df -Pk`: file system, size, used and free in KiB, share,
// where it is mounted.
func parseSpace(path, out string) (host.Space, error) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(lines) < 2 || len(fields) < 6 {
		return host.Space{}, fmt.Errorf("df answers %q", out)
	}
	size, err := strconv.ParseInt(fields[1], 10, 53)
	if err != nil {
		return host.Space{}, fmt.Errorf("df answers %q", out)
	}
	free, err := strconv.ParseInt(fields[3], 10, 53)
	if err != nil {
		return host.Space{}, fmt.Errorf("df answers %q", out)
	}
	return host.Space{Path: path, SizeBytes: size << 10, FreeBytes: free << 10}, nil
}

// execLimit bounds what a command writes that is read, in bytes.
const execLimit = 64 << 10

// exec runs a command in a container that runs, and gives what it wrote.
func (e *engine) exec(ctx context.Context, id string, command ...string) (out string, err error) {
	err = e.read(ctx, "run "+command[0]+" in container "+id, func(ctx context.Context) error {
		made, err := e.api.ContainerExecCreate(ctx, id, container.ExecOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
		if err != nil {
			return err
		}
		stream, err := e.api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
		if err != nil {
			return err
		}
		defer stream.Close()
		stop := context.AfterFunc(ctx, stream.Close)
		defer stop()
		var said, wrong limited
		if _, err := stdcopy.StdCopy(&said, &wrong, stream.Reader); err != nil {
			return err
		}
		ended, err := e.api.ContainerExecInspect(ctx, made.ID)
		if err == nil && ended.ExitCode != 0 {
			err = fmt.Errorf("%s ended with code %d: %s", command[0], ended.ExitCode, strings.TrimSpace(wrong.String()))
		}
		out = said.String()
		return err
	})
	return out, err
}

// limited keeps the beginning of what is written to it.
type limited struct{ bytes.Buffer }

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if left := execLimit - l.Len(); left > 0 {
		_, _ = l.Buffer.Write(p[:min(left, len(p))]) // it never fails
	}
	return len(p), nil
}
