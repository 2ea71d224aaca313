package roomstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// poolHost adds a host of the pool with so much to give away, and a disk.
func (s shelf) poolHost(name string, cpu, memory, disk int64) (host.Host, host.Disk) {
	s.Helper()
	h := host.Host{
		ID: host.ID(s.newID(host.Prefix)), Name: name, Endpoint: "tcp://" + name + ":2376", Advertise: name + ".example", Bind: "0.0.0.0",
		PortLow: 20000, PortHigh: 29999, Source: host.FromPool, State: host.StateOnline, Health: host.Healthy, Engine: "engine of " + name,
		Region: "eu", Zone: "eu-1", Rack: "r1", Arch: "amd64", Purpose: "databases", Labels: map[string]string{"generation": "3"},
		Capacity: host.Capacity{Overcommit: host.Overcommit{CPUPercent: 400, CPUMillis: 250}, CPUMillis: cpu, MemoryBytes: memory},
		Found:    host.Found{CPUMillis: 8000, MemoryBytes: 32 << 30, OS: "Debian", Kernel: "6.1", EngineVersion: "28.5.2", StorageDriver: "overlay2", At: at},
		Rev:      1, CreatedAt: at, UpdatedAt: at,
	}
	d := host.Disk{
		ID: host.DiskID(s.newID(host.DiskPrefix)), Host: h.ID, Path: "/data/1", Type: host.DiskSSD, CapacityBytes: disk, State: host.DiskAvailable,
		Enforcement: host.EnforcedByNone, TotalBytes: 10 << 30, FreeBytes: 9 << 30, SeenAt: at, Rev: 1,
	}
	s.commit("InsertHost", func(tx rooms.Tx) error { return errors.Join(tx.InsertHost(h), tx.InsertDisk(d)) })
	return h, d
}

func (s shelf) storedHost(h host.ID) host.Host {
	s.Helper()
	stored, err := s.store.Host(s.ctx, h)
	s.ok(err, "Host")
	return stored
}

func poolHosts(s shelf) {
	h, _ := s.poolHost("one", 1000, 2000, 3000)
	s.same(s.storedHost(h.ID), h, nil)
	update := func(h host.Host) error { return s.tx(func(tx rooms.Tx) error { return tx.UpdateHost(h) }) }
	changed := h
	changed.Name, changed.State, changed.Reason, changed.Reserved, changed.Labels = "uno", host.StateCordoned, "why", true, nil
	changed.Health, changed.HealthNote, changed.HealthSince, changed.Fence = host.Unreachable, "no answer", at, 7
	s.ok(update(changed), "UpdateHost")
	changed.Rev++
	s.same(s.storedHost(h.ID), changed, nil)
	s.code(update(h), fault.CodeConflict, "UpdateHost of one that has changed")
	checked := changed
	checked.Checks, checked.Import = []host.Check{{Name: "swap", Verdict: host.Pass}}, host.ImportOptions{Reserved: true}
	s.ok(update(checked), "UpdateHost")
	changed.Rev++
	short, err := s.store.HostsInShort(s.ctx)
	s.same(short, []host.Host{changed}, err)

	other, _ := s.poolHost("two", 0, 0, 0)
	for what, change := range map[string]func(*host.Host){
		"name":    func(h *host.Host) { h.Name = "uno" },
		"address": func(h *host.Host) { h.Advertise = "one.example" },
		"engine":  func(h *host.Host) { h.Engine = "engine of one" },
	} {
		same := other
		change(&same)
		s.code(update(same), fault.CodeHostExists, "UpdateHost to the "+what+" of another")
		same.ID = host.ID(s.newID(host.Prefix))
		same.Name, same.Advertise, same.Engine = what, what, what
		change(&same)
		s.code(s.tx(func(tx rooms.Tx) error { return tx.InsertHost(same) }), fault.CodeHostExists, "InsertHost with the "+what+" of another")
	}
	joining := other
	joining.ID, joining.Name, joining.Advertise, joining.Engine = host.ID(s.newID(host.Prefix)), "three", "three.example", "" // nobody knows yet
	s.commit("InsertHost", func(tx rooms.Tx) error { return tx.InsertHost(joining) })
	joining.ID, joining.Name, joining.Advertise = host.ID(s.newID(host.Prefix)), "four", "four.example"
	s.commit("InsertHost", func(tx rooms.Tx) error { return tx.InsertHost(joining) })

	remove := func(h host.Host) error { return s.tx(func(tx rooms.Tx) error { return tx.DeleteHost(h) }) }
	s.code(remove(h), fault.CodeConflict, "DeleteHost of one that has changed")
	s.ok(remove(changed), "DeleteHost")
	if _, err := s.store.Host(s.ctx, h.ID); !errors.Is(err, fault.ErrNotFound) {
		s.Fatalf("a deleted host: %v", err)
	}
	if disks, err := s.store.Disks(s.ctx, h.ID); err != nil || len(disks) > 0 {
		s.Fatalf("a deleted host has the disks %v, %v", disks, err)
	}
	h.Rev = 1
	s.commit("InsertHost with what a deleted one had", func(tx rooms.Tx) error { return tx.InsertHost(h) })
}

