package instance_test

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
)

var errDead = errors.New("this worker is dead")

// life ends a worker at its nth call to the world, whether that is the host or the
// database: before the call has an effect, or after, when its answer is lost.
type life struct {
	mu    sync.Mutex
	left  int // calls until the end; negative: it lives for ever
	after bool
	dead  bool
	calls []string // what was called, in order
	end   context.CancelFunc
}

func (l *life) call(name string, do func() error) error {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return errDead
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
		return errDead
	}
	if err := do(); err != nil || !last {
		return err
	}
	return errDead
}

// mortalStore is the database as a mortal worker sees it.
type mortalStore struct {
	rooms.Store
	*life
}

func (s mortalStore) Tx(ctx context.Context, do func(rooms.Tx) error) error {
	// A commit that was begun is not taken back because the one who asked is gone.
	return s.call("Tx", func() error { return s.Store.Tx(context.WithoutCancel(ctx), do) })
}

// mortalRuntime is the host as a mortal worker sees it.
type mortalRuntime struct {
	host.Runtime
	*life
}

func (r mortalRuntime) EnsureImage(ctx context.Context, refs []string, progress func(string)) (ref string, err error) {
	err = r.call("EnsureImage", func() error {
		ref, err = r.Runtime.EnsureImage(context.WithoutCancel(ctx), refs, progress)
		return err
	})
	return ref, err
}

func (r mortalRuntime) EnsureGolden(ctx context.Context, g host.Golden, progress func(string)) (ref string, err error) {
	err = r.call("EnsureGolden", func() error {
		ref, err = r.Runtime.EnsureGolden(context.WithoutCancel(ctx), g, progress)
		return err
	})
	return ref, err
}

func (r mortalRuntime) CreateVolume(ctx context.Context, w host.Workload) error {
	return r.call("CreateVolume", func() error { return r.Runtime.CreateVolume(context.WithoutCancel(ctx), w) })
}

func (r mortalRuntime) Create(ctx context.Context, w host.Workload) error {
	return r.call("Create", func() error { return r.Runtime.Create(context.WithoutCancel(ctx), w) })
}

func (r mortalRuntime) Start(ctx context.Context, w host.Workload) (ports map[string]int, err error) {
	err = r.call("Start", func() error {
		ports, err = r.Runtime.Start(context.WithoutCancel(ctx), w)
		return err
	})
	return ports, err
}

func (r mortalRuntime) Adopt(ctx context.Context, w host.Workload) error {
	return r.call("Adopt", func() error { return r.Runtime.Adopt(context.WithoutCancel(ctx), w) })
}

func (r mortalRuntime) Settle(ctx context.Context, id host.UnitID, fence int64) error {
	return r.call("Settle", func() error { return r.Runtime.Settle(context.WithoutCancel(ctx), host.UnitID(id), fence) })
}

func (r mortalRuntime) Remove(ctx context.Context, id host.UnitID, fence int64, data bool) error {
	return r.call("Remove", func() error { return r.Runtime.Remove(context.WithoutCancel(ctx), host.UnitID(id), fence, data) })
}

// runMortal lets a worker that dies at its nth call run the job.
func (w *world) runMortal(id id.Job, n int, after bool) *life {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	l := &life{left: n, after: after, end: cancel}
	runtimes := hosttest.NewRuntimes(mortalRuntime{w.runtime, l})
	runner := w.runnerOn(mortalStore{w.store, l}, runtimes, "mortal", clock.System)
	_ = runner.Run(ctx, id) // whatever it says: it is dead
	return l
}

// callsOf gives what a run calls, in order, when nothing goes wrong.
func (w *world) callsOf(id id.Job) []string {
	w.Helper()
	l := w.runMortal(id, -1, false)
	if j := w.job(id); j.State != job.Succeeded {
		w.Fatalf("dry run: job is %s: %+v", j.State, j.Error)
	}
	return l.calls
}

// methodsOf gives the calls to the host, each once.
func methodsOf(calls []string) []hosttest.Method {
	var methods []hosttest.Method
	for _, m := range hosttest.Methods() {
		if slices.Contains(calls, string(m)) {
			methods = append(methods, m)
		}
	}
	return methods
}
