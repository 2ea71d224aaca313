package tenant

import "time"

// KeyID names an API key.
type KeyID string

// Key is an API key of one tenant. The key itself is shown once, when it is made; what is
// kept is its hash.
type Key struct {
	ID     KeyID
	Tenant ID
	Name   string
	Role   Role
	Limits Limits
	// Hash is HashToken of the key.
	Hash string
	// Hint is the last characters of the key, by which people recognize it.
	Hint      string
	CreatedBy string // for the record
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	// UsedAt is when it was last used, to the minute; zero: never.
	UsedAt    time.Time
	RevokedAt time.Time // zero: it is not
}

// Valid reports whether the key opens anything at the time.
func (k Key) Valid(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}
