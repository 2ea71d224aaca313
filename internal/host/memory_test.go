package host

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// fewPorts has no ports on some hosts.
type fewPorts struct {
	Ports
	none map[ID]bool
}

func (f fewPorts) Available(_ context.Context, h Host, _ int) (bool, error) {
	return !f.none[h.ID], nil
}

// shelf has hosts, and counts how often they are read.
type shelf struct {
	PlacementStore
	hosts []Host
	gate  chan struct{} // nil: nobody waits
	asked chan struct{} // is told of a reader that waits

	mu    sync.Mutex
	reads int
}

func (s *shelf) HostsInShort(context.Context) ([]Host, error) {
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	if s.gate != nil {
		s.asked <- struct{}{}
		<-s.gate
	}
	return s.hosts, nil
}

func (s *shelf) Disks(context.Context, ID) ([]Disk, error) { return nil, nil }

func (s *shelf) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

func hostsOf(n int) []Host {
	list := make([]Host, n)
	for i := range list {
		list[i] = Host{ID: ID(fmt.Sprintf("hst_%04d", i)), State: StateOnline, Capacity: Capacity{MemoryBytes: 100}}
	}
	return list
}

// Whatever most hosts are like, the one that fits is found, and of two that fit the emptier one is
// taken more often.
func TestChooseOfMany(t *testing.T) {
	all := hostsOf(200)
	for i := range all {
		all[i].Used.MemoryBytes = 100
	}
	all[77].Used.MemoryBytes = 0
	p := &Placement{Store: &shelf{hosts: all}, Ports: fewPorts{}, Now: time.Now}
	need := Need{Ports: 1, Resources: Resources{MemoryBytes: 10}}
	if h, err := p.Choose(t.Context(), need); err != nil || h.ID != all[77].ID {
		t.Errorf("%s, %v", h.ID, err)
	}
	if err := p.Check(t.Context(), need); err != nil {
		t.Error(err)
	}
	p.Ports = fewPorts{none: map[ID]bool{all[77].ID: true}}
	if h, err := p.Choose(t.Context(), need); fault.CodeOf(err) != fault.CodePortsExhausted {
		t.Errorf("without ports: %s, %v", h.ID, err)
	}

	for i := range all {
		all[i].Used.MemoryBytes = int64(i % 2 * 50)
	}
	p = &Placement{Store: &shelf{hosts: all}, Ports: fewPorts{}, Now: time.Now}
	emptier := 0
	for range 1000 {
		if h, err := p.Choose(t.Context(), need); err != nil {
			t.Fatal(err)
		} else if h.Used.MemoryBytes == 0 {
			emptier++
		}
	}
	if emptier < 650 || emptier > 850 { // three of four
		t.Errorf("the emptier half was chosen %d times of 1000", emptier)
	}
}

// Many hosts are read once, and by one at a time while others go on; few are read each time.
func TestMemory(t *testing.T) {
	now := time.Unix(1000, 0)
	s := &shelf{hosts: hostsOf(100)}
	p := &Placement{Store: s, Ports: fewPorts{}, Now: func() time.Time { return now }}
	choose := func() {
		t.Helper()
		if _, err := p.Choose(t.Context(), Need{}); err != nil {
			t.Fatal(err)
		}
	}
	choose()
	choose()
	if s.count() != 1 {
		t.Errorf("read %d times", s.count())
	}
	p.Forget()
	choose()
	if s.count() != 2 {
		t.Errorf("read %d times after Forget", s.count())
	}

	now, s.gate, s.asked = now.Add(time.Minute), make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.Choose(t.Context(), Need{})
	}()
	<-s.asked
	choose() // on what is known, while the other one reads
	close(s.gate)
	<-done
	if s.count() != 3 {
		t.Errorf("read %d times by two", s.count())
	}

	few := &shelf{hosts: hostsOf(3)}
	p = &Placement{Store: few, Ports: fewPorts{}, Now: func() time.Time { return now }}
	choose()
	choose()
	if few.count() != 2 {
		t.Errorf("few hosts were read %d times", few.count())
	}
}
