package ttl_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/ttl"
)

// fake is a clock that stands until it is moved.
type fake struct{ now time.Time }

func (f *fake) move(d time.Duration) { f.now = f.now.Add(d) }

func newFake() *fake { return &fake{time.Unix(1000, 0)} }

func TestForgetsWhenTheTimeIsOver(t *testing.T) {
	var m ttl.Map[string, int]
	clock := newFake()
	check := func(when string, want int, remembered bool) {
		t.Helper()
		if got, ok := m.Get("a", clock.now); got != want || ok != remembered {
			t.Errorf("%s: %d, %v, want %d, %v", when, got, ok, want, remembered)
		}
	}
	check("before", 0, false)
	m.Put("a", 1, clock.now, time.Second)
	check("at once", 1, true)
	clock.move(time.Second - 1)
	check("just before the end", 1, true)
	m.Put("a", 2, clock.now, time.Second)
	clock.move(time.Second - 1)
	check("put again", 2, true)
	clock.move(1)
	check("at the end", 0, false)
	m.Put("a", 3, clock.now, time.Second)
	m.Delete("a")
	check("deleted", 0, false)
}

func TestAddLeavesWhatIsRemembered(t *testing.T) {
	var m ttl.Map[string, int]
	clock := newFake()
	if !m.Add("a", 1, clock.now, time.Second) {
		t.Error("the first was not added")
	}
	clock.move(time.Second - 1)
	if m.Add("a", 2, clock.now, time.Second) {
		t.Error("a second one was added while the first is remembered")
	}
	if got, _ := m.Get("a", clock.now); got != 1 {
		t.Errorf("it remembers %d, want the first", got)
	}
	clock.move(1)
	if !m.Add("a", 3, clock.now, time.Second) {
		t.Error("none was added after the time of the first")
	}
}

func TestAddTellsOneOfMany(t *testing.T) {
	var m ttl.Map[string, int]
	clock := newFake()
	var added atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if m.Add("a", 1, clock.now, time.Second) {
				added.Add(1)
			}
		})
	}
	all.Wait()
	if n := added.Load(); n != 1 {
		t.Errorf("%d of 50 were told that they added it, want 1", n)
	}
}

func TestChangeKeepsTheTime(t *testing.T) {
	var m ttl.Map[string, int]
	clock := newFake()
	more := func(n *int) { *n++ }
	m.Change("a", clock.now, more)
	if _, ok := m.Get("a", clock.now); ok {
		t.Error("what is not remembered was changed")
	}
	m.Put("a", 1, clock.now, time.Second)
	clock.move(time.Second - 1)
	m.Change("a", clock.now, more)
	if got, _ := m.Get("a", clock.now); got != 2 {
		t.Errorf("changed, it is %d, want 2", got)
	}
	clock.move(1)
	if got, ok := m.Get("a", clock.now); ok {
		t.Errorf("changed, it is remembered longer: %d", got)
	}
	m.Change("a", clock.now, func(*int) { t.Error("what is over was changed") })
}

func TestBounded(t *testing.T) {
	var m ttl.Map[int, int]
	clock := newFake()
	remembered := func() (n int) {
		for i := range 3 * ttl.MaxEntries {
			if _, ok := m.Get(i, clock.now); ok {
				n++
			}
		}
		return n
	}
	for i := range ttl.MaxEntries {
		ends := time.Second
		if i < 10 {
			ends = time.Hour
		}
		m.Put(i, i, clock.now, ends)
	}
	clock.move(time.Minute)
	m.Put(ttl.MaxEntries, 0, clock.now, time.Hour)
	if n := remembered(); n != 11 {
		t.Errorf("with room made by what is over, it remembers %d, want 11", n)
	}
	for i := range 3 * ttl.MaxEntries {
		m.Put(i, i, clock.now, time.Hour)
		if _, ok := m.Get(i, clock.now); !ok {
			t.Fatalf("%d was not remembered", i)
		}
	}
	if n := remembered(); n > ttl.MaxEntries {
		t.Errorf("it remembers %d, want at most %d", n, ttl.MaxEntries)
	}
}
