package host

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
)

const (
	// portsSample is how many hosts that fit otherwise are asked for ports that are left. Where
	// there are more, others may have some.
	portsSample = 8
	// plentyOfPorts is how many must be left, of one host, for accepts not to ask for as
	// long as plentyFor: more than any process accepts in that time.
	plentyOfPorts = 5000
	plentyFor     = time.Second
	// fullRetry is when asking again makes sense where nothing was free.
	fullRetry = 30 * time.Second
)

// Placement chooses hosts.
type Placement struct {
	Store PlacementStore
	Ports Ports
	Now   clock.Clock

	memory memory
	// plentyUntil is until when nobody need ask whether what asks for no place in particular
	// could be placed, and plentyAsk when to look again whether there is plenty; in milliseconds
	// since 1970.
	plentyUntil, plentyAsk atomic.Int64
}

// PlacementStore is what is read of hosts to choose among them.
type PlacementStore interface {
	Reader
	// PortsTaken gives the ports that are held or rest on one of the hosts, in their order.
	PortsTaken(ctx context.Context, hosts []ID, now time.Time) ([]int, error)
}

// Choose gives the host that a unit is to be on: of two drawn from those that fit, the one that
// stays emptier. So workers who place at the same time do not all take the same one. It fails
// with CodeHostUnavailable where there is no host, with CodePortsExhausted where only ports are
// lacking, and else with CodeNoCapacity.
func (p *Placement) Choose(ctx context.Context, n Need) (Host, error) {
	all, err := p.read(ctx, p.Now())
	if err != nil {
		return Host{}, err
	}
	if len(all.hosts) == 0 {
		return Host{}, fault.Errorf(fault.CodeHostUnavailable, nil, "no host is registered; start a worker that has a Docker engine")
	}
	if h := all.drawTwo(n); h != nil {
		if h.sparesPorts() {
			return *h, nil
		}
		left, err := p.Ports.Available(ctx, *h, n.Ports)
		if err != nil || left {
			return *h, err
		}
	}
	there, err := p.group(ctx, n)
	if err != nil {
		return Host{}, err
	}
	fit, ruled := all.filter(n, there)
	for len(fit) > 0 {
		var h *Host
		h, fit = draw(fit, n)
		left, err := p.Ports.Available(ctx, *h, n.Ports)
		if err != nil || left {
			return *h, err
		}
		ruled[rulePorts]++
	}
	if waits := all.waiting(n); waits != "" {
		return Host{}, fault.Errorf(fault.CodeHostUnavailable, nil, "host %s does not answer, and no other one fits", waits)
	}
	if ruled[rulePorts] > 0 && n.Where.Empty() {
		h := all.hosts[0]
		return Host{}, fault.Errorf(fault.CodePortsExhausted, nil, "every port from %d to %d is in use or in quarantine; delete an instance or widen BERTH_PORT_RANGE", h.PortLow, h.PortHigh)
	}
	return Host{}, n.refuse(all.hosts, ruled)
}

// sparesPorts reports whether a host has so many more ports than it may hold, by what is known of
// it, that nobody need ask. Where many rest after all, taking one fails, and another host is chosen.
func (h *Host) sparesPorts() bool {
	const each = 4 // more than any unit has, with some that rest
	return h.PortHigh-h.PortLow-each*int(h.Used.Units) >= plentyOfPorts
}

// group counts the units on each host that the unit is to be apart from.
func (p *Placement) group(ctx context.Context, n Need) (map[ID]int, error) {
	if n.Where.Spread == "" || n.Where.Group == "" {
		return nil, nil
	}
	return p.Store.Spread(ctx, n.Tenant, n.Where.Group)
}

// Check fails where no host could take now what is needed, with CodeNoCapacity, or with
// CodeCapacity where only ports are lacking. Before the first worker has registered its host
// nothing is known, and a job may wait.
func (p *Placement) Check(ctx context.Context, n Need) error {
	now, anywhere := p.Now(), n.Where.Empty()
	if anywhere && now.UnixMilli() < p.plentyUntil.Load() {
		return nil
	}
	all, err := p.read(ctx, now)
	if err == nil && len(all.hosts) == 0 && anywhere {
		p.plentyUntil.Store(now.Add(plentyFor).UnixMilli())
	}
	if err != nil || len(all.hosts) == 0 {
		return err
	}
	if all.moreThan(portsSample, n) {
		return nil // the job asks them all for ports
	}
	there, err := p.group(ctx, n)
	if err != nil {
		return err
	}
	fit, ruled := all.filter(n, there)
	if len(fit) == 0 && all.waiting(n) != "" {
		return nil // the job waits for it
	}
	if len(fit) == 0 {
		return n.refuse(all.hosts, ruled)
	}
	for asked := 0; len(fit) > 0 && asked < portsSample; asked++ {
		var h *Host
		h, fit = draw(fit, n)
		left, err := p.Ports.Available(ctx, *h, n.Ports)
		if err == nil && left {
			p.notePlenty(ctx, h, all.disks[h.ID], now)
		}
		if err != nil || left {
			return err
		}
		ruled[rulePorts]++
	}
	switch {
	case len(fit) > 0:
		return nil // the job asks them all
	case !anywhere:
		return n.refuse(all.hosts, ruled)
	}
	return &fault.Error{
		Code: fault.CodeCapacity, RetryAfter: fullRetry,
		Message: "every port is in use; delete an instance, or widen BERTH_PORT_RANGE, and try again",
	}
}

// notePlenty looks, once in a while, whether the host has so much left that nobody need ask for
// the next.
func (p *Placement) notePlenty(ctx context.Context, h *Host, disks []Disk, now time.Time) {
	limited := h.Capacity.CPUMillis > 0 || h.Capacity.MemoryBytes > 0 ||
		slices.ContainsFunc(disks, func(d Disk) bool { return d.CapacityBytes > 0 })
	if limited || h.PortHigh-h.PortLow < plentyOfPorts || now.UnixMilli() < p.plentyAsk.Load() {
		return
	}
	p.plentyAsk.Store(now.Add(plentyFor).UnixMilli())
	if free, err := p.Store.PortsFree(ctx, *h, now); err == nil && free >= plentyOfPorts {
		p.plentyUntil.Store(now.Add(plentyFor).UnixMilli())
	}
}

func count(n int) string { return strconv.Itoa(n) }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// gibibytes writes a size for people.
func gibibytes(bytes int64) string {
	const gib = 1 << 30
	return fmt.Sprintf("%.4g GiB", float64(bytes)/gib)
}
