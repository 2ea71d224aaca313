package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
)

// SignUp says who may make an account.
type SignUp string

// The ways to sign up.
const (
	SignUpOff        SignUp = "off"        // operators make accounts
	SignUpInvitation SignUp = "invitation" // whoever has an invitation, too
	SignUpOpen       SignUp = "open"       // anybody, who gets a tenant of their own
)

// SignUps lists them.
func SignUps() []SignUp { return []SignUp{SignUpOff, SignUpInvitation, SignUpOpen} }

// UserPrefix begins the ids of users.
const UserPrefix = "usr"

// AccountConfig is what the services of accounts need.
type AccountConfig struct {
	Config
	Passwords Passwords
	SignUp    SignUp
	Terms     SessionTerms
}

// Accounts is what clients can ask of users.
type Accounts struct {
	cfg     AccountConfig
	tenants *Tenants
	gate    gatekeeper
}

// NewAccounts makes Accounts.
func NewAccounts(cfg AccountConfig) *Accounts {
	return &Accounts{cfg: cfg, tenants: NewTenants(cfg.Config), gate: gatekeeper{cfg.Store, cfg.Now}}
}

// UserRequest asks for an account.
type UserRequest struct {
	Login    string
	Name     string
	Password string
	// Invitation is the token of one; empty: none.
	Invitation string
	// For operators only. Without a password nobody can log in before a reset.
	Operator bool
	Tenant   ID // to become a member of; empty: none
	Role     Role
}

// CreateUser makes an account: for an operator any, and for anybody else as far as sign-up is
// open. Who signs up by an invitation becomes a member of its tenant, who signs up without
// one the owner of a new one.
func (s *Accounts) CreateUser(ctx context.Context, p Principal, r UserRequest) (User, error) {
	operator := p.MayAll(Operate) == nil
	if !operator {
		if err := s.maySignUp(ctx, p, r); err != nil {
			return User{}, err
		}
	}
	login, _ := normalLogin(r.Login)
	wrong := append(checkLogin(r.Login), checkDisplayName(r.Name)...)
	if !operator || r.Password != "" {
		wrong = append(wrong, checkPassword("password", r.Password, login)...)
	}
	if r.Tenant != "" {
		wrong = append(wrong, checkRole(r.Role, memberRoles...)...)
	}
	if len(wrong) > 0 {
		return User{}, fault.Invalid(wrong)
	}
	now := s.cfg.Now()
	u := User{ID: UserID(s.cfg.NewID(UserPrefix)), Login: login, Name: r.Name, Operator: r.Operator, Rev: 1, CreatedAt: now, UpdatedAt: now}
	if r.Password != "" {
		var err error
		if u.PasswordHash, err = s.cfg.Passwords.Hash(ctx, r.Password); err != nil {
			return User{}, err
		}
	}
	own := Tenant{ID: ID(s.cfg.NewID(Prefix)), Name: login, CreatedAt: now, UpdatedAt: now}
	err := s.insertUser(ctx, p, u, r, own, operator)
	if errors.Is(err, fault.ErrNameHeld) { // a tenant is called as the user is
		own.Name = fmt.Sprintf("%.80s (%s)", login, own.ID[len(own.ID)-8:])
		err = s.insertUser(ctx, p, u, r, own, operator)
	}
	if err != nil {
		return User{}, err
	}
	return s.cfg.Store.User(ctx, u.ID)
}

// noteUser writes what was done to a user: in the log of the tenant that they belong to, where
// there is one, and else in the platform's.
func (c AccountConfig) noteUser(tx Trail, p Principal, u User, d Deed) error {
	d.On = string(u.ID)
	if d.Tenant = u.Home; d.Tenant == Platform {
		return c.notePlatform(tx, p, d)
	}
	return c.note(tx, p, d)
}

// maySignUp refuses a request for an account of somebody who is no operator.
func (s *Accounts) maySignUp(ctx context.Context, p Principal, r UserRequest) error {
	switch {
	case r.Operator || r.Tenant != "" || r.Role != "":
		return fault.Errorf(fault.CodeForbidden, nil, "only operators choose operator, tenant_id and role; leave them out to sign up")
	case s.cfg.SignUp != SignUpOpen && s.cfg.SignUp != SignUpInvitation:
		return fault.Errorf(fault.CodeForbidden, nil, "sign-up is off on this server; ask an operator for an account")
	case s.cfg.SignUp == SignUpInvitation && r.Invitation == "":
		return fault.Errorf(fault.CodeForbidden, nil, "sign-up takes an invitation on this server; ask an owner of the tenant for one")
	}
	if err := s.gate.admit(ctx, []attempt{{HashToken("sign up\n" + Network(p.From.Address)), ofSignUps}}); err != nil || r.Invitation == "" {
		return err
	}
	return s.cfg.Store.Tx(ctx, func(tx Tx) error { // looked at before a password is hashed
		_, err := openInvitation(tx, r.Invitation, s.cfg.Now())
		return err
	})
}

