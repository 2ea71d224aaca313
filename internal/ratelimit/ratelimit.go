// Package ratelimit counts requests in Redis, for all processes together. It owns how many
// requests cost how many questions to Redis, and what holds when Redis is away.
package ratelimit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/ttl"
)

const (
	// period is what limits are for.
	period = time.Minute
	// share of a limit is what a process takes out of Redis at a time: 1 of so many parts, and
	// at least one request. Limits up to this number are exact to the request.
	share = 100
	// patience is how long a request waits for Redis.
	patience = 100 * time.Millisecond
	// pause is how long a Redis that did not answer in time is not asked.
	pause = time.Second
	// rememberFor is how long a process keeps what it has taken out for a caller.
	rememberFor = 10 * time.Minute
)

// Config is what a Limiter needs.
type Config struct {
	Redis redis.UniversalClient
	// Name tells the limits of a deployment apart, as in "dep_…:caller".
	Name string
	// PerMinute is how many requests a caller may make, at once or one by one; zero: any number.
	PerMinute int
	Now       clock.Clock
	Log       *slog.Logger
	// Patience is how long a request waits for Redis; zero: 100 ms.
	Patience time.Duration
}

// Limiter implements tenant.RateLimiter with the generic cell rate algorithm, whose state is in
// Redis. A process takes a hundredth of a caller's limit out of Redis at a time and spends it by
// itself: then all processes together never let more pass than the limit says, plus a hundredth
// for each process, and most requests need no Redis.
type Limiter struct {
	Config
	shared  *redis_rate.Limiter
	limit   redis_rate.Limit
	batch   int
	callers ttl.Map[string, *purse]
	away    atomic.Int64 // until when Redis is not asked, in Unix nanoseconds; zero: it answers
}

var _ tenant.RateLimiter = (*Limiter)(nil)

// New makes a Limiter.
func New(cfg Config) *Limiter {
	if cfg.Patience == 0 {
		cfg.Patience = patience
	}
	return &Limiter{
		Config: cfg, shared: redis_rate.NewLimiter(cfg.Redis), batch: max(1, cfg.PerMinute/share),
		limit: redis_rate.Limit{Rate: cfg.PerMinute, Burst: cfg.PerMinute, Period: period},
	}
}

// purse is what this process has taken out for one caller.
type purse struct {
	mu     sync.Mutex
	left   int       // to be spent without Redis
	shared int       // that were left in Redis then
	full   time.Time // when all of the limit is there again
	closed time.Time // until when Redis has nothing for the caller
}

// Take implements tenant.RateLimiter.
func (l *Limiter) Take(ctx context.Context, caller string) tenant.Allowance {
	if l.PerMinute == 0 {
		return tenant.Allowance{}
	}
	p := l.purseOf(caller)
	p.mu.Lock() // also while Redis is asked: one question serves all who wait
	defer p.mu.Unlock()
	now := l.Now()
	if p.left == 0 && !until(p.closed, now, period) {
		if !l.fill(ctx, p, caller, now) {
			return tenant.Allowance{}
		}
		now = l.Now()
	}
	a := tenant.Allowance{Limit: l.PerMinute, Reset: min(max(0, p.full.Sub(now)), period)}
	if p.left == 0 {
		a.Wait = max(time.Millisecond, p.closed.Sub(now))
		return a
	}
	p.left--
	a.Left = p.left + p.shared
	return a
}

// until reports whether the end of something is ahead that lasts no longer than most: further
// ahead it is when the clock was put back.
func until(end, now time.Time, most time.Duration) bool {
	return now.Before(end) && end.Sub(now) <= most+time.Second
}

func (l *Limiter) purseOf(caller string) *purse {
	now := l.Now()
	for {
		if p, ok := l.callers.Get(caller, now); ok {
			return p
		}
		p := &purse{}
		if l.callers.Add(caller, p, now, rememberFor) {
			return p
		}
	}
}

// fill takes a part of the limit out of Redis, and reports whether Redis has answered. A client
// that goes away does not end the question: others may wait for the answer.
func (l *Limiter) fill(ctx context.Context, p *purse, caller string, now time.Time) bool {
	if until(time.Unix(0, l.away.Load()), now, pause) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.Patience)
	defer cancel()
	// The limit is a part of the key: what was counted under another one is of no use.
	got, err := l.shared.AllowAtMost(ctx, fmt.Sprintf("%s:%d:%s", l.Name, l.PerMinute, caller), l.limit, l.batch)
	if err != nil {
		if l.away.Swap(now.Add(pause).UnixNano()) == 0 {
			l.Log.WarnContext(ctx, "requests are not counted for rate limits: Redis does not answer", "limit", l.Name, "error", err)
		}
		return false
	}
	if l.away.Swap(0) != 0 {
		l.Log.InfoContext(ctx, "requests are counted for rate limits again", "limit", l.Name)
	}
	now = l.Now()
	p.left, p.shared, p.full = max(0, got.Allowed), max(0, got.Remaining), now.Add(max(0, got.ResetAfter))
	if p.left == 0 {
		// Up to whole milliseconds, which the clock counts: whoever waits until then is not too early.
		p.closed = now.Add(max(0, got.RetryAfter)).Truncate(time.Millisecond).Add(2 * time.Millisecond)
	}
	return true
}
