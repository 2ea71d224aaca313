package host

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// knownRuntime asks which engine answers, before a call and again where the answer is
// that something is not there.
//
// It names every method and embeds nothing: a method that is added to Runtime does not
// compile here until it asks, too.
type knownRuntime struct {
	next  Runtime
	known *Known
	host  Host
}

var _ Runtime = knownRuntime{}

// absence says of a call that its success, too, means that something is not there.
const absence = true

func (r knownRuntime) call(ctx context.Context, absent bool, call func() error) error {
	if err := r.known.check(ctx, r.next, r.host, false); err != nil {
		return err
	}
	err := call()
	switch {
	case err != nil && fault.CodeOf(err) == fault.CodeHostUnavailable:
		r.known.forget(r.host) // who knows who answers next
	case errors.Is(err, fault.ErrNotFound), errors.Is(err, fault.ErrDataLost), err == nil && absent:
		if other := r.known.check(ctx, r.next, r.host, true); other != nil {
			return other
		}
	}
	return err
}

// Ping and Identity are what it is found out by.

func (r knownRuntime) Ping(ctx context.Context) error { return r.next.Ping(ctx) }

func (r knownRuntime) Identity(ctx context.Context) (string, error) { return r.next.Identity(ctx) }

func (r knownRuntime) Facts(ctx context.Context) (facts EngineFacts, err error) {
	err = r.call(ctx, !absence, func() error {
		facts, err = r.next.Facts(ctx)
		return err
	})
	return facts, err
}

func (r knownRuntime) EnsureImage(ctx context.Context, references []string, progress func(string)) (ref string, err error) {
	err = r.call(ctx, !absence, func() error {
		ref, err = r.next.EnsureImage(ctx, references, progress)
		return err
	})
	return ref, err
}

func (r knownRuntime) EnsureGolden(ctx context.Context, g Golden, progress func(string)) (ref string, err error) {
	err = r.call(ctx, !absence, func() error {
		ref, err = r.next.EnsureGolden(ctx, g, progress)
		return err
	})
	return ref, err
}

func (r knownRuntime) CreateVolume(ctx context.Context, w Workload) error {
	return r.call(ctx, !absence, func() error { return r.next.CreateVolume(ctx, w) })
}

func (r knownRuntime) Create(ctx context.Context, w Workload) error {
	return r.call(ctx, !absence, func() error { return r.next.Create(ctx, w) })
}

func (r knownRuntime) Start(ctx context.Context, w Workload) (ports map[string]int, err error) {
	err = r.call(ctx, !absence, func() error {
		ports, err = r.next.Start(ctx, w)
		return err
	})
	return ports, err
}

func (r knownRuntime) Adopt(ctx context.Context, w Workload) error {
	return r.call(ctx, !absence, func() error { return r.next.Adopt(ctx, w) })
}

func (r knownRuntime) Settle(ctx context.Context, id UnitID, fence int64) error {
	return r.call(ctx, !absence, func() error { return r.next.Settle(ctx, id, fence) })
}

func (r knownRuntime) Inspect(ctx context.Context, id UnitID) (unit Unit, err error) {
	err = r.call(ctx, !absence, func() error {
		unit, err = r.next.Inspect(ctx, id)
		return err
	})
	return unit, err
}

func (r knownRuntime) Space(ctx context.Context, id UnitID) (space Space, err error) {
	err = r.call(ctx, !absence, func() error {
		space, err = r.next.Space(ctx, id)
		return err
	})
	return space, err
}

func (r knownRuntime) Stop(ctx context.Context, id UnitID, fence int64, grace time.Duration) error {
	return r.call(ctx, absence, func() error { return r.next.Stop(ctx, id, fence, grace) })
}

func (r knownRuntime) Remove(ctx context.Context, id UnitID, fence int64, data bool) error {
	return r.call(ctx, absence, func() error { return r.next.Remove(ctx, id, fence, data) })
}

func (r knownRuntime) Forget(ctx context.Context) error {
	return r.call(ctx, absence, func() error { return r.next.Forget(ctx) })
}

func (r knownRuntime) List(ctx context.Context) (units []Unit, err error) {
	err = r.call(ctx, absence, func() error {
		units, err = r.next.List(ctx)
		return err
	})
	return units, err
}

func (r knownRuntime) Watch(ctx context.Context, ended func(UnitID)) error {
	return r.call(ctx, !absence, func() error { return r.next.Watch(ctx, ended) })
}

func (r knownRuntime) Output(ctx context.Context, id UnitID, lines int) (text string, err error) {
	err = r.call(ctx, !absence, func() error {
		text, err = r.next.Output(ctx, id, lines)
		return err
	})
	return text, err
}
