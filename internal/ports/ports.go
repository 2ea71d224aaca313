// Package ports hands out the ports of hosts. The database's unique (host, port)
// row is what guarantees that a port has one holder; the Redis lock only keeps
// workers from running into one another there, so Berth goes on without it.
package ports

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
)

const (
	// lockTTL is far above what one allocation takes.
	lockTTL = 3 * time.Second
	// lockWait bounds the patience with the lock: beyond it the row alone decides.
	lockWait   = time.Second
	lockRetry  = 2 * time.Millisecond
	maxTries   = 50
	refusedFor = 10 * time.Minute
)

// Allocator implements host.Ports.
type Allocator struct {
	store host.Store
	lock  *redislock.Client
	now   clock.Clock
	log   *slog.Logger
}

// New makes an Allocator.
func New(store host.Store, rdb redis.UniversalClient, now clock.Clock, log *slog.Logger) *Allocator {
	return &Allocator{store: store, lock: redislock.New(rdb), now: now, log: log}
}

// Allocate implements host.Ports.
func (a *Allocator) Allocate(ctx context.Context, claim job.Claim, h host.Host, ask host.Ask) (held host.Held, err error) {
	unlock := a.acquire(ctx, h)
	defer unlock()
	for try := 1; ; try++ {
		err = a.store.Tx(ctx, func(tx host.Tx) error {
			held, err = host.Take(tx, claim, h, ask, a.now())
			return err
		})
		switch {
		case err == nil:
			return held, nil
		case !errors.Is(err, fault.ErrConflict) || try == maxTries:
			return host.Held{}, err
		}
		pause := rand.N(time.Duration(try) * time.Millisecond) //nolint:gosec // jitter, not a secret
		if err := backoff.Wait(ctx, pause); err != nil {
			return host.Held{}, err
		}
	}
}

// Refused implements host.Ports.
func (a *Allocator) Refused(ctx context.Context, claim job.Claim, h host.Host, port int) error {
	a.log.WarnContext(ctx, "the host refused a port", "host", h.Name, "port", port, "instance", claim.Subject, "rests", refusedFor.String())
	return a.store.Tx(ctx, func(tx host.Tx) error {
		if err := tx.CheckClaim(claim); err != nil {
			return err
		}
		return tx.RestPort(h.ID, port, host.UnitID(claim.Subject), a.now().Add(refusedFor))
	})
}

// Available implements host.Ports.
func (a *Allocator) Available(ctx context.Context, host host.Host, n int) (bool, error) {
	return a.store.PortsLeft(ctx, host, n, a.now())
}

// acquire takes the host's lock, or goes on without it when Redis is slow or away.
func (a *Allocator) acquire(ctx context.Context, host host.Host) (unlock func()) {
	waitCtx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	lock, err := a.lock.Obtain(waitCtx, "berth:ports:"+string(host.ID), lockTTL, &redislock.Options{
		RetryStrategy: redislock.LinearBackoff(lockRetry),
	})
	if err != nil {
		a.log.WarnContext(ctx, "no port lock; continuing with the database constraint alone", "host", host.Name, "error", err)
		return func() {}
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockWait)
		defer cancel()
		if err := lock.Release(ctx); err != nil && !errors.Is(err, redislock.ErrLockNotHeld) {
			a.log.WarnContext(ctx, "port lock not released; it expires by itself", "host", host.Name, "error", err)
		}
	}
}