func hostDisks(s shelf) {
	h, d := s.poolHost("one", 0, 0, 100)
	second := d
	second.ID, second.Path, second.Type = host.DiskID(s.newID(host.DiskPrefix)), "/data/2", host.DiskHDD
	s.commit("InsertDisk", func(tx rooms.Tx) error { return tx.InsertDisk(second) })
	twice := second
	twice.ID = host.DiskID(s.newID(host.DiskPrefix))
	s.code(s.tx(func(tx rooms.Tx) error { return tx.InsertDisk(twice) }), fault.CodeConflict, "InsertDisk at the path of another")
	list, err := s.store.Disks(s.ctx, h.ID)
	s.same(list, []host.Disk{d, second}, err)
	all, err := s.store.Disks(s.ctx, "")
	s.same(all, list, err)

	s.allocate(host.Allocation{Unit: "u", Host: h.ID, Disk: d.ID, Resources: host.Resources{DiskBytes: 60}})
	update := func(d host.Disk) error { return s.tx(func(tx rooms.Tx) error { return tx.UpdateHostDisk(d) }) }
	d.CapacityBytes = 59
	s.code(update(d), fault.CodeConflict, "UpdateHostDisk to less than is used")
	d.CapacityBytes, d.Enforcement = 60, host.EnforcedByLoop
	s.code(update(d), fault.CodeConflict, "UpdateHostDisk to another enforcement while something is on it")
	late := host.Allocation{Unit: "late", Host: h.ID, Disk: second.ID, Enforcement: host.EnforcedByLoop, Resources: host.Resources{DiskBytes: 1}}
	s.code(s.tx(func(tx rooms.Tx) error { return tx.Allocate(late) }), fault.CodeNoCapacity, "Allocate as on a disk of another enforcement")
	d.State, d.FreeBytes, d.Enforcement = host.DiskError, 5, host.EnforcedByNone
	s.ok(update(d), "UpdateHostDisk")
	s.code(update(d), fault.CodeConflict, "UpdateHostDisk of one that has changed")
	d.Rev, d.UsedBytes, d.Units = 2, 60, 1
	s.commit("Disk", func(tx rooms.Tx) error {
		got, err := tx.Disk(d.ID)
		s.same(got, d, err)
		list, err := tx.HostDisks(h.ID)
		s.same(list, []host.Disk{d, second}, err)
		return nil
	})
	remove := func(d host.DiskID) error { return s.tx(func(tx rooms.Tx) error { return tx.DeleteDisk(d) }) }
	s.code(remove(d.ID), fault.CodeConflict, "DeleteDisk of one that is used")
	s.ok(remove(second.ID), "DeleteDisk")
	s.commit("Release", func(tx rooms.Tx) error { return tx.Release("u") })
	d.Enforcement = host.EnforcedByLoop
	s.ok(update(d), "UpdateHostDisk to another enforcement")
	s.allocate(host.Allocation{Unit: "v", Host: h.ID, Disk: d.ID, Enforcement: host.EnforcedByLoop, Resources: host.Resources{DiskBytes: 60}})
	s.commit("Release", func(tx rooms.Tx) error { return tx.Release("v") })
	s.ok(remove(d.ID), "DeleteDisk")
}

