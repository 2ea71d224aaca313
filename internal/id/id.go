// Package id owns what the ids of things look like: a prefix that tells the kind of thing,
// and a ULID (https://github.com/ulid/spec), so that they sort by the time they were made,
// which keyset pages rely on. It must not know the things.
package id

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// Source makes ids that grow, also within one millisecond.
type Source struct {
	mu      sync.Mutex
	entropy *ulid.MonotonicEntropy
}

// NewSource makes a Source.
func NewSource() *Source { return &Source{entropy: ulid.Monotonic(rand.Reader, 0)} }

// New gives a fresh id, for example "ins_01J9ZQ4T8E4W2Y6N0G5R7K3M1C".
func (s *Source) New(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return prefix + "_" + ulid.MustNew(ulid.Now(), s.entropy).String()
}

// From returns the lowest id with the prefix that is made at the time or later.
func From(prefix string, t time.Time) string {
	var lowest ulid.ULID
	_ = lowest.SetTime(ulid.Timestamp(t)) // fails in the year 10889
	return prefix + "_" + lowest.String()
}
