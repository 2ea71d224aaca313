package host_test

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/rooms/roomstest"
	"github.com/berth-project/berth/internal/secret"
)

// mortalFleet is the hosts' engines as a mortal worker sees them.
type mortalFleet struct {
	*fleet
	*hosttest.Life
}

func (f mortalFleet) Runtime(h host.Host) (host.Runtime, error) {
	r, err := f.fleet.Runtime(h)
	if err != nil {
		return nil, err
	}
	return hosttest.MortalRuntime(r, f.Life), nil
}

// mortalMachines is the machines as a mortal worker sees them.
type mortalMachines struct {
	host.Machines
	*hosttest.Life
}

func (m mortalMachines) HostKey(ctx context.Context, address string) (key string, err error) {
	err = m.Call("HostKey", func() error {
		key, err = m.Machines.HostKey(ctx, address)
		return err
	})
	return key, err
}

func (m mortalMachines) Shell(ctx context.Context, l host.Login) (sh host.Shell, err error) {
	err = m.Call("Shell", func() error {
		sh, err = m.Machines.Shell(context.WithoutCancel(ctx), l)
		return err
	})
	if err != nil {
		return nil, err
	}
	return mortalShell{sh, m.Life}, nil
}

func (m mortalMachines) NewKey(comment string) (private secret.Secret, line string, err error) {
	err = m.Call("NewKey", func() error {
		private, line, err = m.Machines.NewKey(comment)
		return err
	})
	return private, line, err
}

type mortalShell struct {
	host.Shell
	*hosttest.Life
}

func (s mortalShell) Run(ctx context.Context, script string, args ...string) (out string, err error) {
	err = s.Call("Run", func() error {
		out, err = s.Shell.Run(context.WithoutCancel(ctx), script, args...)
		return err
	})
	return out, err
}

// runMortal lets a worker that dies at its nth call run the job.
func (w *world) runMortal(which id.Job, n int, after bool) *hosttest.Life {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	l := hosttest.NewLife(n, after, cancel)
	cfg := w.runnerConfig(roomstest.MortalStore{Store: w.store, Life: l}, mortalFleet{w.fleet, l}, mortalMachines{w.machines, l}, "mortal")
	cfg.OnStep = func(_ job.Kind, step string, after bool) {
		name := "step " + step
		if after {
			name += " done"
		}
		_ = l.Call(name, func() error { return nil })
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