func (s shelf) allocate(a host.Allocation) {
	s.Helper()
	s.commit("Allocate", func(tx rooms.Tx) error { return tx.Allocate(a) })
}

// books fails unless what is used of every host and disk is the sum of the allocations, and no
// more than there is.
func (s shelf) books() {
	s.Helper()
	s.commit("read the books", func(tx rooms.Tx) error {
		hosts, err := tx.AllHosts()
		s.ok(err, "AllHosts")
		for _, h := range hosts {
			var want host.Used
			onDisk := map[host.DiskID]int64{}
			units, err := tx.Holding(host.AllocationFilter{Host: h.ID})
			s.ok(err, "Holding")
			for _, unit := range units {
				a, err := tx.Allocation(unit)
				s.ok(err, "Allocation")
				want.CPUMillis += a.Resources.CPUMillis
				want.MemoryBytes += a.Resources.MemoryBytes
				want.Units++
				onDisk[a.Disk] += a.Resources.DiskBytes
			}
			if h.Used != want {
				s.Fatalf("host %s: %+v is used, the allocations are %+v", h.Name, h.Used, want)
			}
			if c := h.Capacity; c.CPUMillis > 0 && h.Used.CPUMillis > c.CPUMillis || c.MemoryBytes > 0 && h.Used.MemoryBytes > c.MemoryBytes {
				s.Fatalf("host %s: %+v is used of %+v", h.Name, h.Used, c)
			}
			disks, err := tx.HostDisks(h.ID)
			s.ok(err, "HostDisks")
			for _, d := range disks {
				if d.UsedBytes != onDisk[d.ID] || d.CapacityBytes > 0 && d.UsedBytes > d.CapacityBytes {
					s.Fatalf("disk %s: %d of %d is used, the allocations are %d", d.ID, d.UsedBytes, d.CapacityBytes, onDisk[d.ID])
				}
			}
		}
		return nil
	})
}

func allocations(s shelf) {
	h, d := s.poolHost("one", 0, 0, 0)
	a := host.Allocation{
		Unit: "u", Tenant: owner, Host: h.ID, Disk: d.ID, Resources: host.Resources{CPUMillis: 5, MemoryBytes: 6, DiskBytes: 7}, Ports: 2, Holder: "g",
		Job: "job_1", CreatedAt: at,
	}
	s.allocate(a)
	elsewhere, _ := s.poolHost("two", 0, 0, 0)
	s.commit("Situation", func(tx rooms.Tx) error {
		first, err := tx.TakePort(h, a.Unit, "one", at)
		s.ok(err, "TakePort")
		second, err := tx.TakePort(h, a.Unit, "two", at)
		s.ok(err, "TakePort")
		other := d
		other.ID, other.Path = host.DiskID(s.newID(host.DiskPrefix)), "/data/2"
		s.ok(tx.InsertDisk(other), "InsertDisk")
		of, err := tx.Situation(h.ID, a.Unit)
		s.same(of.Ports, map[string]int{"one": first, "two": second}, err)
		s.same([]host.DiskID{of.Disks[0].ID, of.Disks[1].ID, of.Disk}, []host.DiskID{d.ID, other.ID, d.ID}, err)
		s.same([]int{len(of.Disks), int(of.Disks[0].Units)}, []int{2, 1}, err)
		away, err := tx.Situation(elsewhere.ID, a.Unit)
		s.same([]any{away.Host, away.Disk, len(away.Ports), len(away.Disks)}, []any{h.ID, d.ID, 0, 1}, err)
		nothing, err := tx.Situation("nowhere", a.Unit)
		s.same([]any{nothing.Host, len(nothing.Ports), len(nothing.Disks)}, []any{host.ID(""), 0, 0}, err)
		return errors.Join(tx.RestPorts(a.Unit, at), tx.DeleteDisk(other.ID))
	})
	resize := func(unit host.UnitID, to host.Resources) error {
		return s.tx(func(tx rooms.Tx) error { return tx.Resize(unit, to.CPUMillis, to.MemoryBytes) })
	}
	for _, to := range []host.Resources{{DiskBytes: 7}, {DiskBytes: 7}, {CPUMillis: 1, MemoryBytes: 2, DiskBytes: 7}, a.Resources} {
		s.ok(resize(a.Unit, to), "Resize")
		s.books()
		found, err := s.store.Allocations(s.ctx, host.AllocationFilter{Unit: a.Unit}, "", 10)
		s.same(found[0].Resources, to, err)
	}
	s.code(resize("nobody", a.Resources), fault.CodeNotFound, "Resize of what has nothing")
	got, err := s.store.Allocations(s.ctx, host.AllocationFilter{}, "", 10)
	s.same(got, []host.Allocation{a}, err)
	s.code(s.tx(func(tx rooms.Tx) error { return tx.Allocate(a) }), fault.CodeConflict, "Allocate twice")
	s.books()
	s.commit("Release", func(tx rooms.Tx) error { return errors.Join(tx.Release("u"), tx.Release("u"), tx.Release("never")) })
	s.books()
	if got := s.storedHost(h.ID).Used; got != (host.Used{}) {
		s.Fatalf("%+v is used after a release", got)
	}
	s.commit("LockGroups", func(tx rooms.Tx) error { return errors.Join(tx.LockGroups(owner), tx.LockGroups(owner)) })
}

