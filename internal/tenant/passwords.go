package tenant

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/secret"
)

// Reset lets whoever has its token set a user's password, once.
type Reset struct {
	Hash string // HashToken of the token
	User UserID
	// Tenant is whose owner made it; empty: an operator did.
	Tenant ID
	// ByUser is the user who made it, who must still be allowed to when it is used; empty:
	// a key.
	ByUser    UserID
	CreatedAt time.Time
	ExpiresAt time.Time
}

// resetLasts is how long a reset token can be used.
const resetLasts = 24 * time.Hour

// errReset says nothing of why, and so nothing of other tokens.
var errReset = fault.Invalid([]fault.FieldError{{Field: "token", Message: "is unknown, used or expired; ask for another one"}})

// ChangePassword sets another password for the caller, who gives the present one. All their
// sessions end; the one of the request goes on as a new one, with another token.
func (s *Accounts) ChangePassword(ctx context.Context, p Principal, old, fresh string) (session Session, token secret.Secret, err error) {
	if err := p.May(Oneself); err != nil {
		return Session{}, secret.Secret{}, err
	}
	u, err := s.cfg.Store.User(ctx, p.User)
	if err != nil {
		return Session{}, secret.Secret{}, err
	}
	wrong := checkPassword("new", fresh, u.Login)
	if len(old) > MaxPassword {
		wrong = append(wrong, checkPassword("old", old, "")...)
	}
	if len(wrong) > 0 {
		return Session{}, secret.Secret{}, fault.Invalid(wrong)
	}
	if err := s.gate.admit(ctx, logIns(u.Login, p.From.Address)); err != nil { // whoever has a stolen session guesses no faster
		return Session{}, secret.Secret{}, err
	}
	right, _, err := s.cfg.Passwords.Verify(ctx, old, u.PasswordHash)
	if err != nil {
		return Session{}, secret.Secret{}, err
	}
	if !right {
		return Session{}, secret.Secret{}, fault.Invalid([]fault.FieldError{{Field: "old", Message: "is not the password"}})
	}
	hash, err := s.cfg.Passwords.Hash(ctx, fresh)
	if err != nil {
		return Session{}, secret.Secret{}, err
	}
	err = fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			now, err := tx.User(u.ID)
			if err != nil {
				return err
			}
			was, err := tx.Session(p.Session)
			if err != nil {
				return ended(err)
			}
			if now.PasswordHash != u.PasswordHash || now.Disabled() {
				return Unauthorized("the password was changed meanwhile; log in again")
			}
			if now, err = setPassword(tx, now, hash, s.cfg.Now()); err != nil {
				return err
			}
			if session, token, err = s.begin(tx, now, was.Tenant); err != nil {
				return err
			}
			if err := s.gate.forgive(tx, now.Login, p.From.Address); err != nil {
				return err
			}
			return s.cfg.noteUser(tx, p, now, Deed{Action: ActPasswordChange})
		})
	})
	return session, token, err
}

// setPassword gives the user another password, and ends all that the old one has opened.
func setPassword(tx Rows, u User, hash string, now time.Time) (User, error) {
	u.PasswordHash, u.UpdatedAt = hash, now
	u.endSessions()
	if err := endAccess(tx, u.ID); err != nil {
		return User{}, err
	}
	return u, tx.UpdateUser(u)
}

// ResetRequest asks for a reset token.
type ResetRequest struct {
	User  UserID
	Login string // instead of User, for operators
}

type madeReset struct {
	User   UserID `json:"user"`
	Secret string `json:"secret"`
}

// MakeReset makes a token by which a user can set a password. Operators may for anybody. An
// owner may for a member whose account their tenant has made and no other one opens:
// otherwise they could take over what the account may do elsewhere.
func (s *Accounts) MakeReset(ctx context.Context, p Principal, r ResetRequest, idem *idempotency.Request) (reset Reset, token secret.Secret, replayed bool, err error) {
	if err := p.MayAll(Manage); err != nil {
		return Reset{}, secret.Secret{}, false, err
	}
	u, err := s.toReset(ctx, p, r)
	if err != nil {
		return Reset{}, secret.Secret{}, false, err
	}
	replayed, err = idempotency.Once(ctx, s.tenants.keeper, p.Tenant, idem, func(keep func(idempotency.Tx, madeReset) error) error {
		token = resetForm.fresh()
		now := s.cfg.Now()
		reset = Reset{Hash: HashToken(token.Reveal()), User: u.ID, ByUser: p.User, CreatedAt: now, ExpiresAt: now.Add(resetLasts)}
		if !p.Operator {
			reset.Tenant = p.Tenant
		}
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			if err := keep(tx, madeReset{u.ID, token.Reveal()}); err != nil {
				return err
			}
			if _, err := mayReset(tx, reset); err != nil {
				return err
			}
			if err := tx.DeleteResets(u.ID); err != nil { // the newest is the one that is good
				return err
			}
			if err := tx.InsertReset(reset); err != nil {
				return err
			}
			return s.cfg.noteUser(tx, p, u, Deed{Action: ActResetCreate, Detail: "login " + u.Login})
		})
	}, func(made madeReset) error {
		token = secret.New(made.Secret)
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			reset, err = tx.ResetByHash(HashToken(made.Secret))
			if errors.Is(err, fault.ErrNotFound) {
				return fault.Errorf(fault.CodeGone, err, "the token was used or replaced; the first request with this Idempotency-Key made it")
			}
			if err != nil {
				return err
			}
			return s.cfg.noteUser(tx, p, u, Deed{Action: ActResetCreate, Detail: "login " + u.Login, Result: Replayed})
		})
	})
	return reset, token, replayed, err
}

