package webhook

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Delivery gives one delivery of the tenant.
func (s *Hooks) Delivery(ctx context.Context, p tenant.Principal, which DeliveryID) (Delivery, error) {
	if err := p.MayAll(tenant.Read); err != nil {
		return Delivery{}, err
	}
	if !id.WellFormed(which) {
		return Delivery{}, fault.Errorf(fault.CodeNotFound, nil, "the delivery does not exist")
	}
	d, err := s.cfg.Store.Delivery(ctx, which)
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return Delivery{}, err
	}
	if err != nil || d.Tenant != p.Tenant {
		return Delivery{}, fault.Errorf(fault.CodeNotFound, nil, "there is no delivery %s", which)
	}
	return d, nil
}

// Deliveries gives a page of deliveries, newest first, and the cursor of the next
// page.
func (s *Hooks) Deliveries(ctx context.Context, p tenant.Principal, filter DeliveryFilter, list page.Page) ([]Delivery, string, error) {
	if err := p.MayAll(tenant.Read); err != nil {
		return nil, "", err
	}
	filter.Tenant = p.Tenant
	return page.Fetch(ctx, page.List{Prefix: PrefixDelivery, Filter: filter}, list, func(ctx context.Context, list page.Page) ([]Delivery, error) {
		return s.cfg.Store.Deliveries(ctx, filter, list)
	},
		func(d Delivery) string { return string(d.ID) })
}

// Redeliver sends the same event again, with the same id: one delivery that has
// ended gets a successor, one that waits for its next attempt begins anew at once.
func (s *Hooks) Redeliver(ctx context.Context, p tenant.Principal, id DeliveryID) (Delivery, error) {
	d, _, err := s.RedeliverOnce(ctx, p, id, nil)
	return d, err
}

// RedeliverOnce is Redeliver for a request with a key. A replay gives the delivery as it is
// now.
func (s *Hooks) RedeliverOnce(ctx context.Context, p tenant.Principal, id DeliveryID, idem *idempotency.Request) (d Delivery, replayed bool, err error) {
	if err := p.MayAll(tenant.Change); err != nil {
		return Delivery{}, false, err
	}
	return s.deliverOnce(ctx, p, idem, func(keep keep) (Delivery, error) { return s.redeliver(ctx, p, id, keep) })
}

// deliverOnce runs a use case that makes a delivery.
func (s *Hooks) deliverOnce(
	ctx context.Context, p tenant.Principal, idem *idempotency.Request, do func(keep) (Delivery, error),
) (d Delivery, replayed bool, err error) {
	replayed, err = idempotency.Once(ctx, s.keeper, p.Tenant, idem, func(keep keep) error {
		d, err = do(keep)
		return err
	}, func(made keptAnswer) error {
		d, err = s.madeDelivery(ctx, p, made)
		return err
	})
	return d, replayed, err
}

func (s *Hooks) redeliver(ctx context.Context, p tenant.Principal, id DeliveryID, keep keep) (Delivery, error) {
	if _, err := s.Delivery(ctx, p, id); err != nil {
		return Delivery{}, err
	}
	var d Delivery
	err := s.decide(ctx, func(tx Tx) error {
		before, err := tx.Delivery(id)
		if err != nil {
			return err
		}
		if err := s.note(tx, p, tenant.Deed{Action: tenant.ActDeliveryRepeat, On: string(id)}); err != nil {
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
		d = newDeliveryOf(s.cfg.NewID, event.Event{ID: before.Event, Tenant: p.Tenant, Type: before.EventType, Subject: before.Subject, Job: before.Job}, now)
		d.Webhook, d.URL, d.Body = before.Webhook, before.URL, before.Body
		if d.Webhook != "" {
			err = d.address(tx)
		} else {
			err = s.signAgain(&d, tx, before)
		}
		if errors.Is(err, fault.ErrNotFound) {
			return fault.Errorf(fault.CodeGone, err, "instance %s was deleted together with the secret that signs its callbacks; only a callback that was never delivered can still be sent", d.Subject)
		}
		if err != nil {
			return err
		}
		if err := keep(tx, keptAnswer{Delivery: d.ID}); err != nil {
			return err
		}
		if err := insertDelivery(tx, s.cfg.Queue, s.cfg.Log, d); err != nil {
			return err
		}
		return wakeReceiver(tx, d)
	})
	if err != nil {
		return Delivery{}, err
	}
	bell.Wake(ctx, s.cfg.Queue, s.cfg.Log, d.task()) // it may be the one that was there
	return d, nil
}

// signAgain gives a callback that is sent again its copy of the secret: the subject's, or,
// where that is gone, the one that the delivery before has kept.
func (s *Hooks) signAgain(d *Delivery, tx Tx, before Delivery) error {
	sec, err := s.cfg.Signer(tx, d.Subject)
	if errors.Is(err, fault.ErrNotFound) && len(before.Secret.Ciphertext) > 0 {
		var kept []byte
		if kept, err = s.cfg.Vault.Open(before.Secret, DeliveryPlace(before.ID)); err != nil {
			return fmt.Errorf("open callback secret: %w", err)
		}
		sec = secret.New(string(kept))
	}
	if err != nil {
		return err
	}
	return d.seal(s.cfg.Vault, sec)
}
