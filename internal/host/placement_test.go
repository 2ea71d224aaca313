package host_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/tenant"
)

// pool is a store of hosts that nothing is written to, and their ports.
type pool struct {
	host.Store
	hosts []host.Host
	disks []host.Disk
	group map[host.ID]int
	free  map[host.ID]int
	taken map[host.ID][]int
}

func (p *pool) Hosts(context.Context) ([]host.Host, error)            { return slices.Clone(p.hosts), nil }
func (p *pool) HostsInShort(ctx context.Context) ([]host.Host, error) { return p.Hosts(ctx) }
func (p *pool) Disks(context.Context, host.ID) ([]host.Disk, error) {
	return slices.Clone(p.disks), nil
}

func (p *pool) Spread(context.Context, tenant.ID, string) (map[host.ID]int, error) {
	return p.group, nil
}

func (p *pool) PortsTaken(_ context.Context, hosts []host.ID, _ time.Time) (all []int, err error) {
	for _, h := range hosts {
		all = append(all, p.taken[h]...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Available implements host.Ports, of which nothing else is asked here.
func (p *pool) Available(_ context.Context, h host.Host, n int) (bool, error) {
	return p.free[h.ID] >= n, nil
}

type ports struct {
	host.Ports
	*pool
}

func (p ports) Available(ctx context.Context, h host.Host, n int) (bool, error) {
	return p.pool.Available(ctx, h, n)
}

func (p *pool) placement() *host.Placement {
	return &host.Placement{Store: p, Ports: ports{pool: p}, Now: clock.System}
}

func (p *pool) service() *host.Service {
	return host.NewService(host.ServiceConfig{Store: p, Ports: ports{pool: p}})
}

func oneOf[T any](t *rapid.T, name string, values ...T) T {
	return rapid.SampledFrom(values).Draw(t, name)
}

func anyPool(t *rapid.T) *pool {
	p := &pool{group: map[host.ID]int{}, free: map[host.ID]int{}, taken: map[host.ID][]int{}}
	for i := range rapid.IntRange(0, 20).Draw(t, "hosts") {
		h := host.Host{
			ID: host.ID(fmt.Sprintf("hst_%02d", i)), Name: fmt.Sprintf("h%d", i), PortLow: 20000, PortHigh: 20000 + rapid.IntRange(0, 9).Draw(t, "ports"),
			State:  oneOf(t, "state", append(host.States(), host.StateOnline, host.StateOnline, host.StateOnline, "")...),
			Health: oneOf(t, "health", host.Healthy, host.Healthy, "", host.Unreachable, host.DiskFull),
			Region: oneOf(t, "region", "", "eu", "us"), Zone: oneOf(t, "zone", "", "a", "b"), Rack: oneOf(t, "rack", "", "r1", "r2"),
			Arch: oneOf(t, "arch", "amd64", "arm64"), Labels: map[string]string{"gen": oneOf(t, "gen", "1", "2")},
			Reserved: oneOf(t, "reserved", false, false, true),
			Capacity: host.Capacity{CPUMillis: oneOf[int64](t, "cpu", 0, 100, 400), MemoryBytes: oneOf[int64](t, "memory", 0, 100, 400)},
			Used:     host.Used{CPUMillis: oneOf[int64](t, "cpu used", 0, 50, 100), MemoryBytes: oneOf[int64](t, "memory used", 0, 50, 100)},
		}
		for n := range rapid.IntRange(0, 2).Draw(t, "disks") {
			p.disks = append(p.disks, host.Disk{
				ID: host.DiskID(fmt.Sprintf("dsk_%02d_%d", i, n)), Host: h.ID, Type: oneOf(t, "type", host.DiskTypes()...),
				CapacityBytes: oneOf[int64](t, "disk", 0, 100, 400), UsedBytes: oneOf[int64](t, "disk used", 0, 50),
				State: oneOf(t, "disk state", host.DiskAvailable, host.DiskAvailable, host.DiskReserved, host.DiskError),
			})
		}
		p.group[h.ID], p.free[h.ID] = oneOf(t, "of the group", 0, 0, 1, 2), oneOf(t, "free ports", 0, 3, 9)
		for port := h.PortLow; port <= h.PortHigh; port++ {
			if oneOf(t, "taken", false, false, true) {
				p.taken[h.ID] = append(p.taken[h.ID], port)
			}
		}
		h.Used.Units = int64(len(p.taken[h.ID]))
		p.hosts = append(p.hosts, h)
	}
	return p
}

func anyNeed(t *rapid.T) host.Need {
	n := host.Need{
		Tenant: "t", Ports: oneOf(t, "ports asked", 1, 2),
		Resources: host.Resources{CPUMillis: oneOf[int64](t, "cpu asked", 0, 10, 60), MemoryBytes: oneOf[int64](t, "memory asked", 0, 10, 60), DiskBytes: oneOf[int64](t, "disk asked", 0, 10, 60)},
	}
	if oneOf(t, "anywhere", true, false, false) {
		return n
	}
	n.Where = host.Where{
		Region: oneOf(t, "where region", "", "", "eu"), Zone: oneOf(t, "where zone", "", "", "a"), Rack: oneOf(t, "where rack", "", "", "r1"),
		Host: oneOf(t, "where host", "", "", "", "h1", "hst_02"), Arch: oneOf(t, "where arch", "", "", "amd64"),
		DiskType: oneOf(t, "where disk", "", "", host.DiskSSD), Reserved: oneOf(t, "may be reserved", false, true),
	}
	if oneOf(t, "where labels", false, false, true) {
		n.Where.Labels = map[string]string{"gen": "2"}
	}
	if oneOf(t, "spread", false, true) {
		n.Where.Group, n.Where.Spread = "g", oneOf(t, "apart by", host.LevelZone, host.LevelRack, host.LevelHost)
		n.Where.Strict = oneOf(t, "strict", false, true)
	}
	return n
}

func (p *pool) disksOf(h *host.Host) []host.Disk {
	return slices.DeleteFunc(slices.Clone(p.disks), func(d host.Disk) bool { return d.Host != h.ID })
}

// meets says by itself, as simply as can be, whether the host has what is needed but for being apart.
func (p *pool) meets(h *host.Host, n host.Need) bool {
	w := n.Where
	named := w.Host != "" && (w.Host == h.Name || w.Host == string(h.ID))
	room := len(p.disksOf(h)) == 0 && w.DiskType == ""
	for _, d := range p.disksOf(h) {
		room = room || d.State == host.DiskAvailable && (w.DiskType == "" || w.DiskType == d.Type) &&
			(d.CapacityBytes == 0 || d.CapacityBytes-d.UsedBytes >= n.Resources.DiskBytes)
	}
	labels := true
	for k, v := range w.Labels {
		labels = labels && h.Labels[k] == v
	}
	return (h.State == host.StateOnline || h.State == "") && (h.Health == host.Healthy || h.Health == "") &&
		(!h.Reserved || named && w.Reserved) && (w.Host == "" || named) && (w.Region == "" || w.Region == h.Region) &&
		(w.Zone == "" || w.Zone == h.Zone) && (w.Rack == "" || w.Rack == h.Rack) && (w.Arch == "" || w.Arch == h.Arch) && labels && room &&
		(h.Capacity.CPUMillis == 0 || h.Used.CPUMillis+n.Resources.CPUMillis <= h.Capacity.CPUMillis) &&
		(h.Capacity.MemoryBytes == 0 || h.Used.MemoryBytes+n.Resources.MemoryBytes <= h.Capacity.MemoryBytes)
}

// beside counts the units of the group in the same domain as the host.
func (p *pool) beside(h *host.Host, l host.Level) (n int) {
	for i := range p.hosts {
		o := &p.hosts[i]
		same := o.Region == h.Region && o.Zone == h.Zone && (l == host.LevelZone || o.Rack == h.Rack)
		if l == host.LevelHost {
			same = o.ID == h.ID
		}
		if same {
			n += p.group[o.ID]
		}
	}
	return n
}

// good gives the hosts that may be chosen.
func (p *pool) good(n host.Need) (good []host.ID) {
	fewest := 1 << 30
	for i := range p.hosts {
		if h := &p.hosts[i]; p.meets(h, n) && n.Where.Spread != "" {
			fewest = min(fewest, p.beside(h, n.Where.Spread))
		}
	}
	for i := range p.hosts {
		h := &p.hosts[i]
		apart := n.Where.Spread == "" || p.beside(h, n.Where.Spread) == fewest && (!n.Where.Strict || fewest == 0)
		if p.meets(h, n) && apart && p.free[h.ID] >= n.Ports {
			good = append(good, h.ID)
		}
	}
	return good
}

func addUp(t *rapid.T, err error, hosts int) {
	t.Helper()
	var refusal *fault.Error
	if !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	sum := 0
	for _, r := range refusal.Reasons {
		sum += r.Hosts
	}
	if sum != hosts || !strings.Contains(refusal.Message, fmt.Sprintf("of %d host", hosts)) {
		t.Fatalf("%d hosts are ruled out of %d: %s", sum, hosts, refusal.Message)
	}
}

// What is chosen meets all that was asked for, and where nothing is chosen, nothing does, and the
// reasons add up.
func TestChoose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, n := anyPool(t), anyNeed(t)
		good := p.good(n)
		h, err := p.placement().Choose(context.Background(), n)
		checkErr := p.placement().Check(context.Background(), n)
		switch code := fault.CodeOf(err); {
		case err == nil:
			if !slices.Contains(good, h.ID) {
				t.Fatalf("chose %+v for %+v; %v would do", h, n, good)
			}
			if checkErr != nil {
				t.Fatalf("the check refuses what can be placed: %v", checkErr)
			}
			return
		case len(good) > 0:
			t.Fatalf("%v would do: %v", good, err)
		case code == fault.CodeNoCapacity:
			addUp(t, err, len(p.hosts))
		case code == fault.CodePortsExhausted && n.Where.Empty(), code == fault.CodeHostUnavailable && len(p.hosts) == 0:
		case code == fault.CodeHostCordoned && n.Where.Host != "":
		case code == fault.CodeHostUnavailable && slices.ContainsFunc(p.hosts, func(h host.Host) bool { return h.Health == host.Unreachable }):
		default:
			t.Fatal(err)
		}
		if code := fault.CodeOf(checkErr); code == fault.CodeNoCapacity {
			addUp(t, checkErr, len(p.hosts))
		}
	})
}

