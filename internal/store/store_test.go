package store

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/rooms/roomstest"
	"github.com/berth-project/berth/internal/testenv"
)

func TestMain(m *testing.M) {
	code := testenv.Run(m)
	// GORM's cache of prepared statements has a goroutine for each pool that never ends.
	err := goleak.Find(goleak.IgnoreTopFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"))
	if code == 0 && err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// dialects gives a fresh, empty database of each kind.
var dialects = map[string]func(testing.TB) string{
	dialectSQLite: func(t testing.TB) string { return "sqlite://" + filepath.Join(t.TempDir(), "berth.db") },
	dialectMySQL:  testenv.MySQL,
}

func onBoth(t *testing.T, run func(t *testing.T, databaseURL string)) {
	for name, database := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, database(t))
		})
	}
}

func openStore(t testing.TB, databaseURL string) *Store {
	t.Helper()
	s, err := Open(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openMigrated(t testing.TB, databaseURL string) *Store {
	t.Helper()
	s := openStore(t, databaseURL)
	if err := s.Migrate(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	for name, database := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roomstest.StoreContract(t, func(t *testing.T) rooms.Store { return openMigrated(t, database(t)) })
		})
	}
}
