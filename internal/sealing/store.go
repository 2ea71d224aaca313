// Package sealing owns what is sealed in a deployment's database, taken together: what kinds
// of values there are and where each belongs, with which master key they are sealed now, and
// how they are all sealed with another one while processes work. It must not know what the
// values are for.
package sealing

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/secret"
)

// Store keeps sealed values, and which processes hold which master keys.
type Store interface {
	// KeyCheck returns the check value, or CodeNotFound.
	KeyCheck(context.Context) (secret.Sealed, error)
	// InsertKeyCheck writes the first check value; CodeConflict: there is one.
	InsertKeyCheck(context.Context, secret.Sealed) error
	// ReplaceKeyCheck puts a check value in the place of another; CodeConflict: it is not
	// that any more.
	ReplaceKeyCheck(ctx context.Context, before, after secret.Sealed) error

	// SealedValues returns in their order up to limit values of the kind that have another key
	// id than this, behind the one given. Whether anything needs them is no matter.
	SealedValues(ctx context.Context, kind Kind, keyID string, after Value, limit int) ([]Value, error)
	// Reseal writes values that are sealed anew, in one transaction, and returns how many. One
	// that is not as it was before is left alone.
	Reseal(context.Context, []Change) (int, error)
	// CountSealed counts the values that are needed, by kind and key id, without the check value.
	CountSealed(context.Context) ([]Count, error)

	// PutHolder writes what a process says of itself.
	PutHolder(context.Context, Holder) error
	// Holders returns the processes that have been seen since, ordered by name.
	Holders(ctx context.Context, since time.Time) ([]Holder, error)
	// DeleteHolders removes that process, and those that were last seen before.
	DeleteHolders(ctx context.Context, owner string, before time.Time) error
}

// Change is a value, and the same value sealed anew.
type Change struct {
	Before Value
	After  secret.Sealed
}

// Count is how many values of a kind have a key id.
type Count struct {
	Kind   Kind
	KeyID  string
	Values int
}

// Holder is a process that works with the deployment's master keys.
type Holder struct {
	Owner   string
	Keys    []string // the ids of the master keys that it has
	Sealing string   // the key id of everything that it will write from now on; empty: it is starting
	SeenAt  time.Time
}

const (
	// FollowEvery is how often a process looks how values are to be sealed.
	FollowEvery = 5 * time.Second
	// seenEvery is how often it says that it is there, where nothing has changed.
	seenEvery = 30 * time.Second
	// Gone is after how long without a word a process counts as ended.
	Gone = 2 * time.Minute
)
