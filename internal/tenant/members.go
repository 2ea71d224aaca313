package tenant

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
)

// InvitationPrefix begins the ids of invitations.
const InvitationPrefix = "inv"

// Members is what clients can ask of the members of tenants, and of invitations.
type Members struct {
	cfg     Config
	tenants *Tenants
}

// NewMembers makes Members.
func NewMembers(cfg Config) *Members { return &Members{cfg: cfg, tenants: NewTenants(cfg)} }

// in returns the caller as one who acts in the tenant, if they have the right there.
func (s *Members) in(ctx context.Context, p Principal, which ID, right Right) (Principal, error) {
	p, err := s.tenants.In(ctx, p, which)
	if err != nil {
		return p, err
	}
	return p, p.MayAll(right)
}

// Members returns a page of the tenant's members, those whose accounts are newest first, and
// the cursor of the next page.
func (s *Members) Members(ctx context.Context, p Principal, which ID, list page.Page) ([]Membership, string, error) {
	if _, err := s.in(ctx, p, which, Read); err != nil {
		return nil, "", err
	}
	return page.Fetch(ctx, page.List{Prefix: UserPrefix, Filter: which}, list,
		func(ctx context.Context, list page.Page) ([]Membership, error) {
			return s.cfg.Store.Members(ctx, which, list)
		},
		func(m Membership) string { return string(m.User) })
}

// MemberRequest asks to make a user a member.
type MemberRequest struct {
	User  UserID
	Login string // instead of User, for operators: to others it would tell who has an account
	Role  Role
}

// AddMember makes a user a member of the tenant.
func (s *Members) AddMember(ctx context.Context, p Principal, which ID, r MemberRequest) (Membership, error) {
	p, err := s.in(ctx, p, which, Manage)
	if err != nil {
		return Membership{}, err
	}
	wrong := checkRole(r.Role, memberRoles...)
	if (r.User == "") == (r.Login == "") {
		wrong = append(wrong, fault.FieldError{Field: "user_id", Message: "give either user_id or login"})
	} else if r.Login != "" && !p.Operator {
		wrong = append(wrong, fault.FieldError{Field: "login", Message: "is for operators; give the user_id that the user sees in GET /api/v1/me, or make an invitation"})
	}
	if len(wrong) > 0 {
		return Membership{}, fault.Invalid(wrong)
	}
	if r.Login != "" {
		login, _ := normalLogin(r.Login)
		u, err := s.cfg.Store.UserByLogin(ctx, login)
		if errors.Is(err, fault.ErrNotFound) {
			err = fault.Errorf(fault.CodeNotFound, nil, "there is no user with this login name; create it, or make an invitation")
		}
		if err != nil {
			return Membership{}, err
		}
		r.User = u.ID
	}
	return s.write(ctx, which, r.User, func(tx Tx) error {
		u, err := userIn(tx, r.User)
		if err != nil {
			return err
		}
		if err := join(tx, u, which, r.Role, s.cfg.Now()); err != nil {
			return err
		}
		return s.cfg.note(tx, p, Deed{Action: ActMemberAdd, On: string(u.ID), Detail: fmt.Sprintf("login %s, role %s", u.Login, r.Role)})
	})
}

// write changes a membership, and returns it as it is afterwards.
func (s *Members) write(ctx context.Context, which ID, user UserID, do func(Tx) error) (m Membership, err error) {
	err = fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			if err := do(tx); err != nil {
				return err
			}
			m, err = tx.Member(which, user)
			return err
		})
	})
	return m, err
}

// member returns a membership that a transaction is about to change.
func member(tx Rows, which ID, user UserID) (Membership, error) {
	if err := touchTenant(tx, which); err != nil {
		return Membership{}, err
	}
	unknown := fault.Errorf(fault.CodeNotFound, nil, "there is no such member of tenant %s", which)
	if !id.WellFormed(user) {
		return Membership{}, unknown
	}
	m, err := tx.Member(which, user)
	if errors.Is(err, fault.ErrNotFound) {
		return Membership{}, unknown
	}
	return m, err
}

// ChangeRole gives a member another role. The last owner keeps theirs.
func (s *Members) ChangeRole(ctx context.Context, p Principal, which ID, user UserID, role Role) (Membership, error) {
	p, err := s.in(ctx, p, which, Manage)
	if err != nil {
		return Membership{}, err
	}
	if wrong := checkRole(role, memberRoles...); wrong != nil {
		return Membership{}, fault.Invalid(wrong)
	}
	return s.write(ctx, which, user, func(tx Tx) error {
		m, err := member(tx, which, user)
		if err != nil || m.Role == role {
			return err
		}
		if err := keepOwner(tx, p, m, "role"); err != nil {
			return err
		}
		if err := tx.SetRole(which, user, role); err != nil {
			return err
		}
		return s.cfg.note(tx, p, Deed{Action: ActMemberChange, On: string(user), Detail: fmt.Sprintf("role %s, was %s", role, m.Role)})
	})
}

// RemoveMember ends a membership: within a second it opens nothing in the tenant. Members may
// remove themselves. The last owner stays.
func (s *Members) RemoveMember(ctx context.Context, p Principal, which ID, user UserID) error {
	p, err := s.tenants.In(ctx, p, which)
	if err != nil {
		return err
	}
	if p.User != user || user == "" || p.Role == "" {
		if err := p.MayAll(Manage); err != nil {
			return err
		}
	}
	return fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			m, err := member(tx, which, user)
			if err != nil {
				return err
			}
			if err := keepOwner(tx, p, m, "user_id"); err != nil {
				return err
			}
			if err := tx.DeleteMember(which, user); err != nil {
				return err
			}
			return s.cfg.note(tx, p, Deed{Action: ActMemberRemove, On: string(user), Detail: "role " + string(m.Role)})
		})
	})
}

