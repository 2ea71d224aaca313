package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Hooks is what clients can ask of webhooks and deliveries.
type Hooks struct {
	cfg    HooksConfig
	keeper idempotency.Keeper
}

// HooksConfig is what Hooks needs.
type HooksConfig struct {
	Store   Store
	Queue   bell.Queue
	Vault   secret.Vault
	Secrets secret.Generator
	Sender  Sender
	NewID   id.Maker
	Now     clock.Clock
	Log     *slog.Logger
	// Signer returns what callbacks about a subject are signed with now.
	Signer func(job.Tx, id.Subject) (secret.Secret, error)
}

// NewHooks makes Hooks.
func NewHooks(cfg HooksConfig) *Hooks {
	return &Hooks{cfg: cfg, keeper: idempotency.Keeper{Store: cfg.Store, Vault: cfg.Vault, Now: cfg.Now}}
}

// note writes an entry of the audit log.
func (s *Hooks) note(tx tenant.Trail, p tenant.Principal, d tenant.Deed) error {
	return tenant.Auditor{NewID: s.cfg.NewID, Now: s.cfg.Now}.Note(tx, p, d)
}

// decide runs a transaction that depends on what a worker may be changing at the same
// moment. Where the worker was faster, it is run again and sees the change.
func (s *Hooks) decide(ctx context.Context, do func(Tx) error) error {
	return fault.Redecide(func() error { return s.cfg.Store.Tx(ctx, do) })
}

// keptAnswer is what is kept of the answer to a request with a key: what it made. What has
// become of that is read when the request comes again.
type keptAnswer struct {
	Webhook  ID         `json:"webhook,omitempty"`
	Delivery DeliveryID `json:"delivery,omitempty"`
	Secret   string     `json:"secret,omitempty"` // which the answer showed, and shows again
}

// keep writes the answer in the transaction that makes what it is about.
type keep = func(idempotency.Tx, keptAnswer) error

// madeWebhook returns the webhook that a request with the same key made or changed, as it is
// now, and the secret that its answer showed. That it is shown again is noted.
func (s *Hooks) madeWebhook(ctx context.Context, p tenant.Principal, a keptAnswer) (Webhook, secret.Secret, error) {
	h, err := s.Webhook(ctx, p, a.Webhook)
	if errors.Is(err, fault.ErrNotFound) {
		err = fault.Errorf(fault.CodeGone, err, "webhook %s was deleted; the first request with this Idempotency-Key created or changed it", a.Webhook)
	}
	if err == nil && a.Secret != "" {
		err = s.cfg.Store.Tx(ctx, func(tx Tx) error {
			return s.note(tx, p, tenant.Deed{Action: tenant.ActWebhookSecret, On: string(h.ID), Result: tenant.Replayed})
		})
	}
	return h, secret.New(a.Secret), err
}

// madeDelivery returns the delivery that a request with the same key made, as it is now.
func (s *Hooks) madeDelivery(ctx context.Context, p tenant.Principal, a keptAnswer) (Delivery, error) {
	d, err := s.Delivery(ctx, p, a.Delivery)
	if errors.Is(err, fault.ErrNotFound) {
		err = fault.Errorf(fault.CodeGone, err, "delivery %s is past its retention; the first request with this Idempotency-Key created it", a.Delivery)
	}
	return d, err
}

// Request asks for a webhook, or for changes of one: nil fields stay as they
// are, and have defaults in a new one.
type Request struct {
	URL         *string
	Events      *[]string
	Description *string
	Enabled     *bool
}

func (s *Hooks) checkWebhook(ctx context.Context, r Request) error {
	var wrong []fault.FieldError
	if r.URL != nil {
		if err := s.cfg.Sender.CheckURL(ctx, *r.URL); err != nil {
			wrong = append(wrong, fault.FieldError{Field: "url", Message: err.Error()})
		}
	}
	if r.Events != nil {
		wrong = append(wrong, checkEvents(*r.Events)...)
	}
	if r.Description != nil {
		wrong = append(wrong, checkDescription(*r.Description)...)
	}
	if len(wrong) > 0 {
		return fault.Invalid(wrong)
	}
	return nil
}

func (r Request) apply(h *Webhook) {
	if r.URL != nil {
		h.URL = *r.URL
	}
	if r.Events != nil {
		h.Events = *r.Events
	}
	if r.Description != nil {
		h.Description = *r.Description
	}
	if r.Enabled != nil && *r.Enabled != h.Enabled {
		h.Enabled, h.Reason = *r.Enabled, ""
	}
}

// CreateWebhook registers an address. The secret is shown in this answer only.
func (s *Hooks) CreateWebhook(ctx context.Context, p tenant.Principal, r Request) (Webhook, secret.Secret, error) {
	h, secret, _, err := s.CreateWebhookOnce(ctx, p, r, nil)
	return h, secret, err
}

