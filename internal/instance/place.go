package instance

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

const (
	// givesWayWithin is how long a create waits for the port of a warm instance that gives
	// way to it.
	givesWayWithin = 10 * time.Second
	givesWayEvery  = 100 * time.Millisecond
	givesWayAgain  = time.Second
)

// place chooses the host: one that has enough left, if need be after a warm instance has
// given way.
func (w *work) place(ctx context.Context) (host.Host, error) {
	begun := w.cfg.Now()
	for ask := begun; ; {
		h, full := w.placement.Choose(ctx, w.inst.need())
		if code := fault.CodeOf(full); code != fault.CodePortsExhausted && code != fault.CodeNoCapacity {
			return h, full
		}
		now, coming := w.cfg.Now(), true
		if !now.Before(ask) {
			var err error
			if coming, err = w.makeRoom(ctx); err != nil {
				return host.Host{}, err
			}
			ask = now.Add(givesWayAgain) // somebody else may get that port
		}
		if !coming || now.Sub(begun) >= givesWayWithin {
			return host.Host{}, full
		}
		select {
		case <-ctx.Done():
			return host.Host{}, ctx.Err()
		case <-time.After(givesWayEvery):
		}
	}
}

// checkCapacity refuses at once what no host could take now.
func (s *Service) checkCapacity(ctx context.Context, n host.Need) error {
	full := s.placement.Check(ctx, n)
	if code := fault.CodeOf(full); full == nil || code != fault.CodeCapacity && code != fault.CodeNoCapacity {
		return full
	}
	if warm, err := warmOf(ctx, s.cfg.Store, "", 1); err != nil || len(warm) > 0 {
		return err // it gives way
	}
	return full
}
