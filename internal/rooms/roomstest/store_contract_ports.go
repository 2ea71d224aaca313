package roomstest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/testenv"
)

// portHost gives a host with these ports.
func (s shelf) portHost(low, high int) host.Host {
	s.Helper()
	h := host.Host{ID: host.ID(s.newID(host.Prefix)), PortLow: low, PortHigh: high}
	h.Name = string(h.ID)
	s.commit("PutHost", func(tx rooms.Tx) error { _, err := tx.PutHost(h); return err })
	return h
}

func (s shelf) takePort(h host.Host, i instance.ID, now time.Time) (port int, err error) {
	err = s.tx(func(tx rooms.Tx) error {
		port, err = tx.TakePort(h, host.UnitID(i), "redis", now)
		return err
	})
	return port, err
}

// takePorts takes so many ports, all for the instance "later", that gives them back
// later.
func (s shelf) takePorts(h host.Host, now time.Time, n int) []int {
	s.Helper()
	ports := make([]int, n)
	for i := range ports {
		var err error
		ports[i], err = s.takePort(h, "later", now)
		s.ok(err, "TakePort")
	}
	return ports
}

func (s shelf) restPort(h host.Host, port int, i instance.ID, until time.Time) {
	s.Helper()
	s.commit("RestPort", func(tx rooms.Tx) error { return tx.RestPort(h.ID, port, host.UnitID(i), until) })
}

func (s shelf) portsLeft(h host.Host, now time.Time, want bool) {
	s.Helper()
	free, err := s.store.PortsFree(s.ctx, h, now)
	if err != nil || (free > 0) != want {
		s.Fatalf("PortsFree: %d, %v, want some: %v", free, err, want)
	}
	for n := 1; n <= free+2; n++ {
		if left, err := s.store.PortsLeft(s.ctx, h, n, now); err != nil || left != (n <= free) {
			s.Fatalf("PortsLeft of %d, where %d are free: %v, %v", n, free, left, err)
		}
	}
	if !want {
		_, err := s.takePort(h, "one-too-many", now)
		s.code(err, fault.CodePortsExhausted, "TakePort when none is left")
	}
}

func (s shelf) wantPorts(got []int, want ...int) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Fatalf("got the ports %v, want %v", got, want)
	}
}

func portsFresh(s shelf) {
	h, other := s.portHost(20000, 20003), s.portHost(20000, 20003)
	s.wantPorts(s.takePorts(h, at, 2), 20000, 20001)
	s.restPort(h, 20000, "later", at) // free at once, but there are fresh ones
	s.wantPorts(s.takePorts(h, at, 2), 20002, 20003)
	s.portsLeft(h, at, true)
	s.wantPorts(s.takePorts(h, at, 1), 20000)
	s.portsLeft(h, at, false)
	s.portsLeft(other, at, true)
	s.wantPorts(s.takePorts(other, at, 1), 20000)
}

// portsRest frees ports in another order than they were taken.
func portsRest(s shelf) {
	h := s.portHost(20000, 20002)
	s.takePorts(h, at, 3)
	s.restPort(h, 20001, "later", at.Add(time.Minute))
	s.restPort(h, 20000, "later", at.Add(2*time.Minute))
	s.portsLeft(h, at, false)
	s.portsLeft(h, at.Add(time.Minute-time.Millisecond), false)
	s.portsLeft(h, at.Add(time.Minute), true)
	s.restPort(h, 20002, "later", at.Add(30*time.Second))
	s.wantPorts(s.takePorts(h, at.Add(time.Hour), 3), 20002, 20001, 20000)
	s.portsLeft(h, at.Add(time.Hour), false)
}

// heldPort gives the port that the unit holds under the name; 0: none.
func heldPort(tx rooms.Tx, h host.Host, unit host.UnitID, name string) (int, error) {
	has, err := tx.Situation(h.ID, unit)
	return has.Ports[name], err
}

