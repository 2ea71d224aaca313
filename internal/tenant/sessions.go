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
	Tenant   ID // to work in; empty: the first that the user became a member of
}

// errWrongLogin is the same for a user who is unknown, has another password, or is disabled.
var errWrongLogin = Unauthorized("the login name or the password is wrong")

// LogIn begins a session, and returns it with its token, which nobody can see again. The work
// and the answer are the same for users who are unknown or disabled, and for a wrong password.
func (s *Accounts) LogIn(ctx context.Context, p Principal, r LogInRequest) (Session, secret.Secret, error) {
	if len(r.Password) > MaxPassword { // which is no user's
		return Session{}, secret.Secret{}, fault.Invalid(checkPassword("password", r.Password, ""))
	}
	login, ok := normalLogin(r.Login)
	if !ok {
		login = "? " + r.Login // which is nobody's, and counts as one that could be
	}
	if err := s.gate.admit(ctx, logIns(login, p.From.Address)); err != nil {
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
		return Session{}, secret.Secret{}, s.refuseLogIn(ctx, p, u)
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
			if err := s.gate.forgive(tx, login, p.From.Address); err != nil {
				return err
			}
			return s.noteSession(tx, p, now, session, ActSessionBegin)
		})
	})
	return session, token, err
}

// refuseLogIn refuses a log-in as a user, and notes it. A text that is no user's login name is
// not kept: it may be a password.
func (s *Accounts) refuseLogIn(ctx context.Context, p Principal, u User) error {
	detail := "unknown login name"
	if u.ID != "" {
		detail = "login " + u.Login
	}
	err := s.cfg.Store.Tx(ctx, func(tx Tx) error {
		return s.cfg.noteUser(tx, p, u, Deed{Action: ActSessionBegin, Detail: detail, Result: Refused})
	})
	if err != nil {
		return err
	}
	return errWrongLogin
}

// noteSession writes what a user did with a session, in the log of the tenant that it works in.
func (s *Accounts) noteSession(tx Trail, p Principal, u User, session Session, action Action) error {
	p.Name, p.User, p.Session = userName(u.Login), u.ID, session.ID
	d := Deed{Action: action, Tenant: session.Tenant, On: string(session.ID), Detail: "login " + u.Login}
	if session.Tenant == Platform {
		return s.cfg.notePlatform(tx, p, d)
	}
	return s.cfg.note(tx, p, d)
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
		if session, err = tx.Session(p.Session); err != nil {
			return err
		}
		return s.cfg.note(tx, p, Deed{Action: ActSessionSwitch, Tenant: where, On: string(p.Session), Detail: "from tenant " + string(p.Tenant)})
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
	return s.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.DeleteSession(p.Session); err != nil {
			return err
		}
		return s.cfg.note(tx, p, Deed{Action: ActSessionEnd, On: string(p.Session)})
	})
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
			if err := tx.UpdateUser(u); err != nil {
				return err
			}
			return s.cfg.note(tx, p, Deed{Action: ActSessionsEnd, On: string(u.ID)})
		})
	})
}
