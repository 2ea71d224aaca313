package host

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
)

const (
	// manyHosts is from where on the list of hosts is remembered for a moment; fewer are
	// read each time.
	manyHosts = 16
	hostsFor  = time.Second
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

	mu    sync.Mutex
	pool  pool      // as it was read last
	until time.Time // when it is to be read again
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

// pool is all hosts with their disks.
type pool struct {
	hosts []Host
	disks map[ID][]Disk
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

// group counts the units on each host that the unit is to be apart from.
func (p *Placement) group(ctx context.Context, n Need) (map[ID]int, error) {
	if n.Where.Spread == "" || n.Where.Group == "" {
		return nil, nil
	}
	return p.Store.Spread(ctx, n.Tenant, n.Where.Group)
}

// filter gives the hosts that fit, but for their ports, and counts what ruled out the others.
// there counts the units of the group on each host.
func (all *pool) filter(n Need, there map[ID]int) (fit []*Host, ruled map[string]int) {
	ruled = map[string]int{}
	for i := range all.hosts {
		h := &all.hosts[i]
		if rule := n.ruledOut(h, all.disks[h.ID]); rule != "" {
			ruled[rule]++
			continue
		}
		fit = append(fit, h)
	}
	if n.Where.Spread == "" || len(fit) == 0 {
		return fit, ruled
	}
	kept := apart(fit, all.hosts, there, n.Where)
	ruled[ruleSpread] += len(fit) - len(kept)
	return kept, ruled
}

// waiting gives the name of a host that would fit if it answered; empty: there is none.
func (all *pool) waiting(n Need) string {
	for i := range all.hosts {
		if all.hosts[i].Health != Unreachable {
			continue
		}
		h := all.hosts[i]
		h.Health = Healthy
		if n.ruledOut(&h, all.disks[h.ID]) == "" {
			return h.Name
		}
	}
	return ""
}

// apart gives those of the hosts that are in the domains with the fewest of the group; where
// that is strict, in those with none.
func apart(fit []*Host, all []Host, there map[ID]int, w Where) []*Host {
	in := map[string]int{}
	for i := range all {
		in[all[i].Domain(w.Spread)] += there[all[i].ID]
	}
	fewest := in[fit[0].Domain(w.Spread)]
	for _, h := range fit {
		fewest = min(fewest, in[h.Domain(w.Spread)])
	}
	if w.Strict && fewest > 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(fit), func(h *Host) bool { return in[h.Domain(w.Spread)] > fewest })
}

// draw takes from the list the emptier one of two that are drawn.
func draw(from []*Host, n Need) (*Host, []*Host) {
	i := rand.IntN(len(from))                                                   //nolint:gosec // spread, not a secret
	if j := rand.IntN(len(from)); fullness(from[j], n) < fullness(from[i], n) { //nolint:gosec // as above
		i = j
	}
	h := from[i]
	from[i] = from[len(from)-1]
	return h, from[:len(from)-1]
}

// fullness says how full a host would be with the unit: the largest share of what it has. A host
// that is not limited is as full as it has memory.
func fullness(h *Host, n Need) float64 {
	share := func(used, asked, limit int64) float64 {
		if limit <= 0 {
			return 0
		}
		return float64(used+asked) / float64(limit)
	}
	memory := cmp.Or(h.Capacity.MemoryBytes, h.Found.MemoryBytes)
	if memory == 0 {
		return float64(h.Used.Units) / 1000
	}
	return max(share(h.Used.MemoryBytes, n.Resources.MemoryBytes, memory), share(h.Used.CPUMillis, n.Resources.CPUMillis, h.Capacity.CPUMillis))
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
			p.notePlenty(ctx, h, now)
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
func (p *Placement) notePlenty(ctx context.Context, h *Host, now time.Time) {
	limited := h.Capacity.CPUMillis > 0 || h.Capacity.MemoryBytes > 0 || slices.ContainsFunc(p.disksOf(h.ID), func(d Disk) bool { return d.CapacityBytes > 0 })
	if limited || h.PortHigh-h.PortLow < plentyOfPorts || now.UnixMilli() < p.plentyAsk.Load() {
		return
	}
	p.plentyAsk.Store(now.Add(plentyFor).UnixMilli())
	if free, err := p.Store.PortsFree(ctx, *h, now); err == nil && free >= plentyOfPorts {
		p.plentyUntil.Store(now.Add(plentyFor).UnixMilli())
	}
}

func (p *Placement) disksOf(h ID) []Disk {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pool.disks[h]
}

// Forget has the hosts read anew: what is remembered of them was not so any more.
func (p *Placement) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = time.Time{}
}

// read gives the hosts with their disks, which nobody changes.
func (p *Placement) read(ctx context.Context, now time.Time) (pool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.until) {
		return p.pool, nil
	}
	hosts, err := p.Store.Hosts(ctx)
	if err != nil {
		return pool{}, err
	}
	disks, err := p.Store.Disks(ctx, "")
	if err != nil {
		return pool{}, err
	}
	p.pool = pool{hosts: hosts, disks: map[ID][]Disk{}}
	for _, d := range disks {
		p.pool.disks[d.Host] = append(p.pool.disks[d.Host], d)
	}
	if len(hosts) >= manyHosts {
		p.until = now.Add(hostsFor)
	}
	return p.pool, nil
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
