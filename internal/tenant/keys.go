package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
)

// Config is what the services of this room need.
type Config struct {
	Store Store
	Vault secret.Vault
	NewID id.Maker
	Now   clock.Clock
	// Engines are the names that a key can be limited to.
	Engines []string
	// CheckLabels says what is wrong with labels that a key is to be limited to.
	CheckLabels func(map[string]string) []fault.FieldError
}

// note writes an entry of the audit log.
func (c Config) note(tx Trail, p Principal, d Deed) error {
	return Auditor{c.NewID, c.Now}.Note(tx, p, d)
}

// notePlatform is note for what concerns no tenant.
func (c Config) notePlatform(tx Trail, p Principal, d Deed) error {
	return Auditor{c.NewID, c.Now}.notePlatform(tx, p, d)
}

// Keys is what clients can ask of API keys.
type Keys struct {
	cfg    Config
	keeper idempotency.Keeper
}

// NewKeys makes Keys.
func NewKeys(cfg Config) *Keys {
	return &Keys{cfg: cfg, keeper: idempotency.Keeper{Store: cfg.Store, Vault: cfg.Vault, Now: cfg.Now}}
}

// KeyRequest asks for a key.
type KeyRequest struct {
	// Tenant is whose key it is; empty: the caller's. Only operators choose another one.
	Tenant    ID
	Name      string
	Role      Role
	Limits    Limits
	ExpiresAt *time.Time // nil: never
}

const (
	maxKeys       = 1000 // of a tenant
	maxNameLength = 100
	maxLifetime   = 10 * 365 * 24 * time.Hour
)

// madeKey is what is kept of the answer to a request with an Idempotency-Key.
type madeKey struct {
	Tenant ID     `json:"tenant"`
	Key    KeyID  `json:"key"`
	Secret string `json:"secret"`
}

// CreateKey makes a key, and returns it with the key itself, which nobody can see again. A
// replay returns the same.
func (s *Keys) CreateKey(ctx context.Context, p Principal, r KeyRequest, idem *idempotency.Request) (k Key, token secret.Secret, replayed bool, err error) {
	if err := s.mayCreate(ctx, p, &r); err != nil {
		return Key{}, secret.Secret{}, false, err
	}
	replayed, err = idempotency.Once(ctx, s.keeper, p.Tenant, idem, func(keep func(idempotency.Tx, madeKey) error) error {
		if err := s.checkKey(p, r); err != nil {
			return err
		}
		token = keyForm.fresh()
		k = Key{
			ID: KeyID(s.cfg.NewID(KeyPrefix)), Tenant: r.Tenant, Name: r.Name, Role: r.Role, Limits: r.Limits, Hash: HashToken(token.Reveal()),
			Hint: token.Reveal()[len(token.Reveal())-hintLength:], CreatedBy: p.String(), CreatedAt: s.cfg.Now(),
		}
		if r.ExpiresAt != nil {
			k.ExpiresAt = r.ExpiresAt.UTC()
		}
		return s.insertKey(ctx, k, func(tx Tx) error {
			if err := keep(tx, madeKey{Tenant: k.Tenant, Key: k.ID, Secret: token.Reveal()}); err != nil {
				return err
			}
			return s.cfg.note(tx, p, deed(k, Done))
		})
	}, func(made madeKey) error {
		token = secret.New(made.Secret)
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			k, err = tx.Key(made.Tenant, made.Key)
			if errors.Is(err, fault.ErrNotFound) || err == nil && !k.RevokedAt.IsZero() {
				return fault.Errorf(fault.CodeGone, err, "key %s was revoked; the first request with this Idempotency-Key created it", made.Key)
			}
			if err != nil {
				return err
			}
			return s.cfg.note(tx, p, deed(k, Replayed))
		})
	})
	return k, token, replayed, err
}

func deed(k Key, result Result) Deed {
	return Deed{Action: ActKeyCreate, Tenant: k.Tenant, On: string(k.ID), Detail: fmt.Sprintf("role %s, name %s", k.Role, k.Name), Result: result}
}

// mayCreate refuses a request that the caller may not make, and completes it.
func (s *Keys) mayCreate(ctx context.Context, p Principal, r *KeyRequest) error {
	if err := p.MayAll(Manage); err != nil {
		return err
	}
	if r.Tenant == "" {
		r.Tenant = p.Tenant
	}
	if r.Tenant != p.Tenant {
		if err := p.May(Operate); err != nil {
			return fault.Errorf(fault.CodeNotFound, err, "there is no tenant %s", r.Tenant)
		}
		if _, err := liveTenant(ctx, s.cfg.Store, r.Tenant); err != nil {
			return err
		}
	}
	slices.Sort(r.Limits.Engines)
	r.Limits.Engines = slices.Compact(r.Limits.Engines)
	return nil
}