// A plan places each unit as if those before it were placed already: all, or none.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, n := anyPool(t), anyNeed(t)
		n.Where.DiskType = ""
		units := rapid.IntRange(1, 5).Draw(t, "units")
		chosen, err := p.placement().Plan(context.Background(), n, units)
		if err == nil && len(chosen) != units {
			t.Fatalf("%d units on %d hosts", units, len(chosen))
		}
		if err != nil && len(p.good(n)) > 0 && units == 1 {
			t.Fatalf("%v would do: %v", p.good(n), err)
		}
		if code := fault.CodeOf(err); err != nil && code != fault.CodeNoCapacity && code != fault.CodeHostCordoned {
			t.Fatal(err)
		}
		for _, c := range chosen {
			if !slices.Contains(p.good(n), c.ID) {
				t.Fatalf("planned %+v for %+v", c, n)
			}
			i := slices.IndexFunc(p.hosts, func(h host.Host) bool { return h.ID == c.ID })
			p.hosts[i].Used.CPUMillis += n.Resources.CPUMillis
			p.hosts[i].Used.MemoryBytes += n.Resources.MemoryBytes
			p.free[c.ID] -= n.Ports
			p.group[c.ID]++
			p.fill(&p.hosts[i], n.Resources.DiskBytes)
		}
	})
}

