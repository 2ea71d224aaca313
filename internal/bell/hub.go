package bell

import (
	"context"
	"sync"
)

// Hub keeps those who wait for news of things, by the thing's key, while one goroutine
// looks for all of them: however many wait, one look serves the process, and while nobody
// waits there is none. V is what the looking goroutine keeps of each of them.
type Hub[K comparable, V any] struct {
	// Run looks until its context ends, and wakes. It is called by the first to join.
	Run func(context.Context)

	mu    sync.Mutex
	all   map[K]map[*Member[K, V]]struct{}
	stop  context.CancelFunc
	ended chan struct{} // closed when Run has returned
}

// Member is one who waits.
type Member[K comparable, V any] struct {
	Value V // of the looking goroutine; it is touched within Each only

	hub   *Hub[K, V]
	key   K
	woken chan struct{}
}

// Join begins to wait. What is there already is for the member to see after that.
func (h *Hub[K, V]) Join(ctx context.Context, key K, value V) *Member[K, V] {
	h.mu.Lock()
	defer h.mu.Unlock()
	me := &Member[K, V]{Value: value, hub: h, key: key, woken: make(chan struct{}, 1)}
	if len(h.all) == 0 {
		h.all = map[K]map[*Member[K, V]]struct{}{}
		// Others may join and outlast this one.
		runCtx, stop := context.WithCancel(context.WithoutCancel(ctx)) //nolint:gosec // the last member to leave calls stop
		ended := make(chan struct{})
		h.stop, h.ended = stop, ended
		go func() {
			defer close(ended)
			h.Run(runCtx)
		}()
	}
	if h.all[key] == nil {
		h.all[key] = map[*Member[K, V]]struct{}{}
	}
	h.all[key][me] = struct{}{}
	return me
}

// Woken returns a channel that holds a signal when there may be news.
func (m *Member[K, V]) Woken() <-chan struct{} { return m.woken }

// Leave ends the waiting, and with the last member the looking.
func (m *Member[K, V]) Leave() {
	h := m.hub
	h.mu.Lock()
	delete(h.all[m.key], m)
	if len(h.all[m.key]) == 0 {
		delete(h.all, m.key)
	}
	if len(h.all) > 0 {
		h.mu.Unlock()
		return
	}
	ended := h.ended
	h.stop()
	h.mu.Unlock()
	<-ended
}

// Keys returns the keys that somebody waits for.
func (h *Hub[K, V]) Keys() []K {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := make([]K, 0, len(h.all))
	for k := range h.all {
		keys = append(keys, k)
	}
	return keys
}

// Each calls the function with every member. It must not call the hub.
func (h *Hub[K, V]) Each(do func(K, *Member[K, V])) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, members := range h.all {
		for m := range members {
			do(k, m)
		}
	}
}

// Wake wakes those who wait for the key.
func (h *Hub[K, V]) Wake(key K) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for m := range h.all[key] {
		Signal(m.woken)
	}
}

// WakeAll wakes all.
func (h *Hub[K, V]) WakeAll() { h.Each(func(_ K, m *Member[K, V]) { Signal(m.woken) }) }