func (s *Keys) checkKey(p Principal, r KeyRequest) error {
	roles := []Role{Viewer, Member, Owner}
	if p.Operator {
		roles = append(roles, Operator)
	}
	wrong := append(checkName(r.Name), checkRole(r.Role, roles...)...)
	if now := s.cfg.Now(); r.ExpiresAt != nil && (!r.ExpiresAt.After(now) || r.ExpiresAt.After(now.Add(maxLifetime))) {
		wrong = append(wrong, fault.FieldError{Field: "expires_at", Message: "must be in the future, within ten years; leave it out for a key that does not expire"})
	}
	wrong = append(wrong, s.cfg.CheckLabels(r.Limits.Labels)...)
	for _, engine := range r.Limits.Engines {
		if !slices.Contains(s.cfg.Engines, engine) {
			wrong = append(wrong, fault.FieldError{Field: "engines", Message: "unknown engine; there are: " + strings.Join(s.cfg.Engines, ", ")})
			break
		}
	}
	if r.Role == Operator && !r.Limits.Empty() {
		wrong = append(wrong, fault.FieldError{Field: "role", Message: "an operator's key cannot be limited to engines or labels"})
	}
	if len(wrong) > 0 {
		return fault.Invalid(wrong)
	}
	return nil
}

// checkName refuses a name that cannot be shown in one line.
func checkName(name string) []fault.FieldError {
	switch {
	case strings.TrimSpace(name) == "":
		return []fault.FieldError{{Field: "name", Message: "is required"}}
	case len(name) > maxNameLength:
		return []fault.FieldError{{Field: "name", Message: fmt.Sprintf("must be at most %d bytes", maxNameLength)}}
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return []fault.FieldError{{Field: "name", Message: "must consist of printable characters"}}
	}
	return nil
}

func (s *Keys) insertKey(ctx context.Context, k Key, keep func(Tx) error) error {
	return fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			if err := touchTenant(tx, k.Tenant); err != nil { // which nobody deletes meanwhile
				return err
			}
			n, err := tx.LiveKeys(k.Tenant, maxKeys)
			if err != nil {
				return err
			}
			if n >= maxKeys {
				return fault.Invalid([]fault.FieldError{{Field: "name", Message: fmt.Sprintf("the limit of %d keys is reached; revoke one", maxKeys)}})
			}
			if err := keep(tx); err != nil {
				return err
			}
			return tx.InsertKey(k)
		})
	})
}

// Keys returns a page of the tenant's keys that are not revoked, newest first, and the cursor
// of the next page.
func (s *Keys) Keys(ctx context.Context, p Principal, list page.Page) ([]Key, string, error) {
	if err := p.MayAll(Manage); err != nil {
		return nil, "", err
	}
	return page.Fetch(ctx, page.List{Prefix: KeyPrefix, Filter: p.Tenant}, list,
		func(ctx context.Context, list page.Page) ([]Key, error) { return s.cfg.Store.Keys(ctx, p.Tenant, list) },
		func(k Key) string { return string(k.ID) })
}

// RevokeKey ends a key of the tenant: within a second no process takes it any more. Doing so
// again is success. A key may revoke itself, whatever its role: whoever has leaked it must be able to.
func (s *Keys) RevokeKey(ctx context.Context, p Principal, which KeyID) error {
	if p.Key != which || which == "" {
		if err := p.MayAll(Manage); err != nil {
			return err
		}
	}
	unknown := fault.Errorf(fault.CodeNotFound, nil, "there is no key %s", which)
	if !id.WellFormed(which) || IsToken(string(which)) { // it may be the key itself, which nobody repeats
		return fault.Errorf(fault.CodeNotFound, nil, "the key does not exist; give its id, which begins with %s_", KeyPrefix)
	}
	return s.cfg.Store.Tx(ctx, func(tx Tx) error {
		k, err := tx.Key(p.Tenant, which)
		if errors.Is(err, fault.ErrNotFound) {
			return unknown
		}
		if err == nil && k.Role == Operator && p.Key != which {
			err = p.May(Operate)
		}
		if err != nil {
			return err
		}
		if !k.RevokedAt.IsZero() {
			return nil
		}
		if err := tx.RevokeKey(p.Tenant, which, s.cfg.Now()); err != nil {
			return err
		}
		return s.cfg.note(tx, p, Deed{Action: ActKeyRevoke, On: string(which), Detail: "name " + k.Name})
	})
}
