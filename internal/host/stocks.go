package host

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// Branch is a part of the pool: a region, a zone, a rack or a host, with what is in it.
type Branch struct {
	Level    Level
	Name     string // "-": nobody has said
	Host     ID     // of a host
	Hosts    int
	Online   int
	Units    int64
	Branches []Branch
}

// Hierarchy returns the pool as regions, zones, racks and hosts: from the level on, so many levels
// deep.
func (s *Service) Hierarchy(ctx context.Context, p tenant.Principal, from Level, depth int) ([]Branch, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	first := slices.Index(Levels(), from)
	if first < 0 || depth < 1 || depth > len(Levels()) {
		return nil, fault.Invalid([]fault.FieldError{{Field: "level", Message: "must be region, zone, rack or host, with a depth of 1 to 4"}})
	}
	hosts, err := s.cfg.Store.HostsInShort(ctx)
	if err != nil {
		return nil, err
	}
	levels := Levels()[first:min(len(Levels()), first+depth)]
	return branches(hosts, levels), nil
}

func branches(hosts []Host, levels []Level) []Branch {
	if len(levels) == 0 {
		return nil
	}
	groups := map[string][]Host{}
	for i := range hosts {
		domain := hosts[i].Domain(levels[0])
		groups[domain] = append(groups[domain], hosts[i])
	}
	list := make([]Branch, 0, len(groups))
	for _, domain := range slices.Sorted(maps.Keys(groups)) { // zones of several regions may have one name
		in := groups[domain]
		b := Branch{Level: levels[0], Name: cmp.Or(domain[strings.LastIndex(domain, "/")+1:], "-"), Hosts: len(in), Branches: branches(in, levels[1:])}
		if levels[0] == LevelHost {
			b.Name, b.Host = in[0].Name, in[0].ID
		}
		for i := range in {
			b.Units += in[i].Used.Units
			if in[i].Takes() {
				b.Online++
			}
		}
		list = append(list, b)
	}
	slices.SortStableFunc(list, func(a, b Branch) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.Host), string(b.Host)))
	})
	return list
}

// Size is a size of units that somebody may ask how many of still fit.
type Size struct {
	Name      string // "mysql/small"
	Resources Resources
	Ports     int
}

// Stock is what is free in a part of the pool. -1: a host there is not limited.
type Stock struct {
	Group       string
	Hosts       int
	Open        int // that take units now
	CPUMillis   int64
	MemoryBytes int64
	DiskBytes   int64
	Disks       int            // that take data
	Fits        map[string]int // of each size, how many; -1: not limited
}

// Stocks returns what is free, by region, zone, rack or host.
func (s *Service) Stocks(ctx context.Context, p tenant.Principal, by Level, sizes []Size) ([]Stock, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(Levels(), by) {
		return nil, fault.Invalid([]fault.FieldError{{Field: "group_by", Message: "must be region, zone, rack or host"}})
	}
	all, err := s.placement.readNow(ctx, s.cfg.Now()) // whoever asks may have just changed it
	if err != nil {
		return nil, err
	}
	groups := map[string]*Stock{}
	for i := range all.hosts {
		h := &all.hosts[i]
		domain := nameOf(h, by)
		g := groups[domain]
		if g == nil {
			g = &Stock{Group: domain, Fits: map[string]int{}}
			groups[domain] = g
		}
		g.add(h, all.disks[h.ID], sizes)
	}
	list := make([]Stock, 0, len(groups))
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, *groups[name])
	}
	return list, nil
}

// nameOf names what a host is in at the level, as no other part of the pool is named. "-" is where
// nobody has said; at the end it is left out.
func nameOf(h *Host, by Level) string {
	if by == LevelHost {
		return h.Name
	}
	parts := strings.Split(strings.TrimRight(h.Domain(by), "/"), "/")
	for i := range parts {
		parts[i] = cmp.Or(parts[i], "-")
	}
	return strings.Join(parts, "/")
}

func (g *Stock) add(h *Host, disks []Disk, sizes []Size) {
	g.Hosts++
	if !h.Takes() {
		return
	}
	g.Open++
	g.CPUMillis = sum(g.CPUMillis, h.Capacity.CPUMillis, h.Used.CPUMillis)
	g.MemoryBytes = sum(g.MemoryBytes, h.Capacity.MemoryBytes, h.Used.MemoryBytes)
	for i := range disks {
		if disks[i].State == DiskAvailable {
			g.Disks++
			g.DiskBytes = sum(g.DiskBytes, disks[i].CapacityBytes, disks[i].UsedBytes)
		}
	}
	for _, size := range sizes {
		n := room(h, disks, size)
		if n < 0 || g.Fits[size.Name] < 0 {
			g.Fits[size.Name] = -1
		} else {
			g.Fits[size.Name] += n
		}
	}
}

// sum adds what is left of a capacity; -1 where it is not limited.
func sum(so, capacity, used int64) int64 {
	if so < 0 || capacity == 0 {
		return -1
	}
	return so + max(0, capacity-used)
}

// room gives how many units of a size still fit on a host; -1: it is not limited.
func room(h *Host, disks []Disk, size Size) int {
	most := int64(-1)
	limit := func(capacity, used, each int64) {
		if capacity == 0 || each == 0 {
			return
		}
		if n := max(0, capacity-used) / each; most < 0 || n < most {
			most = n
		}
	}
	limit(h.Capacity.CPUMillis, h.Used.CPUMillis, size.Resources.CPUMillis)
	limit(h.Capacity.MemoryBytes, h.Used.MemoryBytes, size.Resources.MemoryBytes)
	onDisks, limited := int64(0), len(disks) > 0
	for i := range disks {
		switch free := disks[i].Free(); {
		case disks[i].State != DiskAvailable || free < 0:
		case disks[i].CapacityBytes == 0 || size.Resources.DiskBytes == 0:
			limited = false
		default:
			onDisks += free / disks[i].share(size.Resources)
		}
	}
	if limited && (most < 0 || onDisks < most) {
		most = onDisks
	}
	if most < 0 {
		return -1
	}
	ports := max(0, int64(h.PortHigh-h.PortLow+1)-h.Used.Units) // each unit has one at least
	return int(min(most, ports/int64(max(size.Ports, 1))))
}
