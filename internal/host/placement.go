package host

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/job"
)

const (
	// manyHosts is from where on the list of hosts is remembered for a moment; fewer are
	// read each time.
	manyHosts = 16
	hostsFor  = time.Second
	// capacitySample is how many hosts an accept asks for a port that is left. Where there
	// are more, the job asks them all.
	capacitySample = 8
	// plentyOfPorts is how many must be left, of one host, for accepts not to ask for as
	// long as plentyFor: more than any process accepts in that time.
	plentyOfPorts = 5000
	plentyFor     = time.Second
)

// Placement chooses hosts.
type Placement struct {
	Store Reader
	Ports Ports
	Now   clock.Clock

	mu    sync.Mutex
	hosts []Host    // as they were read last
	until time.Time // when they are to be read again
	// plentyUntil is until when nobody need ask whether a port is left, and plentyAsk when
	// to look again whether there are plenty; in milliseconds since 1970.
	plentyUntil, plentyAsk atomic.Int64
}

// TakePorts gives the claim's subject a port for each of the names, in their order: the one
// that it holds, or else one that it takes.
func TakePorts(tx Tx, claim job.Claim, h Host, names []string, now time.Time) ([]int, error) {
	if err := tx.CheckClaim(claim); err != nil {
		return nil, err
	}
	ports := make([]int, len(names))
	for i, name := range names {
		port, err := tx.HeldPort(h.ID, UnitID(claim.Subject), name)
		if errors.Is(err, fault.ErrNotFound) {
			port, err = tx.TakePort(h, UnitID(claim.Subject), name, now)
		}
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	return ports, nil
}

// Choose gives a host that has so many ports left. It fails with CodeHostUnavailable where
// there is no host, and with CodePortsExhausted where none has them.
func (p *Placement) Choose(ctx context.Context, ports int) (Host, error) {
	hosts, err := p.spread(ctx, p.Now())
	if err != nil {
		return Host{}, err
	}
	if len(hosts) == 0 {
		return Host{}, fault.Errorf(fault.CodeHostUnavailable, nil, "no host is registered; start a worker that has a Docker engine")
	}
	for _, host := range hosts {
		left, err := p.Ports.Available(ctx, host, ports)
		if err != nil || left {
			return host, err
		}
	}
	return Host{}, fault.Errorf(fault.CodePortsExhausted, nil, "every port from %d to %d is in use or in quarantine; delete an instance or widen BERTH_PORT_RANGE", hosts[0].PortLow, hosts[0].PortHigh)
}

// Full reports whether no host could take now what needs so many ports. Before the first
// worker has registered its host nothing is known, and a job may wait.
func (p *Placement) Full(ctx context.Context, ports int) (bool, error) {
	now := p.Now()
	if now.UnixMilli() < p.plentyUntil.Load() {
		return false, nil
	}
	hosts, err := p.spread(ctx, now)
	if err == nil && len(hosts) == 0 {
		p.plentyUntil.Store(now.Add(plentyFor).UnixMilli())
	}
	if err != nil || len(hosts) == 0 {
		return false, err
	}
	for _, host := range hosts[:min(len(hosts), capacitySample)] {
		left, err := p.Ports.Available(ctx, host, ports)
		if err == nil && left {
			p.notePlenty(ctx, host, now)
		}
		if err != nil || left {
			return false, err
		}
	}
	return len(hosts) <= capacitySample, nil
}

// notePlenty looks, once in a while, whether the host has so many ports left that nobody
// need ask for the next.
func (p *Placement) notePlenty(ctx context.Context, host Host, now time.Time) {
	if host.PortHigh-host.PortLow < plentyOfPorts || now.UnixMilli() < p.plentyAsk.Load() {
		return
	}
	p.plentyAsk.Store(now.Add(plentyFor).UnixMilli())
	if free, err := p.Store.PortsFree(ctx, host, now); err == nil && free >= plentyOfPorts {
		p.plentyUntil.Store(now.Add(plentyFor).UnixMilli())
	}
}

// spread gives the hosts from a drawn one on, so that workers who place at the same time
// do not all wait for the ports of the same host.
func (p *Placement) spread(ctx context.Context, now time.Time) ([]Host, error) {
	hosts, err := p.read(ctx, now)
	if err != nil || len(hosts) < 2 {
		return hosts, err
	}
	first := rand.IntN(len(hosts)) //nolint:gosec // spread, not a secret
	return slices.Concat(hosts[first:], hosts[:first]), nil
}

func (p *Placement) read(ctx context.Context, now time.Time) ([]Host, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.until) {
		return p.hosts, nil
	}
	hosts, err := p.Store.Hosts(ctx)
	if err == nil && len(hosts) >= manyHosts {
		p.hosts, p.until = hosts, now.Add(hostsFor)
	}
	return hosts, err
}
