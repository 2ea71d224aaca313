package host

import (
	"context"
	"maps"
	"slices"

	"github.com/berth-project/berth/internal/fault"
)

// Plan chooses hosts for so many units, each as if those before it were placed already: all, or
// none. It reserves nothing. CodeNoCapacity says what ruled out how many hosts for the first unit
// that does not fit.
func (p *Placement) Plan(ctx context.Context, n Need, units int) ([]Host, error) {
	all, err := p.read(ctx, p.Now())
	if err != nil {
		return nil, err
	}
	there, err := p.group(ctx, n)
	if err != nil {
		return nil, err
	}
	plan := plan{pool: all.clone(), there: maps.Clone(there), on: map[ID]int{}}
	if plan.there == nil {
		plan.there = map[ID]int{}
	}
	chosen := make([]Host, 0, units)
	for range units {
		h, err := plan.next(ctx, p.Ports, n)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, *h)
	}
	return chosen, nil
}

// plan is the pool as it would be.
type plan struct {
	pool
	there map[ID]int // the units of the group on each host
	on    map[ID]int // the units that were planned on each host
}

// next chooses the host of one more unit.
func (p *plan) next(ctx context.Context, ports Ports, n Need) (*Host, error) {
	fit, ruled := p.filter(n, p.there)
	for len(fit) > 0 {
		var h *Host
		h, fit = draw(fit, n)
		left, err := ports.Available(ctx, *h, n.Ports*(p.on[h.ID]+1))
		if err != nil {
			return nil, err
		}
		if left {
			p.put(h, n)
			return h, nil
		}
		ruled[rulePorts]++
	}
	return nil, n.refuse(p.hosts, ruled)
}

// put takes from the host what one more unit would.
func (p *plan) put(h *Host, n Need) {
	p.there[h.ID]++
	p.on[h.ID]++
	h.Used.CPUMillis += n.Resources.CPUMillis
	h.Used.MemoryBytes += n.Resources.MemoryBytes
	h.Used.Units++
	if best, ok := chooseDisk(p.disks[h.ID], Ask{Resources: n.Resources, Where: n.Where}); ok {
		i := slices.IndexFunc(p.disks[h.ID], func(d Disk) bool { return d.ID == best.ID })
		p.disks[h.ID][i].UsedBytes += best.share(n.Resources)
	}
}

// clone copies the pool, so that it can be changed.
func (all *pool) clone() pool {
	disks := make(map[ID][]Disk, len(all.disks))
	for of, list := range all.disks {
		disks[of] = slices.Clone(list)
	}
	return pool{hosts: slices.Clone(all.hosts), disks: disks}
}

// maxCommonPorts limits how many ports in a row can be asked for.
const maxCommonPorts = 100

// CommonPorts gives the first of so many ports in a row that nobody holds on any host of the
// region, and the hosts: those that take units, or will again. Reserved ones take no part.
func (p *Placement) CommonPorts(ctx context.Context, region string, n int) (int, []Host, error) {
	if n < 1 || n > maxCommonPorts {
		return 0, nil, fault.Invalid([]fault.FieldError{{Field: "common_ports", Message: "must be 1 to 100"}})
	}
	if region == "" {
		return 0, nil, fault.Invalid([]fault.FieldError{{Field: "placement.region", Message: "is required with common_ports"}})
	}
	all, err := p.read(ctx, p.Now())
	if err != nil {
		return 0, nil, err
	}
	hosts := slices.DeleteFunc(slices.Clone(all.hosts), func(h Host) bool { return h.Region != region || h.Reserved || !h.online() && h.State != StateCordoned })
	if len(hosts) == 0 {
		return 0, nil, noCapacity(map[string]int{string(LevelRegion): len(all.hosts)}, len(all.hosts))
	}
	low, high, ids := hosts[0].PortLow, hosts[0].PortHigh, make([]ID, len(hosts))
	for i, h := range hosts {
		low, high, ids[i] = max(low, h.PortLow), min(high, h.PortHigh), h.ID
	}
	taken, err := p.Store.PortsTaken(ctx, ids, p.Now())
	if err != nil {
		return 0, nil, err
	}
	first, ok := gap(taken, low, high, n)
	if !ok {
		return 0, nil, noCapacity(map[string]int{rulePorts: len(hosts)}, len(hosts))
	}
	return first, hosts, nil
}

// gap gives the first of n ports in a row from low to high that are not in the list, which is in
// its order.
func gap(taken []int, low, high, n int) (int, bool) {
	first := low
	for _, port := range taken {
		if port >= first+n {
			break
		}
		first = max(first, port+1)
	}
	return first, first+n-1 <= high
}
