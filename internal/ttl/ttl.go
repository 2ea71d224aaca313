// Package ttl owns what a process remembers for a while, so that it need not ask or tell again.
// It must not know what is remembered. It may forget early: whoever uses it is right without
// it, too, at the cost of asking or telling once more.
package ttl

import (
	"sync"
	"time"
)

// MaxEntries bounds what one Map remembers.
const MaxEntries = 10_000

// Map remembers values by key, each for its time to live. Its zero value is ready, and any
// number of goroutines may use one. Callers say what time it is, by a clock of their own.
type Map[K comparable, V any] struct {
	mu      sync.Mutex
	entries map[K]*entry[V]
}

type entry[V any] struct {
	value V
	until time.Time
}

// Get returns what is remembered of the key.
func (m *Map[K, V]) Get(key K, now time.Time) (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.live(key, now); e != nil {
		return e.value, true
	}
	return value, false
}

// Put remembers the value in the place of what was remembered of the key.
func (m *Map[K, V]) Put(key K, value V, now time.Time, ttl time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, value, now, ttl)
}

// Add remembers the value unless one is remembered of the key, and reports whether it does:
// of many who add at once, one is told so.
func (m *Map[K, V]) Add(key K, value V, now time.Time, ttl time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live(key, now) != nil {
		return false
	}
	m.put(key, value, now, ttl)
	return true
}

// Change calls change with what is remembered of the key, and not at all where nothing is.
// The time to live goes on. change must not call the Map.
func (m *Map[K, V]) Change(key K, now time.Time, change func(*V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.live(key, now); e != nil {
		change(&e.value)
	}
}

// Delete forgets the key.
func (m *Map[K, V]) Delete(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
}

// live returns the entry of the key; nil: there is none, or its time is over.
func (m *Map[K, V]) live(key K, now time.Time) *entry[V] {
	if e := m.entries[key]; e != nil && now.Before(e.until) {
		return e
	}
	return nil
}

func (m *Map[K, V]) put(key K, value V, now time.Time, ttl time.Duration) {
	if m.entries == nil {
		m.entries = map[K]*entry[V]{}
	}
	if m.entries[key] == nil && len(m.entries) >= MaxEntries {
		m.makeRoom(now)
	}
	m.entries[key] = &entry[V]{value: value, until: now.Add(ttl)}
}

// makeRoom forgets what is over, and everything where that is less than half: looking through
// it all must not be for a single entry.
func (m *Map[K, V]) makeRoom(now time.Time) {
	for key, e := range m.entries {
		if !now.Before(e.until) {
			delete(m.entries, key)
		}
	}
	if len(m.entries) > MaxEntries/2 {
		clear(m.entries)
	}
}
