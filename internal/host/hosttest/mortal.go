package hosttest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/host"
)

// ErrDead is what a dead worker hears of the world.
var ErrDead = errors.New("this worker is dead")

// Life ends a worker at one of its calls to the world, whether that is a machine, an engine, the
// database or the end of a step: before the call has an effect, or after, when its answer is lost.
type Life struct {
	mu    sync.Mutex
	left  int // calls until the end; negative: it lives for ever
	after bool
	dead  bool
	calls []string
	end   context.CancelFunc
}

// NewLife makes a life that ends at the nth call, and calls the function then. It never ends where n
// is negative.
func NewLife(n int, after bool, end context.CancelFunc) *Life {
	return &Life{left: n, after: after, end: end}
}

// Calls gives what was called, in order.
func (l *Life) Calls() []string { return l.calls }

// Call does something, unless the worker is dead or dies of it.
func (l *Life) Call(name string, do func() error) error {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return ErrDead
	}
	l.calls = append(l.calls, name)
	l.left--
	last := l.left == 0
	if last {
		l.dead = true
		l.end()
	}
	l.mu.Unlock()
	if last && !l.after {
		return ErrDead
	}
	if err := do(); err != nil || !last {
		return err
	}
	return ErrDead
}

// MortalRuntime is a host as a mortal worker sees it. What was begun there is not taken back because
// the one who asked is gone.
func MortalRuntime(r host.Runtime, l *Life) host.Runtime { return mortalRuntime{r, l} }

type mortalRuntime struct {
	host.Runtime
	*Life
}

func (r mortalRuntime) EnsureImage(ctx context.Context, refs []string, progress func(string)) (ref string, err error) {
	err = r.Call("EnsureImage", func() error {
		ref, err = r.Runtime.EnsureImage(context.WithoutCancel(ctx), refs, progress)
		return err
	})
	return ref, err
}

func (r mortalRuntime) EnsureGolden(ctx context.Context, g host.Golden, progress func(string)) (ref string, err error) {
	err = r.Call("EnsureGolden", func() error {
		ref, err = r.Runtime.EnsureGolden(context.WithoutCancel(ctx), g, progress)
		return err
	})
	return ref, err
}

func (r mortalRuntime) Facts(ctx context.Context) (facts host.EngineFacts, err error) {
	err = r.Call("Facts", func() error {
		facts, err = r.Runtime.Facts(ctx)
		return err
	})
	return facts, err
}

func (r mortalRuntime) List(ctx context.Context) (units []host.Unit, err error) {
	err = r.Call("List", func() error {
		units, err = r.Runtime.List(ctx)
		return err
	})
	return units, err
}

func (r mortalRuntime) CreateVolume(ctx context.Context, w host.Workload) error {
	return r.Call("CreateVolume", func() error { return r.Runtime.CreateVolume(context.WithoutCancel(ctx), w) })
}

func (r mortalRuntime) Create(ctx context.Context, w host.Workload) error {
	return r.Call("Create", func() error { return r.Runtime.Create(context.WithoutCancel(ctx), w) })
}

func (r mortalRuntime) Start(ctx context.Context, w host.Workload) (ports map[string]int, err error) {
	err = r.Call("Start", func() error {
		ports, err = r.Runtime.Start(context.WithoutCancel(ctx), w)
		return err
	})
	return ports, err
}

func (r mortalRuntime) Adopt(ctx context.Context, w host.Workload) error {
	return r.Call("Adopt", func() error { return r.Runtime.Adopt(context.WithoutCancel(ctx), w) })
}

func (r mortalRuntime) Settle(ctx context.Context, id host.UnitID, fence int64) error {
	return r.Call("Settle", func() error { return r.Runtime.Settle(context.WithoutCancel(ctx), id, fence) })
}

func (r mortalRuntime) Stop(ctx context.Context, id host.UnitID, fence int64, grace time.Duration) error {
	return r.Call("Stop", func() error { return r.Runtime.Stop(context.WithoutCancel(ctx), id, fence, grace) })
}

func (r mortalRuntime) Remove(ctx context.Context, id host.UnitID, fence int64, data bool) error {
	return r.Call("Remove", func() error { return r.Runtime.Remove(context.WithoutCancel(ctx), id, fence, data) })
}

func (r mortalRuntime) Forget(ctx context.Context) error {
	return r.Call("Forget", func() error { return r.Runtime.Forget(context.WithoutCancel(ctx)) })
}
