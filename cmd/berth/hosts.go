package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/sheet"
	"github.com/berth-project/berth/internal/ssh"
	"github.com/berth-project/berth/internal/ttl"
)

// reach connects to the engines and the machines of the hosts of the pool, with what is kept for each.
type reach struct {
	access  *host.Access
	tunnels *ssh.Tunnels
	logins  ttl.Map[host.ID, host.Login]
	certs   ttl.Map[host.ID, *tls.Config]
	// plainTCP allows engines without certificates. It is for tests.
	plainTCP bool
}

const (
	// reachFor is how long what a host is reached with is remembered: each call to an engine is a
	// connection of its own.
	reachFor    = 30 * time.Second
	dialTimeout = 10 * time.Second
)

func (n *node) openReach() *reach {
	machines, tunnels := ssh.NewMachines(ssh.Config{}), ssh.NewTunnels(ssh.Config{})
	n.machines = machines
	n.access = &host.Access{Store: rooms.Hosts(n.rows), Vault: n.vault, Machines: machines, Deployment: n.deployment}
	n.closers = append(n.closers, func() error { tunnels.Close(); return nil })
	return &reach{access: n.access, tunnels: tunnels, plainTCP: n.cfg.PlainTCP}
}

// dial connects to the engine of a host.
func (r *reach) dial(ctx context.Context, h host.Host) (net.Conn, error) {
	if strings.HasPrefix(h.Endpoint, "ssh://") {
		login, err := r.login(ctx, h)
		if err != nil {
			return nil, err
		}
		return r.tunnels.Dial(ctx, login, "")
	}
	u, err := url.Parse(h.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint of host %s: %w", h.Name, err)
	}
	config, err := r.tls(ctx, h, u.Hostname())
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	if config == nil {
		return dialer.DialContext(ctx, "tcp", u.Host)
	}
	return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", u.Host)
}

// shell logs in to the machine of a host.
func (r *reach) shell(ctx context.Context, h host.Host) (host.Shell, error) {
	login, err := r.login(ctx, h)
	if err != nil {
		return nil, err
	}
	return r.tunnels.Shell(ctx, login)
}

func (r *reach) login(ctx context.Context, h host.Host) (host.Login, error) {
	now := clock.System()
	if l, ok := r.logins.Get(h.ID, now); ok && l.HostKey == h.HostKey {
		return l, nil
	}
	l, err := r.access.Login(ctx, h)
	if err == nil {
		r.logins.Put(h.ID, l, now, reachFor)
	}
	return l, err
}

// tls gives the certificates for a host; nil: it has none, which only tests allow.
func (r *reach) tls(ctx context.Context, h host.Host, name string) (*tls.Config, error) {
	now := clock.System()
	if config, ok := r.certs.Get(h.ID, now); ok && config.ServerName == name {
		return config, nil
	}
	c, err := r.access.Certificates(ctx, h)
	if errors.Is(err, fault.ErrNotFound) {
		if r.plainTCP {
			return nil, nil
		}
		return nil, fault.Errorf(fault.CodeHostUnavailable, nil, "host %s is reached by TCP and has no certificates", h.Name)
	}
	if err != nil {
		return nil, err
	}
	config, err := c.Client(name)
	if err != nil {
		return nil, fmt.Errorf("certificates of host %s: %w", h.Name, err)
	}
	r.certs.Put(h.ID, config, now, reachFor)
	return config, nil
}

// sheets are the files that hosts are imported from.
type sheets struct{}

// Read implements api.Sheets.
func (sheets) Read(r io.Reader, name string) ([]host.Candidate, []fault.FieldError, error) {
	return sheet.Read(r, name)
}

// Template implements api.Sheets.
func (sheets) Template(format string) ([]byte, error) { return sheet.Template(format) }
