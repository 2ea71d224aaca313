package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
)

// GrantID names a grant ("grt_…").
type GrantID string

// GrantPrefix begins the ids of grants.
const GrantPrefix = "grt"

// Grant lets one operator read the credentials of a tenant for some time.
type Grant struct {
	ID     GrantID
	Tenant ID
	// User or Key is whose it is; neither: the admin key's.
	User      UserID
	Key       KeyID
	By        string // Principal.Name
	Reason    string
	CreatedAt time.Time
	ExpiresAt time.Time
	EndedAt   time.Time // before its time; zero: not
}

// Active reports whether the grant opens anything at the time.
func (g Grant) Active(now time.Time) bool { return g.EndedAt.IsZero() && now.Before(g.ExpiresAt) }

// How long grants last.
const (
	DefaultGrant = time.Hour
	maxGrant     = 24 * time.Hour
	minGrant     = time.Minute
	maxReason    = 300
)

// Grants is what clients can ask of grants.
type Grants struct {
	cfg     Config
	tenants *Tenants
}

// NewGrants makes Grants.
func NewGrants(cfg Config) *Grants { return &Grants{cfg: cfg, tenants: NewTenants(cfg)} }

// MayCredentials refuses a principal who may not read the tenant's credentials now. An operator
// who is no member may by a grant, which it returns; empty: by their role.
func (s *Grants) MayCredentials(ctx context.Context, p Principal) (GrantID, error) {
	refusal := p.May(Credentials)
	if refusal == nil || !p.Operator {
		return "", refusal
	}
	g, err := s.cfg.Store.ActiveGrant(ctx, p.Tenant, p.User, p.Key, s.cfg.Now())
	if errors.Is(err, fault.ErrNotFound) {
		return "", fault.Errorf(fault.CodeForbidden, nil, "%s is no member of tenant %s; an operator reads its credentials by a grant: berth grants add --tenant %s --reason TEXT", p.Name, p.Tenant, p.Tenant)
	}
	return g.ID, err
}

// Grant lets the caller, an operator, read the credentials of the tenant for so long; zero: for
// DefaultGrant. The tenant's owners see it, with the reason.
func (s *Grants) Grant(ctx context.Context, p Principal, which ID, reason string, lasts time.Duration) (Grant, error) {
	p, err := s.in(ctx, p, which, Operate)
	if err != nil {
		return Grant{}, err
	}
	if lasts == 0 {
		lasts = DefaultGrant
	}
	reason = strings.TrimSpace(reason)
	var wrong []fault.FieldError
	if reason == "" || len(reason) > maxReason || strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) }) {
		wrong = append(wrong, fault.FieldError{Field: "reason", Message: fmt.Sprintf("must say why, in at most %d bytes on one line", maxReason)})
	}
	if lasts < minGrant || lasts > maxGrant {
		wrong = append(wrong, fault.FieldError{Field: "lasts", Message: fmt.Sprintf("must be from %s to %s", minGrant, maxGrant)})
	}
	if len(wrong) > 0 {
		return Grant{}, fault.Invalid(wrong)
	}
	now := s.cfg.Now()
	g := Grant{
		ID: GrantID(s.cfg.NewID(GrantPrefix)), Tenant: which, User: p.User, Key: p.Key, By: short(p.Name, maxActor), Reason: reason, CreatedAt: now, ExpiresAt: now.Add(lasts),
	}
	return g, s.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.InsertGrant(g); err != nil {
			return err
		}
		return s.cfg.note(tx, p, Deed{Action: ActGrantCreate, On: string(g.ID), Detail: fmt.Sprintf("for %s: %s", lasts, reason)})
	})
}

func (s *Grants) in(ctx context.Context, p Principal, which ID, right Right) (Principal, error) {
	p, err := s.tenants.In(ctx, p, which)
	if err != nil {
		return p, err
	}
	if err := p.MayAll(right); err != nil {
		return p, err
	}
	_, err = liveTenant(ctx, s.cfg.Store, which)
	return p, err
}

// Grants returns a page of the tenant's grants, newest first, and the cursor of the next page.
func (s *Grants) Grants(ctx context.Context, p Principal, which ID, list page.Page) ([]Grant, string, error) {
	if _, err := s.in(ctx, p, which, Manage); err != nil {
		return nil, "", err
	}
	return page.Fetch(ctx, page.List{Prefix: GrantPrefix, Filter: which}, list,
		func(ctx context.Context, list page.Page) ([]Grant, error) {
			return s.cfg.Store.Grants(ctx, which, list)
		},
		func(g Grant) string { return string(g.ID) })
}

// EndGrant ends a grant before its time: it opens nothing any more. Doing so again is success.
func (s *Grants) EndGrant(ctx context.Context, p Principal, which ID, grant GrantID) error {
	p, err := s.in(ctx, p, which, Manage)
	if err != nil {
		return err
	}
	if !id.WellFormed(grant) {
		return fault.Errorf(fault.CodeNotFound, nil, "the grant does not exist")
	}
	return s.cfg.Store.Tx(ctx, func(tx Tx) error {
		g, err := tx.Grant(which, grant)
		if errors.Is(err, fault.ErrNotFound) {
			return fault.Errorf(fault.CodeNotFound, nil, "there is no grant %s in tenant %s", grant, which)
		}
		if err != nil || !g.Active(s.cfg.Now()) {
			return err
		}
		if err := tx.EndGrant(grant, s.cfg.Now()); err != nil {
			return err
		}
		return s.cfg.note(tx, p, Deed{Action: ActGrantEnd, On: string(grant)})
	})
}
