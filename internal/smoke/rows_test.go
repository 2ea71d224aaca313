package smoke

import (
	"database/sql"
	"os"
	"testing"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// one gives the only value of a query.
func one[T any](t *testing.T, db *sql.DB, query string, args ...any) T {
	t.Helper()
	var v T
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// deployment gives the id that the containers of this Berth are labelled with.
func deployment(t *testing.T, db *sql.DB) string {
	t.Helper()
	return one[string](t, db, "SELECT value FROM settings WHERE name = 'deployment'")
}

// adminPassword opens an instance's credentials row, which nobody but Berth can do
// without the master key, and gives what no answer ever shows.
func adminPassword(t *testing.T, db *sql.DB, keyFile, inst string) string {
	t.Helper()
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewKeyring(string(key))
	if err != nil {
		t.Fatal(err)
	}
	sealed := secret.Sealed{
		KeyID:      one[string](t, db, "SELECT key_id FROM credentials WHERE instance_id = ?", inst),
		Ciphertext: one[[]byte](t, db, "SELECT ciphertext FROM credentials WHERE instance_id = ?", inst),
	}
	creds, err := instance.OpenCredentials(vault, instance.ID(inst), sealed)
	if err != nil {
		t.Fatal(err)
	}
	return creds.AdminPassword.Reveal()
}

// checkNothingHeld looks whether the database still holds anything for instances that
// are gone. The ports' rows stay, resting, as nobody's.
func checkNothingHeld(t *testing.T, db *sql.DB) {
	t.Helper()
	for query, what := range map[string]string{
		"SELECT COUNT(*) FROM ports WHERE instance_id IS NOT NULL":         "ports that are held",
		"SELECT COUNT(*) FROM credentials":                                 "credentials",
		"SELECT COUNT(*) FROM instances WHERE live_name IS NOT NULL":       "names that are taken",
		"SELECT COUNT(*) FROM jobs WHERE live_instance_id IS NOT NULL":     "jobs that have not ended",
		"SELECT COUNT(*) FROM instances WHERE state <> 'deleted'":          "instances that are not deleted",
		"SELECT COUNT(*) FROM deliveries WHERE length(ciphertext) > 0":     "signing secrets of deliveries",
		"SELECT COUNT(*) FROM deliveries WHERE state NOT IN ('delivered')": "callbacks that were not delivered",
		"SELECT COUNT(*) FROM jobs WHERE state NOT IN ('succeeded')":       "jobs that did not succeed",
	} {
		if n := one[int](t, db, query); n != 0 {
			t.Errorf("after the deletes the database holds %d %s", n, what)
		}
	}
}
