package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/ttl"
)

const (
	// goldenAbandoned is how long somebody else's half-made golden data is watched to
	// stand still before it is taken for left behind.
	goldenAbandoned = 5 * time.Second
	// goldenSlack is what a flight may take beyond the limit of the making itself.
	goldenSlack = time.Minute
	// goldenIdleShare is the share of a processor below which the making stands still.
	goldenIdleShare = 200
	// goldenAskEvery is how often an image that is asked for is marked as in use.
	goldenAskEvery = time.Hour
)

// goldens is what one engine's client remembers of golden data.
type goldens struct {
	limit, total, idle time.Duration

	marked ttl.Map[string, struct{}] // the images that need not be marked again now, by reference
}

// EnsureGolden finds the golden image, or makes it.
func (r *Runtime) EnsureGolden(ctx context.Context, g host.Golden, progress func(string)) (string, error) {
	base, err := r.engine.inspectImage(ctx, g.Image)
	if errors.Is(err, fault.ErrNotFound) {
		return "", fault.Errorf(fault.CodeImageUnavailable, cause(err), "image %s is not on host %s", g.Image, r.engine.name)
	}
	if err != nil {
		return "", err
	}
	s, err := goldenOf(g, base.ID)
	if err != nil {
		return "", err
	}
	there, err := r.goldenThere(ctx, s)
	if err == nil && !there {
		limit := r.engine.golden.total + goldenSlack
		slow := fault.Errorf(fault.CodeImageUnavailable, nil, "golden data of %s: not created within %s", g.Name, limit)
		err = r.engine.flights.join(ctx, "make "+s.Image, progress, limit, slow, func(ctx context.Context, tell func(string)) error {
			tell("creating golden data of " + g.Name + ", once per host")
			return (&goldenMaking{Runtime: r, spec: s}).run(ctx)
		})
	}
	if err != nil {
		return "", err
	}
	if r.engine.golden.marked.Add(s.Image, struct{}{}, time.Now(), goldenAskEvery) {
		r.engine.flights.behind(ctx, goldenSlack, func(ctx context.Context) { r.tidyGoldens(ctx, s) })
	}
	return s.Image, nil
}

// goldenThere reports whether the golden image is there. It is there when it has its
// name, and it gets that when it is whole.
func (r *Runtime) goldenThere(ctx context.Context, s goldenSpec) (bool, error) {
	image, err := r.engine.inspectImage(ctx, s.Image)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case image.Config == nil || image.Config.Labels[labelGolden] != s.Key:
		return false, fault.Errorf(fault.CodeInternal, nil, "image %s on host %s is not Berth's; it was left alone: rename it", s.Image, r.engine.name)
	}
	return true, nil
}

// goldenMaking makes one golden image: a container makes the data in its own layer,
// and is made an image when it has ended well. The container's name is the lock: the
// engine gives it once, whoever asks. What is found under it tells how far the making
// has come, and whoever waits may go on with it, so that a maker who vanishes leaves
// nothing that blocks.
type goldenMaking struct {
	*Runtime
	spec goldenSpec

	mine  string    // the container that this one has made
	seen  string    // what was found last: container and state
	since time.Time // when that was found first

	done   uint64    // what the container had done when that was asked last
	asked  time.Time // when that was
	stands time.Time // since when it has done nothing more
}

func (m *goldenMaking) run(ctx context.Context) error {
	for {
		there, err := m.goldenThere(ctx, m.spec)
		if there || err != nil {
			return err
		}
		if err := m.goOn(ctx); err != nil {
			return err
		}
		if err := backoff.Wait(ctx, pollEvery); err != nil {
			return context.Cause(ctx)
		}
	}
}

