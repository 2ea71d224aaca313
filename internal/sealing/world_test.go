package sealing_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/testenv"
	"github.com/berth-project/berth/internal/webhook"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

const deployment = "dep_1"

// world is a deployment with values of every kind.
type world struct {
	*testing.T
	store          *store.Store
	oldKey, newKey string
}

func newWorld(t *testing.T, s *store.Store) *world {
	t.Helper()
	return &world{T: t, store: s, oldKey: secret.MasterKey(), newKey: secret.MasterKey()}
}

func onBoth(t *testing.T, run func(*world)) {
	for name, open := range map[string]func(*testing.T) *store.Store{"sqlite": func(t *testing.T) *store.Store { return storetest.SQLite(t) }, "mysql": openMySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(newWorld(t, open(t)))
		})
	}
}

func openMySQL(t *testing.T) *store.Store {
	s, err := store.Open(testenv.MySQL(t))
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
		err = s.Migrate(t.Context(), slog.New(slog.DiscardHandler))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// keyring reads keys, of which the first is the new one.
func (w *world) keyring(keys ...string) *secret.Keyring {
	w.Helper()
	text := ""
	for _, k := range keys {
		text += k + "\n"
	}
	v, err := secret.NewKeyring(text)
	w.must(err)
	return v
}

func (w *world) idOf(key string) string { return w.keyring(key).First() }

// begun is a deployment that an older release has begun, or this one.
func (w *world) begun(keyID string) {
	w.Helper()
	v := w.keyring(w.oldKey)
	w.must(v.SealAs(keyID))
	check, err := sealing.SealCheck(v, deployment)
	w.must(err)
	w.must(w.store.InsertKeyCheck(w.Context(), check))
	key, err := v.Seal([]byte(authority.Place(deployment)+" 0"), authority.Place(deployment))
	w.must(err)
	w.must(w.store.InsertAuthority(w.Context(), authority.Record{Deployment: deployment, Key: key}))
}

// put writes a value of each kind, as a process with this vault does. A webhook that is there
// gets a new secret.
func (w *world) put(ctx context.Context, v secret.Vault, n int) error {
	seal := func(place string) secret.Sealed {
		sealed, err := v.Seal(fmt.Appendf(nil, "%s %d", place, n), place)
		if err != nil {
			w.Error(err)
		}
		return sealed
	}
	ins, hook, dlv := instance.ID(fmt.Sprint("ins_", n)), webhook.ID(fmt.Sprint("whk_", n)), webhook.DeliveryID(fmt.Sprint("dlv_", n))
	on := host.ID(fmt.Sprint("hst_", n))
	return w.store.Tx(ctx, func(tx rooms.Tx) error {
		return errors.Join(
			tx.PutCredentials(ins, seal(instance.CredentialsPlace(ins))),
			tx.InsertWebhook(webhook.Webhook{ID: hook, Enabled: true, Secret: seal(webhook.Place(hook)), Previous: seal(webhook.Place(hook)), PreviousUntil: time.Now().Add(time.Hour)}),
			tx.InsertDelivery(webhook.Delivery{ID: dlv, Body: []byte("{}"), State: webhook.DeliveryPending, Secret: seal(webhook.DeliveryPlace(dlv))}),
			tx.InsertHostSecret(on, "tls", seal(host.SecretPlace(on, "tls"))),
			tx.PutIdempotent(idempotency.Record{Tenant: "a", Key: fmt.Sprint(n), Answer: seal(idempotency.Place("a", fmt.Sprint(n))), CreatedAt: time.Now()}),
		)
	})
}

// opens checks that everything there opens with the vault, and gives the key ids in use.
func (w *world) opens(v secret.Vault, n int) map[string]bool {
	w.Helper()
	used := map[string]bool{}
	open := func(place string, s secret.Sealed) {
		w.Helper()
		if plain, err := v.Open(s, place); err != nil || string(plain) != fmt.Sprint(place, " ", n) {
			w.Errorf("%s, sealed as %s: %q, %v", place, s.KeyID, plain, err)
		}
		used[s.KeyID] = true
	}
	ins, hook, dlv := instance.ID(fmt.Sprint("ins_", n)), webhook.ID(fmt.Sprint("whk_", n)), webhook.DeliveryID(fmt.Sprint("dlv_", n))
	credentials, err := w.store.Credentials(w.Context(), ins)
	w.must(err)
	open(instance.CredentialsPlace(ins), credentials)
	h, err := w.store.Webhook(w.Context(), hook)
	w.must(err)
	open(webhook.Place(hook), h.Secret)
	open(webhook.Place(hook), h.Previous)
	d, err := w.store.Delivery(w.Context(), dlv)
	w.must(err)
	open(webhook.DeliveryPlace(dlv), d.Secret)
	on := host.ID(fmt.Sprint("hst_", n))
	ofHost, err := w.store.HostSecret(w.Context(), on, "tls")
	w.must(err)
	open(host.SecretPlace(on, "tls"), ofHost)
	record, err := w.store.Idempotent(w.Context(), "a", fmt.Sprint(n))
	w.must(err)
	open(idempotency.Place("a", fmt.Sprint(n)), record.Answer)
	if n == 0 {
		ca, err := w.store.Authority(w.Context())
		w.must(err)
		open(authority.Place(deployment), ca.Key)
	}
	return used
}

func (w *world) follower(owner string, keys ...string) *sealing.Follower {
	w.Helper()
	return &sealing.Follower{
		Store: w.store, Keyring: w.keyring(keys...), Deployment: deployment, Owner: owner, Now: clock.System, Log: slog.New(slog.DiscardHandler),
	}
}

func (w *world) rotation(s sealing.Store, keys ...string) *sealing.Rotation {
	w.Helper()
	return &sealing.Rotation{
		Store: s, Keyring: w.keyring(keys...), Deployment: deployment, Now: clock.System,
		Wait: func(ctx context.Context) error { return backoff.Wait(ctx, time.Millisecond) },
	}
}
