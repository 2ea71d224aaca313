package provisiontest

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/provision"
)

// Ports is provision.Ports with the store's guard alone, without a lock.
type Ports struct {
	Store provision.HostStore
	Now   clock.Clock
}

var _ provision.Ports = Ports{}

// Allocate gives the claim's subject a port.
func (p Ports) Allocate(ctx context.Context, claim job.Claim, host provision.Host, name string) (port int, err error) {
	err = p.Store.Tx(ctx, func(tx provision.HostTx) error {
		if err := tx.CheckClaim(claim); err != nil {
			return err
		}
		port, err = tx.HeldPort(host.ID, provision.UnitID(claim.Subject), name)
		if errors.Is(err, fault.ErrNotFound) {
			port, err = tx.TakePort(host, provision.UnitID(claim.Subject), name, p.Now())
		}
		return err
	})
	return port, err
}

// Refused lets the port rest.
func (p Ports) Refused(ctx context.Context, claim job.Claim, host provision.Host, port int) error {
	return p.Store.Tx(ctx, func(tx provision.HostTx) error {
		if err := tx.CheckClaim(claim); err != nil {
			return err
		}
		return tx.RestPort(host.ID, port, provision.UnitID(claim.Subject), p.Now().Add(10*time.Minute))
	})
}

// Available asks the store.
func (p Ports) Available(ctx context.Context, host provision.Host) (bool, error) {
	return p.Store.PortLeft(ctx, host, p.Now())
}
