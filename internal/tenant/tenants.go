package tenant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/page"
)

// Tenants is what clients can ask of tenants.
type Tenants struct {
	cfg    Config
	keeper idempotency.Keeper
}

// NewTenants makes Tenants.
func NewTenants(cfg Config) *Tenants {
	return &Tenants{cfg: cfg, keeper: idempotency.Keeper{Store: cfg.Store, Vault: cfg.Vault, Now: cfg.Now}}
}

// liveTenant returns a tenant that is not deleted.
func liveTenant(ctx context.Context, store Reader, which ID) (Tenant, error) {
	if !id.WellFormed(which) || which == Nobody {
		return Tenant{}, fault.Errorf(fault.CodeNotFound, nil, "the tenant does not exist")
	}
	unknown := fault.Errorf(fault.CodeNotFound, nil, "there is no tenant %s", which)
	t, err := store.Tenant(ctx, which)
	if errors.Is(err, fault.ErrNotFound) || err == nil && t.Deleted() {
		return Tenant{}, unknown
	}
	return t, err
}

// In returns the caller as one who acts in the tenant: a user in another tenant that they
// are a member of, an operator in any.
func (s *Tenants) In(ctx context.Context, p Principal, which ID) (Principal, error) {
	return in(ctx, s.cfg.Store, p, which)
}

func in(ctx context.Context, store Store, p Principal, which ID) (Principal, error) {
	if which == p.Tenant {
		return p, nil
	}
	if which == Pool && p.Operator {
		p.Tenant, p.Role = Pool, ""
		return p, nil
	}
	if p.User == "" && !p.Operator {
		return Principal{}, fault.Errorf(fault.CodeNotFound, nil, "the tenant does not exist")
	}
	if _, err := liveTenant(ctx, store, which); err != nil {
		return Principal{}, err
	}
	p.Tenant, p.Role = which, ""
	if p.User == "" {
		return p, nil
	}
	m, err := store.Membership(ctx, which, p.User)
	switch {
	case err == nil:
		p.Role = m.Role
	case !errors.Is(err, fault.ErrNotFound):
		return Principal{}, err
	case !p.Operator: // as if there were none
		return Principal{}, fault.Errorf(fault.CodeNotFound, nil, "there is no tenant %s", which)
	}
	return p, nil
}

type madeTenant struct {
	Tenant ID `json:"tenant"`
}

// CreateTenant makes a tenant.
func (s *Tenants) CreateTenant(ctx context.Context, p Principal, name string, idem *idempotency.Request) (t Tenant, replayed bool, err error) {
	if err := p.May(Operate); err != nil {
		return Tenant{}, false, err
	}
	if wrong := checkName(name); wrong != nil {
		return Tenant{}, false, fault.Invalid(wrong)
	}
	replayed, err = idempotency.Once(ctx, s.keeper, p.Tenant, idem, func(keep func(idempotency.Tx, madeTenant) error) error {
		now := s.cfg.Now()
		t = Tenant{ID: ID(s.cfg.NewID(Prefix)), Name: name, CreatedAt: now, UpdatedAt: now}
		return explainName(s.cfg.Store.Tx(ctx, func(tx Tx) error {
			if err := keep(tx, madeTenant{t.ID}); err != nil {
				return err
			}
			if err := tx.InsertTenant(t); err != nil {
				return err
			}
			return s.cfg.note(tx, p, Deed{Action: ActTenantCreate, Tenant: t.ID, On: string(t.ID), Detail: "name " + name})
		}))
	}, func(made madeTenant) error {
		t, err = liveTenant(ctx, s.cfg.Store, made.Tenant)
		if errors.Is(err, fault.ErrNotFound) {
			err = fault.Errorf(fault.CodeGone, err, "tenant %s was deleted; the first request with this Idempotency-Key created it", made.Tenant)
		}
		return err
	})
	return t, replayed, err
}

func explainName(err error) error {
	if !errors.Is(err, fault.ErrNameHeld) {
		return err
	}
	return fault.Invalid([]fault.FieldError{{Field: "name", Message: "is taken by another tenant; choose another name"}})
}

// Tenant returns a tenant that the principal acts in or runs.
func (s *Tenants) Tenant(ctx context.Context, p Principal, which ID) (Tenant, error) {
	p, err := s.In(ctx, p, which)
	if err != nil {
		return Tenant{}, err
	}
	if err := p.May(Read); err != nil {
		return Tenant{}, err
	}
	return liveTenant(ctx, s.cfg.Store, which)
}

