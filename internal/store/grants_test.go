package store

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/testenv"
)

// The grants that docs/operations.md gives to the two users of the database are enough for
// each, and the one that runs Berth cannot change the schema.
func TestDocumentedGrants(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(.*?)```").FindSubmatch(document)
	if block == nil {
		t.Fatal("docs/operations.md has no block of SQL")
	}
	administrator := testenv.MySQL(t)
	asAdministrator := testenv.OpenDatabase(t, administrator)
	for statement := range strings.SplitSeq(string(block[1]), ";") {
		if statement = strings.TrimSpace(statement); statement == "" {
			continue
		}
		if _, err := asAdministrator.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	as := func(user string) string {
		u, err := url.Parse(administrator)
		if err != nil {
			t.Fatal(err)
		}
		u.User, u.Path = url.UserPassword(user, "CHANGE_ME"), "/berth"
		return u.String()
	}
	openMigrated(t, as("berth_migrate"))
	runs := openStore(t, as("berth"))
	insertHost(t, runs, "local")
	if err := runs.Tx(t.Context(), func(tx rooms.Tx) error {
		_, err := rooms.DeleteOld(tx, planNow, 1)
		return err
	}); err != nil {
		t.Error(err)
	}
	if _, err := LookAtSchema(t.Context(), as("berth")); err != nil {
		t.Error(err)
	}
	if mayChange(t.Context(), testenv.OpenDatabase(t, as("berth"))) {
		t.Error("the user that runs Berth may change the schema")
	}
}

func mayChange(ctx context.Context, db *sql.DB) bool {
	_, err := db.ExecContext(ctx, "CREATE TABLE t (id INT PRIMARY KEY)")
	return err == nil
}
