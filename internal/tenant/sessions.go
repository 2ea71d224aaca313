package tenant

import (
	"context"
	"errors"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// SessionPrefix begins the ids of sessions.
const SessionPrefix = "ses"

// maxSessions is how many sessions a user has; another one ends the oldest.
const maxSessions = 100

// LogInRequest asks for a session.
type LogInRequest struct {
	Login    string
	Password string
	Tenant   ID     // to work in; empty: the first that the user became a member of
	Address  string // where the request comes from
}

// errWrongLogin is the same for a user who is unknown, has another password, or is disabled.
var errWrongLogin = Unauthorized("the login name or the password is wrong")

// LogIn begins a session, and returns it with its token, which nobody can see again. The work
// and the answer are the same for users who are unknown or disabled, and for a wrong password.
func (s *Accounts) LogIn(ctx context.Context, r LogInRequest) (Session, secret.Secret, error) {
	if len(r.Password) > MaxPassword { // which is no user's
		return Session{}, secret.Secret{}, fault.Invalid(checkPassword("password", r.Password, ""))
	}
	login, ok := normalLogin(r.Login)
	if !ok {
		login = "? " + r.Login // which is nobody's, and counts as one that could be
	}
	if err := s.gate.admit(ctx, logIns(login, r.Address)); err != nil {
		return Session{}, secret.Secret{}, err
	}
	u, err := s.cfg.Store.UserByLogin(ctx, login)
	if fault.IgnoreNotFound(err) != nil {
		return Session{}, secret.Secret{}, err
	}
	right, stale, err := s.cfg.Passwords.Verify(ctx, r.Password, u.PasswordHash)
	if err != nil {
		return Session{}, secret.Secret{}, err
	}
	if !right || u.Disabled() {
		return Session{}, secret.Secret{}, errWrongLogin
	}
	fresh := u.PasswordHash
	if stale {
		if fresh, err = s.cfg.Passwords.Hash(ctx, r.Password); err != nil {
			return Session{}, secret.Secret{}, err
		}
	}
	where, err := s.workplace(ctx, u, r.Tenant)
	if err != nil {
		return Session{}, secret.Secret{}, err
	}
	var session Session
	var token secret.Secret
	err = fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			now, err := tx.User(u.ID)
			if err != nil {
				return err
			}
			if now.PasswordHash != u.PasswordHash || now.Disabled() { // meanwhile
				return errWrongLogin
			}
			if now.PasswordHash != fresh {
				now.PasswordHash = fresh
				if err := tx.UpdateUser(now); err != nil {
					return err
				}
			}
			if session, token, err = s.begin(tx, now, where); err != nil {
				return err
			}
			return s.gate.forgive(tx, login, r.Address)
		})
	})
	return session, token, err
}

// begin inserts a session with a fresh token.
func (s *Accounts) begin(tx Rows, u User, where ID) (Session, secret.Secret, error) {
	token, now := sessionForm.fresh(), s.cfg.Now()
	session := Session{
		ID: SessionID(s.cfg.NewID(SessionPrefix)), User: u.ID, Tenant: where, Hash: HashToken(token.Reveal()), Epoch: u.Epoch,
		CreatedAt: now, UsedAt: now, ExpiresAt: now.Add(s.cfg.Terms.MaxAge),
	}
	if err := tx.DeleteOldestSessions(u.ID, maxSessions-1); err != nil {
		return Session{}, secret.Secret{}, err
	}
	return session, token, tx.InsertSession(session)
}

// workplace returns the tenant that a session of the user works in.
func (s *Accounts) workplace(ctx context.Context, u User, wanted ID) (ID, error) {
	if wanted != "" {
		p, err := s.tenants.In(ctx, Principal{User: u.ID, Operator: u.Operator}, wanted)
		return p.Tenant, err
	}
	places, err := s.cfg.Store.Workplaces(ctx, u.ID)
	switch {
	case err != nil:
		return "", err
	case len(places) > 0:
		return places[0].Tenant.ID, nil
	case u.Operator:
		return Default, nil
	}
	return "", nil
}

// SwitchTenant has the caller's session work in another tenant.
func (s *Accounts) SwitchTenant(ctx context.Context, p Principal, which ID) (session Session, err error) {
	if err := p.May(Oneself); err != nil {
		return Session{}, err
	}
	if which == "" {
		return Session{}, fault.Invalid([]fault.FieldError{{Field: "tenant_id", Message: "is required"}})
	}
	where, err := s.workplace(ctx, User{ID: p.User, Operator: p.Operator}, which)
	if err != nil {
		return Session{}, err
	}
	err = s.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.SwitchSession(p.Session, where); err != nil {
			return ended(err)
		}
		session, err = tx.Session(p.Session)
		return err
	})
	return session, err
}

// ended explains that the session of a request is not there any more.
func ended(err error) error {
	if errors.Is(err, fault.ErrNotFound) {
		return Unauthorized("the session has ended; log in again")
	}
	return err
}

// LogOut ends the caller's session.
func (s *Accounts) LogOut(ctx context.Context, p Principal) error {
	if err := p.May(Oneself); err != nil {
		return err
	}
	return s.cfg.Store.Tx(ctx, func(tx Tx) error { return tx.DeleteSession(p.Session) })
}

// LogOutEverywhere ends all sessions of the caller.
func (s *Accounts) LogOutEverywhere(ctx context.Context, p Principal) error {
	if err := p.May(Oneself); err != nil {
		return err
	}
	return fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			u, err := tx.User(p.User)
			if err != nil {
				return err
			}
			u.endSessions()
			if err := tx.DeleteSessions(u.ID); err != nil {
				return err
			}
			return tx.UpdateUser(u)
		})
	})
}
