package provision

import (
	"context"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/tenant"
)

// How often the feed is looked at while somebody follows: the bell says when it has
// grown, so this is for rings that were lost, and more often while the bell does not
// reach the other processes.
const (
	followersEvery     = time.Second
	followersEveryDeaf = 200 * time.Millisecond
)

// followers tells those who follow a feed that it has grown. However many they are,
// one look serves the process, and while nobody follows there is none.
type followers struct {
	store EventReader
	bell  bell.Bell

	mu    sync.Mutex
	all   map[*follower]struct{}
	stop  context.CancelFunc
	ended chan struct{} // closed when the goroutine has ended
}

// follower is one of them. It is handed no events: each reads its own pages, at its
// own pace, so that a slow one costs nobody anything.
type follower struct {
	all    *followers
	tenant tenant.ID
	grown  chan struct{}
}

// join begins to listen; what is there already is for the follower to read after
// that.
func (f *followers) join(ctx context.Context, tenant tenant.ID) *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := &follower{all: f, tenant: tenant, grown: make(chan struct{}, 1)}
	if f.all == nil {
		f.all = map[*follower]struct{}{}
	}
	f.all[one] = struct{}{}
	if len(f.all) == 1 {
		lookCtx, stop := context.WithCancel(context.WithoutCancel(ctx)) // others may join and outlast this one
		f.stop, f.ended = stop, make(chan struct{})
		go f.look(lookCtx, f.ended)
	}
	return one
}

// leave ends the look with the last follower.
func (one *follower) leave() {
	f := one.all
	f.mu.Lock()
	delete(f.all, one)
	if len(f.all) > 0 {
		f.mu.Unlock()
		return
	}
	ended := f.ended
	f.stop()
	f.mu.Unlock()
	<-ended
}

func (f *followers) look(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	rung, stop := bell.Signals(f.bell, RingNumbered, "")
	defer stop()
	timer := time.NewTimer(0) // what came before we listened is seen at once
	defer timer.Stop()
	for seen := map[tenant.ID]int64{}; ; {
		select {
		case <-ctx.Done():
			return
		case <-rung:
		case <-timer.C:
		}
		timer.Reset(bell.Interval(f.bell, followersEvery, followersEveryDeaf))
		tenants := f.tenants()
		last, err := f.store.LastNumbers(ctx, tenants)
		if err != nil {
			continue // whoever reads a page finds out, and says so
		}
		for _, t := range tenants {
			last[t] += 0 // one that has no events yet is known, too
		}
		f.tell(last, seen)
		seen = last
	}
}

func (f *followers) tenants() []tenant.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := map[tenant.ID]bool{}
	var list []tenant.ID
	for one := range f.all {
		if !found[one.tenant] {
			found[one.tenant] = true
			list = append(list, one.tenant)
		}
	}
	return list
}

func (f *followers) tell(last, seen map[tenant.ID]int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		if before, known := seen[one.tenant]; known && before == last[one.tenant] {
			continue
		}
		bell.Signal(one.grown)
	}
}
