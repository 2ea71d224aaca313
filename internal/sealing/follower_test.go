package sealing_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
)

// TestStart says what each process seals as, which all others of its deployment can read.
func TestStart(t *testing.T) {
	for name, test := range map[string]struct {
		begun func(*world) // what was there
		keys  func(*world) []string
		fresh bool
		lost  func(*world) []string
		want  func(*world) string // empty: it is refused
	}{
		"a new database": {
			keys: func(w *world) []string { return []string{w.newKey, w.oldKey} }, fresh: true,
			want: func(w *world) string { return secret.Enveloped(w.idOf(w.newKey)) },
		},
		"a database that a release without check values has used": {
			keys: func(w *world) []string { return []string{w.oldKey} },
			want: func(w *world) string { return w.idOf(w.oldKey) },
		},
		"beside an older release": {
			begun: func(w *world) { w.begun(w.idOf(w.oldKey)) }, keys: func(w *world) []string { return []string{w.oldKey} },
			want: func(w *world) string { return w.idOf(w.oldKey) },
		},
		"with a new key, beside an older release": {
			begun: func(w *world) { w.begun(w.idOf(w.oldKey)) }, keys: func(w *world) []string { return []string{w.newKey, w.oldKey} },
			want: func(w *world) string { return w.idOf(w.oldKey) },
		},
		"with a new key, beside processes without it": {
			begun: func(w *world) { w.begun(secret.Enveloped(w.idOf(w.oldKey))) }, keys: func(w *world) []string { return []string{w.newKey, w.oldKey} },
			want: func(w *world) string { return secret.Enveloped(w.idOf(w.oldKey)) },
		},
		"without the key": {
			begun: func(w *world) { w.begun(secret.Enveloped(w.idOf(w.oldKey))) }, keys: func(w *world) []string { return []string{w.newKey} },
			want: func(*world) string { return "" },
		},
		"without a key that is lost": {
			begun: func(w *world) { w.begun(secret.Enveloped(w.idOf(w.oldKey))) }, keys: func(w *world) []string { return []string{w.newKey} },
			lost: func(w *world) []string { return []string{w.idOf(w.oldKey)} },
			want: func(w *world) string { return secret.Enveloped(w.idOf(w.newKey)) },
		},
		"without a lost key of an older release": {
			begun: func(w *world) { w.begun(w.idOf(w.oldKey)) }, keys: func(w *world) []string { return []string{w.newKey} },
			lost: func(w *world) []string { return []string{w.idOf(w.oldKey)} },
			want: func(w *world) string { return w.idOf(w.newKey) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(w *world) {
				if test.begun != nil {
					test.begun(w)
				}
				f := w.follower("one", test.keys(w)...)
				if f.Fresh = test.fresh; test.lost != nil {
					f.Lost = test.lost(w)
				}
				want := test.want(w)
				if err := f.Start(w.Context()); (want == "") != errors.Is(err, sealing.ErrOtherKey) || want != "" && err != nil {
					w.Fatalf("want it to seal as %q: %v", want, err)
				}
				if want == "" {
					return
				}
				check, err := w.store.KeyCheck(w.Context())
				if got := f.Keyring.Sealing(); got != want || err != nil || check.KeyID != want {
					w.Errorf("it seals as %s, and the check value as %s (%v), want %s", got, check.KeyID, err, want)
				}
			})
		})
	}
}

// TestStartAtOnce has many processes begin a new deployment.
func TestStartAtOnce(t *testing.T) {
	onBoth(t, func(w *world) {
		followers := make([]*sealing.Follower, 8)
		var all errgroup.Group
		for i := range followers {
			followers[i] = w.follower("process "+string(rune('a'+i)), w.oldKey)
			followers[i].Fresh = i%2 == 0 // the others have seen the first ones' traces
			all.Go(func() error { return followers[i].Start(w.Context()) })
		}
		w.must(all.Wait())
		for _, f := range followers {
			if got := f.Keyring.Sealing(); got != followers[0].Keyring.Sealing() {
				w.Errorf("one seals as %s, another as %s", got, followers[0].Keyring.Sealing())
			}
		}
	})
}

// TestFollow changes over with the deployment, and says so a look later.
func TestFollow(t *testing.T) {
	onBoth(t, func(w *world) {
		w.begun(w.idOf(w.oldKey))
		with, without := w.follower("with", w.newKey, w.oldKey), w.follower("without", w.oldKey)
		w.must(with.Start(w.Context()))
		w.must(without.Start(w.Context()))
		said := func() string {
			w.Helper()
			holders, err := w.store.Holders(w.Context(), time.Time{})
			if err != nil || len(holders) != 2 || holders[0].Owner != "with" {
				w.Fatalf("%+v, %v", holders, err)
			}
			return holders[0].Sealing
		}
		w.must(with.Follow(w.Context()))
		old, target := w.idOf(w.oldKey), secret.Enveloped(w.idOf(w.newKey))
		if said() != old || with.Keyring.Sealing() != old {
			w.Fatalf("it says %s and seals as %s", said(), with.Keyring.Sealing())
		}
		before, err := w.store.KeyCheck(w.Context())
		w.must(err)
		after, err := sealing.SealCheck(w.keyring(w.newKey), deployment)
		w.must(err)
		w.must(w.store.ReplaceKeyCheck(w.Context(), before, after))
		w.must(with.Follow(w.Context()))
		if said() != old || with.Keyring.Sealing() != target {
			w.Errorf("after one look it says %s and seals as %s", said(), with.Keyring.Sealing())
		}
		w.must(with.Follow(w.Context()))
		if said() != target {
			w.Errorf("after two looks it says %s", said())
		}
		if err := without.Follow(w.Context()); !errors.Is(err, sealing.ErrOtherKey) || !strings.Contains(err.Error(), w.idOf(w.newKey)) {
			w.Errorf("a process without the key goes on: %v", err)
		}
		with.Leave(w.Context())
		if holders, err := w.store.Holders(w.Context(), time.Time{}); err != nil || len(holders) != 1 {
			w.Errorf("%+v, %v", holders, err)
		}
	})
}

// TestFollowWithoutDatabase goes on while the database is away.
func TestFollowWithoutDatabase(t *testing.T) {
	w := newWorld(t, nil)
	f := w.follower("one", w.oldKey)
	f.Store = &crashing{at: 1}
	if err := f.Follow(t.Context()); err != nil {
		t.Error(err)
	}
}
