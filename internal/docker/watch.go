package docker

import (
	"context"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/host"
)

// reopenEvery is the pause before a stream of events that has ended is opened again.
const reopenEvery = time.Second

// Watch tells of containers that have ended or were removed. Docker's stream does not
// reconnect (FACTS: reopen with Since, and list), so this does: what happened meanwhile
// comes with the new stream, as far as the engine still knows it, and the list has what
// it does not. It fails only where the host does not answer to begin with.
func (r *Runtime) Watch(ctx context.Context, ended func(host.UnitID)) error {
	since, err := r.engine.clock(ctx)
	if err != nil {
		return err
	}
	for again := false; ; again = true {
		err := r.stream(ctx, &since, again, ended)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.log.InfoContext(ctx, "the event stream ended; reopening it", "error", err)
		if err := r.comeBack(ctx); err != nil {
			return err
		}
	}
}

// stream passes events on until the stream ends. One that is opened again begins with
// the list: no earlier than the stream is open, or what ends between the two is missed.
// An engine opens it a moment before it gathers events; since covers that moment, also
// where no event has told its time yet.
func (r *Runtime) stream(ctx context.Context, since *string, again bool, ended func(host.UnitID)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, errs := r.engine.api.Events(ctx, events.ListOptions{Since: *since, Filters: filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", labelDeployment+"="+r.deployment),
		filters.Arg("event", string(events.ActionDie)), filters.Arg("event", string(events.ActionDestroy)),
		filters.Arg("event", string(events.ActionOOM)),
	)})
	if again {
		if err := r.catchUp(ctx, ended); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "could not list containers after the event stream ended", "error", err)
		}
	}
	for {
		select {
		case m := <-messages:
			*since = strconv.FormatInt(m.TimeNano/int64(time.Second), 10) + "." + nanos(m.TimeNano)
			id := instanceOf(m.Actor.Attributes)
			switch {
			case m.Action == events.ActionOOM: // its end is told besides, if it is one
				r.engine.ooms.Put(m.Actor.ID, time.Unix(0, m.TimeNano), time.Now(), oomKept)
			case id != "":
				ended(id)
			}
		case err := <-errs:
			return err
		}
	}
}

// nanos gives the part below a second, as Since wants it: nine digits.
func nanos(t int64) string {
	text := strconv.FormatInt(t%int64(time.Second)+int64(time.Second), 10)
	return text[1:]
}

// comeBack waits until the engine answers.
func (r *Runtime) comeBack(ctx context.Context) error {
	for {
		if err := backoff.Wait(ctx, reopenEvery); err != nil {
			return err
		}
		if r.Ping(ctx) == nil {
			return nil
		}
	}
}

// catchUp tells of everything that does not run; what is not there at all only a
// comparison with the rows can find, which the empty id asks for.
func (r *Runtime) catchUp(ctx context.Context, ended func(host.UnitID)) error {
	units, err := r.List(ctx)
	for _, u := range units {
		if !u.Running {
			ended(u.ID)
		}
	}
	ended("")
	return err
}