// CreateWebhookOnce is CreateWebhook for a request with a key. A replay gives the webhook
// as it is now, with the secret that it had at first.
func (s *Hooks) CreateWebhookOnce(
	ctx context.Context, p tenant.Principal, r Request, idem *idempotency.Request,
) (h Webhook, sec secret.Secret, replayed bool, err error) {
	if err := p.MayAll(tenant.Manage); err != nil {
		return Webhook{}, secret.Secret{}, false, err
	}
	replayed, err = idempotency.Once(ctx, s.keeper, p.Tenant, idem, func(keep keep) error {
		h, sec, err = s.createWebhook(ctx, p, r, keep)
		return err
	}, func(made keptAnswer) error {
		h, sec, err = s.madeWebhook(ctx, p, made)
		return err
	})
	return h, sec, replayed, err
}

func (s *Hooks) createWebhook(ctx context.Context, p tenant.Principal, r Request, keep keep) (Webhook, secret.Secret, error) {
	if r.URL == nil {
		return Webhook{}, secret.Secret{}, fault.Invalid([]fault.FieldError{{Field: "url", Message: "is required: the URL that receives the events"}})
	}
	if err := s.checkWebhook(ctx, r); err != nil {
		return Webhook{}, secret.Secret{}, err
	}
	there, err := s.cfg.Store.Webhooks(ctx, p.Tenant, page.Page{Limit: maxWebhooks})
	if err != nil {
		return Webhook{}, secret.Secret{}, err
	}
	if len(there) == maxWebhooks {
		return Webhook{}, secret.Secret{}, fault.Invalid([]fault.FieldError{{Field: "url", Message: fmt.Sprintf("the limit of %d webhooks is reached; delete one", maxWebhooks)}})
	}
	now := s.cfg.Now()
	h := Webhook{ID: ID(s.cfg.NewID(Prefix)), Tenant: p.Tenant, Enabled: true, CreatedAt: now, UpdatedAt: now}
	r.apply(&h)
	sec, err := s.newWebhookSecret(&h)
	if err != nil {
		return Webhook{}, secret.Secret{}, err
	}
	return h, sec, s.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := keep(tx, keptAnswer{Webhook: h.ID, Secret: sec.Reveal()}); err != nil {
			return err
		}
		if err := tx.InsertWebhook(h); err != nil {
			return err
		}
		return s.note(tx, p, tenant.Deed{Action: tenant.ActWebhookCreate, On: string(h.ID)})
	})
}

func (s *Hooks) newWebhookSecret(h *Webhook) (secret.Secret, error) {
	sec := s.cfg.Secrets.SigningSecret()
	var err error
	if h.Secret, err = s.cfg.Vault.Seal([]byte(sec.Reveal()), Place(h.ID)); err != nil {
		return secret.Secret{}, fmt.Errorf("seal webhook secret: %w", err)
	}
	return sec, nil
}

// Webhook gives one webhook of the tenant.
func (s *Hooks) Webhook(ctx context.Context, p tenant.Principal, which ID) (Webhook, error) {
	if err := p.MayAll(tenant.Read); err != nil {
		return Webhook{}, err
	}
	if !id.WellFormed(which) {
		return Webhook{}, fault.Errorf(fault.CodeNotFound, nil, "the webhook does not exist")
	}
	h, err := s.cfg.Store.Webhook(ctx, which)
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return Webhook{}, err
	}
	if err != nil || h.Tenant != p.Tenant {
		return Webhook{}, fault.Errorf(fault.CodeNotFound, nil, "there is no webhook %s", which)
	}
	return h, nil
}

// Webhooks gives a page of webhooks, newest first, and the cursor of the next page.
func (s *Hooks) Webhooks(ctx context.Context, p tenant.Principal, list page.Page) ([]Webhook, string, error) {
	if err := p.MayAll(tenant.Read); err != nil {
		return nil, "", err
	}
	return page.Fetch(ctx, page.List{Prefix: Prefix, Filter: p.Tenant}, list, func(ctx context.Context, list page.Page) ([]Webhook, error) {
		return s.cfg.Store.Webhooks(ctx, p.Tenant, list)
	},
		func(h Webhook) string { return string(h.ID) })
}

// ChangeWebhook changes what the request names. Its deliveries that have not ended go
// to the address that it has when they are sent; disabling it cancels them.
func (s *Hooks) ChangeWebhook(ctx context.Context, p tenant.Principal, id ID, r Request) (Webhook, error) {
	if err := p.MayAll(tenant.Manage); err != nil {
		return Webhook{}, err
	}
	if err := s.checkWebhook(ctx, r); err != nil {
		return Webhook{}, err
	}
	return s.updateWebhook(ctx, p, id, func(tx Tx, h *Webhook) error {
		r.apply(h)
		return s.note(tx, p, tenant.Deed{Action: tenant.ActWebhookChange, On: string(id)})
	})
}

