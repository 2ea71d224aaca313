package host

import (
	"context"
	"fmt"

	"github.com/berth-project/berth/internal/fault"
)

// neighbors are the hosts and the places that a new host is checked against.
type neighbors struct {
	// taken has the hosts by the names and addresses that a new one cannot have. One whose import
	// has failed may be imported again.
	taken  map[string]*Host
	names  map[string]bool  // of all hosts, in whatever state
	nodes  map[string]*Host // by the ids of the nodes of swarms that they are
	places map[[2]string]bool
}

func neighborsOf(hosts []Host, places []Place) *neighbors {
	in := &neighbors{taken: map[string]*Host{}, names: map[string]bool{}, nodes: map[string]*Host{}, places: map[[2]string]bool{}}
	for i := range hosts {
		in.add(&hosts[i])
	}
	for _, p := range places {
		in.places[[2]string{p.Region, p.Zone}] = true
	}
	return in
}

// neighbors reads them, but for what is long of a host.
func (s *Service) neighbors(ctx context.Context) (*neighbors, error) {
	hosts, err := s.cfg.Store.HostsInShort(ctx)
	if err != nil {
		return nil, err
	}
	places, err := s.cfg.Store.Places(ctx)
	return neighborsOf(hosts, places), err
}

func (in *neighbors) add(h *Host) {
	in.names[h.Name] = true
	if node, _ := nodeOf(h.Endpoint); node != "" {
		in.nodes[node] = h
	}
	if h.State == StateFailed {
		in.taken["failed "+h.Name], in.taken["failed at "+h.Advertise] = h, h
		return
	}
	in.taken["name "+h.Name] = h
	if h.Source == FromPool {
		in.taken["address "+h.Advertise] = h
	}
}

// refuse says what the candidate has that another host has already, and where it cannot be.
func (in *neighbors) refuse(c Candidate) (wrong []fault.FieldError) {
	add := func(field, format string, args ...any) {
		wrong = append(wrong, fault.FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if c.Region != "" && c.Zone != "" && !in.places[[2]string{c.Region, c.Zone}] {
		add("zone", "there is no zone %s in region %s; add it first", c.Zone, c.Region)
	}
	if other := in.taken["failed at "+c.Address]; other != nil && other.Name != c.Name {
		add("address", "is that of host %s (%s), whose import has failed: import it by that name, or delete it", other.Name, other.ID)
	}
	if other := in.taken["name "+c.Name]; other != nil {
		add("name", "is that of host %s (%s)", other.Name, other.ID)
	}
	if other := in.taken["address "+c.Address]; other != nil {
		add("address", "is that of host %s (%s)", other.Name, other.ID)
	}
	return wrong
}
