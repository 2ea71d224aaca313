package store

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/webhook"
)

func instanceOf(n int) instance.ID { return instance.ID(fmt.Sprint("ins_", n)) }

// someSealed writes two values of each kind, sealed with the key "old", and one of each with
// the key "new".
func someSealed(t *testing.T, s *Store) {
	t.Helper()
	sealed := func(key string, n int) secret.Sealed {
		return secret.Sealed{KeyID: key, Ciphertext: fmt.Appendf(nil, "%s-%d\x00\xff", key, n)}
	}
	err := s.Tx(t.Context(), func(tx rooms.Tx) error {
		var errs []error
		for n, key := range []string{"old", "new", "old"} {
			errs = append(errs,
				tx.PutCredentials(instanceOf(n), sealed(key, n)),
				tx.InsertWebhook(webhook.Webhook{
					ID: webhook.ID(fmt.Sprint("whk_", n)), Secret: sealed(key, n), Previous: sealed(key, n+10), PreviousUntil: time.Now().Add(time.Hour),
				}),
				tx.InsertWebhook(webhook.Webhook{ID: webhook.ID(fmt.Sprint("whk_only", n)), Secret: sealed("new", n)}),
				tx.InsertDelivery(webhook.Delivery{ID: webhook.DeliveryID(fmt.Sprint("dlv_", n)), Body: []byte("{}"), State: webhook.DeliveryPending, Secret: sealed(key, n)}),
				tx.InsertDelivery(webhook.Delivery{ID: webhook.DeliveryID(fmt.Sprint("dlv_none", n)), Body: []byte("{}"), State: webhook.DeliveryPending}),
				tx.InsertHostSecret(host.ID(fmt.Sprint("hst_", n)), "password", sealed(key, n)),
				tx.PutIdempotent(idempotency.Record{Tenant: "a", Key: fmt.Sprint("k", n), Answer: sealed(key, n), CreatedAt: time.Now()}),
				tx.PutIdempotent(idempotency.Record{Tenant: "b", Key: fmt.Sprint("k", n), Answer: sealed(key, n), CreatedAt: time.Now()}),
			)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	for n, key := range []string{"old", "new", "old"} { // there is one of each deployment, and here several
		err := s.InsertAuthority(t.Context(), authority.Record{Deployment: fmt.Sprint("dep_", n), Certificate: "c", Key: sealed(key, n), CreatedAt: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// pages reads all values of a kind, one at a time.
func pages(t *testing.T, s *Store, kind sealing.Kind, keyID string) []sealing.Value {
	t.Helper()
	var all []sealing.Value
	for last := (sealing.Value{Kind: kind}); ; {
		page, err := s.SealedValues(t.Context(), kind, keyID, last, 1)
		if err != nil || len(page) > 1 {
			t.Fatalf("%s: %v, %v", kind, page, err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		last = page[0]
	}
}

func TestSealedValues(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		someSealed(t, s)
		for _, kind := range sealing.Kinds() {
			want := 2
			if kind == sealing.Answer {
				want = 4
			}
			all := pages(t, s, kind, "new")
			if len(all) != want || slices.ContainsFunc(all, func(v sealing.Value) bool { return v.Kind != kind || v.ID == "" || v.Sealed.KeyID != "old" }) {
				t.Errorf("%s: %+v", kind, all)
			}
			at := map[string]bool{}
			for _, v := range all {
				at[string(v.Tenant)+"/"+v.ID] = true
			}
			if len(at) != want {
				t.Errorf("%s: some were read twice: %+v", kind, all)
			}
			whole, err := s.SealedValues(t.Context(), kind, "new", sealing.Value{Kind: kind}, 100)
			if err != nil || !slices.EqualFunc(whole, all, func(a, b sealing.Value) bool { return a.ID == b.ID && a.Tenant == b.Tenant }) {
				t.Errorf("%s: one page has %+v, %v, several have %+v", kind, whole, err, all)
			}
		}
		if _, err := s.SealedValues(t.Context(), sealing.Check, "new", sealing.Value{}, 1); err == nil {
			t.Error("the check value is not one of many")
		}
	})
}

func TestReseal(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		someSealed(t, s)
		fresh := secret.Sealed{KeyID: "new", Ciphertext: []byte("resealed")}
		var changes []sealing.Change
		for _, kind := range sealing.Kinds() {
			for _, v := range pages(t, s, kind, "new") {
				changes = append(changes, sealing.Change{Before: v, After: fresh})
			}
		}
		// Meanwhile one value is written by somebody else, and one is gone.
		mine := secret.Sealed{KeyID: "old", Ciphertext: []byte("written meanwhile")}
		if err := s.Tx(t.Context(), func(tx rooms.Tx) error {
			return errors.Join(tx.PutCredentials(instanceOf(0), mine), tx.DeleteCredentials(instanceOf(2)))
		}); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Reseal(t.Context(), changes); err != nil || n != len(changes)-2 {
			t.Fatalf("resealed %d of %d, %v", n, len(changes), err)
		}
		if got, err := s.Credentials(t.Context(), instanceOf(0)); err != nil || string(got.Ciphertext) != string(mine.Ciphertext) {
			t.Errorf("a value that was written meanwhile is %+v, %v", got, err)
		}
		if _, err := s.Credentials(t.Context(), instanceOf(2)); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("a value that was gone is back: %v", err)
		}
		for _, kind := range sealing.Kinds()[1:] {
			if left := pages(t, s, kind, "new"); len(left) > 0 {
				t.Errorf("%s: left are %+v", kind, left)
			}
		}
		if n, err := s.Reseal(t.Context(), changes); err != nil || n != 0 {
			t.Errorf("done twice, it changes %d, %v", n, err)
		}
		if n, err := s.Reseal(t.Context(), nil); err != nil || n != 0 {
			t.Errorf("nothing: %d, %v", n, err)
		}
	})
}

// TestResealBesideUpdates writes back what was read before the values were sealed anew.
func TestResealBesideUpdates(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		someSealed(t, s)
		hook, err := s.Webhook(t.Context(), "whk_0")
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.Delivery(t.Context(), "dlv_0")
		if err != nil {
			t.Fatal(err)
		}
		fresh := secret.Sealed{KeyID: "new", Ciphertext: []byte("resealed")}
		for _, kind := range []sealing.Kind{sealing.OldWebhook, sealing.Callback} {
			before := pages(t, s, kind, "new")[:1]
			if n, err := s.Reseal(t.Context(), []sealing.Change{{Before: before[0], After: fresh}}); err != nil || n != 1 {
				t.Fatalf("%d, %v", n, err)
			}
		}
		err = s.Tx(t.Context(), func(tx rooms.Tx) error { return tx.UpdateWebhook(hook) })
		if !errors.Is(err, fault.ErrConflict) {
			t.Errorf("a webhook is written as it was read before: %v", err)
		}
		after := d
		after.Attempt, after.LastError = 1, "no answer"
		if err := s.Tx(t.Context(), func(tx rooms.Tx) error { return tx.UpdateDelivery(after, d) }); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Delivery(t.Context(), d.ID); err != nil || got.Secret.KeyID != "new" || got.LastError != "no answer" {
			t.Errorf("the delivery is %+v, %v", got, err)
		}
		before := after
		after.Secret, after.State = secret.Sealed{}, webhook.DeliveryDelivered
		if err := s.Tx(t.Context(), func(tx rooms.Tx) error { return tx.UpdateDelivery(after, before) }); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Delivery(t.Context(), d.ID); err != nil || got.Secret.KeyID != "" || len(got.Secret.Ciphertext) > 0 {
			t.Errorf("the secret of a delivery that has arrived: %+v, %v", got.Secret, err)
		}
	})
}

// TestCountSealed counts what is needed.
func TestCountSealed(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		if counts, err := s.CountSealed(t.Context()); err != nil || len(counts) > 0 {
			t.Errorf("of nothing: %v, %v", counts, err)
		}
		someSealed(t, s)
		for _, change := range []string{"UPDATE webhooks SET previous_until = 1 WHERE id = 'whk_0'", "UPDATE deliveries SET state = 'delivered' WHERE id = 'dlv_1'"} {
			if err := s.db.Exec(change).Error; err != nil {
				t.Fatal(err)
			}
		}
		counts, err := s.CountSealed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := []sealing.Count{
			{Kind: sealing.Credentials, KeyID: "new", Values: 1}, {Kind: sealing.Credentials, KeyID: "old", Values: 2},
			{Kind: sealing.Webhook, KeyID: "new", Values: 4}, {Kind: sealing.Webhook, KeyID: "old", Values: 2},
			{Kind: sealing.OldWebhook, KeyID: "new", Values: 1}, {Kind: sealing.OldWebhook, KeyID: "old", Values: 1},
			{Kind: sealing.Callback, KeyID: "old", Values: 2},
			{Kind: sealing.Authority, KeyID: "new", Values: 1}, {Kind: sealing.Authority, KeyID: "old", Values: 2},
			{Kind: sealing.HostSecret, KeyID: "new", Values: 1}, {Kind: sealing.HostSecret, KeyID: "old", Values: 2},
			{Kind: sealing.Answer, KeyID: "new", Values: 2}, {Kind: sealing.Answer, KeyID: "old", Values: 4},
		}
		if !slices.Equal(counts, want) {
			t.Errorf("got %v, want %v", counts, want)
		}
	})
}

func TestKeyCheckIsReplacedOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		a, b, c := secret.Sealed{KeyID: "a", Ciphertext: []byte{0, 1}}, secret.Sealed{KeyID: "a", Ciphertext: []byte{0, 2}}, secret.Sealed{KeyID: "b", Ciphertext: []byte{3}}
		same := func(want secret.Sealed) {
			t.Helper()
			if got, err := s.KeyCheck(t.Context()); err != nil || got.KeyID != want.KeyID || string(got.Ciphertext) != string(want.Ciphertext) {
				t.Errorf("it is %v, %v, want %v", got, err, want)
			}
		}
		if _, err := s.KeyCheck(t.Context()); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("none: %v", err)
		}
		if err := s.ReplaceKeyCheck(t.Context(), a, b); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("none is replaced: %v", err)
		}
		if err := s.InsertKeyCheck(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if err := s.InsertKeyCheck(t.Context(), b); !errors.Is(err, fault.ErrConflict) {
			t.Errorf("a second one: %v", err)
		}
		same(a)
		if err := s.ReplaceKeyCheck(t.Context(), b, c); !errors.Is(err, fault.ErrConflict) {
			t.Errorf("another one is replaced: %v", err)
		}
		same(a)
		if err := s.ReplaceKeyCheck(t.Context(), a, c); err != nil {
			t.Fatal(err)
		}
		same(c)
	})
}

