package startstop

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/berth-project/berth/internal/testenv"
)

// TestStopWithinMigration tells processes to stop while one migration of several is under
// way. MySQL cannot take back half of one: it is brought to its end, and no other is begun.
func TestStopWithinMigration(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"dev", "migrate"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newProduction(t, mysql)
			db := testenv.OpenDatabase(t, w.databaseURL)
			migrateTo(t, db, 1)
			unlock := lockTable(t, db, "events")
			p := w.start(mode)
			testenv.Eventually(t, "a migration waits for the table", startLimit, func(ctx context.Context) error {
				var n int
				err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.processlist "+
					"WHERE db = DATABASE() AND state = 'Waiting for table metadata lock'").Scan(&n)
				if err == nil && n == 0 {
					err = errors.New("it does not wait:\n" + testenv.Tail(p.Log(), 3))
				}
				return err
			})
			send(t, p, syscall.SIGTERM)
			select {
			case <-p.Done():
				t.Errorf("it has cut the migration off:\n%s", testenv.Tail(p.Log(), 5))
			case <-time.After(time.Second): // it would have ended by now
			}
			unlock()
			want := map[string]int{"dev": 0, "migrate": 1}[mode] // which has not done what it was to do
			ends(t, p, want)
			if said := testenv.Tail(p.Log(), 1); mode == "migrate" && !strings.Contains(said, "run it again") {
				t.Errorf("it said last %q", said)
			}
			if at := column(t, db, "SELECT MAX(version_id) FROM goose_db_version"); at[0] != "2" {
				t.Errorf("the schema is at version %s, want 2", at[0])
			}
			w.migrated()
			w.mustStart("the whole schema", "worker")
		})
	}
}

// migrateTo brings a database to an early version of the schema.
func migrateTo(t *testing.T, db *sql.DB, version int64) {
	t.Helper()
	p, err := goose.NewProvider(goose.DialectMySQL, db, os.DirFS("../store/migrations/mysql"), goose.WithLogger(goose.NopLogger()))
	if err == nil {
		_, err = p.UpTo(t.Context(), version)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lockTable has nobody change a table until unlock is called.
func lockTable(t *testing.T, db *sql.DB, table string) (unlock func()) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err == nil {
		_, err = conn.ExecContext(t.Context(), "LOCK TABLES "+table+" READ")
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	}
}
