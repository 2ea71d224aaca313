package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/ttl"
)

const (
	// knownFor is how long a process goes by what it has read of a key. A revocation acts
	// in all processes when this has passed, without any of them being told.
	knownFor = 500 * time.Millisecond
	// noteUseEvery is how precise Key.UsedAt is.
	noteUseEvery = time.Minute
)

// Authenticator recognizes callers by what they show.
type Authenticator struct {
	Store Store
	Now   clock.Clock
	Log   *slog.Logger
	// Terms are when sessions end.
	Terms SessionTerms

	known  ttl.Map[string, found]
	noted  ttl.Map[KeyID, struct{}]
	active ttl.Map[SessionID, struct{}] // sessions whose use was noted
}

// found is what was read of a token: a key, or why there is none.
type found struct {
	key Key
	err error
	at  time.Time
}

var errUnknownKey = Unauthorized("the API key is not known here; check that it was copied whole, and that this is the right server")

// Unauthorized returns the refusal of a caller that was not recognized.
func Unauthorized(why string) error { return fault.Errorf(fault.CodeUnauthorized, nil, "%s", why) }

// ByKey returns the principal that the API key stands for, or CodeUnauthorized.
func (a *Authenticator) ByKey(ctx context.Context, token string) (Principal, error) {
	if !WellFormed(token) {
		return Principal{}, errUnknownKey
	}
	now := a.Now()
	k, err := a.key(ctx, HashToken(token), now)
	switch {
	case err != nil:
		return Principal{}, err
	case !k.RevokedAt.IsZero():
		return Principal{}, Unauthorized("the API key was revoked; ask an owner of the tenant for another one")
	case !k.Valid(now):
		return Principal{}, Unauthorized(fmt.Sprintf("the API key expired at %s; ask an owner of the tenant for another one", k.ExpiresAt.Format(time.RFC3339)))
	}
	a.noteUse(ctx, k, now)
	p := Principal{Tenant: k.Tenant, Role: k.Role, Key: k.ID, Name: fmt.Sprintf("key %s (%s)", k.ID, k.Name), Limits: k.Limits}
	if k.Role == Operator {
		p.Role, p.Operator = "", true
	}
	return p, nil
}

func (a *Authenticator) key(ctx context.Context, hash string, now time.Time) (Key, error) {
	if f, ok := a.known.Get(hash, now); ok && !now.Before(f.at) { // a clock that was put back must not make it last
		return f.key, f.err
	}
	k, err := a.Store.KeyByHash(ctx, hash)
	if errors.Is(err, fault.ErrNotFound) {
		err = errUnknownKey
	}
	if err == nil || fault.CodeOf(err) == fault.CodeUnauthorized {
		a.known.Put(hash, found{k, err, now}, now, knownFor)
	}
	return k, err
}

// noteUse notes when the key was used. It costs a write a minute, and a failure nothing.
func (a *Authenticator) noteUse(ctx context.Context, k Key, now time.Time) {
	if now.Sub(k.UsedAt) < noteUseEvery || !a.noted.Add(k.ID, struct{}{}, now, noteUseEvery) {
		return
	}
	if err := a.Store.Tx(ctx, func(tx Tx) error { return tx.UseKey(k.ID, now) }); err != nil {
		a.Log.DebugContext(ctx, "cannot note the use of a key", "key", k.ID, "error", err)
	}
}

var errUnknownSession = Unauthorized("the session has ended; log in again")

// BySession returns the principal that has logged in with the session's token, in the tenant
// that the session works in, or CodeUnauthorized. Nothing of it is remembered: whoever logs
// out, is disabled or removed has so with the next request, in every process.
func (a *Authenticator) BySession(ctx context.Context, token string) (Principal, error) {
	now := a.Now()
	l, err := a.login(ctx, token, now)
	if err != nil {
		return Principal{}, err
	}
	if now.Sub(l.UsedAt) >= noteUseEvery && a.active.Add(l.ID, struct{}{}, now, noteUseEvery) {
		if err := a.Store.Tx(ctx, func(tx Tx) error { return tx.UseSession(l.ID, now) }); err != nil {
			a.Log.DebugContext(ctx, "cannot note the use of a session", "session", l.ID, "error", err)
		}
	}
	return l.principal(), nil
}

// StillBySession is BySession for a request that goes on: waiting is no use of the session.
func (a *Authenticator) StillBySession(ctx context.Context, token string) (Principal, error) {
	l, err := a.login(ctx, token, a.Now())
	if err != nil {
		return Principal{}, err
	}
	return l.principal(), nil
}

func (a *Authenticator) login(ctx context.Context, token string, now time.Time) (Login, error) {
	if !IsSession(token) {
		return Login{}, errUnknownSession
	}
	l, err := a.Store.LoginByHash(ctx, HashToken(token))
	if errors.Is(err, fault.ErrNotFound) {
		err = errUnknownSession
	}
	if err == nil {
		err = a.Terms.check(l, now)
	}
	return l, err
}
