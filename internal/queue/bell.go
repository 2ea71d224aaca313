package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/bell"
)

// Bell implements bell.Bell by Redis's publish and subscribe. Who listens in
// this process hears a ring at once; the others hear it by way of Redis, which keeps
// nothing for those who are away.
type Bell struct {
	local   bell.Local
	rdb     redis.UniversalClient
	channel string
	self    string // tells our own rings from those of others
	heard   atomic.Bool

	mu   sync.Mutex
	out  map[bell.Ring]struct{} // what is to be published
	more chan struct{}          // holds a signal when there is something
}

var _ bell.Bell = (*Bell)(nil)

const (
	// bellGap is the least pause between two messages: what is rung meanwhile goes with
	// the next, so that thousands of rings a second cost hundreds of messages.
	bellGap = 2 * time.Millisecond
	// bellBacklog is how many rings may wait for Redis; then only their kinds are kept.
	bellBacklog = 1000
	// bellSilence is how long nothing may come before Redis is asked whether it is
	// still there, and then until it must have answered.
	bellSilence = 5 * time.Second
	// bellLast is how long the last message may take.
	bellLast = time.Second
)

// bellRetries are the pauses between two attempts to reach a Redis that is away.
var bellRetries = backoff.Exponential{First: 20 * time.Millisecond, Most: time.Second}

// NewBell makes a bell for the processes of one deployment. Run connects it.
func NewBell(rdb redis.UniversalClient, deployment string) *Bell {
	return &Bell{
		rdb: rdb, channel: "berth:bell:" + deployment, self: rand.Text(),
		out: map[bell.Ring]struct{}{}, more: make(chan struct{}, 1),
	}
}

// Listen implements bell.Bell.
func (b *Bell) Listen(kind bell.Kind, hear func(id string)) (stop func()) {
	return b.local.Listen(kind, hear)
}

// Connected implements bell.Bell.
func (b *Bell) Connected() bool { return b.heard.Load() }

// Ring implements bell.Bell.
func (b *Bell) Ring(r bell.Ring) {
	b.local.Ring(r)
	b.keep(r)
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// keep keeps rings for the next message.
func (b *Bell) keep(rings ...bell.Ring) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range rings {
		if len(b.out) >= bellBacklog {
			r.ID = "" // which is "any of them"
		}
		b.out[r] = struct{}{}
	}
}

// take gives what is to be published.
func (b *Bell) take() map[bell.Ring]struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.out
	b.out = map[bell.Ring]struct{}{}
	return out
}

// Run carries rings to and from other processes until the context ends, and then
// sends what was rung last.
func (b *Bell) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { again(ctx, b.subscribe) })
	again(ctx, b.publish)
	lastCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bellLast)
	defer cancel()
	_ = b.send(lastCtx) // a ring may be lost
}

// again does it again and again, with growing pauses while it does not go well.
func again(ctx context.Context, do func(context.Context) (well bool)) {
	for failures := 1; ctx.Err() == nil; failures++ {
		if do(ctx) {
			failures = 1
		}
		if bellRetries.Wait(ctx, failures) != nil {
			return
		}
	}
}

// publish sends what is rung until that fails.
func (b *Bell) publish(ctx context.Context) (well bool) {
	for {
		select {
		case <-ctx.Done():
			return well
		case <-b.more:
		}
		if b.send(ctx) != nil {
			return well
		}
		well = true
		if backoff.Wait(ctx, bellGap) != nil {
			return well
		}
	}
}

// send sends one message. What could not be sent is sent later, without its ids: they
// are old by then, and there may be many.
func (b *Bell) send(ctx context.Context) error {
	rings := b.take()
	if len(rings) == 0 {
		return nil
	}
	var text strings.Builder
	text.WriteString(b.self)
	for r := range rings {
		text.WriteString(" " + string(r.Kind) + "=" + r.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	err := b.rdb.Publish(ctx, b.channel, text.String()).Err()
	if err == nil {
		return nil
	}
	for r := range rings {
		b.keep(bell.Ring{Kind: r.Kind})
	}
	select {
	case b.more <- struct{}{}:
	default:
	}
	return err
}

// subscribe hears what other processes ring until the line to Redis is gone.
func (b *Bell) subscribe(ctx context.Context) (well bool) {
	line := b.rdb.Subscribe(ctx)
	defer line.Close() //nolint:errcheck // it is gone
	defer b.heard.Store(false)
	defer context.AfterFunc(ctx, func() { _ = line.Close() })() // it ends the wait below
	if line.Subscribe(ctx, b.channel) != nil {
		return false
	}
	for asked := false; ; {
		message, err := line.ReceiveTimeout(ctx, bellSilence)
		var timeout net.Error
		switch {
		case err == nil:
			asked = false
		case ctx.Err() == nil && !asked && errors.As(err, &timeout) && timeout.Timeout():
			asked = true
			if line.Ping(ctx) != nil {
				return well
			}
		default:
			return well
		}
		switch m := message.(type) {
		case *redis.Subscription:
			well = true
			b.local.Missed() // whatever was rung while we were away
			b.heard.Store(true)
		case *redis.Message:
			b.hear(m.Payload)
		}
	}
}

// hear rings here what another process has rung.
func (b *Bell) hear(message string) {
	words := strings.Fields(message)
	if len(words) == 0 || words[0] == b.self {
		return // heard when it was rung
	}
	for _, word := range words[1:] {
		if kind, id, ok := strings.Cut(word, "="); ok {
			b.local.Ring(bell.Ring{Kind: bell.Kind(kind), ID: id})
		}
	}
}
