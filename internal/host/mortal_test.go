package host_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
)

var errDead = errors.New("this worker is dead")

// life ends a worker at its nth call to the world, whether that is a machine, an engine, the
// database or the end of a step: before the call has an effect, or after, when its answer is lost.
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

type mortalStore struct {
	rooms.Store
	*life
}

func (s mortalStore) Tx(ctx context.Context, do func(rooms.Tx) error) error {
	return s.call("Tx", func() error { return s.Store.Tx(context.WithoutCancel(ctx), do) })
}

// mortalFleet is the hosts' engines as a mortal worker sees them.
type mortalFleet struct {
	*fleet
	*life
}

func (f mortalFleet) Runtime(h host.Host) (host.Runtime, error) {
	r, err := f.fleet.Runtime(h)
	if err != nil {
		return nil, err
	}
	return mortalRuntime{r, f.life}, nil
}

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

func (r mortalRuntime) Facts(ctx context.Context) (facts host.EngineFacts, err error) {
	err = r.call("Facts", func() error {
		facts, err = r.Runtime.Facts(ctx)
		return err
	})
	return facts, err
}

func (r mortalRuntime) List(ctx context.Context) (units []host.Unit, err error) {
	err = r.call("List", func() error {
		units, err = r.Runtime.List(ctx)
		return err
	})
	return units, err
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

func (r mortalRuntime) Remove(ctx context.Context, id host.UnitID, fence int64, data bool) error {
	return r.call("Remove", func() error { return r.Runtime.Remove(context.WithoutCancel(ctx), id, fence, data) })
}

func (r mortalRuntime) Forget(ctx context.Context) error {
	return r.call("Forget", func() error { return r.Runtime.Forget(context.WithoutCancel(ctx)) })
}

// mortalMachines is the machines as a mortal worker sees them.
type mortalMachines struct {
	host.Machines
	*life
}

func (m mortalMachines) HostKey(ctx context.Context, address string) (key string, err error) {
	err = m.call("HostKey", func() error {
		key, err = m.Machines.HostKey(ctx, address)
		return err
	})
	return key, err
}

func (m mortalMachines) Shell(ctx context.Context, l host.Login) (sh host.Shell, err error) {
	err = m.call("Shell", func() error {
		sh, err = m.Machines.Shell(context.WithoutCancel(ctx), l)
		return err
	})
	if err != nil {
		return nil, err
	}
	return mortalShell{sh, m.life}, nil
}

func (m mortalMachines) NewKey(comment string) (private secret.Secret, line string, err error) {
	err = m.call("NewKey", func() error {
		private, line, err = m.Machines.NewKey(comment)
		return err
	})
	return private, line, err
}

type mortalShell struct {
	host.Shell
	*life
}

func (s mortalShell) Run(ctx context.Context, script string, args ...string) (out string, err error) {
	err = s.call("Run", func() error {
		out, err = s.Shell.Run(context.WithoutCancel(ctx), script, args...)
		return err
	})
	return out, err
}

// runMortal lets a worker that dies at its nth call run the job.
func (w *world) runMortal(which id.Job, n int, after bool) *life {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	l := &life{left: n, after: after, end: cancel}
	cfg := w.runnerConfig(mortalStore{w.store, l}, mortalFleet{w.fleet, l}, mortalMachines{w.machines, l}, "mortal")
	cfg.OnStep = func(_ job.Kind, step string, after bool) {
		name := "step " + step
		if after {
			name += " done"
		}
		_ = l.call(name, func() error { return nil })
	}
	_ = rooms.NewRunner(cfg).Run(ctx, which) // whatever it says: it is dead
	return l
}

// settle has everything that is due done, for a while.
func (w *world) settle() {
	w.Helper()
	for range 8 {
		_, err := w.relay.RunOnce(w.ctx)
		w.must(err)
		w.runTasks()
		w.queue.Done()
		w.pass(5 * time.Second)
	}
}
