package store

import (
	"context"
	"errors"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/testenv"
)

// What a try wanted that lost to another transaction is dropped with it.
func TestOnCommitOfTheLastTry(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		var seen []int
		run := func(losses int) error {
			tries := 0
			return s.Tx(t.Context(), func(tx rooms.Tx) error {
				tries++
				try := tries
				tx.OnCommit(func(context.Context) { seen = append(seen, try) })
				if try <= losses {
					return &driver.MySQLError{Number: mysqlDeadlock}
				}
				return nil
			})
		}
		if err := run(2); err != nil || len(seen) != 1 || seen[0] != 3 {
			t.Errorf("%v, seen %v", err, seen)
		}
		seen = nil
		if err := run(maxTxTries); err == nil || len(seen) != 0 {
			t.Errorf("%v, seen %v", err, seen)
		}
	})
}

// A commit without an answer may have been one.
func TestOnCommitWithoutAnAnswer(t *testing.T) {
	proxied, proxy := testenv.NewProxy(t, testenv.MySQL(t))
	s := openMigrated(t, proxied)
	called := 0
	cut := func(then error) error {
		return s.Tx(t.Context(), func(tx rooms.Tx) error {
			tx.OnCommit(func(context.Context) { called++ })
			if _, err := tx.Instance("ins_none"); fault.CodeOf(err) != fault.CodeNotFound { // the server knows of it
				t.Errorf("%v", err)
			}
			proxy.Cut()
			return then
		})
	}
	if err := cut(nil); fault.CodeOf(err) != fault.CodeUnavailable || called != 1 {
		t.Errorf("%v, called %d times", err, called)
	}
	if err := cut(errors.New("on purpose")); err == nil || called != 1 {
		t.Errorf("%v, called %d times", err, called)
	}
}