// fill takes so much of the host's disk that has most left.
func (p *pool) fill(h *host.Host, bytes int64) {
	best := -1
	for i, d := range p.disks {
		if d.Host == h.ID && d.State == host.DiskAvailable && (best < 0 || d.Free() > p.disks[best].Free()) {
			best = i
		}
	}
	if best >= 0 {
		p.disks[best].UsedBytes += bytes
	}
}

func TestCommonPorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPool(t)
		n := rapid.IntRange(1, 4).Draw(t, "in a row")
		want, in := 0, 0
		for first := 20000; first < 20010 && want == 0; first++ {
			in = 0
			fits := true
			for _, h := range p.hosts {
				if h.Region != "eu" || h.Reserved || h.State != host.StateOnline && h.State != host.StateCordoned && h.State != "" {
					continue
				}
				in++
				for port := first; port < first+n; port++ {
					fits = fits && port >= h.PortLow && port <= h.PortHigh && !slices.Contains(p.taken[h.ID], port)
				}
			}
			if fits && in > 0 {
				want = first
			}
		}
		got, hosts, err := p.placement().CommonPorts(context.Background(), "eu", n)
		if want != got || (want == 0) != (err != nil) || err == nil && len(hosts) != in {
			t.Fatalf("got %d on %d hosts (%v), want %d on %d", got, len(hosts), err, want, in)
		}
		if err != nil && fault.CodeOf(err) != fault.CodeNoCapacity {
			t.Fatal(err)
		}
	})
}

