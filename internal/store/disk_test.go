package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/testenv"
)

// TestFullDisk fills the disk of an SQLite database, and frees it again.
func TestFullDisk(t *testing.T) {
	disk := testenv.NewDisk(t, 4)
	s := openMigrated(t, "sqlite://"+filepath.Join(disk.Path, "berth.db"))
	insertHost(t, s, "before")
	disk.Fill()
	err := untilRefused(t, s)
	mustBeFull(t, "a write", err)
	for range 2 {
		mustBeFull(t, "Ping", s.Ping(t.Context()))
	}
	if hosts, err := s.Hosts(t.Context()); err != nil || len(hosts) == 0 {
		t.Errorf("reading: %v, %v", hosts, err)
	}
	disk.Free()
	insertHost(t, s, "at once")
	testenv.Eventually(t, "the database is well again", 30*time.Second, s.Ping)
	insertHost(t, s, "after")
	var left int64
	if err := s.db.Model(&settingRow{}).Where("name = ?", writeCheckSetting).Count(&left).Error; err != nil || left != 0 {
		t.Errorf("the check has left %d rows, %v", left, err)
	}
}

// untilRefused writes until nothing more is taken: what is allocated already may do for a
// few small writes.
func untilRefused(t *testing.T, s *Store) error {
	t.Helper()
	for n := range 10_000 {
		err := s.Tx(t.Context(), func(tx rooms.Tx) error {
			name := fmt.Sprintf("%d-%s", n, strings.Repeat("x", 100))
			_, err := tx.PutHost(host.Host{ID: host.ID(name)[:20], Name: name})
			return err
		})
		if err != nil {
			return err
		}
	}
	t.Fatal("a full disk has taken 10,000 rows")
	return nil
}

func mustBeFull(t *testing.T, what string, err error) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Code != fault.CodeUnavailable || e.RetryAfter <= 0 || !strings.Contains(e.Message, "disk of Berth's database is full") {
		t.Errorf("%s: got %v, want that the disk is full", what, err)
	}
}

// TestFullDiskOfMySQL is the same with a server whose disk is small.
func TestFullDiskOfMySQL(t *testing.T) {
	t.Parallel()
	server := testenv.SmallMySQL(t, 300)
	s := openMigrated(t, server.URL)
	insertHost(t, s, "before")
	server.Exec("sh", "-c", "cat /dev/zero > /var/lib/mysql/filler || true")
	var err error
	fill := strings.Repeat("x", 60_000)
	for n := 0; err == nil && n < 5000; n++ {
		err = s.putSetting(t.Context(), fmt.Sprint("fill-", n), fill)
	}
	mustBeFull(t, "a write", err)
	mustBeFull(t, "Ping", s.Ping(t.Context()))
	server.Exec("rm", "/var/lib/mysql/filler")
	testenv.Eventually(t, "the database is well again", time.Minute, s.Ping)
	insertHost(t, s, "after")
}

// TestDiskErrors has what drivers say of a disk that takes nothing.
func TestDiskErrors(t *testing.T) {
	for _, e := range []*mysql.MySQLError{
		{Number: 1021, Message: "Disk full (/tmp/#sql); waiting for someone to free some space... (errno: 28 \"No space left on device\")"},
		{Number: 1114, Message: "The table 'jobs' is full"},
		{Number: 1026, Message: "Error writing file './binlog.000001' (errno: 28 - No space left on device)"},
		{Number: 3, Message: "Error writing file '/tmp/MLfd=5' (OS errno 28 - No space left on device)"},
		{Number: 1030, Message: "Got error 28 - 'No space left on device' from storage engine"},
	} {
		mustBeFull(t, e.Error(), translate(fmt.Errorf("in a transaction: %w", e)))
	}
	for _, e := range []*mysql.MySQLError{
		{Number: 1026, Message: "Error writing file (errno: 5 - Input/output error)"}, {Number: 1030, Message: "Got error 128 from storage engine"}, {Number: 1062, Message: "Duplicate entry '28'"},
	} {
		if full(e) {
			t.Errorf("%v is taken for a full disk", e)
		}
	}
}

// TestUnwritableFile has a database that may only be read, as one is on a disk that was
// mounted so after an error.
func TestUnwritableFile(t *testing.T) {
	s := openMigrated(t, dialects[dialectSQLite](t))
	set := func(value string) {
		t.Helper()
		withWriter(s, func(w *writer) {
			if _, err := w.ExecContext(t.Context(), "PRAGMA query_only = "+value); err != nil {
				t.Fatal(err)
			}
		})
	}
	insertHost(t, s, "before")
	set("ON")
	err := s.Tx(t.Context(), func(tx rooms.Tx) error {
		_, err := tx.PutHost(host.Host{ID: "hst_1", Name: "x"})
		return err
	})
	if fault.CodeOf(err) != fault.CodeUnavailable || !strings.Contains(err.Error(), "is writable") {
		t.Errorf("a write: %v", err)
	}
	if err := s.Ping(t.Context()); fault.CodeOf(err) != fault.CodeUnavailable {
		t.Errorf("Ping: %v", err)
	}
	set("OFF")
	testenv.Eventually(t, "the database is well again", 30*time.Second, s.Ping)
	insertHost(t, s, "after")
}

// TestDiskIsTriedSeldom asks often while a disk is full.
func TestDiskIsTriedSeldom(t *testing.T) {
	var d disk
	tries := 0
	try := func(context.Context) error { tries++; return os.ErrPermission }
	if err := d.check(t.Context(), try); err != nil || tries != 0 {
		t.Errorf("a disk that is well was tried %d times: %v", tries, err)
	}
	failed := translate(&mysql.MySQLError{Number: 1114})
	d.note(errors.New("something else"))
	d.note(failed)
	for range 100 {
		if err := d.check(t.Context(), try); err == nil {
			t.Fatal("it is taken for well")
		}
	}
	if tries > 3 { // each holds for a second
		t.Errorf("it was tried %d times at once", tries)
	}
	d.tried = time.Time{}
	if err := d.check(t.Context(), func(context.Context) error { return nil }); err != nil || d.failed != nil {
		t.Errorf("after a write that worked: %v, %v", err, d.failed)
	}
}
