package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// keptAnswer is what is kept of the answer to a request with a key: what it made. What
// has become of that is read when the request comes again.
type keptAnswer struct {
	Webhook  WebhookID  `json:"webhook,omitempty"`
	Delivery DeliveryID `json:"delivery,omitempty"`
	Secret   string     `json:"secret,omitempty"` // which the answer showed, and shows again
}

// keep writes the answer in the transaction that makes what it is about.
type keep func(Tx, keptAnswer) error

// errAnswered says that a request with the same key was faster.
var errAnswered = &fault.Error{
	Code: fault.CodeIdempotencyInFlight, Message: "another request with this Idempotency-Key was answered just now; try again", RetryAfter: time.Second,
}

// once runs a use case that makes something. Where a request with the same key did so
// before, again gets what that one made. Without a key it just runs.
func (s *Service) once(ctx context.Context, tenant tenant.ID, idem *Idempotency, do func(keep) error, again func(keptAnswer) error) (replayed bool, err error) {
	if idem == nil {
		return false, do(func(Tx, keptAnswer) error { return nil })
	}
	if err := idem.check(); err != nil {
		return false, err
	}
	refusal := do(func(tx Tx, a keptAnswer) error {
		plain, err := json.Marshal(a) //nolint:gosec // it is sealed before it is kept
		if err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
		record, err := s.idempotencyRecord(tenant, idem, plain, s.cfg.Now())
		if err != nil {
			return err
		}
		if err := tx.PutIdempotent(*record); !errors.Is(err, fault.ErrConflict) {
			return err
		}
		return errAnswered
	})
	if refusal == nil {
		return false, nil
	}
	// The transaction refuses a key that is there. So a stored answer is looked for only
	// where nothing was made, and it goes before any other reason for that.
	plain, err := s.replay(ctx, tenant, idem)
	if err != nil {
		return false, err
	}
	if plain == nil {
		return false, refusal
	}
	var kept keptAnswer
	if err := json.Unmarshal(plain, &kept); err != nil {
		return false, fmt.Errorf("read stored answer: %w", err)
	}
	return true, again(kept)
}

func (i *Idempotency) check() error {
	if !keyPattern.MatchString(i.Key) {
		return fault.Invalid([]fault.FieldError{{Field: "Idempotency-Key", Message: fmt.Sprintf("must be 1 to %d printable ASCII characters", maxKeyLength)}})
	}
	return nil
}

// idempotencyContext binds a stored answer to its key.
func idempotencyContext(tenant tenant.ID, key string) string {
	return "idempotency/" + string(tenant) + "/" + key
}

func (s *Service) idempotencyRecord(tenant tenant.ID, idem *Idempotency, answer []byte, now time.Time) (*IdempotencyRecord, error) {
	sealed, err := s.cfg.Vault.Seal(answer, idempotencyContext(tenant, idem.Key))
	if err != nil {
		return nil, fmt.Errorf("seal answer: %w", err)
	}
	return &IdempotencyRecord{Tenant: tenant, Key: idem.Key, Fingerprint: idem.Fingerprint, Answer: sealed, CreatedAt: now}, nil
}

// replay gives the stored answer to the same request, or nil where there is none.
func (s *Service) replay(ctx context.Context, tenant tenant.ID, idem *Idempotency) ([]byte, error) {
	record, err := s.cfg.Store.Idempotent(ctx, tenant, idem.Key)
	if errors.Is(err, fault.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if record.Fingerprint != idem.Fingerprint {
		return nil, fault.Errorf(fault.CodeIdempotencyMismatch, nil, "this Idempotency-Key was used for another request; take a new key for a new request")
	}
	answer, err := s.cfg.Vault.Open(record.Answer, idempotencyContext(tenant, idem.Key))
	if err != nil {
		return nil, fmt.Errorf("open stored answer: %w", err)
	}
	return answer, nil
}

// madeWebhook gives the webhook that a request with the same key made or changed, as it
// is now, and the secret that its answer showed.
func (s *Service) madeWebhook(ctx context.Context, tenant tenant.ID, a keptAnswer) (Webhook, secret.Secret, error) {
	h, err := s.Webhook(ctx, tenant, a.Webhook)
	if errors.Is(err, fault.ErrNotFound) {
		err = fault.Errorf(fault.CodeGone, err, "webhook %s, which the first request with this Idempotency-Key was about, was deleted", a.Webhook)
	}
	return h, secret.New(a.Secret), err
}

// madeDelivery gives the delivery that a request with the same key made, as it is now.
func (s *Service) madeDelivery(ctx context.Context, tenant tenant.ID, a keptAnswer) (Delivery, error) {
	d, err := s.Delivery(ctx, tenant, a.Delivery)
	if errors.Is(err, fault.ErrNotFound) {
		err = fault.Errorf(fault.CodeGone, err, "delivery %s, which the first request with this Idempotency-Key made, is not kept any more", a.Delivery)
	}
	return d, err
}
