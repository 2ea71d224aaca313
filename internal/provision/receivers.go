package provision

import (
	"sync"
	"time"
)

const (
	// maxInFlight is how many deliveries go to one receiver at once, from one process.
	// One that fails gets them one by one.
	maxInFlight = 2
	// maxFailing is how many places all those together have that failed the last time:
	// half of the worker's pool, so that any number of dead receivers leaves the rest to
	// the living.
	maxFailing = 16
	// shortestWait and longestWait bound how long a delivery that finds its receiver
	// busy is put back.
	shortestWait = time.Second
	longestWait  = 30 * time.Second
	// maxKnown bounds what is remembered of receivers that fail.
	maxKnown = 10_000
)

// receivers lets each receiver have a few deliveries at a time, so that one who is
// slow or dead never takes the places of the others. Its zero value is ready.
type receivers struct {
	mu      sync.Mutex
	by      map[string]*receiver
	failing int // places held by those that failed before they took it
}

// place is the right to send to one receiver.
type place struct {
	receiver string
	failing  bool // it counts among those
}

type receiver struct {
	inFlight int
	failing  bool          // the last attempt failed
	began    time.Time     // when a place was last taken
	took     time.Duration // what an attempt takes, roughly
	line     time.Time     // when the last of those that were put back will have its turn
}

func (r *receiver) limit() int {
	if r.failing {
		return 1
	}
	return maxInFlight
}

// enter takes a place. Where there is none, it says how long to stay away: the more
// are waiting and the slower the receiver is, the longer, so that a long line costs
// few looks.
func (r *receivers) enter(name string, now time.Time) (p place, wait time.Duration, ok bool) {
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
	if one.inFlight < one.limit() && (!one.failing || r.failing < maxFailing) {
		if one.failing {
			r.failing++
		}
		one.inFlight++
		one.began = now
		return place{name, one.failing}, 0, true
	}
	if one.line.Before(now) {
		one.line = now
	}
	pace := max(one.took, now.Sub(one.began), 10*time.Millisecond) // it may be at its first one still
	one.line = one.line.Add(pace / time.Duration(one.limit()))
	if latest := now.Add(longestWait); one.line.After(latest) {
		one.line = latest
	}
	return place{}, max(shortestWait, one.line.Sub(now)), false
}

// sent notes how an attempt went.
func (r *receivers) sent(p place, ok bool, now time.Time, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.by[p.receiver]
	one.began = now // for the next one
	one.failing = !ok
	one.took = (one.took + took) / 2
	if ok {
		one.line = time.Time{} // those who wait are served as fast as it goes
	}
}

// leave gives the place back.
func (r *receivers) leave(p place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.failing {
		r.failing--
	}
	one := r.by[p.receiver]
	if one.inFlight--; one.inFlight == 0 && !one.failing {
		delete(r.by, p.receiver)
	}
}

// forget makes room once very many receivers have failed; it costs them their pace.
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
