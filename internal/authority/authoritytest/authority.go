// Package authoritytest gives other packages' tests an authority of their own.
package authoritytest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// New makes an authority that is kept nowhere.
func New(t testing.TB, now clock.Clock) *authority.Authority {
	t.Helper()
	vault, err := secret.NewKeyring(secret.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.Open(t.Context(), authority.Config{Store: &Store{}, Vault: vault, Deployment: "dep_test", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Store is an authority.Store in memory.
type Store struct {
	mu     sync.Mutex
	record *authority.Record
}

// Authority returns it.
func (s *Store) Authority(context.Context) (authority.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record == nil {
		return authority.Record{}, fault.ErrNotFound
	}
	return *s.record, nil
}

// ReplaceAuthority compares the certificates.
func (s *Store) ReplaceAuthority(_ context.Context, before, after authority.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record == nil || s.record.Certificate != before.Certificate {
		return fault.ErrConflict
	}
	s.record = &after
	return nil
}

// InsertAuthority keeps the first.
func (s *Store) InsertAuthority(_ context.Context, r authority.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record != nil {
		return fault.ErrConflict
	}
	r.CreatedAt = r.CreatedAt.Truncate(time.Millisecond)
	s.record = &r
	return nil
}