// goOn does the next part of the making, if it is this one's to do.
func (m *goldenMaking) goOn(ctx context.Context) error {
	c, err := m.engine.inspectContainer(ctx, m.spec.Make.Name)
	if errors.Is(err, fault.ErrNotFound) {
		// It may have been made, and its container cleared away, between the two looks.
		if there, err := m.goldenThere(ctx, m.spec); there || err != nil {
			return err
		}
		return m.begin(ctx)
	}
	if err != nil {
		return err
	}
	if c.Config.Labels[labelGolden] != m.spec.Key {
		return m.inTheWay("container", m.spec.Make.Name)
	}
	still := m.still(c)
	switch {
	case running(c) && still > m.engine.golden.total:
		return m.giveUp(ctx, c.ID, fmt.Sprintf("it did not end within %s", m.engine.golden.total))
	case running(c) && m.idle(ctx, c.ID) > m.engine.golden.limit:
		return m.giveUp(ctx, c.ID, fmt.Sprintf("it did not end within %s, and made no progress", m.engine.golden.limit))
	case running(c), c.ID != m.mine && still < goldenAbandoned:
		return nil
	case c.State.Status == container.StateExited && c.State.ExitCode == 0:
		return m.keep(ctx, c.ID)
	case c.State.Status == container.StateExited:
		return m.giveUp(ctx, c.ID, fmt.Sprintf("it ended with code %d: %s", c.State.ExitCode, m.lastWords(ctx, c.ID)))
	default: // created, and never filled or started
		return m.removeContainer(ctx, c.ID)
	}
}

// still gives how long the container has been seen in this state, by this one's clock.
func (m *goldenMaking) still(c container.InspectResponse) time.Duration {
	if seen := c.ID + " " + c.State.Status; seen != m.seen {
		m.seen, m.since = seen, time.Now()
		m.stands = m.since
	}
	return time.Since(m.since)
}

// idle gives how long the running container has done nothing. On a busy machine one that
// gets on may take many times as long as usual. What it has done is a hint: an engine
// that cannot say so, as of a container that has ended under the question, is believed
// at the next look at the container itself.
func (m *goldenMaking) idle(ctx context.Context, id string) time.Duration {
	if time.Since(m.asked) < m.engine.golden.limit/8 {
		return time.Since(m.stands)
	}
	done, err := m.engine.work(ctx, id)
	if err != nil {
		m.log.DebugContext(ctx, "cannot read the statistics of the container that creates golden data", "container", id, "error", err)
		return time.Since(m.stands)
	}
	// Even one that sleeps has a little: a look at it costs it some time.
	now := time.Now()
	if idle := uint64(now.Sub(m.asked)) / goldenIdleShare; done > m.done+idle { //nolint:gosec // it is later
		m.stands = now
	}
	m.done, m.asked = done, now
	return time.Since(m.stands)
}

// begin makes, fills and starts the container. When somebody was faster, or has taken
// it away as left behind, the next look finds what is there.
func (m *goldenMaking) begin(ctx context.Context) error {
	id, err := m.engine.createContainer(ctx, m.spec.Make)
	if err != nil {
		return forgive(err, fault.ErrConflict)
	}
	m.mine = id
	if err = m.engine.copyFiles(ctx, id, "/", m.spec.Archive); err == nil {
		err = m.engine.startContainer(ctx, id)
	}
	if err = forgive(err, fault.ErrNotFound); err != nil {
		m.leave(ctx, id)
	}
	return err
}

// leave removes the container that this one could not fill or start. Where that fails,
// too, the next maker does it.
func (m *goldenMaking) leave(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goldenAbandoned)
	defer cancel()
	if err := m.removeContainer(ctx, id); err != nil {
		m.log.WarnContext(ctx, "cannot remove a container that failed to create golden data; retrying later", "container", id, "error", err)
	}
}

// keep makes the ended container an image. Two who do so at once make two images, of
// which the later has the name, and the other is tidied away.
func (m *goldenMaking) keep(ctx context.Context, id string) error {
	if err := m.engine.commit(ctx, id, m.spec.Image, map[string]string{labelGolden: m.spec.Key}); err != nil {
		return forgive(err, fault.ErrNotFound)
	}
	m.log.InfoContext(ctx, "golden data created", "image", m.spec.Image, "of", m.spec.Make.Config.Image)
	if err := m.removeContainer(ctx, id); err != nil {
		m.log.WarnContext(ctx, "cannot remove the container that created golden data; retrying later", "container", id, "error", err)
	}
	return nil
}

func (m *goldenMaking) giveUp(ctx context.Context, id, why string) error {
	err := m.removeContainer(ctx, id)
	return fault.Errorf(fault.CodeImageUnavailable, err, "golden data could not be created on host %s: %s", m.engine.name, why)
}

func (m *goldenMaking) lastWords(ctx context.Context, id string) string {
	var last tail
	if err := m.engine.logs(ctx, id, 5, &last); err != nil || strings.TrimSpace(last.String()) == "" {
		return "it wrote nothing"
	}
	return strings.Join(strings.Fields(last.String()), " ")
}

func forgive(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