func allocationGuard(s shelf) {
	for _, test := range []struct {
		name              string
		cpu, memory, disk int64
		fits              bool
	}{
		{"all that there is", 10, 20, 30, true}, {"nothing", 0, 0, 0, true}, {"too much cpu", 11, 1, 1, false},
		{"too much memory", 1, 21, 1, false}, {"too much disk", 1, 1, 31, false},
	} {
		h, d := s.poolHost("h"+fmt.Sprint(test.cpu, "-", test.memory, "-", test.disk), 10, 20, 30)
		a := host.Allocation{Unit: host.UnitID("u" + h.Name), Host: h.ID, Disk: d.ID, Resources: host.Resources{CPUMillis: test.cpu, MemoryBytes: test.memory, DiskBytes: test.disk}}
		err := s.tx(func(tx rooms.Tx) error { return tx.Allocate(a) })
		if test.fits != (err == nil) || err != nil && fault.CodeOf(err) != fault.CodeNoCapacity {
			s.Errorf("%s: %v", test.name, err)
		}
		s.books()
		if !test.fits {
			continue
		}
		more := func(r host.Resources) error {
			return s.tx(func(tx rooms.Tx) error { return tx.Resize(a.Unit, r.CPUMillis, r.MemoryBytes) })
		}
		for _, size := range []host.Resources{{CPUMillis: 11}, {MemoryBytes: 21}} {
			s.code(more(size), fault.CodeNoCapacity, "Resize to more than there is")
		}
		s.ok(more(host.Resources{}), "Resize to nothing")
		s.ok(more(a.Resources), "Resize")
		s.books()
		smaller := s.storedHost(h.ID)
		smaller.Capacity.CPUMillis = 9
		if err := s.tx(func(tx rooms.Tx) error { return tx.UpdateHost(smaller) }); (test.cpu > 9) != errors.Is(err, fault.ErrConflict) {
			s.Errorf("%s: less than is used: %v", test.name, err)
		}
		if err := s.tx(func(tx rooms.Tx) error { return tx.DeleteHost(s.rowOf(tx, h.ID)) }); !errors.Is(err, fault.ErrConflict) {
			s.Errorf("%s: DeleteHost of one that is used: %v", test.name, err)
		}
	}
}

func (s shelf) rowOf(tx rooms.Tx, h host.ID) host.Host {
	row, err := tx.HostRow(h)
	s.ok(err, "HostRow")
	return row
}

