package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// fullLimit is above the time until it is noticed that a disk is full, or is not any more: disks are
// looked at twice a minute.
const fullLimit = 50 * time.Second

// TestFullDisks fills a disk of a host, and the one that another's engine keeps everything on: neither
// takes anything more, what is there goes on, and both open again when there is space.
func TestFullDisks(t *testing.T) {
	t.Parallel()
	named := testenv.NewDisk(t, 64)
	hosts := testenv.SmallFleet(t, 2, 400, "redis:8")
	p := newPool(t, 1)
	p.joined(hosts...)
	one, two := hosts[0], hosts[1]
	path := "/hosts/" + p.host(one.Name).text("id") + "/disks"
	id := p.do("POST", path, object{"path": named.Path, "type": "nvme", "capacity": 8 << 30}, 201).text("id")
	states := func(disk, ofOne, ofTwo string) {
		t.Helper()
		p.eventually("the disk is "+disk+" and the host "+ofTwo, fullLimit, func() error {
			if got := p.disk(path, id).text("state"); got != disk {
				return fmt.Errorf("the disk is %s", got)
			}
			return p.health(two.Name, ofTwo)
		})
		if err := p.health(one.Name, ofOne); err != nil {
			t.Error(err)
		}
	}
	fast := object{"disk_type": "nvme"}
	onDisk, onEngine := p.creates("on-disk", fast), p.creates("on-engine", object{"host": two.Name})
	p.uses(onDisk)
	p.uses(onEngine)

	engine := two.Data(t)
	fill, free := func() { named.Fill(); engine.Fill() }, func() { named.Free(); engine.Free() }
	fill()
	states("full", "healthy", "disk_full")
	p.told("host.disk_full", 2)
	p.refused("POST", "/storage/redis/instances", object{"placement": fast}, "no_capacity")
	p.refused("POST", "/storage/redis/instances", object{"placement": object{"host": two.Name}}, "no_capacity")
	for i := range 2 {
		if inst := p.creates(fmt.Sprintf("elsewhere-%d", i), object{"region": "eu"}); inst.below("endpoint").text("host") != one.Address {
			t.Errorf("it was placed on a full host: %v", inst)
		}
	}
	p.reads(onDisk)
	p.reads(onEngine)
	p.books()

	free()
	states("available", "healthy", "healthy")
	p.told("host.disk_ok", 2)
	p.uses(p.creates("on-disk-again", fast))
	p.uses(p.creates("on-engine-again", object{"host": two.Name}))
	p.uses(onDisk)
	p.uses(onEngine)
	if long { // and where nothing is left there that could tell that there is space
		fill()
		states("full", "healthy", "disk_full")
		p.removesAll()
		free()
		states("available", "healthy", "healthy")
		p.uses(p.creates("on-empty-disk", fast))
		p.uses(p.creates("on-empty-engine", object{"host": two.Name}))
	}
	p.emptied(hosts...)
}

// joined imports hosts as they are, each in a rack of its own.
func (p *pool) joined(hosts ...testenv.FleetHost) {
	p.Helper()
	sheet := header
	for i, h := range hosts {
		sheet += row(h, fmt.Sprintf("r%d", i+1))
	}
	if j := p.imports("?skip_init=true", sheet, 5*time.Minute); j.text("state") != "succeeded" {
		p.Fatalf("the import is %v", j)
	}
}

// emptied deletes all instances and the hosts, on which nothing may be left.
func (p *pool) emptied(hosts ...testenv.FleetHost) {
	p.Helper()
	p.removesAll()
	for _, h := range hosts {
		p.succeeded(p.do("DELETE", "/hosts/"+p.host(h.Name).text("id"), nil, 202).text("id"), 2*time.Minute)
		p.left(h)
	}
	p.books()
}

func (p *pool) removesAll() {
	p.Helper()
	for _, i := range p.do("GET", "/storage/instances?limit=200", nil, 200).items() {
		p.succeeded(p.do("DELETE", "/storage/redis/instances/"+i.text("id"), nil, 202).below("job").text("id"), 2*time.Minute)
	}
}

// disk gives the disk with the id among those of the path.
func (p *pool) disk(path, id string) object {
	p.Helper()
	for _, d := range p.do("GET", path, nil, 200).items() {
		if d.text("id") == id {
			return d
		}
	}
	p.Fatalf("there is no disk %s", id)
	return nil
}

// told fails unless so many events of the type tell of hosts.
func (p *pool) told(kind string, want int) {
	p.Helper()
	p.eventually("the events "+kind, 10*time.Second, func() error {
		got := p.column(testenv.OpenDatabase(p.T, p.database), "SELECT message FROM events WHERE type = '"+kind+"'")
		if len(got) != want {
			return fmt.Errorf("%d of %d: %v", len(got), want, got)
		}
		return nil
	})
}
