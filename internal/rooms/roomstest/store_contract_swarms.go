package roomstest

import (
	"errors"
	"strings"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/rooms"
)

func swarms(s shelf) {
	// An endpoint may be as long, that of a host, too.
	long := "swarm://" + strings.Repeat("m", 504)
	one := host.Swarm{Name: "one", Endpoint: long, Region: "eu", Zone: "eu-1", Reserved: true, Rev: 1, CreatedAt: at}
	two := host.Swarm{Name: "two", Endpoint: "swarm://m:1?data=/ünïcode", Region: "eu", Rev: 1, CreatedAt: at}
	s.commit("InsertSwarm", func(tx rooms.Tx) error { return errors.Join(tx.InsertSwarm(two), tx.InsertSwarm(one)) })
	s.code(s.tx(func(tx rooms.Tx) error { return tx.InsertSwarm(one) }), fault.CodeConflict, "InsertSwarm twice")
	list, err := s.store.Swarms(s.ctx)
	s.same(list, []host.Swarm{one, two}, err)

	see := func(sw host.Swarm) error { return s.tx(func(tx rooms.Tx) error { return tx.SeeSwarm(sw) }) }
	seen := one
	seen.Nodes = []host.Node{{
		ID: "n1", Hostname: "m1", Address: "10.0.0.1", State: "ready", Availability: "active", Labels: map[string]string{"zone": "eu-1", "té": `"'\`},
	}, {ID: "n2"}}
	seen.SeenAt, seen.Error = at, "no answer"
	changed := seen
	changed.Endpoint, changed.Region, changed.Zone, changed.Reserved = "swarm://other:1", "us", "", false // which are not written
	s.ok(see(changed), "SeeSwarm")
	seen.Rev++
	got, err := s.store.Swarm(s.ctx, "one")
	s.same(got, seen, err)
	s.code(see(one), fault.CodeConflict, "SeeSwarm of one that has changed")
	s.ok(see(seen), "SeeSwarm with the same")
	s.code(see(seen), fault.CodeConflict, "SeeSwarm of one that was seen")

	remove := func(name string) error { return s.tx(func(tx rooms.Tx) error { return tx.DeleteSwarm(name) }) }
	s.ok(remove("one"), "DeleteSwarm")
	for _, name := range []string{"one", "", "ö"} {
		s.code(remove(name), fault.CodeNotFound, "DeleteSwarm of one that is not there")
		if _, err := s.store.Swarm(s.ctx, name); !errors.Is(err, fault.ErrNotFound) {
			s.Errorf("Swarm of one that is not there: %v", err)
		}
	}
	s.code(see(seen), fault.CodeConflict, "SeeSwarm of one that is not there")

	h, _ := s.poolHost("long", 0, 0, 0)
	h.Endpoint = long
	s.ok(s.tx(func(tx rooms.Tx) error { return tx.UpdateHost(h) }), "UpdateHost with a long endpoint")
	if got := s.storedHost(h.ID); got.Endpoint != long {
		s.Errorf("the endpoint is %s", got.Endpoint)
	}
}