// allocationRace has more takers than room, who give back and take again, each transaction of
// which may fail in the middle.
func allocationRace(s shelf) {
	const takers, rounds, room = 10, 8, 4
	h, d := s.poolHost("one", room*100, room*1000, room*10)
	failed := errors.New("in the middle")
	for _, err := range testenv.Together(takers, func(n int) error {
		unit := host.UnitID(fmt.Sprint("ins_", n))
		for got := 0; got < rounds; {
			breaks := rand.IntN(4) == 0 //nolint:gosec // a test
			err := s.tx(func(tx rooms.Tx) error {
				err := tx.Allocate(host.Allocation{Unit: unit, Host: h.ID, Disk: d.ID, Resources: host.Resources{CPUMillis: 100, MemoryBytes: 1000, DiskBytes: 10}})
				if err == nil && breaks {
					err = failed
				}
				return err
			})
			switch {
			case err == nil:
				got++
				if err := s.tx(func(tx rooms.Tx) error { return tx.Release(unit) }); err != nil {
					return err
				}
			case errors.Is(err, failed), errors.Is(err, host.ErrNoShare):
				if s.ctx.Err() != nil {
					return s.ctx.Err()
				}
			default:
				return err
			}
		}
		return nil
	}) {
		s.ok(err, "a taker")
	}
	s.books()
}

func allocationFilters(s shelf) {
	one, _ := s.poolHost("one", 0, 0, 0)
	two, _ := s.poolHost("two", 0, 0, 0)
	for i, a := range []host.Allocation{
		{Host: one.ID, Tenant: owner, Holder: "g", Job: "job_1"}, {Host: one.ID, Tenant: owner, Holder: "g", Job: "job_2"},
		{Host: two.ID, Tenant: owner, Holder: "g", Job: "job_1"}, {Host: two.ID, Tenant: "other", Holder: "g", Job: "job_3"}, {Host: two.ID, Tenant: owner},
	} {
		a.Unit, a.CreatedAt = host.UnitID(fmt.Sprint("u", i)), at
		s.allocate(a)
	}
	for _, test := range []struct {
		filter host.AllocationFilter
		want   []host.UnitID
	}{
		{host.AllocationFilter{Unit: "u1"}, []host.UnitID{"u1"}},
		{host.AllocationFilter{Host: one.ID}, []host.UnitID{"u0", "u1"}},
		{host.AllocationFilter{Tenant: owner, Holder: "g"}, []host.UnitID{"u0", "u1", "u2"}},
		{host.AllocationFilter{Tenant: owner, Holder: "h"}, nil},
		{host.AllocationFilter{Job: "job_1"}, []host.UnitID{"u0", "u2"}},
		{host.AllocationFilter{Job: id.Job("job_1"), Host: two.ID}, []host.UnitID{"u2"}},
	} {
		s.commit("Holding", func(tx rooms.Tx) error {
			got, err := tx.Holding(test.filter)
			if err == nil && !slices.Equal(got, test.want) {
				s.Errorf("%+v: got %v, want %v", test.filter, got, test.want)
			}
			return err
		})
		got, err := s.store.Allocations(s.ctx, test.filter, "", 10)
		s.ok(err, "Allocations")
		if units := ids(got, func(a host.Allocation) host.UnitID { return a.Unit }); !slices.Equal(units, test.want) && len(units)+len(test.want) > 0 {
			s.Errorf("%+v: read %v, want %v", test.filter, units, test.want)
		}
	}
	page, err := s.store.Allocations(s.ctx, host.AllocationFilter{}, "u1", 2)
	if units := ids(page, func(a host.Allocation) host.UnitID { return a.Unit }); err != nil || !slices.Equal(units, []host.UnitID{"u2", "u3"}) {
		s.Errorf("a page is %v, %v", units, err)
	}
	for of, want := range map[tenant.ID]map[host.ID]int{owner: {one.ID: 2, two.ID: 1}, "other": {two.ID: 1}} {
		got, err := s.store.Spread(s.ctx, of, "g")
		s.same(got, want, err)
	}
	s.commit("GiveBack of a job", func(tx rooms.Tx) error {
		return host.GiveBack(tx, host.AllocationFilter{Job: "job_1"}, at.Add(time.Minute))
	})
	left, err := s.store.Allocations(s.ctx, host.AllocationFilter{}, "", 10)
	if units := ids(left, func(a host.Allocation) host.UnitID { return a.Unit }); err != nil || !slices.Equal(units, []host.UnitID{"u1", "u3", "u4"}) {
		s.Errorf("left is %v, %v", units, err)
	}
	s.books()
}
