package sealing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/webhook"
)

// crashing is a store whose caller is killed at its call of that number: before the call, or
// after it, when nobody hears the answer.
type crashing struct {
	sealing.Store
	at    int
	after bool
	calls int
}

var errKilled = errors.New("killed")

func (c *crashing) call(do func() error) error {
	if c.calls++; c.calls > c.at {
		return errKilled // the dead call nothing
	}
	if c.calls < c.at {
		return do()
	}
	if c.after {
		_ = do()
	}
	return errKilled
}

func (c *crashing) KeyCheck(ctx context.Context) (s secret.Sealed, err error) {
	return s, c.call(func() error { s, err = c.Store.KeyCheck(ctx); return err })
}

func (c *crashing) InsertKeyCheck(ctx context.Context, s secret.Sealed) error {
	return c.call(func() error { return c.Store.InsertKeyCheck(ctx, s) })
}

func (c *crashing) ReplaceKeyCheck(ctx context.Context, before, after secret.Sealed) error {
	return c.call(func() error { return c.Store.ReplaceKeyCheck(ctx, before, after) })
}

func (c *crashing) SealedValues(ctx context.Context, kind sealing.Kind, keyID string, after sealing.Value, _ int) (v []sealing.Value, err error) {
	return v, c.call(func() error { v, err = c.Store.SealedValues(ctx, kind, keyID, after, 2); return err })
}

func (c *crashing) Reseal(ctx context.Context, changes []sealing.Change) (n int, err error) {
	return n, c.call(func() error { n, err = c.Store.Reseal(ctx, changes); return err })
}

func (c *crashing) CountSealed(ctx context.Context) (counts []sealing.Count, err error) {
	return counts, c.call(func() error { counts, err = c.Store.CountSealed(ctx); return err })
}

func (c *crashing) Holders(ctx context.Context, since time.Time) (h []sealing.Holder, err error) {
	return h, c.call(func() error { h, err = c.Store.Holders(ctx, since); return err })
}

// TestRotationKilledAnywhere kills a rotation at each of its calls. What is there opens with
// both keys at any time; run again, it ends, and the new key alone opens everything.
func TestRotationKilledAnywhere(t *testing.T) {
	for _, form := range []func(string) string{func(id string) string { return id }, secret.Enveloped} {
		for _, after := range []bool{false, true} {
			kills := 0
			for ; killedAt(t, form, kills+1, after); kills++ {
			}
			if kills < 20 {
				t.Errorf("a rotation has been killed at %d calls only", kills)
			}
		}
	}
}

// killedAt reports whether the rotation has come so far that it was killed.
func killedAt(t *testing.T, form func(string) string, call int, after bool) bool {
	t.Helper()
	const values = 3
	w := newWorld(t, storetest.SQLite(t))
	keyID := form(w.idOf(w.oldKey))
	w.begun(keyID)
	writer := w.keyring(w.oldKey)
	w.must(writer.SealAs(keyID))
	for n := range values {
		w.must(w.put(w.Context(), writer, n))
	}
	_, err := w.rotation(&crashing{Store: w.store, at: call, after: after}, w.newKey, w.oldKey).Run(w.Context())
	if err != nil && !errors.Is(err, errKilled) {
		w.Fatalf("call %d: %v", call, err)
	}
	for n := range values {
		w.opens(w.keyring(w.newKey, w.oldKey), n)
	}
	report, again := w.rotation(w.store, w.newKey, w.oldKey).Run(w.Context())
	if again != nil || len(report.Left) > 0 || len(report.Closed) > 0 {
		w.Fatalf("killed at call %d, run again: %+v, %v", call, report, again)
	}
	target := secret.Enveloped(w.idOf(w.newKey))
	for n := range values {
		if used := w.opens(w.keyring(w.newKey), n); len(used) != 1 || !used[target] {
			w.Errorf("killed at call %d, run again, it uses %v", call, used)
		}
	}
	if report, err := w.rotation(w.store, w.newKey).Run(w.Context()); err != nil || report.Resealed != 0 {
		w.Errorf("a rotation that has ended does %+v, %v", report, err)
	}
	if err := w.follower("without the old key", w.newKey).Start(w.Context()); err != nil {
		w.Error(err)
	}
	return err != nil
}

// TestRotationBesideWriters rotates while processes write new values and change old ones.
func TestRotationBesideWriters(t *testing.T) {
	onBoth(t, func(w *world) {
		w.begun(w.idOf(w.oldKey))
		const writers, each = 3, 1000
		stop, last := make(chan struct{}), [writers]int{}
		var all errgroup.Group
		for i := range writers {
			f := w.follower(fmt.Sprint("writer ", i), w.newKey, w.oldKey)
			w.must(f.Start(w.Context()))
			all.Go(func() error {
				for n := i * each; n < (i+1)*each; n++ {
					select {
					case <-stop:
						return nil
					default:
					}
					if err := errors.Join(w.put(w.Context(), f.Keyring, n), w.change(f.Keyring, i*each), f.Follow(w.Context())); err != nil {
						return err
					}
					last[i] = n
				}
				return nil
			})
		}
		report, err := w.rotation(w.store, w.newKey, w.oldKey).Run(w.Context())
		close(stop)
		if failed := all.Wait(); err != nil || failed != nil || len(report.Left) > 0 {
			w.Fatalf("%+v, %v, %v", report, err, failed)
		}
		counts, err := w.store.CountSealed(w.Context())
		target := secret.Enveloped(w.idOf(w.newKey))
		if err != nil || len(counts) != len(sealing.Kinds()) || slices.ContainsFunc(counts, func(c sealing.Count) bool { return c.KeyID != target }) {
			w.Errorf("%+v, %v", counts, err)
		}
		for i := range writers {
			for n := i * each; n <= last[i]; n++ {
				w.opens(w.keyring(w.newKey), n)
			}
		}
	})
}

