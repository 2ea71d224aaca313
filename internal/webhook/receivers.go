package webhook

import (
	"sync"
	"time"
)

// CourierPlaces is how many deliveries a Courier may be asked to make at once: the
// worker's pool. Attempts that wait for an answer cost little.
const CourierPlaces = 64

const (
	// maxInFlight is how many deliveries go to one receiver at once, from one process.
	// One that fails, or is unknown, gets them one by one.
	maxInFlight = 2
	// maxPoor is how many places those have together that are known to fail or to be
	// slow, and maxUnknown those have of whom nothing is known yet. So any number of
	// them leaves half of the pool to those who are known to be fast.
	maxPoor    = CourierPlaces / 4
	maxUnknown = CourierPlaces / 4
	// maxKnown bounds what is remembered of receivers.
	maxKnown = 10_000
)

// receivers lets each receiver have a few deliveries at a time, so that one who is
// slow or dead never takes the places of the others. Its zero value is ready.
type receivers struct {
	mu    sync.Mutex
	by    map[string]*receiver
	taken [3]int // places, by class
}

// class says which share of the places a receiver is given.
type class int

const (
	fast class = iota
	unknown
	poor // it fails, or is slow
)

// place is the right to send to one receiver.
type place struct {
	receiver string
	class    class
}

// receiver is one that this process has sent to.
type receiver struct {
	inFlight int
	known    bool      // it has had an attempt
	began    time.Time // when an attempt was last begun
	missed   bool      // somebody found no place since
}

// enter takes a place, where there is one.
func (r *receivers) enter(name string, standing Standing, now time.Time) (p place, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]*receiver{}
	}
	one := r.by[name]
	if one == nil {
		r.forget()
		one = &receiver{}
		r.by[name] = one
	}
	p = place{name, one.class(standing)}
	if one.inFlight >= r.limit(one, p.class, standing, now) || !r.share(p.class) {
		one.missed = true
		return place{}, false
	}
	one.inFlight++
	one.began = now
	r.taken[p.class]++
	return p, true
}

func (one *receiver) class(standing Standing) class {
	switch {
	case !standing.well():
		return poor
	case one.known:
		return fast
	default:
		return unknown
	}
}

// limit is how many places the receiver may have. One that is slow gets a second one
// only while others do not need it, and one that was fast none while its answer is
// late.
func (r *receivers) limit(one *receiver, c class, standing Standing, now time.Time) int {
	switch {
	case c == unknown || standing.failing():
		return 1
	case c == poor && r.taken[poor] >= maxPoor/2:
		return 1
	case c == fast && one.inFlight > 0 && now.Sub(one.began) > slowAnswer:
		return 1
	default:
		return maxInFlight
	}
}

func (r *receivers) share(c class) bool {
	switch c {
	case poor:
		return r.taken[poor] < maxPoor
	case unknown:
		return r.taken[unknown] < maxUnknown
	default:
		return true
	}
}

// sent notes that an attempt was made.
func (r *receivers) sent(p place, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.by[p.receiver]
	one.began, one.known = now, true // it begins the next one
}

// leave gives the place back, and reports whether somebody came for one in vain.
func (r *receivers) leave(p place) (missed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken[p.class]--
	one := r.by[p.receiver]
	one.inFlight--
	missed, one.missed = one.missed, false
	return missed
}

// forget makes room once there are very many receivers; they are unknown then.
func (r *receivers) forget() {
	if len(r.by) < maxKnown {
		return
	}
	for name, one := range r.by {
		if one.inFlight == 0 {
			delete(r.by, name)
		}
	}
}