func (s *Accounts) insertUser(ctx context.Context, p Principal, u User, r UserRequest, own Tenant, operator bool) error {
	return fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			u, now := u, u.CreatedAt
			var inv Invitation
			if r.Invitation != "" {
				var err error
				if inv, err = openInvitation(tx, r.Invitation, now); err != nil {
					return err
				}
				u.Home = inv.Tenant
			}
			switch {
			case u.Operator:
				u.Home = ""
			case r.Tenant != "":
				u.Home = r.Tenant
			case r.Invitation == "" && !operator:
				u.Home = own.ID
			}
			err := tx.InsertUser(u)
			if errors.Is(err, fault.ErrNameHeld) {
				return fault.Invalid([]fault.FieldError{{Field: "login", Message: "is taken; choose another one"}})
			}
			switch {
			case err != nil:
				return err
			case r.Invitation != "":
				err = accept(tx, inv, u, now)
			case r.Tenant != "":
				err = join(tx, u, r.Tenant, r.Role, now)
			case !operator:
				if err = tx.InsertTenant(own); err == nil {
					err = tx.InsertMember(Membership{Tenant: own.ID, User: u.ID, Role: Owner, CreatedAt: now})
				}
			}
			if err != nil {
				return err
			}
			return s.cfg.noteUser(tx, p, u, Deed{Action: ActUserCreate, Detail: "login " + u.Login})
		})
	})
}

// Users returns a page of all users, newest first, and the cursor of the next page.
func (s *Accounts) Users(ctx context.Context, p Principal, list page.Page) ([]User, string, error) {
	if err := p.May(Operate); err != nil {
		return nil, "", err
	}
	return page.Fetch(ctx, page.List{Prefix: UserPrefix}, list, s.cfg.Store.Users, func(u User) string { return string(u.ID) })
}

// UserChange changes a user; what is nil stays.
type UserChange struct {
	Name     *string
	Operator *bool
	Disabled *bool
}

// ChangeUser changes a user. One who is disabled loses all sessions at once.
func (s *Accounts) ChangeUser(ctx context.Context, p Principal, which UserID, change UserChange) (u User, err error) {
	if err := p.MayAll(Operate); err != nil {
		return User{}, err
	}
	if change.Name != nil {
		if wrong := checkDisplayName(*change.Name); wrong != nil {
			return User{}, fault.Invalid(wrong)
		}
	}
	err = fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			if u, err = userIn(tx, which); err != nil {
				return err
			}
			ends := change.apply(&u, s.cfg.Now())
			if ends {
				if err := endAccess(tx, u.ID); err != nil {
					return err
				}
			}
			if err := tx.UpdateUser(u); err != nil {
				return err
			}
			return s.cfg.notePlatform(tx, p, Deed{Action: ActUserChange, On: string(u.ID), Detail: change.String()})
		})
	})
	return u, err
}

// String says for the record what changes.
func (c UserChange) String() string {
	var parts []string
	if c.Name != nil {
		parts = append(parts, "name "+*c.Name)
	}
	if c.Operator != nil {
		parts = append(parts, fmt.Sprintf("operator %t", *c.Operator))
	}
	if c.Disabled != nil {
		parts = append(parts, fmt.Sprintf("disabled %t", *c.Disabled))
	}
	return strings.Join(parts, ", ")
}

// apply changes the user, and reports whether all sessions and reset tokens end.
func (c UserChange) apply(u *User, now time.Time) (ends bool) {
	u.UpdatedAt = now
	if c.Name != nil {
		u.Name = *c.Name
	}
	if c.Operator != nil {
		if u.Operator = *c.Operator; u.Operator {
			u.Home = "" // no owner may take an operator's account over, also not later
		}
	}
	if c.Disabled == nil || *c.Disabled == u.Disabled() {
		return false
	}
	u.DisabledAt = time.Time{}
	if !*c.Disabled {
		return false
	}
	u.DisabledAt = now
	u.endSessions()
	return true
}

// endAccess removes what the user's epoch has ended: sessions, and tokens for a new password.
func endAccess(tx Rows, which UserID) error {
	if err := tx.DeleteSessions(which); err != nil {
		return err
	}
	return tx.DeleteResets(which)
}

// userIn returns a user in a transaction.
func userIn(tx Rows, which UserID) (User, error) {
	if !id.WellFormed(which) || IsToken(string(which)) {
		return User{}, fault.Errorf(fault.CodeNotFound, nil, "the user does not exist; give its id, which begins with %s_", UserPrefix)
	}
	u, err := tx.User(which)
	if errors.Is(err, fault.ErrNotFound) {
		err = fault.Errorf(fault.CodeNotFound, nil, "there is no user %s", which)
	}
	return u, err
}

// Profile returns the caller as a user, and the tenants that they are a member of.
func (s *Accounts) Profile(ctx context.Context, p Principal) (User, []Workplace, error) {
	if err := p.May(Oneself); err != nil {
		return User{}, nil, err
	}
	u, err := s.cfg.Store.User(ctx, p.User)
	if err != nil {
		return User{}, nil, err
	}
	places, err := s.cfg.Store.Workplaces(ctx, p.User)
	return u, slices.Clip(places), err
}
