package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// The time for which a secret that was rotated signs as well.
const (
	DefaultSecretOverlap = 24 * time.Hour
	maxSecretOverlap     = 7 * 24 * time.Hour
	// maxOldSecrets is how many sign besides the active one.
	maxOldSecrets = 4
)

// RotateWebhook gives the webhook a new secret, shown in this answer only. For the
// time given, the old one signs as well, and so do those from earlier rotations until
// their own time is up. No time at all ends all of them at once.
func (s *Hooks) RotateWebhook(ctx context.Context, p tenant.Principal, id ID, overlap time.Duration) (Webhook, secret.Secret, error) {
	h, secret, _, err := s.RotateWebhookOnce(ctx, p, id, overlap, nil)
	return h, secret, err
}

// RotateWebhookOnce is RotateWebhook for a request with a key. A replay gives the webhook
// as it is now, with the secret that the first answer showed.
func (s *Hooks) RotateWebhookOnce(
	ctx context.Context, p tenant.Principal, id ID, overlap time.Duration, idem *idempotency.Request,
) (h Webhook, sec secret.Secret, replayed bool, err error) {
	if err := p.MayAll(tenant.Manage); err != nil {
		return Webhook{}, secret.Secret{}, false, err
	}
	replayed, err = idempotency.Once(ctx, s.keeper, p.Tenant, idem, func(keep keep) error {
		h, sec, err = s.rotateWebhook(ctx, p, id, overlap, keep)
		return err
	}, func(made keptAnswer) error {
		h, sec, err = s.madeWebhook(ctx, p, made)
		return err
	})
	return h, sec, replayed, err
}

func (s *Hooks) rotateWebhook(ctx context.Context, p tenant.Principal, id ID, overlap time.Duration, keep keep) (Webhook, secret.Secret, error) {
	if overlap < 0 || overlap > maxSecretOverlap {
		return Webhook{}, secret.Secret{}, fault.Invalid([]fault.FieldError{{Field: "overlap", Message: fmt.Sprintf("must be from 0s to %s", maxSecretOverlap)}})
	}
	var secret secret.Secret
	h, err := s.updateWebhook(ctx, p, id, func(tx Tx, h *Webhook) error {
		if err := s.keepSecret(h, overlap); err != nil {
			return err
		}
		var err error
		if secret, err = s.newWebhookSecret(h); err != nil {
			return err
		}
		if err := s.note(tx, p, tenant.Deed{Action: tenant.ActWebhookRotate, On: string(id)}); err != nil {
			return err
		}
		return keep(tx, keptAnswer{Webhook: id, Secret: secret.Reveal()})
	})
	return h, secret, err
}

// oldSecret is one that still signs.
type oldSecret struct {
	Text  string    `json:"text"`
	Until time.Time `json:"until"`
}

// keepSecret puts the active secret to the old ones.
func (s *Hooks) keepSecret(h *Webhook, overlap time.Duration) error {
	now := h.UpdatedAt
	if overlap == 0 {
		h.Previous, h.PreviousUntil = secret.Sealed{}, time.Time{}
		return nil
	}
	old, err := h.oldSecrets(s.cfg.Vault, now)
	if err != nil {
		return fmt.Errorf("open old secrets: %w", err)
	}
	if len(old) == maxOldSecrets {
		return fault.Errorf(fault.CodeNotReady, nil, "%d old secrets still sign, until %s at the latest; wait, or rotate with an overlap of 0s, which revokes them at once",
			len(old), h.PreviousUntil.Format(time.RFC3339))
	}
	active, err := s.cfg.Vault.Open(h.Secret, Place(h.ID))
	if err != nil {
		return fmt.Errorf("open webhook secret: %w", err)
	}
	old = append([]oldSecret{{string(active), now.Add(overlap)}}, old...)
	h.PreviousUntil = time.Time{}
	for _, o := range old {
		if o.Until.After(h.PreviousUntil) {
			h.PreviousUntil = o.Until
		}
	}
	plain, err := json.Marshal(old)
	if err != nil {
		return fmt.Errorf("encode old secrets: %w", err)
	}
	if h.Previous, err = s.cfg.Vault.Seal(plain, Place(h.ID)); err != nil {
		return fmt.Errorf("seal old secrets: %w", err)
	}
	return nil
}

// oldSecrets opens those that still sign, the youngest first.
func (h Webhook) oldSecrets(v secret.Vault, now time.Time) ([]oldSecret, error) {
	if !h.PreviousUntil.After(now) {
		return nil, nil
	}
	plain, err := v.Open(h.Previous, Place(h.ID))
	if err != nil {
		return nil, err
	}
	var all, still []oldSecret
	if json.Unmarshal(plain, &all) != nil { // written when there was only ever one
		all = []oldSecret{{string(plain), h.PreviousUntil}}
	}
	for _, o := range all {
		if o.Until.After(now) {
			still = append(still, o)
		}
	}
	return still, nil
}

// secrets opens what deliveries to the webhook are signed with now, the active one
// first.
func (h Webhook) secrets(v secret.Vault, now time.Time) ([]secret.Secret, error) {
	active, err := v.Open(h.Secret, Place(h.ID))
	if err != nil {
		return nil, err
	}
	old, err := h.oldSecrets(v, now)
	if err != nil {
		return nil, err
	}
	out := []secret.Secret{secret.New(string(active))}
	for _, o := range old {
		out = append(out, secret.New(o.Text))
	}
	return out, nil
}
