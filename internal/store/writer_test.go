package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/rooms"
)

// withWriter gives SQLite's connection for transactions, as long as do takes.
func withWriter(s *Store, do func(*writer)) {
	w := <-s.writer
	defer func() { s.writer <- w }()
	do(w)
}

func putHost(name string) func(rooms.Tx) error {
	return func(tx rooms.Tx) error {
		_, err := tx.PutHost(host.Host{ID: host.ID("hst_" + name), Name: name})
		return err
	}
}

func hostThere(t *testing.T, s *Store, name string) bool {
	t.Helper()
	_, err := s.Host(t.Context(), host.ID("hst_"+name))
	if err != nil && fault.CodeOf(err) != fault.CodeNotFound {
		t.Fatal(err)
	}
	return err == nil
}

// Statements of many texts, as lists of many lengths make them, do not pile up.
func TestWriterKeepsAFew(t *testing.T) {
	s := openMigrated(t, dialects[dialectSQLite](t))
	for n := range maxKept + 50 {
		err := s.Tx(t.Context(), func(r rooms.Tx) error {
			marks := strings.Repeat("?,", n) + "?"
			rows, err := r.(*tx).db.Statement.ConnPool.QueryContext(t.Context(), "SELECT id FROM hosts WHERE id IN ("+marks+")", make([]any, n+1)...)
			if err != nil {
				return err
			}
			return errors.Join(rows.Close(), rows.Err())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	withWriter(s, func(w *writer) {
		if len(w.kept) != maxKept {
			t.Errorf("%d statements are kept, want %d", len(w.kept), maxKept)
		}
	})
	if err := s.Tx(t.Context(), putHost("after")); err != nil || !hostThere(t, s, "after") {
		t.Errorf("after: %v", err)
	}
}

// A schema that another process changes meanwhile, as a migration does, does not hurt what was
// compiled before.
func TestWriterSurvivesMigrations(t *testing.T) {
	url := dialects[dialectSQLite](t)
	s, other := openMigrated(t, url), openMigrated(t, url)
	if err := s.Tx(t.Context(), putHost("before")); err != nil {
		t.Fatal(err)
	}
	if err := other.db.Exec("ALTER TABLE hosts ADD COLUMN later TEXT NOT NULL DEFAULT ''").Error; err != nil {
		t.Fatal(err)
	}
	if err := s.Tx(t.Context(), putHost("after")); err != nil || !hostThere(t, s, "after") {
		t.Errorf("after: %v", err)
	}
}

// However a transaction ends, the next one begins: nothing of it is left on the connection.
func TestWriterBeginsAgain(t *testing.T) {
	broken := errors.New("broken")
	for name, fail := range map[string]func(*testing.T, *Store) error{
		"refused": func(t *testing.T, s *Store) error {
			t.Helper()
			return s.Tx(t.Context(), func(tx rooms.Tx) error { return errors.Join(putHost("lost")(tx), broken) })
		},
		"panicked": func(t *testing.T, s *Store) (err error) {
			t.Helper()
			defer func() { err = fmt.Errorf("%v", recover()) }()
			return s.Tx(t.Context(), func(tx rooms.Tx) error {
				_ = putHost("lost")(tx)
				panic("broken")
			})
		},
		"ended in the middle": func(t *testing.T, s *Store) error {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			return s.Tx(ctx, func(tx rooms.Tx) error {
				err := putHost("lost")(tx)
				cancel()
				if err == nil && putHost("later")(tx) == nil {
					t.Error("a statement was run for a request that has ended")
				}
				return err
			})
		},
		"without its begin": func(t *testing.T, s *Store) error {
			t.Helper()
			return s.Tx(t.Context(), func(r rooms.Tx) error {
				// What SQLite does by itself when the disk is full.
				_, err := r.(*tx).db.Statement.ConnPool.ExecContext(t.Context(), rollback)
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openMigrated(t, dialects[dialectSQLite](t))
			if err := fail(t, s); err == nil {
				t.Error("it did not fail")
			}
			if hostThere(t, s, "lost") {
				t.Error("it has left a row")
			}
			if err := s.Tx(t.Context(), putHost("after")); err != nil || !hostThere(t, s, "after") {
				t.Errorf("after: %v", err)
			}
		})
	}
}

// Another process that writes is waited for; whoever asks may give up.
func TestWriterWaits(t *testing.T) {
	url := dialects[dialectSQLite](t)
	s, other := openMigrated(t, url), openMigrated(t, url)
	done := make(chan error, 1)
	err := other.Tx(t.Context(), func(tx rooms.Tx) error {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- s.Tx(ctx, putHost("impatient")) }()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up: %v", err)
		}
		go func() { done <- s.Tx(t.Context(), putHost("patient")) }()
		return putHost("first")(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !hostThere(t, s, "patient") {
		t.Errorf("who waited: %v", err)
	}
}

// rawly runs a function on what the statements of a transaction go to.
func rawly(t *testing.T, s *Store, do func(*writer) error) error {
	t.Helper()
	return s.Tx(t.Context(), func(r rooms.Tx) error {
		w, ok := r.(*tx).db.Statement.ConnPool.(*writer)
		if !ok {
			t.Fatal("it is not SQLite")
		}
		return do(w)
	})
}

// A statement that is run again while its rows are read gives all of them to both.
func TestWriterReadsTwice(t *testing.T) {
	const all = "SELECT id FROM hosts WHERE id <> ? ORDER BY id"
	s := openMigrated(t, dialects[dialectSQLite](t))
	for n := range 6 {
		if err := s.Tx(t.Context(), putHost(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
	}
	count := func(w *writer, each func() error) (n int, err error) {
		rows, err := w.QueryContext(t.Context(), all, "")
		if err != nil {
			return 0, err
		}
		defer rows.Close() //nolint:errcheck // Err tells
		for rows.Next() {
			n++
			if err := each(); err != nil {
				return n, err
			}
		}
		return n, rows.Err()
	}
	err := rawly(t, s, func(w *writer) error {
		outer, err := count(w, func() error {
			inner, err := count(w, func() error { return nil })
			if inner != 6 {
				t.Errorf("the inner one has read %d rows", inner)
			}
			return err
		})
		if outer != 6 {
			t.Errorf("the outer one has read %d rows", outer)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Rows that a panic has left open hold up neither the next transaction nor the end, and are
// not taken away while they are read.
func TestWriterOutlivesOpenRows(t *testing.T) {
	const all = "SELECT id FROM hosts WHERE id <> ?"
	s := openMigrated(t, dialects[dialectSQLite](t))
	if err := errors.Join(s.Tx(t.Context(), putHost("a")), s.Tx(t.Context(), putHost("b"))); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = rawly(t, s, func(w *writer) error {
			rows, err := w.QueryContext(t.Context(), all, "") //nolint:rowserrcheck,sqlclosecheck // that is the point
			if err == nil && rows.Next() {
				panic("broken")
			}
			return err
		})
	}()
	err := rawly(t, s, func(w *writer) error {
		rows, err := w.QueryContext(t.Context(), all, "")
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // Err tells
		for n := 0; rows.Next(); n++ {
			for other := range maxKept {
				if _, err := w.ExecContext(t.Context(), fmt.Sprintf("DELETE FROM hosts WHERE id = 'none-%d-%d'", n, other)); err != nil {
					return err
				}
			}
		}
		return rows.Err()
	})
	if err != nil {
		t.Error(err)
	}
}

// A request that has ended before its turn costs nobody the connection.
func TestWriterOfEndedRequests(t *testing.T) {
	s := openMigrated(t, dialects[dialectSQLite](t))
	if err := s.Tx(t.Context(), putHost("a")); err != nil {
		t.Fatal(err)
	}
	var before, after *sql.Conn
	withWriter(s, func(w *writer) { before = w.conn })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		if err := s.Tx(over, putHost("b")); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if withWriter(s, func(w *writer) { after = w.conn }); before != after || before == nil {
		t.Error("the connection was given up")
	}
}