// toReset returns the user that a reset is asked for, as far as the caller may know of them.
func (s *Accounts) toReset(ctx context.Context, p Principal, r ResetRequest) (User, error) {
	if (r.User == "") == (r.Login == "") {
		return User{}, fault.Invalid([]fault.FieldError{{Field: "user_id", Message: "give either user_id or login"}})
	}
	unknown := fault.Errorf(fault.CodeNotFound, nil, "there is no such user in tenant %s", p.Tenant)
	var u User
	var err error
	if r.Login != "" {
		login, _ := normalLogin(r.Login)
		u, err = s.cfg.Store.UserByLogin(ctx, login)
	} else if !id.WellFormed(r.User) {
		return User{}, unknown
	} else {
		u, err = s.cfg.Store.User(ctx, r.User)
	}
	if err == nil && !p.Operator {
		err = s.cfg.Store.Tx(ctx, func(tx Tx) error {
			_, err := tx.Member(p.Tenant, u.ID)
			return err
		})
	}
	if errors.Is(err, fault.ErrNotFound) {
		return User{}, unknown
	}
	return u, err
}

// mayReset returns the user that a reset is for, if whoever made it is allowed to set their
// password now. It is asked when the token is made, and again when it is used.
func mayReset(tx Rows, r Reset) (User, error) {
	u, err := tx.User(r.User)
	if err != nil {
		return User{}, err
	}
	allowed := true
	switch {
	case r.Tenant != "":
		allowed, err = mayStill(tx, r.ByUser, r.Tenant)
	case r.ByUser != "":
		by, failed := tx.User(r.ByUser)
		allowed, err = failed == nil && by.Operator && !by.Disabled(), fault.IgnoreNotFound(failed)
	}
	if err == nil && !allowed {
		err = errReset
	}
	if err != nil || r.Tenant == "" {
		return u, err
	}
	_, err = tx.Member(r.Tenant, u.ID)
	if fault.IgnoreNotFound(err) != nil {
		return User{}, err
	}
	if err != nil || u.Operator || u.Home != r.Tenant {
		return User{}, fault.Errorf(fault.CodeForbidden, nil,
			"the account of %s is not this tenant's alone, so only an operator can reset its password", u.Login)
	}
	return u, nil
}

// UseReset sets the password of the user that the token is for. All their sessions end.
func (s *Accounts) UseReset(ctx context.Context, p Principal, token, fresh string) error {
	if !resetForm.fits(token) {
		return errReset
	}
	look := func(tx Rows) (User, error) {
		r, err := tx.ResetByHash(HashToken(token))
		if errors.Is(err, fault.ErrNotFound) || err == nil && !s.cfg.Now().Before(r.ExpiresAt) {
			return User{}, errReset
		}
		if err != nil {
			return User{}, err
		}
		u, err := mayReset(tx, r)
		if errors.Is(err, fault.ErrNotFound) || fault.CodeOf(err) == fault.CodeForbidden {
			err = errReset
		}
		return u, err
	}
	var u User
	err := s.cfg.Store.Tx(ctx, func(tx Tx) (err error) { // looked at before a password is hashed
		u, err = look(tx)
		return err
	})
	if err != nil {
		return err
	}
	if wrong := checkPassword("password", fresh, u.Login); wrong != nil {
		return fault.Invalid(wrong)
	}
	hash, err := s.cfg.Passwords.Hash(ctx, fresh)
	if err != nil {
		return err
	}
	return fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			u, err := look(tx)
			if err != nil {
				return err
			}
			err = tx.UseReset(HashToken(token))
			if errors.Is(err, fault.ErrConflict) { // somebody else was faster
				return errReset
			}
			if err != nil {
				return err
			}
			if u, err = setPassword(tx, u, hash, s.cfg.Now()); err != nil {
				return err
			}
			p.Name, p.User = userName(u.Login), u.ID
			return s.cfg.noteUser(tx, p, u, Deed{Action: ActResetUse})
		})
	})
}