func (i Invitation) deed(result Result) Deed {
	return Deed{Action: ActInvitationCreate, On: string(i.ID), Detail: "role " + string(i.Role), Result: result}
}

type madeInvitation struct {
	Invitation InvitationID `json:"invitation"`
	Secret     string       `json:"secret"`
}

// Invite makes an invitation to the tenant, and returns it with its token, which nobody can see
// again. A replay returns the same.
func (s *Members) Invite(ctx context.Context, p Principal, which ID, role Role, idem *idempotency.Request) (inv Invitation, token secret.Secret, replayed bool, err error) {
	if p, err = s.in(ctx, p, which, Manage); err != nil {
		return Invitation{}, secret.Secret{}, false, err
	}
	if wrong := checkRole(role, memberRoles...); wrong != nil {
		return Invitation{}, secret.Secret{}, false, fault.Invalid(wrong)
	}
	ctx = Within(ctx, which) // where the answer is kept, whoever asks
	replayed, err = idempotency.Once(ctx, s.tenants.keeper, which, idem, func(keep func(idempotency.Tx, madeInvitation) error) error {
		token = invitationForm.fresh()
		now := s.cfg.Now()
		inv = Invitation{
			ID: InvitationID(s.cfg.NewID(InvitationPrefix)), Tenant: which, Role: role, Hash: HashToken(token.Reveal()), CreatedBy: p.String(), ByUser: p.User,
			CreatedAt: now, ExpiresAt: now.Add(invitationLasts),
		}
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			n, err := tx.OpenInvitations(which, now, maxInvitations)
			if err != nil {
				return err
			}
			if n >= maxInvitations {
				return fault.Invalid([]fault.FieldError{{Field: "role", Message: fmt.Sprintf("the limit of %d open invitations is reached; withdraw one", maxInvitations)}})
			}
			if err := keep(tx, madeInvitation{inv.ID, token.Reveal()}); err != nil {
				return err
			}
			if err := tx.InsertInvitation(inv); err != nil {
				return err
			}
			return s.cfg.note(tx, p, inv.deed(Done))
		})
	}, func(made madeInvitation) error {
		token = secret.New(made.Secret)
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			inv, err = tx.InvitationByHash(HashToken(made.Secret))
			if errors.Is(err, fault.ErrNotFound) || err == nil && !inv.UsedAt.IsZero() {
				return fault.Errorf(fault.CodeGone, err, "invitation %s was used or withdrawn; the first request with this Idempotency-Key created it", made.Invitation)
			}
			if err != nil {
				return err
			}
			return s.cfg.note(tx, p, inv.deed(Replayed))
		})
	})
	return inv, token, replayed, err
}

// Invitations returns a page of the tenant's open invitations, newest first, and the cursor of
// the next page.
func (s *Members) Invitations(ctx context.Context, p Principal, which ID, list page.Page) ([]Invitation, string, error) {
	if _, err := s.in(ctx, p, which, Manage); err != nil {
		return nil, "", err
	}
	return page.Fetch(ctx, page.List{Prefix: InvitationPrefix, Filter: which}, list,
		func(ctx context.Context, list page.Page) ([]Invitation, error) {
			return s.cfg.Store.Invitations(ctx, which, s.cfg.Now(), list)
		},
		func(i Invitation) string { return string(i.ID) })
}

// Withdraw ends an invitation. Doing so again is success, as long as it is remembered.
func (s *Members) Withdraw(ctx context.Context, p Principal, which ID, inv InvitationID) error {
	p, err := s.in(ctx, p, which, Manage)
	if err != nil {
		return err
	}
	unknown := fault.Errorf(fault.CodeNotFound, nil, "there is no such invitation; give its id, which begins with %s_", InvitationPrefix)
	if !id.WellFormed(inv) || IsToken(string(inv)) {
		return unknown
	}
	return s.cfg.Store.Tx(ctx, func(tx Tx) error {
		_, err := tx.Invitation(which, inv)
		if errors.Is(err, fault.ErrNotFound) {
			return unknown
		}
		if err != nil {
			return err
		}
		err = tx.UseInvitation(inv, "", s.cfg.Now())
		if errors.Is(err, fault.ErrConflict) { // it is over already
			return nil
		}
		if err != nil {
			return err
		}
		return s.cfg.note(tx, p, Deed{Action: ActInvitationWithdraw, On: string(inv)})
	})
}

// Join makes the caller, who has logged in, a member by an invitation.
func (s *Members) Join(ctx context.Context, p Principal, token string) (m Membership, err error) {
	if err := p.May(Oneself); err != nil {
		return Membership{}, err
	}
	err = fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			now := s.cfg.Now()
			inv, err := openInvitation(tx, token, now)
			if err != nil {
				return err
			}
			u, err := userIn(tx, p.User)
			if err != nil {
				return err
			}
			if err := accept(tx, inv, u, now); err != nil {
				return err
			}
			if m, err = tx.Member(inv.Tenant, p.User); err != nil {
				return err
			}
			return s.cfg.note(tx, p, Deed{Action: ActInvitationUse, Tenant: inv.Tenant, On: string(inv.ID), Detail: fmt.Sprintf("login %s, role %s", u.Login, m.Role)})
		})
	})
	return m, err
}
