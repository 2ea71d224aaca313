// Package password hashes passwords with Argon2id (RFC 9106), and lets only a few do so at
// once: each takes tens of megabytes. It implements tenant.Passwords and knows nothing of users.
package password

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"runtime"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/argon2"

	"github.com/berth-project/berth/internal/fault"
)

// patience is how long a request waits for its turn.
const patience = 10 * time.Second

// Params are those of new hashes: the second recommendation of RFC 9106, section 4, with the
// lanes of a small machine.
var Params = argon2id.Params{Memory: 64 << 10, Iterations: 3, Parallelism: 2, SaltLength: 16, KeyLength: 32}

// Argon2id implements tenant.Passwords.
type Argon2id struct {
	params argon2id.Params
	turns  chan struct{}
	// decoy is a hash of no password that takes as long to compare with as one of params.
	decoy string
}

// New makes an Argon2id that hashes as many passwords at once as there are cores.
func New(params argon2id.Params) *Argon2id {
	return &Argon2id{params: params, turns: make(chan struct{}, runtime.GOMAXPROCS(0)), decoy: decoy(params)}
}

func decoy(p argon2id.Params) string {
	random := func(n uint32) string {
		b := make([]byte, n)
		_, _ = rand.Read(b) // never fails: it ends the program first
		return base64.RawStdEncoding.EncodeToString(b)
	}
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Iterations, p.Parallelism, random(p.SaltLength), random(p.KeyLength))
}

// turn waits for a turn, and returns what ends it.
func (a *Argon2id) turn(ctx context.Context) (done func(), err error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case a.turns <- struct{}{}:
		return func() { <-a.turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		return nil, fault.Errorf(fault.CodeUnavailable, nil, "too many passwords are being checked at once; try again in a moment")
	}
}

// Hash implements tenant.Passwords.
func (a *Argon2id) Hash(ctx context.Context, password string) (string, error) {
	done, err := a.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	hash, err := argon2id.CreateHash(password, &a.params)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return hash, nil
}

// Verify implements tenant.Passwords.
func (a *Argon2id) Verify(ctx context.Context, password, hash string) (right, stale bool, err error) {
	done, err := a.turn(ctx)
	if err != nil {
		return false, false, err
	}
	defer done()
	none := hash == ""
	if none {
		hash = a.decoy
	}
	right, params, err := argon2id.CheckHash(password, hash)
	if err != nil {
		return false, false, fmt.Errorf("compare with the stored hash: %w", err)
	}
	return right && !none, *params != a.params, nil
}
