package provision

import (
	"context"
	"sync"
	"time"
)

// bellsEvery is how often the feed is looked at while somebody listens.
const bellsEvery = 200 * time.Millisecond

// bells tells those who follow a feed that it has grown. However many they are, one
// look serves the process, and while nobody follows there is none.
type bells struct {
	store EventReader

	mu    sync.Mutex
	all   map[*bell]struct{}
	stop  context.CancelFunc
	ended chan struct{} // closed when the goroutine has ended
}

// bell is one follower's. It carries no events: each follower reads its own pages,
// at its own pace, so that a slow one costs nobody anything.
type bell struct {
	bells  *bells
	tenant TenantID
	rung   chan struct{}
}

// listen begins to listen; what is there already is for the follower to read after
// that.
func (b *bells) listen(ctx context.Context, tenant TenantID) *bell {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := &bell{bells: b, tenant: tenant, rung: make(chan struct{}, 1)}
	if b.all == nil {
		b.all = map[*bell]struct{}{}
	}
	b.all[one] = struct{}{}
	if len(b.all) == 1 {
		lookCtx, stop := context.WithCancel(context.WithoutCancel(ctx)) // others may join and outlast this one
		b.stop, b.ended = stop, make(chan struct{})
		go b.look(lookCtx, b.ended)
	}
	return one
}

// leave ends the look with the last follower.
func (one *bell) leave() {
	b := one.bells
	b.mu.Lock()
	delete(b.all, one)
	if len(b.all) > 0 {
		b.mu.Unlock()
		return
	}
	ended := b.ended
	b.stop()
	b.mu.Unlock()
	<-ended
}

func (b *bells) look(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	ticker := time.NewTicker(bellsEvery)
	defer ticker.Stop()
	seen := map[TenantID]int64{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		tenants := b.tenants()
		last, err := b.store.LastNumbers(ctx, tenants)
		if err != nil {
			continue // whoever reads a page finds out, and says so
		}
		for _, t := range tenants {
			last[t] += 0 // one that has no events yet is known, too
		}
		b.ring(last, seen)
		seen = last
	}
}

func (b *bells) tenants() []TenantID {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := map[TenantID]bool{}
	var list []TenantID
	for one := range b.all {
		if !found[one.tenant] {
			found[one.tenant] = true
			list = append(list, one.tenant)
		}
	}
	return list
}

func (b *bells) ring(last, seen map[TenantID]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for one := range b.all {
		if before, known := seen[one.tenant]; known && before == last[one.tenant] {
			continue
		}
		select {
		case one.rung <- struct{}{}:
		default: // it has not heard the last ring yet
		}
	}
}
