package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// DockerSocket is where a Docker engine listens on its machine.
const DockerSocket = "/var/run/docker.sock"

// Tunnels gives connections to Unix sockets on machines, and shells there. All that log in to a machine in the
// same way share one connection, which is made when it is first needed, again after it has
// broken, and closed when nothing has used it for a while.
type Tunnels struct {
	config Config
	done   sync.WaitGroup // what runs behind

	mu     sync.Mutex
	closed bool
	links  map[host.Login]*link // the ones to be joined
	all    map[*link]struct{}   // these and those that still have streams
}

// link is the connection to a machine, while it is made and after.
type link struct {
	cancel     context.CancelFunc // gives up making it
	ready      chan struct{}      // closed when it is made, or could not be
	connection *connection        // once ready; nil: it could not be
	shell      *shell             // of the connection
	err        error

	// Guarded by Tunnels.mu.
	users   int         // who waits for it, opens a socket, or has a stream
	idle    *time.Timer // while there are none
	retired bool        // nobody joins it any more
}

// NewTunnels makes Tunnels. They are closed by Close.
func NewTunnels(config Config) *Tunnels {
	return &Tunnels{config: config.withDefaults(), links: map[host.Login]*link{}, all: map[*link]struct{}{}}
}

// Dial connects to a socket on the machine; an empty one is DockerSocket. What ends the context
// later has no effect on the connection. CodeHostUnavailable when the machine or the socket
// does not answer; CodeLoginRefused, CodeHostKeyChanged and CodeInvalid as of host.Machines.
func (t *Tunnels) Dial(ctx context.Context, l host.Login, socket string) (net.Conn, error) {
	if socket == "" {
		socket = DockerSocket
	}
	ctx, cancel := context.WithTimeout(ctx, t.config.DialLimit)
	defer cancel()
	for {
		conn, kept, err := t.dial(ctx, l, socket)
		if err == nil || !kept || ctx.Err() != nil || !errors.Is(err, errBroken) {
			return conn, err
		}
		// A kept connection that turns out to be broken is one of the past: each of those is
		// met once, and then made anew.
	}
}

// errBroken is in the chain of errors that say that the connection itself has ended.
var errBroken = errors.New("the connection has ended")

// dial connects by one link. kept tells that it was there before.
func (t *Tunnels) dial(ctx context.Context, l host.Login, socket string) (conn net.Conn, kept bool, err error) {
	lk, kept, err := t.reach(ctx, l)
	if err != nil {
		return nil, kept, err
	}
	open := func() (net.Conn, error) { return lk.connection.Dial("unix", socket) }
	inner, err := await(ctx, open, func(late net.Conn) { _ = late.Close() })
	if err != nil {
		err = t.unopened(ctx, l, lk, socket, err)
		t.leave(l, lk)
		return nil, kept, err
	}
	return newStream(inner, lk.connection.alive, func() { t.leave(l, lk) }), kept, nil
}

// unopened explains why a socket could not be opened, and has nobody join a link that is the
// reason.
func (t *Tunnels) unopened(ctx context.Context, l host.Login, lk *link, socket string, err error) error {
	var refused *xssh.OpenChannelError
	switch {
	case errors.As(err, &refused) && refused.Reason == xssh.Prohibited:
		return fault.Errorf(fault.CodeHostUnavailable, err, "the SSH server of %s does not let user %s reach the socket %s; "+
			"it must allow AllowStreamLocalForwarding, and DisableForwarding must be off", l.Address, l.User, socket)
	case errors.As(err, &refused):
		return fault.Errorf(fault.CodeHostUnavailable, err, "nothing answers at the socket %s of %s (%s); check that "+
			"the Docker engine runs there, and that user %s may use it "+
			"(usermod -aG docker %s)", socket, l.Address, readable(refused.Message), l.User, l.User)
	case errors.Is(err, context.DeadlineExceeded):
		t.retire(l, lk) // it may be alive and useless
		return fault.Errorf(fault.CodeHostUnavailable, err, "%s does not open the socket %s in time", l.Address, socket)
	case ctx.Err() != nil:
		return unreached(l.Address, err)
	default:
		t.retire(l, lk)
		return fault.Errorf(fault.CodeHostUnavailable, fmt.Errorf("%w: %w", errBroken, err), "the connection to %s "+
			"has ended: %s", l.Address, short(err))
	}
}

// join finds the link to a machine, or begins to make it. Whoever joins leaves.
func (t *Tunnels) join(ctx context.Context, l host.Login) (lk *link, kept bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false, fault.Errorf(fault.CodeHostUnavailable, nil, "no connection to %s is made: Berth is "+
			"shutting down", l.Address)
	}
	lk, kept = t.links[l]
	if !kept {
		// Whoever asks first may leave first: the link keeps nothing of its context but the values.
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.config.DialLimit)
		lk = &link{cancel: cancel, ready: make(chan struct{})}
		t.links[l], t.all[lk] = lk, struct{}{}
		t.done.Go(func() { t.make(detached, l, lk) })
	}
	if lk.idle != nil {
		lk.idle.Stop()
		lk.idle = nil
	}
	lk.users++
	return lk, kept, nil
}

// make logs in, and stays until the connection has ended.
func (t *Tunnels) make(ctx context.Context, l host.Login, lk *link) {
	lk.connection, lk.err = logIn(ctx, t.config, l)
	lk.cancel()
	if lk.err != nil {
		t.retire(l, lk) // who comes now tries again; who waits is told
		close(lk.ready)
		return
	}
	lk.shell = newShell(lk.connection)
	close(lk.ready)
	t.mu.Lock()
	unwanted := t.closed || (lk.retired && lk.users == 0)
	t.mu.Unlock()
	if unwanted {
		lk.connection.end()
	}
	<-lk.connection.ended
	t.retire(l, lk)
	lk.connection.end()
}

// retire has nobody join the link any more. Those who have streams keep them; the last one
// closes it.
func (t *Tunnels) retire(l host.Login, lk *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(l, lk)
}

// drop is retire for who has the lock.
func (t *Tunnels) drop(l host.Login, lk *link) {
	lk.retired = true
	if t.links[l] == lk {
		delete(t.links, l)
	}
	if lk.idle != nil {
		lk.idle.Stop()
		lk.idle = nil
	}
	if lk.users == 0 {
		t.hangUp(lk)
	}
}

// leave gives back what join gave.
func (t *Tunnels) leave(l host.Login, lk *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lk.users--
	switch {
	case lk.users > 0:
	case lk.retired:
		t.hangUp(lk)
	case !lk.isReady(): // nobody waits for it any more
		lk.cancel()
		t.drop(l, lk)
	default:
		lk.idle = time.AfterFunc(t.config.IdleLimit, func() { t.expire(l, lk) })
	}
}

// expire closes a link that has been idle for long.
func (t *Tunnels) expire(l host.Login, lk *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if lk.users == 0 && lk.idle != nil && !lk.retired {
		t.drop(l, lk)
	}
}

// hangUp closes a link that nobody uses. The caller has the lock.
func (t *Tunnels) hangUp(lk *link) {
	delete(t.all, lk)
	lk.cancel()
	if lk.isReady() && lk.connection != nil {
		_ = lk.connection.Close() // which make waits for
	}
}

func (lk *link) isReady() bool {
	select {
	case <-lk.ready:
		return true
	default:
		return false
	}
}

// Close ends all connections, and waits until nothing of them is left. Dial fails from then on.
func (t *Tunnels) Close() {
	t.mu.Lock()
	t.closed = true
	for lk := range t.all {
		t.hangUp(lk)
	}
	t.mu.Unlock()
	t.done.Wait()
}
