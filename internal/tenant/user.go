package tenant

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-project/berth/internal/fault"
)

// UserID names a user.
type UserID string

// User is a person who logs in with a password.
type User struct {
	ID UserID
	// Login is what the user logs in with, as normalLogin gives it: unique among all users.
	Login string
	Name  string // for people; may be empty
	// PasswordHash is what Passwords.Hash gave; empty: no password opens the account yet.
	PasswordHash string
	Operator     bool
	// Home is the tenant that vouches for the account, whose owners may reset its password:
	// the one that it was made in, until the user becomes a member of another one or an
	// operator. Empty: only operators may.
	Home ID
	// Epoch grows whenever all of the user's sessions end. A session of an earlier epoch is
	// over, also one that was being made meanwhile.
	Epoch      int64
	DisabledAt time.Time // zero: they are not
	CreatedAt  time.Time
	UpdatedAt  time.Time
	Rev        int64
}

// Disabled reports whether the user can do nothing any more.
func (u User) Disabled() bool { return !u.DisabledAt.IsZero() }

// endSessions ends all sessions of the user once the row is written.
func (u *User) endSessions() { u.Epoch++ }

// Passwords hashes passwords, slowly, and bounds how many are hashed at once.
type Passwords interface {
	Hash(ctx context.Context, password string) (hash string, err error)
	// Verify reports whether it is the password that the hash was made of, and whether the
	// hash is stale: one of today's would be made otherwise. Against an empty hash no
	// password is right, and finding out takes as long.
	Verify(ctx context.Context, password, hash string) (right, stale bool, err error)
}

// The bounds of a password, and of a login name.
const (
	MinPassword = 12   // characters
	MaxPassword = 1000 // bytes
	maxLogin    = 100
)

// loginForm is a name or an e-mail address, in ASCII: no two that look alike are different.
var loginForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._+-]*(@[a-z0-9][a-z0-9.-]*)?$`)

// normalLogin returns the login name that a text stands for, without regard to case and to
// spaces around it; false: it stands for none.
func normalLogin(text string) (string, bool) {
	text = strings.TrimSpace(text)
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return "", false
		}
	}
	text = strings.ToLower(text)
	if len(text) > maxLogin || !loginForm.MatchString(text) {
		return "", false
	}
	return text, true
}

func checkLogin(login string) []fault.FieldError {
	if _, ok := normalLogin(login); ok {
		return nil
	}
	return []fault.FieldError{{
		Field: "login", Message: fmt.Sprintf("must be a name or an e-mail address of at most %d characters: letters, digits and . _ + -", maxLogin),
	}}
}

// checkDisplayName is checkName for a name that need not be.
func checkDisplayName(name string) []fault.FieldError {
	if name == "" {
		return nil
	}
	return checkName(name)
}

// checkPassword refuses a password that is not to be set. The login name is the normal one.
func checkPassword(field, password, login string) []fault.FieldError {
	wrong := func(format string, args ...any) []fault.FieldError {
		return []fault.FieldError{{Field: field, Message: fmt.Sprintf(format, args...)}}
	}
	normal, _ := normalLogin(password)
	switch {
	case len(password) > MaxPassword:
		return wrong("must be at most %d bytes", MaxPassword)
	case !utf8.ValidString(password):
		return wrong("must be UTF-8")
	case utf8.RuneCountInString(password) < MinPassword:
		return wrong("must be at least %d characters", MinPassword)
	case normal == login && login != "":
		return wrong("must not be the login name")
	}
	return nil
}
