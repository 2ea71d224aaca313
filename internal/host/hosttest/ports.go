package hosttest

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
)

// Ports is host.Ports with the store's guard alone, without a lock.
type Ports struct {
	Store host.Store
	Now   clock.Clock
}

var _ host.Ports = Ports{}

// Allocate gives the claim's subject a port.
func (p Ports) Allocate(ctx context.Context, claim job.Claim, h host.Host, name string) (port int, err error) {
	err = p.Store.Tx(ctx, func(tx host.Tx) error {
		if err := tx.CheckClaim(claim); err != nil {
			return err
		}
		port, err = tx.HeldPort(h.ID, host.UnitID(claim.Subject), name)
		if errors.Is(err, fault.ErrNotFound) {
			port, err = tx.TakePort(h, host.UnitID(claim.Subject), name, p.Now())
		}
		return err
	})
	return port, err
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
func (p Ports) Available(ctx context.Context, host host.Host) (bool, error) {
	return p.Store.PortLeft(ctx, host, p.Now())
}