// Tenants returns a page of the tenants that the principal sees, newest first, and the cursor
// of the next page: operators see all, users those that they are members of, keys their own.
func (s *Tenants) Tenants(ctx context.Context, p Principal, list page.Page) ([]Tenant, string, error) {
	if err := p.May(Read); err != nil {
		return nil, "", err
	}
	read := s.cfg.Store.Tenants
	if p.May(Operate) != nil {
		read = func(ctx context.Context, list page.Page) ([]Tenant, error) {
			all, err := s.own(ctx, p)
			all = slices.DeleteFunc(all, func(t Tenant) bool { return list.Before != "" && string(t.ID) >= list.Before })
			return all[:min(len(all), list.Limit)], err
		}
	}
	return page.Fetch(ctx, page.List{Prefix: Prefix, Filter: p.May(Operate) == nil}, list, read, func(t Tenant) string { return string(t.ID) })
}

// own returns the tenants of one who is no operator, newest first.
func (s *Tenants) own(ctx context.Context, p Principal) ([]Tenant, error) {
	if p.User == "" {
		t, err := liveTenant(ctx, s.cfg.Store, p.Tenant)
		return []Tenant{t}, err
	}
	places, err := s.cfg.Store.Workplaces(ctx, p.User)
	all := make([]Tenant, len(places))
	for i, place := range places {
		all[i] = place.Tenant
	}
	slices.SortFunc(all, func(a, b Tenant) int { return cmp.Compare(b.ID, a.ID) })
	return all, err
}

// RenameTenant gives a tenant another name. It is the operators' to do: names are unique among
// all tenants, so a refusal tells of others.
func (s *Tenants) RenameTenant(ctx context.Context, p Principal, which ID, name string) (t Tenant, err error) {
	if p, err = s.In(ctx, p, which); err != nil {
		return Tenant{}, err
	}
	if err := p.May(Operate); err != nil {
		return Tenant{}, err
	}
	if wrong := checkName(name); wrong != nil {
		return Tenant{}, fault.Invalid(wrong)
	}
	err = fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			if t, err = tx.Tenant(which); err != nil {
				return err
			}
			was := t.Name
			t.Name, t.UpdatedAt = name, s.cfg.Now()
			if err := tx.UpdateTenant(t); err != nil {
				return err
			}
			return s.cfg.note(tx, p, Deed{Action: ActTenantRename, On: string(which), Detail: fmt.Sprintf("name %s, was %s", name, was)})
		})
	})
	return t, explainName(err)
}

// DeleteTenant ends a tenant that holds nothing any more: its keys, memberships, invitations and
// grants end with it, and its name is free again. Doing so again is CodeNotFound.
func (s *Tenants) DeleteTenant(ctx context.Context, p Principal, which ID) error {
	p, err := s.In(ctx, p, which)
	if err != nil {
		return err
	}
	if err := p.MayAll(Operate); err != nil {
		return err
	}
	if which == Default || which == Nobody {
		return fault.Errorf(fault.CodeConflict, nil, "tenant %s is there for ever: what was made before there were tenants is its own, and the admin key acts in it", which)
	}
	ctx = Within(ctx, which) // it is asked by operators, of what that tenant has
	return fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			t, err := tx.Tenant(which)
			if errors.Is(err, fault.ErrNotFound) || err == nil && t.Deleted() {
				return fault.Errorf(fault.CodeNotFound, nil, "there is no tenant %s", which)
			}
			if err != nil {
				return err
			}
			if err := s.empty(tx, which); err != nil {
				return err
			}
			now := s.cfg.Now()
			t.DeletedAt, t.UpdatedAt = now, now
			if err := tx.UpdateTenant(t); err != nil {
				return err
			}
			if err := tx.EndAccess(which, now); err != nil {
				return err
			}
			return s.cfg.note(tx, p, Deed{Action: ActTenantDelete, On: string(which), Detail: "name " + t.Name})
		})
	})
}

// empty refuses a tenant that holds something. It has the tenant's quota to itself until the
// transaction ends, and leaves nothing of it: a create that was under way waits for that, and
// is refused then.
func (s *Tenants) empty(tx Tx, which ID) error {
	if _, err := tx.LockQuota(which, true); err != nil {
		return err
	}
	n, err := tx.Owns(which)
	if err != nil {
		return err
	}
	if n > 0 {
		return fault.Errorf(fault.CodeConflict, nil, "tenant %s still has %s; delete them, and then the tenant", which, Instances.Format(n))
	}
	return tx.PutQuota(which, Amounts{Instances: 0})
}