func TestHolders(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		now := time.UnixMilli(time.Now().UnixMilli()).UTC()
		put := func(owner, keyID string, ago time.Duration) {
			t.Helper()
			if err := s.PutHolder(t.Context(), sealing.Holder{Owner: owner, Keys: []string{"one", "two"}, Sealing: keyID, SeenAt: now.Add(-ago)}); err != nil {
				t.Fatal(err)
			}
		}
		names := func(since time.Duration) []string {
			t.Helper()
			all, err := s.Holders(t.Context(), now.Add(-since))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, h := range all {
				names = append(names, h.Owner+"="+h.Sealing)
				if !slices.Equal(h.Keys, []string{"one", "two"}) {
					t.Errorf("%+v", h)
				}
			}
			return names
		}
		put("wörker:2", "v2:one", 0)
		put("api:1", "", time.Minute)
		put("api:1", "one", time.Minute)
		put("old", "one", time.Hour)
		if got := names(time.Minute); !slices.Equal(got, []string{"api:1=one", "wörker:2=v2:one"}) {
			t.Errorf("%v", got)
		}
		if err := s.DeleteHolders(t.Context(), "api:1", now.Add(-time.Hour+time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if got := names(24 * time.Hour); !slices.Equal(got, []string{"wörker:2=v2:one"}) {
			t.Errorf("%v", got)
		}
	})
}

func TestAuthorityIsInsertedOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		if _, err := s.Authority(t.Context()); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("none: %v", err)
		}
		want := authority.Record{
			Deployment: "dep_1", Certificate: "-----BEGIN CERTIFICATE-----\n…\n", Key: secret.Sealed{KeyID: "k", Ciphertext: []byte{0, 0xff}}, CreatedAt: time.UnixMilli(time.Now().UnixMilli()).UTC(),
		}
		if err := s.InsertAuthority(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if err := s.InsertAuthority(t.Context(), want); !errors.Is(err, fault.ErrConflict) {
			t.Errorf("a second one: %v", err)
		}
		same := func() {
			t.Helper()
			if got, err := s.Authority(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		}
		same()
		other := want
		other.Certificate, other.Key.Ciphertext = "another", []byte("another")
		if err := s.ReplaceAuthority(t.Context(), other, other); !errors.Is(err, fault.ErrConflict) {
			t.Errorf("another one is replaced: %v", err)
		}
		same()
		before := want
		want = other
		if err := s.ReplaceAuthority(t.Context(), before, want); err != nil {
			t.Fatal(err)
		}
		same()
	})
}
