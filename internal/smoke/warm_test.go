package smoke

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// awaitWarm waits until so many instances wait for a tenant.
func awaitWarm(t *testing.T, rows *sql.DB, want int) {
	t.Helper()
	testenv.Eventually(t, fmt.Sprintf("%d instances are warm", want), 2*time.Minute, func(ctx context.Context) error {
		var warm, all int
		err := rows.QueryRowContext(ctx, "SELECT COALESCE(SUM(state = 'warm'), 0), COUNT(*) FROM instances WHERE tenant_id = '-' AND deleted_at = 0").Scan(&warm, &all)
		if err == nil && (warm != want || all != want) {
			err = fmt.Errorf("%d of %d are", warm, all)
		}
		return err
	})
}

// TestWarmPool has creates take over what waits for them, by real clients, and looks
// whether what they get is like any other: also after a restart, which reads the files
// anew, and when nothing is left of it.
func TestWarmPool(t *testing.T) {
	t.Parallel()
	dev := startDev(t, "BERTH_WARM_POOL=redis:small=1,mysql:small=1", noSweeps)
	rows := testenv.OpenDatabase(t, dev.databaseURL())
	awaitWarm(t, rows, 2)
	if page, err := dev.Instances(t.Context(), client.InstanceFilter{}); err != nil || len(page.Items) != 0 {
		t.Errorf("a tenant sees %+v, %v", page.Items, err)
	}
	my := create(t, dev.server, "mysql", "", map[string]any{"charset": "latin1", "binlog_format": "STATEMENT", "max_connections": 33})
	red := create(t, dev.server, "redis", "", map[string]any{"maxmemory": "48mb", "appendfsync": "always"})
	for _, s := range []*service{my, red} {
		s.awaitRunning(t, dev.server)
		job, err := dev.Job(t.Context(), s.created.ID, 0)
		if err != nil || len(job.Steps) != 1 || job.Steps[0].Name != "adopt" {
			t.Errorf("it was made by %+v, %v", job.Steps, err)
		}
	}
	check := func() {
		t.Helper()
		for query, want := range map[string]string{
			"SELECT @@global.binlog_format": "STATEMENT", "SELECT @@global.max_connections": "33", "SELECT @@global.character_set_server": "latin1",
			"SELECT @@character_set_database": "latin1",
			"SELECT GROUP_CONCAT(schema_name) FROM information_schema.schemata WHERE schema_name LIKE 'berth%'": "",
		} {
			var got sql.NullString
			if err := openMySQL(t, my.conn).QueryRowContext(t.Context(), query).Scan(&got); err != nil || got.String != want {
				t.Errorf("%s: %q, %v; want %q", query, got.String, err, want)
			}
		}
		got, err := openRedis(t, red.conn).ConfigGet(t.Context(), "maxmemory").Result()
		if err != nil || got["maxmemory"] != fmt.Sprint(48<<20) {
			t.Errorf("maxmemory: %v, %v", got, err)
		}
	}
	check()
	if err := workRedis(t.Context(), openRedis(t, red.conn), "kept"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*service{my, red} {
		docker(t, "restart", containerOf(t, s.ID))
		awaitState(t, dev, s, "running", mended)
	}
	testenv.Eventually(t, "both answer again", mended, func(ctx context.Context) error {
		if err := openMySQL(t, my.conn).PingContext(ctx); err != nil {
			return err
		}
		return openRedis(t, red.conn).Ping(ctx).Err()
	})
	check()
	awaitWarm(t, rows, 2) // the next ones
	for _, s := range []*service{my, red} {
		removeQuietly(t, dev, s)
	}
}
