package ssh

import (
	"context"
	"sync"

	"github.com/berth-project/berth/internal/host"
)

// Shell logs in to the machine by the connection that Dial uses, too. Closing it leaves that as it is.
// Of all who have a shell of one connection, one runs a script at a time. Errors are as of
// host.Machines.
func (t *Tunnels) Shell(ctx context.Context, l host.Login) (host.Shell, error) {
	for {
		lk, kept, err := t.reach(ctx, l)
		if err != nil {
			return nil, err
		}
		if !kept || t.answers(ctx, lk) {
			return &shared{shell: lk.shell, leave: func() { t.leave(l, lk) }}, nil
		}
		t.retire(l, lk) // it was of the past
		t.leave(l, lk)
		if ctx.Err() != nil {
			return nil, unreached(l.Address, ctx.Err())
		}
	}
}

// reach joins the link to a machine, and waits until it is ready.
func (t *Tunnels) reach(ctx context.Context, l host.Login) (lk *link, kept bool, err error) {
	lk, kept, err = t.join(ctx, l)
	if err != nil {
		return nil, false, err
	}
	select {
	case <-lk.ready:
	case <-ctx.Done():
		t.leave(l, lk)
		return nil, kept, unreached(l.Address, ctx.Err())
	}
	if lk.err != nil {
		t.leave(l, lk)
		return nil, false, lk.err
	}
	return lk, kept, nil
}

// answers reports whether the machine answers in time.
func (t *Tunnels) answers(ctx context.Context, lk *link) bool {
	ctx, cancel := context.WithTimeout(ctx, t.config.DialLimit)
	defer cancel()
	alive, err := await(ctx, func() (bool, error) { return lk.connection.alive(), nil }, func(bool) {})
	return err == nil && alive
}

// shared is a shell on a connection that others use, too.
type shared struct {
	shell *shell
	leave func()
	once  sync.Once
}

var _ host.Shell = (*shared)(nil)

// Run implements host.Shell.
func (s *shared) Run(ctx context.Context, script string, args ...string) (string, error) {
	return s.shell.Run(ctx, script, args...)
}

// Close implements host.Shell.
func (s *shared) Close() error {
	s.once.Do(s.leave)
	return nil
}
