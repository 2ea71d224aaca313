// Package storetest gives other packages' tests a store of their own.
package storetest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/berth-project/berth/internal/store"
)

// template is a migrated, empty database; migrating one for every test would take
// longer than most of the tests.
var template = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "berth-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a folder of temporary files
	path := filepath.Join(folder, "berth.db")
	s, err := store.Open("sqlite://" + path)
	if err != nil {
		return nil, err
	}
	if err := s.Migrate(context.Background(), slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil { // which folds the write-ahead log into the file
		return nil, err
	}
	return os.ReadFile(path) //nolint:gosec // our own path
})

// SQLite gives an empty store that is up to date, closed when the test ends. In a
// test that uses synctest, call it outside of the bubble: GORM starts goroutines
// that never end.
func SQLite(t testing.TB) *store.Store {
	t.Helper()
	s, _ := SQLiteFile(t)
	return s
}

// SQLiteFile gives the path of the store's file, too: what is in it, beside what is in the file of
// its write-ahead log, is all that the database has.
func SQLiteFile(t testing.TB) (*store.Store, string) {
	t.Helper()
	content, err := template()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "berth.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open("sqlite://" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, path
}