func takes(h *host.Host) bool {
	return (h.State == host.StateOnline || h.State == "") && (h.Health == host.Healthy || h.Health == "") && !h.Reserved
}

func TestHierarchy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPool(t)
		from, depth := rapid.IntRange(0, 3).Draw(t, "from"), rapid.IntRange(1, 4).Draw(t, "depth")
		list, err := p.service().Hierarchy(context.Background(), operator, host.Levels()[from], depth)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := p.service().Hierarchy(context.Background(), operator, host.Levels()[from], depth)
		if fmt.Sprint(list) != fmt.Sprint(again) {
			t.Fatalf("%v\nand then %v", list, again)
		}
		var check func(list []host.Branch, level int) (hosts, open int, units int64)
		check = func(list []host.Branch, level int) (hosts, open int, units int64) {
			for _, b := range list {
				if b.Level != host.Levels()[level] || (b.Host != "") != (b.Level == host.LevelHost) || b.Hosts == 0 {
					t.Fatalf("%+v", b)
				}
				if last := level == 3 || level == from+depth-1; last != (len(b.Branches) == 0) {
					t.Fatalf("level %d: %+v", level, b)
				} else if !last {
					h, o, u := check(b.Branches, level+1)
					if h != b.Hosts || o != b.Online || u != b.Units {
						t.Fatalf("%d hosts, %d open, %d units below %+v", h, o, u, b)
					}
				}
				hosts, open, units = hosts+b.Hosts, open+b.Online, units+b.Units
			}
			return hosts, open, units
		}
		hosts, open, units := check(list, from)
		wantOpen, wantUnits := 0, int64(0)
		for i := range p.hosts {
			wantUnits += p.hosts[i].Used.Units
			if takes(&p.hosts[i]) {
				wantOpen++
			}
		}
		if hosts != len(p.hosts) || open != wantOpen || units != wantUnits {
			t.Fatalf("%d hosts, %d open, %d units; want %d, %d, %d", hosts, open, units, len(p.hosts), wantOpen, wantUnits)
		}
	})
}

// fits counts how many of a size fit on a host by putting them there; -1: any number.
func (p *pool) fits(h *host.Host, r host.Resources) int {
	const many = 200
	left := pool{hosts: []host.Host{*h}, disks: p.disksOf(h), free: map[host.ID]int{h.ID: many * 2}, group: map[host.ID]int{}}
	n := 0
	for ; n < many && len(left.good(host.Need{Ports: 1, Resources: r})) > 0; n++ {
		left.hosts[0].Used.CPUMillis += r.CPUMillis
		left.hosts[0].Used.MemoryBytes += r.MemoryBytes
		left.fill(&left.hosts[0], r.DiskBytes)
	}
	if n == many {
		return -1
	}
	return min(n, max(0, h.PortHigh-h.PortLow+1-int(h.Used.Units)))
}

func TestStocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPool(t)
		by := oneOf(t, "by", host.Levels()...)
		size := host.Size{Name: "s", Ports: 1, Resources: anyNeed(t).Resources}
		list, err := p.service().Stocks(context.Background(), operator, by, []host.Size{size})
		if err != nil {
			t.Fatal(err)
		}
		type sum struct{ hosts, open, fits int }
		want, seen := map[string]*sum{}, map[string]bool{}
		for i := range p.hosts {
			h := &p.hosts[i]
			domain := h.Domain(by)
			if want[domain] == nil {
				want[domain] = &sum{}
			}
			g := want[domain]
			g.hosts++
			if !takes(h) {
				continue
			}
			g.open++
			if n := p.fits(h, size.Resources); n < 0 || g.fits < 0 {
				g.fits = -1
			} else {
				g.fits += n
			}
		}
		if len(list) != len(want) {
			t.Fatalf("%d groups, want %d: %+v", len(list), len(want), list)
		}
		got := []string{}
		for _, g := range list {
			if seen[g.Group] {
				t.Fatalf("two groups are %s", g.Group)
			}
			seen[g.Group] = true
			got = append(got, fmt.Sprint(sum{g.Hosts, g.Open, g.Fits["s"]}))
		}
		wanted := []string{}
		for _, g := range slices.Collect(maps.Values(want)) {
			wanted = append(wanted, fmt.Sprint(*g))
		}
		slices.SortFunc(got, cmp.Compare[string])
		slices.SortFunc(wanted, cmp.Compare[string])
		if !slices.Equal(got, wanted) {
			t.Fatalf("%+v\nwant %v", list, wanted)
		}
	})
}
