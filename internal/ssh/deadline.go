package ssh

import (
	"sync"
	"time"
)

// deadline is a time that may be set anew, before and after it has passed. Its zero value is
// none.
type deadline struct {
	mu   sync.Mutex
	sets int           // how often it was set: a timer that fires late is of an earlier one
	stop func() bool   // of the timer; nil: none runs
	over chan struct{} // closed once it has passed
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop()
		d.stop = nil
	}
	d.sets++
	over := d.channel()
	select {
	case <-over: // who waits on it is told; what comes now has a time of its own
		d.over = make(chan struct{})
	default:
	}
	switch until := time.Until(t); {
	case t.IsZero():
	case until <= 0:
		close(d.over)
	default:
		set := d.sets
		d.stop = time.AfterFunc(until, func() { d.pass(set) }).Stop
	}
}

func (d *deadline) pass(set int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sets == set {
		d.stop = nil
		close(d.over)
	}
}

// passed gives a channel that is closed when the time is over.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channel()
}

func (d *deadline) channel() chan struct{} {
	if d.over == nil {
		d.over = make(chan struct{})
	}
	return d.over
}
