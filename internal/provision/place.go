package provision

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
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

// hostList is the hosts as they were read last.
type hostList struct {
	mu    sync.Mutex
	hosts []Host
	until time.Time
}

// spread gives the hosts from a drawn one on, so that workers who place instances at the
// same time do not all wait for the ports of the same host.
func (l *hostList) spread(ctx context.Context, store Reader, now time.Time) ([]Host, error) {
	hosts, err := l.read(ctx, store, now)
	if err != nil || len(hosts) < 2 {
		return hosts, err
	}
	first := rand.IntN(len(hosts)) //nolint:gosec // spread, not a secret
	return slices.Concat(hosts[first:], hosts[:first]), nil
}

func (l *hostList) read(ctx context.Context, store Reader, now time.Time) ([]Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.until) {
		return l.hosts, nil
	}
	hosts, err := store.Hosts(ctx)
	if err == nil && len(hosts) >= manyHosts {
		l.hosts, l.until = hosts, now.Add(hostsFor)
	}
	return hosts, err
}

const (
	// givesWayWithin is how long a create waits for the port of a warm instance that gives
	// way to it.
	givesWayWithin = 10 * time.Second
	givesWayEvery  = 100 * time.Millisecond
	givesWayAgain  = time.Second
)

// place chooses the host: one that has a port left, if need be after a warm instance has
// given way.
func (w *work) place(ctx context.Context) (Host, error) {
	begun := w.cfg.Now()
	for ask := begun; ; {
		hosts, err := w.hosts.spread(ctx, w.cfg.Store, w.cfg.Now())
		if err != nil {
			return Host{}, err
		}
		if len(hosts) == 0 {
			return Host{}, fault.Errorf(fault.CodeHostUnavailable, nil, "no host has been registered; start a worker with a Docker engine")
		}
		for _, host := range hosts {
			left, err := w.cfg.Ports.Available(ctx, host)
			if err != nil || left {
				return host, err
			}
		}
		now, coming := w.cfg.Now(), true
		if !now.Before(ask) {
			if coming, err = w.makeRoom(ctx); err != nil {
				return Host{}, err
			}
			ask = now.Add(givesWayAgain) // somebody else may get that port
		}
		if !coming || now.Sub(begun) >= givesWayWithin {
			return Host{}, fault.Errorf(fault.CodePortsExhausted, nil, "every port from %d to %d is taken or resting; delete an instance or widen BERTH_PORT_RANGE", hosts[0].PortLow, hosts[0].PortHigh)
		}
		select {
		case <-ctx.Done():
			return Host{}, ctx.Err()
		case <-time.After(givesWayEvery):
		}
	}
}

// checkCapacity refuses at once what no host could take now. Before the first
// worker has registered its host nothing is known, and the job may wait.
func (s *Service) checkCapacity(ctx context.Context) error {
	now := s.cfg.Now()
	if now.UnixMilli() < s.plentyUntil.Load() {
		return nil
	}
	hosts, err := s.hosts.spread(ctx, s.cfg.Store, now)
	if err == nil && len(hosts) == 0 {
		s.plentyUntil.Store(now.Add(plentyFor).UnixMilli())
	}
	if err != nil || len(hosts) == 0 {
		return err
	}
	for _, host := range hosts[:min(len(hosts), capacitySample)] {
		left, err := s.cfg.Ports.Available(ctx, host)
		if err == nil && left {
			s.notePlenty(ctx, host, now)
		}
		if err != nil || left {
			return err
		}
	}
	if len(hosts) > capacitySample {
		return nil
	}
	if warm, err := warmOf(ctx, s.cfg.Store, "", 1); err != nil || len(warm) > 0 {
		return err // it gives way
	}
	return &fault.Error{
		Code: fault.CodeCapacity, RetryAfter: 30 * time.Second,
		Message: "every port is taken; delete an instance, or widen BERTH_PORT_RANGE, and try again",
	}
}

// notePlenty looks, once in a while, whether the host has so many ports left that nobody
// need ask for the next.
func (s *Service) notePlenty(ctx context.Context, host Host, now time.Time) {
	if host.PortHigh-host.PortLow < plentyOfPorts || now.UnixMilli() < s.plentyAsk.Load() {
		return
	}
	s.plentyAsk.Store(now.Add(plentyFor).UnixMilli())
	if free, err := s.cfg.Store.PortsFree(ctx, host, now); err == nil && free >= plentyOfPorts {
		s.plentyUntil.Store(now.Add(plentyFor).UnixMilli())
	}
}