// change writes back what it has read of a webhook and a delivery, with another secret in the
// webhook.
func (w *world) change(v secret.Vault, n int) error {
	id := webhook.ID(fmt.Sprint("whk_", n))
	err := w.store.Tx(w.Context(), func(tx rooms.Tx) error {
		h, err := tx.Webhook(id)
		if err != nil {
			return err
		}
		plain, err := v.Open(h.Secret, webhook.Place(id))
		if err != nil {
			return err
		}
		if h.Secret, err = v.Seal(plain, webhook.Place(id)); err != nil {
			return err
		}
		if err := tx.UpdateWebhook(h); err != nil {
			return nil //nolint:nilerr // it was sealed anew meanwhile
		}
		before, err := tx.Delivery(webhook.DeliveryID(fmt.Sprint("dlv_", n)))
		if err != nil {
			return err
		}
		after := before
		after.Attempt++
		return tx.UpdateDelivery(after, before)
	})
	return err
}

// TestRotationWaitsForItsProcesses ends only when no process writes with the old key.
func TestRotationWaitsForItsProcesses(t *testing.T) {
	onBoth(t, func(w *world) {
		w.begun(w.idOf(w.oldKey))
		slow := w.follower("slow", w.newKey, w.oldKey)
		w.must(slow.Start(w.Context()))
		r := w.rotation(w.store, w.newKey, w.oldKey)
		looks, awaited := 0, []string(nil)
		r.Tell = func(p sealing.Progress) { awaited = append(awaited, p.Awaited...) }
		r.Wait = func(ctx context.Context) error {
			if looks++; looks == 2 {
				w.must(w.put(ctx, slow.Keyring, 1)) // it has not heard of it
			}
			if looks < 3 {
				return nil
			}
			return slow.Follow(ctx)
		}
		report, err := r.Run(w.Context())
		if err != nil || len(report.Left) > 0 || looks != 4 || report.Resealed != 7 || !slices.Contains(awaited, "slow") {
			w.Errorf("%+v, %v after %d looks at %v", report, err, looks, awaited)
		}
		w.opens(w.keyring(w.newKey), 1)
	})
}

// TestRotationRefused changes nothing.
func TestRotationRefused(t *testing.T) {
	onBoth(t, func(w *world) {
		w.begun(w.idOf(w.oldKey))
		old := w.keyring(w.oldKey)
		w.must(old.SealAs(old.First()))
		w.must(w.put(w.Context(), old, 1))
		without := w.follower("worker:7", w.oldKey)
		w.must(without.Start(w.Context()))
		refused := func(what, want string, keys ...string) {
			w.Helper()
			if report, err := w.rotation(w.store, keys...).Run(w.Context()); err == nil || !strings.Contains(err.Error(), want) {
				w.Errorf("%s: %+v, %v", what, report, err)
			}
			if used := w.opens(w.keyring(w.oldKey), 1); len(used) != 1 || !used[old.First()] {
				w.Errorf("%s: it uses %v", what, used)
			}
		}
		refused("a process has not the key", "worker:7", w.newKey, w.oldKey)
		without.Leave(w.Context())
		refused("the old key is missing", sealing.ErrOtherKey.Error(), w.newKey)
		if err := w.follower("again", w.oldKey).Start(w.Context()); err != nil {
			w.Errorf("after the refusals the old key is refused: %v", err)
		}
	})
}

// TestTwoRotations go to different keys: the one that is overtaken stops.
func TestTwoRotations(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	w.begun(w.idOf(w.oldKey))
	third := secret.MasterKey()
	old := w.keyring(w.oldKey)
	for n := range 3 {
		w.must(w.put(t.Context(), old, n))
	}
	first := w.rotation(w.store, w.newKey, w.oldKey, third)
	overtaken := false
	first.Tell = func(sealing.Progress) {
		if overtaken {
			return
		}
		overtaken = true
		report, err := w.rotation(w.store, third, w.newKey, w.oldKey).Run(t.Context())
		if err != nil || len(report.Left) > 0 {
			t.Errorf("%+v, %v", report, err)
		}
	}
	if _, err := first.Run(t.Context()); err == nil || !strings.Contains(err.Error(), w.idOf(third)) {
		t.Errorf("the first one: %v", err)
	}
	for n := range 3 {
		w.opens(w.keyring(third), n)
	}
}

// TestRotationLeavesWhatItCannotOpen says what still needs another key, and why.
func TestRotationLeavesWhatItCannotOpen(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	w.begun(w.idOf(w.oldKey))
	old := w.keyring(w.oldKey)
	for n := range 2 {
		w.must(w.put(t.Context(), old, n))
	}
	// The credentials of one instance are those of another.
	moved, err := w.store.Credentials(t.Context(), "ins_0")
	w.must(err)
	w.must(w.store.Tx(t.Context(), func(tx rooms.Tx) error { return tx.PutCredentials("ins_1", moved) }))
	if _, err := instance.OpenCredentials(old, "ins_1", moved); err == nil {
		t.Error("moved credentials open")
	}
	report, err := w.rotation(w.store, w.newKey, w.oldKey).Run(t.Context())
	want := []sealing.Count{{Kind: sealing.Credentials, KeyID: secret.Enveloped(w.idOf(w.oldKey)), Values: 1}}
	if err != nil || !slices.Equal(report.Left, want) || len(report.Closed) != 1 || report.Closed[0].ID != "ins_1" {
		t.Errorf("%+v, %v", report, err)
	}
	w.opens(w.keyring(w.newKey), 0)
}
