package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/webhook"
)

// vaultOf seals with a key that is its own name.
type vaultOf string

func (v vaultOf) Seal(plain []byte, context string) (secret.Sealed, error) {
	return secret.Sealed{KeyID: string(v), Ciphertext: []byte(string(v) + context + string(plain))}, nil
}

func (v vaultOf) Open(s secret.Sealed, context string) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(s.Ciphertext), string(v)+context)
	if !ok {
		return nil, errors.New("it does not open")
	}
	return []byte(plain), nil
}

func TestLookAtNothing(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "not", "there")
	for _, path := range []string{filepath.Join(folder, "berth.db"), emptyFile(t)} {
		schema, err := LookAtSchema(t.Context(), "sqlite://"+path)
		if err != nil || schema.Version != 0 || schema.Used || schema.Newer() || schema.Current() {
			t.Errorf("%s: %+v, %v", path, schema, err)
		}
		if samples, err := LookAtSealed(t.Context(), "sqlite://"+path); err != nil || len(samples) > 0 {
			t.Errorf("%s: %v, %v", path, samples, err)
		}
	}
	if _, err := os.Stat(folder); err == nil {
		t.Error("a look has made the folder")
	}
	garbage := filepath.Join(t.TempDir(), "berth.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if schema, err := LookAtSchema(t.Context(), "sqlite://"+garbage); err == nil {
		t.Errorf("a file that is no database: %+v", schema)
	}
}

func emptyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "berth.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLookAtSchema(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		want := func(what string, used bool, release string) Schema {
			t.Helper()
			schema, err := LookAtSchema(t.Context(), databaseURL)
			if err != nil || schema.Used != used || schema.Release != release {
				t.Fatalf("%s: %+v, %v", what, schema, err)
			}
			return schema
		}
		if schema := want("before", false, ""); schema.Version != 0 || schema.Newer() {
			t.Errorf("before: %+v", schema)
		}
		s := openMigrated(t, databaseURL)
		if schema := want("migrated", false, ""); !schema.Current() || schema.Newer() {
			t.Errorf("migrated: %+v", schema)
		}
		if _, err := s.Deployment(t.Context(), "dep_1"); err != nil {
			t.Fatal(err)
		}
		want("used", true, "")
		for _, release := range []string{"v1.2.3", "v1.2.4"} {
			if err := s.PutRelease(t.Context(), release); err != nil {
				t.Fatal(err)
			}
			want("noted", true, release)
		}
		schema := want("noted", true, "v1.2.4")
		if err := s.db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, ?)", schema.Want+1, true).Error; err != nil {
			t.Fatal(err)
		}
		if newer := want("newer", true, "v1.2.4"); !newer.Newer() || newer.Version != schema.Want+1 || newer.Current() {
			t.Errorf("newer: %+v", newer)
		}
	})
}

// TestLookAtSealed has something of each kind sealed with a key of its own.
func TestLookAtSealed(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		now, body := time.Now(), []byte("{}")
		seal := func(key, context string) secret.Sealed {
			sealed, _ := vaultOf(key).Seal([]byte("x"), context)
			return sealed
		}
		err := s.Tx(t.Context(), func(tx rooms.Tx) error {
			errs := []error{
				tx.PutCredentials("ins_1", seal("creds", "credentials/ins_1")), tx.PutCredentials("ins_2", seal("creds", "credentials/ins_2")),
				tx.PutCredentials("ins_3", seal("creds", "credentials/ins_3")), tx.PutCredentials("ins_4", seal("other", "credentials/ins_4")),
				tx.InsertWebhook(webhook.Webhook{
					ID: "whk_1", Secret: seal("hook", "webhook/whk_1"), Previous: seal("previous", "webhook/whk_1"), PreviousUntil: now.Add(time.Hour),
				}),
				tx.InsertWebhook(webhook.Webhook{
					ID: "whk_2", Secret: seal("hook", "webhook/whk_2"), Previous: seal("over", "webhook/whk_2"), PreviousUntil: now.Add(-time.Hour),
				}),
				tx.InsertDelivery(webhook.Delivery{Body: body, ID: "dlv_1", State: webhook.DeliveryPending, Secret: seal("delivery", "delivery/dlv_1")}),
				tx.InsertDelivery(webhook.Delivery{Body: body, ID: "dlv_2", State: webhook.DeliveryPending}),
				tx.InsertDelivery(webhook.Delivery{Body: body, ID: "dlv_3", State: webhook.DeliveryExhausted, Secret: seal("ended", "delivery/dlv_3")}),
				tx.PutIdempotent(idempotency.Record{Tenant: "t", Key: "k", Answer: seal("answer", "idempotency/t/k"), CreatedAt: now}),
			}
			return errors.Join(errs...)
		})
		if err != nil {
			t.Fatal(err)
		}
		deployment, err := s.Deployment(t.Context(), "dep_1")
		if err == nil {
			var check secret.Sealed
			check, err = sealing.SealCheck(vaultOf("check"), deployment)
			err = errors.Join(err, s.InsertKeyCheck(t.Context(), check))
		}
		if err != nil {
			t.Fatal(err)
		}
		samples, err := LookAtSealed(t.Context(), databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		keys := []string{"answer", "check", "creds", "delivery", "ended", "hook", "other", "previous"}
		var missing []string
		for _, k := range sealing.MissingKeys(nil, samples) {
			missing = append(missing, k.ID)
		}
		if !slices.Equal(missing, keys) {
			t.Errorf("without any key %q are missing, want %q", missing, keys)
		}
		for _, key := range keys {
			left := sealing.MissingKeys(vaultOf(key), samples)
			if len(left) != len(keys)-1 || slices.ContainsFunc(left, func(k sealing.MissingKey) bool { return k.ID == key }) {
				t.Errorf("with key %s %v are missing: it opens nothing of its own", key, left)
			}
		}
	})
}

// TestLookTouchesNothing looks at a file that was closed in order, and at one that is in use.
func TestLookTouchesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "berth.db")
	s, err := Open("sqlite://" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	insertHost(t, s, "local")
	lookTwice(t, "in use", path)
	crashed := filepath.Join(t.TempDir(), "berth.db")
	for _, end := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + end)
		if err == nil {
			err = os.WriteFile(crashed+end, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lookTwice(t, "after a crash", crashed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lookTwice(t, "closed", path)
}

func lookTwice(t *testing.T, what, path string) {
	t.Helper()
	before := contents(t, filepath.Dir(path))
	for range 2 {
		if schema, err := LookAtSchema(t.Context(), "sqlite://"+path); err != nil || !schema.Current() {
			t.Errorf("%s: %+v, %v", what, schema, err)
		}
		if _, err := LookAtSealed(t.Context(), "sqlite://"+path); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := contents(t, filepath.Dir(path)); after != before {
		t.Errorf("%s: the folder was\n%s, and is\n%s", what, before, after)
	}
}

// contents names the files of a folder with their sums, but for the index of the
// write-ahead log, which readers write their marks into.
func contents(t *testing.T, folder string) string {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, file := range files {
		if strings.HasSuffix(file.Name(), "-shm") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %d %x\n", file.Name(), len(content), sha256.Sum256(content))
	}
	return b.String()
}
