package password

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alexedwards/argon2id"

	"github.com/berth-project/berth/internal/testenv"
)

// cheap are parameters for tests.
var cheap = argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

func TestHashAndVerify(t *testing.T) {
	a := New(cheap)
	const password = "correct horse \x00 ☃ battery"
	hash, err := a.Hash(t.Context(), password)
	if err != nil || strings.Contains(hash, "horse") || !strings.HasPrefix(hash, "$argon2id$v=19$m=64,t=1,p=1$") || len(hash) > 255 {
		t.Fatalf("%q, %v", hash, err)
	}
	if again, _ := a.Hash(t.Context(), password); again == hash {
		t.Error("no salt")
	}
	other := cheap
	other.Iterations = 2
	for name, test := range map[string]struct {
		by           *Argon2id
		given, hash  string
		right, stale bool
		fails        bool
	}{
		"right":              {a, password, hash, true, false, false},
		"wrong":              {a, password + "x", hash, false, false, false},
		"cut at a NUL":       {a, "correct horse ", hash, false, false, false},
		"empty":              {a, "", hash, false, false, false},
		"no hash":            {a, password, "", false, false, false},
		"neither":            {a, "", "", false, false, false},
		"by other params":    {New(other), password, hash, true, true, false},
		"a hash that is not": {a, password, "plain", false, false, true},
		"of 64 KiB":          {a, strings.Repeat("x", 64<<10), hash, false, false, false},
	} {
		right, stale, err := test.by.Verify(t.Context(), test.given, test.hash)
		if right != test.right || stale != test.stale || (err != nil) != test.fails {
			t.Errorf("%s: %v, %v, %v", name, right, stale, err)
		}
	}
}

// TestDecoyTakesAsLong: what is compared with for nobody has the parameters of real hashes.
func TestDecoyTakesAsLong(t *testing.T) {
	a := New(Params)
	got, _, _, err := argon2id.DecodeHash(a.decoy)
	if err != nil || *got != Params {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestTurns: no more hash at once than may, and one whose request ends does not wait on.
func TestTurns(t *testing.T) {
	a := New(cheap)
	var ends []func()
	for range cap(a.turns) {
		end, err := a.turn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Hash(ctx, "x"); err == nil {
		t.Error("one too many")
	}
	if _, _, err := a.Verify(ctx, "x", ""); err == nil {
		t.Error("one too many")
	}
	for _, end := range ends {
		end()
	}
	var done atomic.Int32
	testenv.Together(20, func(int) error {
		_, err := a.Hash(t.Context(), "x")
		if err == nil {
			done.Add(1)
		}
		return err
	})
	if done.Load() != 20 || len(a.turns) != 0 {
		t.Errorf("%d have ended, %d turns are taken", done.Load(), len(a.turns))
	}
}