// updateWebhook changes one webhook of the tenant in a transaction.
func (s *Hooks) updateWebhook(ctx context.Context, p tenant.Principal, id ID, change func(Tx, *Webhook) error) (Webhook, error) {
	if _, err := s.Webhook(ctx, p, id); err != nil {
		return Webhook{}, err
	}
	var h Webhook
	err := s.decide(ctx, func(tx Tx) error {
		var err error
		if h, err = tx.Webhook(id); err != nil {
			return err
		}
		h.UpdatedAt = s.cfg.Now()
		before := h
		if err := change(tx, &h); err != nil {
			return err
		}
		if err := tx.UpdateWebhook(h); err != nil {
			return err
		}
		if !h.Enabled {
			if err := tx.EndDeliveries(h.ID, "the webhook was disabled", h.UpdatedAt); err != nil {
				return err
			}
		}
		if h.URL == before.URL && h.Enabled == before.Enabled {
			return nil
		}
		return tx.DeleteStanding(string(h.ID)) // what was known of it holds no more
	})
	return h, err
}

// DeleteWebhook ends the webhook and cancels its deliveries, which stay visible for
// a while.
func (s *Hooks) DeleteWebhook(ctx context.Context, p tenant.Principal, id ID) (Webhook, error) {
	if err := p.MayAll(tenant.Manage); err != nil {
		return Webhook{}, err
	}
	h, err := s.Webhook(ctx, p, id)
	if err != nil {
		return Webhook{}, err
	}
	err = s.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.DeleteWebhook(id); err != nil {
			return err
		}
		if err := tx.EndDeliveries(id, "the webhook was deleted", s.cfg.Now()); err != nil {
			return err
		}
		if err := tx.DeleteStanding(string(id)); err != nil {
			return err
		}
		return s.note(tx, p, tenant.Deed{Action: tenant.ActWebhookDelete, On: string(id)})
	})
	if errors.Is(err, fault.ErrConflict) {
		return Webhook{}, fault.Errorf(fault.CodeNotFound, err, "there is no webhook %s", id)
	}
	return h, err
}

// PingWebhook sends the webhook an event that says nothing, whatever it listens to.
func (s *Hooks) PingWebhook(ctx context.Context, p tenant.Principal, id ID) (Delivery, error) {
	d, _, err := s.PingWebhookOnce(ctx, p, id, nil)
	return d, err
}

// PingWebhookOnce is PingWebhook for a request with a key. A replay gives the delivery as
// it is now.
func (s *Hooks) PingWebhookOnce(ctx context.Context, p tenant.Principal, id ID, idem *idempotency.Request) (d Delivery, replayed bool, err error) {
	if err := p.MayAll(tenant.Manage); err != nil {
		return Delivery{}, false, err
	}
	return s.deliverOnce(ctx, p, idem, func(keep keep) (Delivery, error) { return s.pingWebhook(ctx, p, id, keep) })
}

func (s *Hooks) pingWebhook(ctx context.Context, p tenant.Principal, id ID, keep keep) (Delivery, error) {
	if _, err := s.Webhook(ctx, p, id); err != nil {
		return Delivery{}, err
	}
	now := s.cfg.Now()
	ping := event.Event{ID: event.ID(s.cfg.NewID(event.Prefix)), Tenant: p.Tenant, Type: EventPing, Message: "a test of webhook " + string(id), At: now}
	body, err := bodyOf(event.Announcement{Event: ping})
	if err != nil {
		return Delivery{}, err
	}
	d := newDeliveryOf(s.cfg.NewID, ping, now)
	d.Webhook, d.Body = id, body
	err = s.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := keep(tx, keptAnswer{Delivery: d.ID}); err != nil {
			return err
		}
		if err := d.address(tx); err != nil {
			return err
		}
		if err := insertDelivery(tx, s.cfg.Queue, s.cfg.Log, d); err != nil {
			return err
		}
		if err := s.note(tx, p, tenant.Deed{Action: tenant.ActWebhookPing, On: string(id)}); err != nil {
			return err
		}
		return wakeReceiver(tx, d)
	})
	if err != nil {
		return Delivery{}, err
	}
	return d, nil
}

// wakeReceiver ends the receiver's rest: somebody wants to see how it does now.
func wakeReceiver(tx Tx, d Delivery) error {
	standing, err := tx.Standing(d.Receiver())
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	standing.RestUntil = time.Time{}
	return tx.PutStanding(standing)
}

// address gives a new delivery the address of its webhook, which must be listening.
func (d *Delivery) address(tx Tx) error {
	h, err := tx.Webhook(d.Webhook)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return fault.Errorf(fault.CodeGone, err, "webhook %s was deleted", d.Webhook)
	case err != nil:
		return err
	case !h.Enabled:
		return fault.Errorf(fault.CodeNotReady, nil, "webhook %s is disabled; enable it first", d.Webhook)
	}
	d.URL = h.URL
	return nil
}
