package sealing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// ErrOtherKey says that a process has not the master key that values are sealed with now.
var ErrOtherKey = errors.New("another master key is in use in this deployment")

// Follower has a process seal as its deployment does: as the check value is sealed. That a
// process has a new master key is therefore not enough for anything to be sealed with it;
// `berth keys rotate` changes the check value once all processes have the key.
type Follower struct {
	Store      Store
	Keyring    *secret.Keyring
	Deployment string
	Owner      string // names this process
	// Fresh says that no process has worked on the database yet: no older release reads it.
	Fresh bool
	// Lost are the ids of master keys that are lost for good.
	Lost []string
	Now  clock.Clock
	Log  *slog.Logger

	said Holder // what the store has of this process
}

// Start has the keyring seal as the deployment does, before anything is sealed. The process
// says first that it is there: a rotation that does not see it has changed the check value
// before this looks at it.
func (f *Follower) Start(ctx context.Context) error {
	if err := f.Store.DeleteHolders(ctx, f.Owner, f.Now().Add(-24*time.Hour)); err != nil {
		return err
	}
	if err := f.say(ctx, ""); err != nil {
		return err
	}
	check, err := f.check(ctx)
	if err != nil {
		return err
	}
	if err := f.Keyring.SealAs(check.KeyID); err != nil {
		return err
	}
	if first, used := f.Keyring.First(), secret.MasterKeyOf(check.KeyID); first != used {
		f.Log.InfoContext(ctx, "the first master key is not in use yet; berth keys rotate begins to use it", "first", first, "used", used)
	}
	return f.say(ctx, check.KeyID)
}

// check returns the check value, and makes it where there is none, or where its key is lost.
func (f *Follower) check(ctx context.Context) (secret.Sealed, error) {
	for {
		check, err := f.Store.KeyCheck(ctx)
		switch {
		case errors.Is(err, fault.ErrNotFound):
			form := f.Keyring.First() // which older releases read, too
			if f.Fresh {
				form = secret.Enveloped(form)
			}
			if check, err = f.seal(form); err == nil {
				err = f.Store.InsertKeyCheck(ctx, check)
			}
		case err == nil && opens(f.Keyring, f.Deployment, check):
			return check, nil
		case err == nil && !slices.Contains(f.Lost, secret.MasterKeyOf(check.KeyID)):
			return check, ErrOtherKey
		case err == nil:
			form := f.Keyring.First()
			if secret.IsEnveloped(check.KeyID) {
				form = secret.Enveloped(form)
			}
			lost := check
			if check, err = f.seal(form); err == nil {
				err = f.Store.ReplaceKeyCheck(ctx, lost, check)
			}
		}
		if !errors.Is(err, fault.ErrConflict) { // or another process was faster
			return check, err
		}
	}
}

func (f *Follower) seal(keyID string) (secret.Sealed, error) {
	if err := f.Keyring.SealAs(keyID); err != nil {
		return secret.Sealed{}, err
	}
	return SealCheck(f.Keyring, f.Deployment)
}

func opens(v secret.Vault, deployment string, check secret.Sealed) bool {
	_, err := v.Open(check, Value{Kind: Check, ID: deployment}.place())
	return err == nil
}

func (f *Follower) say(ctx context.Context, sealing string) error {
	h := Holder{Owner: f.Owner, Keys: f.Keyring.KeyIDs(), Sealing: sealing, SeenAt: f.Now()}
	if err := f.Store.PutHolder(ctx, h); err != nil {
		return err
	}
	f.said = h
	return nil
}

// Run follows until the context ends, or until a key is used that this process does not have.
func (f *Follower) Run(ctx context.Context) error {
	ticker := time.NewTicker(FollowEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := f.Follow(ctx); err != nil {
			return err
		}
	}
}

// Leave says that the process writes no more, so that no rotation waits for it.
func (f *Follower) Leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := f.Store.DeleteHolders(ctx, f.Owner, time.Time{}); err != nil {
		f.Log.DebugContext(ctx, "the end of this process was not noted; a rotation may wait for it", "error", err)
	}
}

// Follow looks once how values are to be sealed. What this process sealed in the old way just
// before may not be written yet: it says with the look after that it has changed over.
func (f *Follower) Follow(ctx context.Context) error {
	check, err := f.Store.KeyCheck(ctx)
	if err != nil { // the database is away, which others report
		f.Log.DebugContext(ctx, "cannot look with which master key to seal", "error", err)
		return nil
	}
	if check.KeyID != f.Keyring.Sealing() {
		if err := f.Keyring.SealAs(check.KeyID); err != nil {
			return fmt.Errorf("%w since `berth keys rotate`: %w", ErrOtherKey, err)
		}
		f.Log.InfoContext(ctx, "sealing with another master key from now on", "key", secret.MasterKeyOf(check.KeyID))
		return nil
	}
	if f.said.Sealing == check.KeyID && f.Now().Sub(f.said.SeenAt) < seenEvery {
		return nil
	}
	if err := f.say(ctx, check.KeyID); err != nil {
		f.Log.DebugContext(ctx, "cannot note which master keys this process has", "error", err)
	}
	return nil
}