func portsHolder(s shelf) {
	h := s.portHost(20000, 20009)
	held := func(i instance.ID, name string) (port int, err error) {
		err = s.tx(func(tx rooms.Tx) error {
			port, err = heldPort(tx, h, host.UnitID(i), name)
			return err
		})
		return port, err
	}
	s.commit("TakePort", func(tx rooms.Tx) error {
		for _, of := range []struct {
			i    instance.ID
			name string
		}{{"a", "api"}, {"a", "web"}, {"b", "api"}} {
			port, err := tx.TakePort(h, host.UnitID(of.i), of.name, at)
			if err != nil {
				return err
			}
			if again, err := heldPort(tx, h, host.UnitID(of.i), of.name); err != nil || again != port {
				s.Errorf("Situation in the same transaction: %d, %v, want %d", again, err, port)
			}
		}
		return nil
	})
	want := func(i instance.ID, name string, port int) {
		s.Helper()
		got, err := held(i, name)
		if err != nil || got != port {
			s.Fatalf("%s holds %d as %s, %v, want %d", i, got, name, err, port)
		}
	}
	want("a", "api", 20000)
	want("a", "web", 20001)
	want("b", "api", 20002)
	want("b", "web", 0)
	want("c", "api", 0)

	elsewhere := func(host host.ID) {
		s.commit("RestPortsElsewhere", func(tx rooms.Tx) error { return tx.RestPortsElsewhere("c", host, at) })
	}
	away := s.portHost(20000, 20009)
	for _, on := range []host.Host{h, away} {
		s.commit("TakePort", func(tx rooms.Tx) error {
			_, err := tx.TakePort(on, "c", "api", at)
			return err
		})
	}
	elsewhere(h.ID)
	want("c", "api", 20003)
	want("a", "api", 20000)
	elsewhere(away.ID) // it has none there by now
	want("c", "api", 0)
	want("b", "api", 20002)

	s.restPort(h, 20000, "b", at)                                                   // it is not b's
	s.restPort(s.portHost(20000, 20009), 20000, "a", at)                            // another host's
	s.restPort(h, 29999, "a", at)                                                   // nobody's
	s.commit("RestPorts", func(tx rooms.Tx) error { return tx.RestPorts("c", at) }) // has none
	want("a", "api", 20000)
	s.restPort(h, 20000, "a", at)
	want("a", "api", 0)
	want("a", "web", 20001)
	s.commit("RestPorts", func(tx rooms.Tx) error { return errors.Join(tx.RestPorts("a", at), tx.RestPorts("a", at)) })
	want("a", "web", 0)
	want("b", "api", 20002)
}

// portsRange changes the host's range while ports are held and rest.
func portsRange(s shelf) {
	h := s.portHost(20002, 20007)
	s.takePorts(h, at, 6)
	s.restPort(h, 20002, "later", at)
	s.restPort(h, 20006, "later", at)

	h.PortLow, h.PortHigh = 20003, 20005 // narrowed: what is outside is not given, held or free
	s.portsLeft(h, at, false)
	s.restPort(h, 20004, "later", at)
	s.wantPorts(s.takePorts(h, at, 1), 20004)

	h.PortLow, h.PortHigh = 20002, 20008 // widened upwards
	s.wantPorts(s.takePorts(h, at, 1), 20008)
	got := s.takePorts(h, at, 2)
	slices.Sort(got)
	s.wantPorts(got, 20002, 20006)
	s.portsLeft(h, at, false)

	h.PortLow = 20000 // widened downwards
	s.portsLeft(h, at, true)
	got = s.takePorts(h, at, 2)
	slices.Sort(got)
	s.wantPorts(got, 20000, 20001)
	s.portsLeft(h, at, false)

	h.PortLow, h.PortHigh = 20020, 20021 // elsewhere
	s.wantPorts(s.takePorts(h, at, 2), 20020, 20021)
	h.PortLow, h.PortHigh = 20000, 20021 // and joined: what lies between
	got = s.takePorts(h, at, 11)
	slices.Sort(got)
	s.wantPorts(got, 20009, 20010, 20011, 20012, 20013, 20014, 20015, 20016, 20017, 20018, 20019)
	s.portsLeft(h, at, false)
}

// portsRace has more takers than ports, who give them back at once.
func portsRace(s shelf) {
	const takers, rounds, ports = 12, 6, 8
	h := s.portHost(20000, 20000+ports-1)
	var holders [ports]atomic.Int32
	var taken atomic.Int32
	for _, err := range testenv.Together(takers, func(n int) error {
		me, got := instance.ID(fmt.Sprint("ins_", n)), 0
		for got < rounds {
			port, err := s.takePort(h, me, at)
			switch {
			case errors.Is(err, fault.ErrConflict) || err != nil && fault.CodeOf(err) == fault.CodePortsExhausted:
				if s.ctx.Err() != nil {
					return s.ctx.Err()
				}
				continue
			case err != nil:
				return err
			}
			got++
			taken.Add(1)
			if !holders[port-h.PortLow].CompareAndSwap(0, int32(n+1)) {
				return fmt.Errorf("port %d has two holders", port)
			}
			if err := s.tx(func(tx rooms.Tx) error {
				if held, err := heldPort(tx, h, host.UnitID(me), "redis"); err != nil || held != port {
					return fmt.Errorf("port %d was taken away: %d, %w", port, held, err)
				}
				return nil
			}); err != nil {
				return err
			}
			holders[port-h.PortLow].Store(0)
			if err := s.tx(func(tx rooms.Tx) error { return tx.RestPorts(host.UnitID(me), at) }); err != nil {
				return err
			}
		}
		return nil
	}) {
		s.ok(err, "a taker")
	}
	if taken.Load() != takers*rounds {
		s.Fatalf("%d taken, want %d", taken.Load(), takers*rounds)
	}
}
