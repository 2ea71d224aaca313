package tenant

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// oneKey is a store that knows one key.
type oneKey struct {
	Store
	key   Key
	asked int
}

func (s *oneKey) KeyByHash(_ context.Context, hash string) (Key, error) {
	s.asked++
	if hash != s.key.Hash {
		return Key{}, fault.ErrNotFound
	}
	return s.key, nil
}

func (s *oneKey) Tx(context.Context, func(Tx) error) error { return nil }

// TestKnownForAMoment: a process asks again after half a second, and also when its clock was
// put back.
func TestKnownForAMoment(t *testing.T) {
	token := keyForm.fresh().Reveal()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &oneKey{key: Key{ID: "key_1", Tenant: "ten_1", Role: Viewer, Hash: HashToken(token)}}
	a := &Authenticator{Store: s, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}
	open := func(want bool, asked int, what string) {
		t.Helper()
		if _, err := a.ByKey(t.Context(), token); (err == nil) != want || s.asked != asked {
			t.Errorf("%s: %v, asked %d times, want %d", what, err, s.asked, asked)
		}
	}
	open(true, 1, "at first")
	s.key.RevokedAt = now
	now = now.Add(knownFor - time.Millisecond)
	open(true, 1, "a moment later")
	now = now.Add(time.Millisecond)
	open(false, 2, "when it is over")
	s.key.RevokedAt = time.Time{}
	now = now.Add(knownFor)
	open(true, 3, "once more")
	s.key.RevokedAt = now
	now = now.Add(-time.Hour)
	open(false, 4, "after the clock was put back")
	for range 3 {
		if _, err := a.ByKey(t.Context(), keyForm.fresh().Reveal()); fault.CodeOf(err) != fault.CodeUnauthorized {
			t.Errorf("another key: %v", err)
		}
	}
}
