package host

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// How long the hosts are remembered: longer the more of them there are to be read. What is
// remembered only helps to choose; whether a host still takes a unit, and has as much left, is
// asked in the transaction that places it there.
const (
	hostsFor   = time.Second
	hostsForOf = 2 * time.Millisecond // for each
)

// memory is the pool as it was read last.
type memory struct {
	last atomic.Pointer[remembered] // nil: nothing is known, or it was not so any more
	few  atomic.Bool                // there are too few hosts for remembering them
	// reading is had by who reads the hosts anew. Meanwhile the others go on with what is known.
	reading sync.Mutex
}

type remembered struct {
	pool
	until time.Time
}

// Forget has the hosts read anew: what is remembered of them was not so any more.
func (p *Placement) Forget() { p.memory.last.Store(nil) }

// read gives the hosts with their disks.
func (p *Placement) read(ctx context.Context, now time.Time) (pool, error) {
	m := &p.memory
	if m.few.Load() {
		return p.readNow(ctx, now)
	}
	last := m.last.Load()
	switch {
	case last == nil:
		m.reading.Lock()
	case now.Before(last.until) || !m.reading.TryLock():
		return last.pool, nil
	}
	defer m.reading.Unlock()
	if again := m.last.Load(); again != nil && now.Before(again.until) {
		return again.pool, nil // another one has read them
	}
	return p.readNow(ctx, now)
}

// readNow reads them, and remembers many.
func (p *Placement) readNow(ctx context.Context, now time.Time) (pool, error) {
	hosts, err := p.Store.HostsInShort(ctx)
	if err != nil {
		return pool{}, err
	}
	disks, err := p.Store.Disks(ctx, "")
	if err != nil {
		return pool{}, err
	}
	all := pool{hosts: hosts, disks: make(map[ID][]Disk, len(hosts))}
	for i := range disks {
		all.disks[disks[i].Host] = append(all.disks[disks[i].Host], disks[i])
	}
	many := len(hosts) >= manyHosts
	if p.memory.few.Store(!many); many {
		p.memory.last.Store(&remembered{all, now.Add(hostsFor + time.Duration(len(hosts))*hostsForOf)})
	}
	return all, nil
}
