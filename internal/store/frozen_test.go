package store

import (
	"context"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/testenv"
)

// A process that stands still in the middle of a transaction does not hold its rows for
// longer than a lease lasts, and writes nothing when it goes on.
func TestFrozenTransactionIsTakenBack(t *testing.T) {
	url := testenv.MySQL(t)
	frozen, other := openMigrated(t, url), openStore(t, url)
	insertHost(t, frozen, "one")
	tx := frozen.db.WithContext(t.Context()).Begin()
	if err := tx.Exec("UPDATE hosts SET endpoint = 'unix:///frozen' WHERE name = 'one'").Error; err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	testenv.Eventually(t, "somebody else gets the row", 2*job.DefaultLeaseTTL, func(ctx context.Context) error {
		return other.db.WithContext(ctx).Exec("UPDATE hosts SET endpoint = 'unix:///other' WHERE name = 'one'").Error
	})
	t.Logf("after %s", time.Since(begun).Round(time.Millisecond))
	if err := tx.Commit().Error; err == nil {
		t.Error("the transaction was committed all the same")
	}
}
