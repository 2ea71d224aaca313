package tenant

import (
	"fmt"
	"time"
)

// SessionID names a session.
type SessionID string

// Session is a log-in of a user. Its token is shown once; what is kept is its hash.
type Session struct {
	ID   SessionID
	User UserID
	// Tenant is the one that the session works in; empty: none.
	Tenant ID
	// Hash is HashToken of the token.
	Hash string
	// Epoch is the user's when they logged in.
	Epoch     int64
	CreatedAt time.Time
	// UsedAt is when it was last used, to the minute.
	UsedAt    time.Time
	ExpiresAt time.Time
}

// Login is a session with what decides what it opens.
type Login struct {
	Session
	Name      string // the user's login name
	Operator  bool
	Disabled  bool
	UserEpoch int64
	// Role is the user's in the session's tenant; empty: they are no member of it.
	Role Role
}

// SessionTerms are when sessions end by themselves.
type SessionTerms struct {
	Idle   time.Duration // without use
	MaxAge time.Duration // in any case
}

// The terms where no others are set.
const (
	DefaultSessionIdle   = 24 * time.Hour
	DefaultSessionMaxAge = 30 * 24 * time.Hour
)

// check returns why a session opens nothing; nil: it does.
func (t SessionTerms) check(l Login, now time.Time) error {
	switch {
	case l.Disabled:
		return Unauthorized("the user was disabled; ask an operator")
	case l.Epoch != l.UserEpoch:
		return Unauthorized("the session was ended by a log-out everywhere or a new password; log in again")
	case !now.Before(l.ExpiresAt) || !now.Before(l.CreatedAt.Add(t.MaxAge)):
		return Unauthorized("the session has reached its age limit; log in again")
	case !now.Before(l.UsedAt.Add(t.Idle)):
		return Unauthorized(fmt.Sprintf("the session was not used for %s; log in again", t.Idle))
	}
	return nil
}

// principal returns who acts in the session.
func (l Login) principal() Principal {
	return Principal{Tenant: l.Tenant, Role: l.Role, Operator: l.Operator, User: l.User, Session: l.ID, Name: userName(l.Name)}
}

// userName returns what the record calls a user.
func userName(login string) string { return "user " + login }
