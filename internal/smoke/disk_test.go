package smoke

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// TestDisk has an instance of each engine write past its limit: it is stopped from it, its
// neighbour goes on, workers come and go, and it recovers when it deletes.
func TestDisk(t *testing.T) {
	t.Parallel()
	dev := startDev(t, "BERTH_PROBE_EVERY=1s")
	rows := testenv.OpenDatabase(t, dev.databaseURL())
	// MySQL's has its binary logs, of 64 MiB at least, and its data in turns.
	room := map[string]int64{"mysql": 256 << 20, "redis": 48 << 20}
	for engine := range room {
		t.Run(engine, func(t *testing.T) {
			s, neighbour := create(t, dev.server, engine, "", nil), create(t, dev.server, engine, "", nil)
			s.awaitRunning(t, dev.server)
			neighbour.awaitRunning(t, dev.server)
			empty := awaitDisk(t, dev, s, "ok")
			if empty.LimitBytes != s.Resources.Disk || empty.Enforcement != "measured" && empty.Enforcement != "driver" {
				t.Errorf("its disk is %+v", empty)
			}
			limitDisk(t, rows, s, empty.UsedBytes+room[engine])
			tenant := tenantOf(t, s)
			testenv.Eventually(t, "writes are refused", 2*time.Minute, func(ctx context.Context) error {
				if err := tenant.write(ctx); !refusedWrite(err) { // connections are ended before
					return fmt.Errorf("it answers %w", err)
				}
				return nil
			})
			full := awaitDisk(t, dev, s, "full")
			if inst, err := dev.Instance(t.Context(), s.ID); err != nil || inst.State != "running" || !strings.Contains(inst.Reason, "disk") {
				t.Errorf("it is %s because %q (%v)", inst.State, inst.Reason, err)
			}
			if err := tenant.read(t.Context()); err != nil {
				t.Errorf("while it is full, reads fail: %v", err)
			}
			used(t, neighbour)

			docker(t, "kill", containerOf(t, s.ID)) // it is started anew, and is full still
			testenv.Eventually(t, "it refuses writes after a repair", mended, func(ctx context.Context) error {
				if err := tenant.write(ctx); !refusedWrite(err) {
					return fmt.Errorf("it answers %w", err)
				}
				return nil
			})
			awaitState(t, dev, s, "running", mended)
			awaitDisk(t, dev, s, "full")

			testenv.Eventually(t, "it deletes", mended, tenant.clear)
			testenv.Eventually(t, "writes are accepted", time.Minute, tenant.write)
			left := awaitDisk(t, dev, s, "ok", "warning")
			t.Logf("%s: %d MiB while empty, %d when full, %d when cleared", engine, empty.UsedBytes>>20, full.UsedBytes>>20, left.UsedBytes>>20)
			checkDiskEvents(t, dev, s)
			removeQuietly(t, dev, s)
			removeQuietly(t, dev, neighbour)
		})
	}
}

// limitDisk gives the instance another limit than a plan has: fewer bytes are quicker to fill.
func limitDisk(t *testing.T, rows *sql.DB, s *service, limit int64) {
	t.Helper()
	if _, err := rows.ExecContext(t.Context(), "UPDATE instances SET disk_bytes = ? WHERE id = ?", limit, s.ID); err != nil {
		t.Fatal(err)
	}
}

func awaitDisk(t *testing.T, dev *development, s *service, states ...string) (disk client.Disk) {
	t.Helper()
	testenv.Eventually(t, fmt.Sprintf("the disk of %s is %v", s.ID, states), time.Minute, func(ctx context.Context) error {
		inst, err := dev.Instance(ctx, s.ID)
		if err == nil && (inst.Disk == nil || !slices.Contains(states, inst.Disk.State)) {
			err = fmt.Errorf("it is %+v", inst.Disk)
		}
		if err == nil {
			disk = *inst.Disk
		}
		return err
	})
	return disk
}

// checkDiskEvents has each crossing told once: up to full, and down again.
func checkDiskEvents(t *testing.T, dev *development, s *service) {
	t.Helper()
	var types []string
	if _, err := dev.EachEvent(t.Context(), client.EventFilter{}, 0, func(e client.Event) error {
		if about, disk := strings.CutPrefix(e.Type, "instance.disk_"); disk && e.InstanceID == s.ID {
			types = append(types, about)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := slices.Index(types, "full"); n < 0 || len(slices.Compact(slices.Clone(types))) != len(types) || slices.Index(types[n+1:], "full") >= 0 {
		t.Errorf("events about the disk are %v", types)
	}
}

// tenantWork is what a tenant does to fill and clear an instance.
type tenantWork struct{ write, read, clear func(context.Context) error }

func tenantOf(t *testing.T, s *service) tenantWork {
	t.Helper()
	blob := make([]byte, 1<<20)
	if _, err := rand.Read(blob); err != nil {
		t.Fatal(err)
	}
	if s.Engine == "redis" {
		rdb, n := openRedis(t, s.conn), 0
		return tenantWork{
			write: func(ctx context.Context) error { n++; return rdb.Set(ctx, fmt.Sprint("fill:", n%90), blob, 0).Err() },
			read:  func(ctx context.Context) error { return rdb.Get(ctx, "fill:1").Err() },
			clear: func(ctx context.Context) error { return rdb.FlushDB(ctx).Err() },
		}
	}
	db := openMySQL(t, s.conn)
	exec := func(statement string, args ...any) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, statement, args...)
			return err
		}
	}
	if err := exec("CREATE TABLE fill (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)")(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tenantWork{
		write: exec("INSERT INTO fill (b) VALUES (?)", blob), read: exec("SELECT COUNT(*) FROM fill"), clear: exec("TRUNCATE fill"),
	}
}

// refusedWrite reports whether the server says that the tenant may not write.
func refusedWrite(err error) bool {
	var said *mysql.MySQLError
	return errors.As(err, &said) && said.Number == 1142 || err != nil && strings.HasPrefix(err.Error(), "NOPERM")
}
