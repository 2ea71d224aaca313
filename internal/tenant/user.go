package tenant

// UserID names a user.
type UserID string

// SessionID names a session of a user.
type SessionID string
