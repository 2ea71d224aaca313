package provision

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Delivery gives one delivery of the tenant.
func (s *Service) Delivery(ctx context.Context, tenant tenant.ID, theID DeliveryID) (Delivery, error) {
	if !id.WellFormed(theID) {
		return Delivery{}, fault.Errorf(fault.CodeNotFound, nil, "there is no such delivery")
	}
	d, err := s.cfg.Store.Delivery(ctx, theID)
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return Delivery{}, err
	}
	if err != nil || d.Tenant != tenant {
		return Delivery{}, fault.Errorf(fault.CodeNotFound, nil, "there is no delivery %s", theID)
	}
	return d, nil
}

// Deliveries gives a page of deliveries, newest first, and the cursor of the next
// page.
func (s *Service) Deliveries(ctx context.Context, filter DeliveryFilter, p1 page.Page) ([]Delivery, string, error) {
	return page.Fetch(ctx, page.List{Prefix: PrefixDelivery, Filter: filter}, p1, func(ctx context.Context, p page.Page) ([]Delivery, error) {
		return s.cfg.Store.Deliveries(ctx, filter, p)
	},
		func(d Delivery) string { return string(d.ID) })
}

// Redeliver sends the same event again, with the same id: one delivery that has
// ended gets a successor, one that waits for its next attempt begins anew at once.
func (s *Service) Redeliver(ctx context.Context, tenant tenant.ID, id DeliveryID) (Delivery, error) {
	d, _, err := s.RedeliverOnce(ctx, tenant, id, nil)
	return d, err
}

// RedeliverOnce is Redeliver for a request with a key. A replay gives the delivery as it is
// now.
func (s *Service) RedeliverOnce(ctx context.Context, tenant tenant.ID, id DeliveryID, idem *Idempotency) (d Delivery, replayed bool, err error) {
	return s.deliverOnce(ctx, tenant, idem, func(keep keep) (Delivery, error) { return s.redeliver(ctx, tenant, id, keep) })
}

// deliverOnce runs a use case that makes a delivery.
func (s *Service) deliverOnce(
	ctx context.Context, tenant tenant.ID, idem *Idempotency, do func(keep) (Delivery, error),
) (d Delivery, replayed bool, err error) {
	replayed, err = s.once(ctx, tenant, idem, func(keep keep) error {
		d, err = do(keep)
		return err
	}, func(made keptAnswer) error {
		d, err = s.madeDelivery(ctx, tenant, made)
		return err
	})
	return d, replayed, err
}

func (s *Service) redeliver(ctx context.Context, tenant tenant.ID, id DeliveryID, keep keep) (Delivery, error) {
	if _, err := s.Delivery(ctx, tenant, id); err != nil {
		return Delivery{}, err
	}
	var d Delivery
	err := s.decide(ctx, func(tx Tx) error {
		before, err := tx.Delivery(id)
		if err != nil {
			return err
		}
		now := s.cfg.Now()
		if before.State == DeliveryPending {
			d = before.restarted(now)
			if err := keep(tx, keptAnswer{Delivery: d.ID}); err != nil {
				return err
			}
			if err := tx.UpdateDelivery(d, before); err != nil {
				return err
			}
			return wakeReceiver(tx, d)
		}
		d = newDeliveryOf(s.cfg.NewID, Event{ID: before.Event, Tenant: tenant, Type: before.EventType, Instance: before.Instance, Job: before.Job}, now)
		d.Webhook, d.URL, d.Body = before.Webhook, before.URL, before.Body
		if d.Webhook != "" {
			err = d.address(tx)
		} else {
			err = d.sealSecretAgain(tx, s.cfg.Vault, before)
		}
		if errors.Is(err, fault.ErrNotFound) {
			return fault.Errorf(fault.CodeGone, err, "instance %s was deleted, and the secret that signs its callbacks with it; only a callback that never arrived can still be sent", d.Instance)
		}
		if err != nil {
			return err
		}
		if err := keep(tx, keptAnswer{Delivery: d.ID}); err != nil {
			return err
		}
		if err := tx.InsertDelivery(d); err != nil {
			return err
		}
		return wakeReceiver(tx, d)
	})
	if err != nil {
		return Delivery{}, err
	}
	wake(ctx, s.cfg.Queue, s.cfg.Log, d.task()) // it may be the one that was there
	return d, nil
}

// sealSecretAgain gives a callback that is sent again its copy of the secret: the
// instance's, or, where that is gone, the one that the delivery before has kept.
func (d *Delivery) sealSecretAgain(tx Tx, vault secret.Vault, before Delivery) error {
	err := d.sealSecret(tx, vault)
	if !errors.Is(err, fault.ErrNotFound) || len(before.Secret.Ciphertext) == 0 {
		return err
	}
	secret, err := vault.Open(before.Secret, deliveryContext(before.ID))
	if err != nil {
		return fmt.Errorf("open callback secret: %w", err)
	}
	if d.Secret, err = vault.Seal(secret, deliveryContext(d.ID)); err != nil {
		return fmt.Errorf("seal callback secret: %w", err)
	}
	return nil
}
