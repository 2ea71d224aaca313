// Package idempotency owns requests that are safe to repeat: the answer to a request with an
// Idempotency-Key is kept, and given again where the key comes again
// (draft-ietf-httpapi-idempotency-key-header). It must not know what requests make.
package idempotency

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
)

// Request is what makes a request safe to repeat.
type Request struct {
	Key         string
	Fingerprint string // of the request: the same key with another one is refused
}

// Record remembers the answer to a request.
type Record struct {
	Tenant      id.Tenant
	Key         string
	Fingerprint string
	Answer      secret.Sealed // it may hold a secret
	CreatedAt   time.Time
}

// Store keeps records.
type Store interface {
	// Idempotent returns what was answered to a request with this key.
	Idempotent(ctx context.Context, owner id.Tenant, key string) (Record, error)
}

// Tx writes records in the transaction that makes what the request asks for.
type Tx interface {
	// PutIdempotent fails with CodeConflict where the key is there already.
	PutIdempotent(Record) error
	// DeleteOldRecords removes records that were written before.
	DeleteOldRecords(before time.Time, limit int) (int, error)
}

const maxKeyLength = 255

var keyPattern = regexp.MustCompile(fmt.Sprintf(`^[ -~]{1,%d}$`, maxKeyLength))

// Check refuses a key that is none.
func (r *Request) Check() error {
	if !keyPattern.MatchString(r.Key) {
		return fault.Invalid([]fault.FieldError{{Field: "Idempotency-Key", Message: fmt.Sprintf("must be 1 to %d printable ASCII characters", maxKeyLength)}})
	}
	return nil
}

// Keeper keeps answers and gives them again.
type Keeper struct {
	Store Store
	Vault secret.Vault
	Now   clock.Clock
}

// Place binds a stored answer to its key.
func Place(owner id.Tenant, key string) string { return "idempotency/" + string(owner) + "/" + key }

// Record returns the record of an answer.
func (k Keeper) Record(owner id.Tenant, r *Request, answer []byte) (Record, error) {
	sealed, err := k.Vault.Seal(answer, Place(owner, r.Key))
	if err != nil {
		return Record{}, fmt.Errorf("seal answer: %w", err)
	}
	return Record{Tenant: owner, Key: r.Key, Fingerprint: r.Fingerprint, Answer: sealed, CreatedAt: k.Now()}, nil
}

// Replay returns the stored answer to the same request, or nil where there is none.
func (k Keeper) Replay(ctx context.Context, owner id.Tenant, r *Request) ([]byte, error) {
	record, err := k.Store.Idempotent(ctx, owner, r.Key)
	if errors.Is(err, fault.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if record.Fingerprint != r.Fingerprint {
		return nil, fault.Errorf(fault.CodeIdempotencyMismatch, nil, "this Idempotency-Key was used for a different request; use a new key for a new request")
	}
	answer, err := k.Vault.Open(record.Answer, Place(owner, r.Key))
	if err != nil {
		return nil, fmt.Errorf("open stored answer: %w", err)
	}
	return answer, nil
}

// errAnswered says that a request with the same key was faster.
var errAnswered = &fault.Error{
	Code: fault.CodeIdempotencyInFlight, Message: "another request with this Idempotency-Key ended just now; try again", RetryAfter: time.Second,
}

// Once runs a use case that makes something. do makes it, and keeps the answer A, which is
// encoded as JSON, in the same transaction. Where a request with the same key did so before,
// again gets the answer that was kept. Without a key do just runs.
func Once[A any](
	ctx context.Context, k Keeper, owner id.Tenant, r *Request, do func(keep func(Tx, A) error) error, again func(A) error,
) (replayed bool, err error) {
	if r == nil {
		return false, do(func(Tx, A) error { return nil })
	}
	if err := r.Check(); err != nil {
		return false, err
	}
	refusal := do(func(tx Tx, a A) error {
		plain, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
		record, err := k.Record(owner, r, plain)
		if err != nil {
			return err
		}
		if err := tx.PutIdempotent(record); !errors.Is(err, fault.ErrConflict) {
			return err
		}
		return errAnswered
	})
	if refusal == nil {
		return false, nil
	}
	// The transaction refuses a key that is there. So a stored answer is looked for only
	// where nothing was made, and it goes before any other reason for that.
	plain, err := k.Replay(ctx, owner, r)
	if err != nil {
		return false, err
	}
	if plain == nil {
		return false, refusal
	}
	var kept A
	if err := json.Unmarshal(plain, &kept); err != nil {
		return false, fmt.Errorf("read stored answer: %w", err)
	}
	return true, again(kept)
}
