package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/testenv"
)

func TestOpenRefuses(t *testing.T) {
	for _, databaseURL := range []string{
		"", "berth.db", "sqlite://", "postgres://u:topsecret@h/d", "mysql://", "mysql://u:topsecret@h", "mysql://u:topsecret@h/", "mysql:///d", "mysql://u:topsecret@h:x y/d",
	} {
		s, err := Open(databaseURL)
		if err == nil {
			_ = s.Close()
			t.Errorf("%q was taken", databaseURL)
		} else if strings.Contains(err.Error(), "topsecret") || !strings.Contains(err.Error(), "mysql://USER:PASSWORD@HOST:PORT/DATABASE") {
			t.Errorf("%q: %v: want what is allowed, and no password", databaseURL, err)
		}
	}
}

// TestSQLiteFile opens files in folders whose names mean something in a URL.
func TestSQLiteFile(t *testing.T) {
	for _, name := range []string{"plain", "with space", "per%cent", "per%41cent", "ques?tion", "ha#sh", "ümlaut", "quo'te", "a&b=c"} {
		folder := filepath.Join(t.TempDir(), name, "new")
		path := filepath.Join(folder, "berth.db")
		s := openMigrated(t, "sqlite://"+path)
		insertHost(t, s, "local")
		for file, want := range map[string]os.FileMode{folder: 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
			info, err := os.Stat(file)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s: %s has the mode %o, want %o", name, file, got, want)
			}
		}
	}
}

// TestTwoProcesses writes one SQLite file through several pools at once: nobody
// sees "database is locked".
func TestTwoProcesses(t *testing.T) {
	const processes, writers, rounds = 3, 3, 15
	databaseURL := dialects[dialectSQLite](t)
	openMigrated(t, databaseURL)
	var all errgroup.Group
	for p := range processes {
		s := openStore(t, databaseURL)
		for w := range writers {
			all.Go(func() error {
				for r := range rounds {
					err := s.Tx(t.Context(), func(tx rooms.Tx) error {
						_, err := tx.PutHost(host.Host{ID: host.ID(fmt.Sprint(p, "/", w, "/", r)), Name: fmt.Sprint(p, "/", w, "/", r)})
						return err
					})
					if err != nil {
						return err
					}
					if _, err := s.Hosts(t.Context()); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	hosts, err := openStore(t, databaseURL).Hosts(t.Context())
	if err != nil || len(hosts) != processes*writers*rounds {
		t.Fatalf("%d hosts, %v, want %d", len(hosts), err, processes*writers*rounds)
	}
}

// TestMySQLAway takes the server away before, during and after.
func TestMySQLAway(t *testing.T) {
	t.Parallel()
	proxied, proxy := testenv.NewProxy(t, testenv.MySQL(t))
	s := openMigrated(t, proxied)
	insertHost(t, s, "before")
	err := s.Tx(t.Context(), func(tx rooms.Tx) error {
		if _, err := tx.PutHost(host.Host{ID: "hst_2", Name: "during"}); err != nil {
			return err
		}
		proxy.Cut()
		_, err := tx.PutHost(host.Host{ID: "hst_3", Name: "cut"})
		return err
	})
	mustBeAway(t, "a transaction in the middle", err)
	eachCallIsAway(t, s, proxied)

	proxy.Restore(t)
	hosts, err := s.Hosts(t.Context())
	if err != nil || len(hosts) != 1 || hosts[0].Name != "before" {
		t.Fatalf("when it is back: %v, %v, want what was committed", hosts, err)
	}
	insertHost(t, s, "after")
}

func TestMySQLNeverThere(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	databaseURL := "mysql://u:p@" + addr + "/d"
	s := openStore(t, databaseURL)
	eachCallIsAway(t, s, databaseURL)
	if err := s.Migrate(t.Context(), slog.New(slog.DiscardHandler)); fault.CodeOf(err) != fault.CodeUnavailable {
		t.Errorf("Migrate: %v", err)
	}
}

// TestMySQLHangs has a server that takes connections and says nothing.
func TestMySQLHangs(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test is over
	s := openStore(t, "mysql://u:p@"+l.Addr().String()+"/d")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	mustBeAway(t, "a call with a deadline", s.Ping(ctx))
}

func eachCallIsAway(t *testing.T, s *Store, databaseURL string) {
	t.Helper()
	ctx := t.Context()
	mustBeAway(t, "Ping", s.Ping(ctx))
	mustBeAway(t, "Tx", s.Tx(ctx, func(rooms.Tx) error { return nil }))
	_, err := s.Instance(ctx, "ins_1")
	mustBeAway(t, "Instance", err)
	_, err = s.Jobs(ctx, job.Filter{Tenant: "t"}, page.Page{Limit: 1})
	mustBeAway(t, "Jobs", err)
	_, err = s.DueJobs(ctx, time.Now(), 1)
	mustBeAway(t, "DueJobs", err)
	_, err = s.PortsLeft(ctx, host.Host{ID: "hst_1", PortLow: 1, PortHigh: 2}, 1, time.Now())
	mustBeAway(t, "PortsLeft", err)
	_, err = s.Deployment(ctx, "dep_1")
	mustBeAway(t, "Deployment", err)
	_, err = LookAtSchema(ctx, databaseURL)
	mustBeAway(t, "LookAtSchema", err)
	_, err = LookAtSealed(ctx, databaseURL)
	mustBeAway(t, "LookAtSealed", err)
}

func mustBeAway(t *testing.T, what string, err error) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Code != fault.CodeUnavailable || e.RetryAfter <= 0 {
		t.Errorf("%s: got %v, want %s and when to try again", what, err, fault.CodeUnavailable)
	}
}

// TestNoOrphans removes deleted instances in batches smaller than they have labels.
func TestNoOrphans(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		at := time.UnixMilli(1_000_000)
		labels := map[string]string{"a": "1", "b": "2", "c": "3"}
		for n := range 5 {
			i := instance.Instance{ID: instance.ID(fmt.Sprint("ins_", n)), Tenant: "t", Name: fmt.Sprint(n), State: instance.StateDeleted, DeletedAt: at, Labels: labels}
			if err := s.Tx(t.Context(), func(tx rooms.Tx) error { return tx.InsertInstance(i) }); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := s.Tx(t.Context(), func(tx rooms.Tx) error {
				_, err := rooms.DeleteOld(tx, at.Add(time.Hour), 2)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		var instances, left int64
		if err := errors.Join(s.db.Model(&instanceRow{}).Count(&instances).Error, s.db.Model(&labelRow{}).Count(&left).Error); err != nil {
			t.Fatal(err)
		}
		if instances != 1 || left != 3 {
			t.Fatalf("%d instances and %d labels are left, want 1 and 3", instances, left)
		}
	})
}

// TestEventsAreNumbered appends from many goroutines.
func TestEventsAreNumbered(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		const events = 20
		s := openMigrated(t, databaseURL)
		var all errgroup.Group
		for n := range events {
			all.Go(func() error {
				return s.Tx(t.Context(), func(tx rooms.Tx) error {
					return tx.AppendEvent(event.Event{ID: event.ID(fmt.Sprint("evt_", n)), Tenant: "t", Type: "instance.running", Message: "üsable"})
				})
			})
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		var rows []eventRow
		if err := s.db.Order("number").Find(&rows).Error; err != nil || len(rows) != events {
			t.Fatalf("%d events, %v", len(rows), err)
		}
		for i, row := range rows[1:] {
			if row.Number <= rows[i].Number {
				t.Fatalf("after number %d comes %d", rows[i].Number, row.Number)
			}
		}
	})
}
