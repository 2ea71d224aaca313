package hosttest

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
)

// Ports is host.Ports with the store's guard alone, without a lock.
type Ports struct {
	Store host.Store
	Now   clock.Clock
}

var _ host.Ports = Ports{}

// Allocate gives the claim's subject what it asks for.
func (p Ports) Allocate(ctx context.Context, claim job.Claim, h host.Host, ask host.Ask) (held host.Held, err error) {
	err = p.Store.Tx(ctx, func(tx host.Tx) error {
		held, err = host.Take(tx, claim, h, ask, p.Now())
		return err
	})
	return held, err
}

// Refused lets the port rest.
func (p Ports) Refused(ctx context.Context, claim job.Claim, h host.Host, port int) error {
	return p.Store.Tx(ctx, func(tx host.Tx) error {
		if err := tx.CheckClaim(claim); err != nil {
			return err
		}
		return tx.RestPort(h.ID, port, host.UnitID(claim.Subject), p.Now().Add(10*time.Minute))
	})
}

// Available asks the store.
func (p Ports) Available(ctx context.Context, host host.Host, n int) (bool, error) {
	return p.Store.PortsLeft(ctx, host, n, p.Now())
}
