package docker

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

const (
	// killed is the exit code of what a SIGKILL has ended.
	killed = 137
	// oomBefore is how long before an end the engine may tell that memory ran out.
	oomBefore = 30 * time.Second
	// oomKept is how long is remembered that the memory of a container ran out.
	oomKept = time.Hour
)

// outOfMemory reports whether the container has ended because its memory ran out.
func (r *Runtime) outOfMemory(ctx context.Context, c container.InspectResponse) bool {
	if c.State.OOMKilled || c.State.Running || c.State.ExitCode != killed {
		return c.State.OOMKilled
	}
	end := moment(c.State.FinishedAt)
	near := func(at time.Time) bool { return !at.Before(end.Add(-oomBefore)) && at.Before(end.Add(oomBefore)) }
	if at, ok := r.engine.ooms.Get(c.ID, time.Now()); ok && near(at) {
		return true
	}
	at, err := r.engine.lastOOM(ctx, c.ID, end.Add(-oomBefore))
	if err != nil {
		r.log.DebugContext(ctx, "cannot read past events", "container", c.ID, "error", err)
	}
	return near(at)
}

// lastOOM asks the engine, which keeps its last few hundred events, when the container's
// memory ran out; zero: not since then.
func (e *engine) lastOOM(ctx context.Context, id string, since time.Time) (at time.Time, err error) {
	now, err := e.clock(ctx)
	if err != nil {
		return at, err
	}
	err = e.read(ctx, "read past events", func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		messages, errs := e.api.Events(ctx, events.ListOptions{
			Since: strconv.FormatInt(since.Unix(), 10), Until: now,
			Filters: filters.NewArgs(
				filters.Arg("type", string(events.ContainerEventType)), filters.Arg("container", id), filters.Arg("event", string(events.ActionOOM)),
			),
		})
		for {
			select {
			case m := <-messages:
				at = time.Unix(0, m.TimeNano)
			case err := <-errs:
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
		}
	})
	return at, err
}
