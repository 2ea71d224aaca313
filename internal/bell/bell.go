// Package bell wakes whoever waits, in this process and in others, so that nobody has to
// look again and again. It owns the Bell, its rings and the bell of one process. It knows
// nothing of what the rings are about: who rings owns the kinds.
package bell

import (
	"sync"
	"time"
)

// Bell tells all processes at once that there is something to look at, so that
// nobody has to look again and again. It is not trusted with anything: a ring may be
// lost, late, doubled or about nothing, so whoever listens also looks by itself,
// more rarely.
type Bell interface {
	// Ring tells all who listen, here and in other processes. It neither waits nor
	// fails.
	Ring(Ring)
	// Listen has hear called for every ring of the kind, until stop has returned; with
	// an empty ID where rings may have been missed. hear must not wait.
	Listen(kind Kind, hear func(id string)) (stop func())
	// Connected reports whether rings of other processes are heard now.
	Connected() bool
}

// Ring says what there is to look at. It carries ids only.
type Ring struct {
	Kind Kind
	ID   string
}

// Kind says what has happened.
type Kind string

// Signals gives a channel that holds one signal after any number of rings, of the ID
// only where one is given. A ring that comes between a look and the wait for the
// channel is in the channel.
func Signals(bell Bell, kind Kind, id string) (rung <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	stop = bell.Listen(kind, func(of string) {
		if id == "" || of == "" || of == id {
			Signal(c)
		}
	})
	return c, stop
}

// Signal leaves a signal, unless there is one already.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Interval gives how long to wait for a ring before looking unasked: connected, or less
// (deaf) while rings of other processes are not heard.
func Interval(bell Bell, connected, deaf time.Duration) time.Duration {
	if bell.Connected() {
		return connected
	}
	return deaf
}

// Local is a Bell for one process, and what others are made of.
type Local struct {
	mu  sync.RWMutex
	all map[Kind]map[*func(string)]struct{}
}

var _ Bell = (*Local)(nil)

// Ring implements Bell.
func (b *Local) Ring(r Ring) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for hear := range b.all[r.Kind] {
		(*hear)(r.ID)
	}
}

// Missed tells everybody that rings may have been missed.
func (b *Local) Missed() {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, kind := range b.all {
		for hear := range kind {
			(*hear)("")
		}
	}
}

// Listen implements Bell.
func (b *Local) Listen(kind Kind, hear func(id string)) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = map[Kind]map[*func(string)]struct{}{}
	}
	if b.all[kind] == nil {
		b.all[kind] = map[*func(string)]struct{}{}
	}
	b.all[kind][&hear] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.all[kind], &hear)
	}
}

// Connected implements Bell: it knows of no other processes.
func (b *Local) Connected() bool { return false }
