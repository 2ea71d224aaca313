package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-project/berth/internal/tenant"
)

// fill writes instances that run until there are so many, evenly over the hosts: rows, and what
// the hosts have. Through the API that would take hours.
func (w *world) fill(ctx context.Context, rows int) error {
	there := 0
	if err := w.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM instances").Scan(&there); err != nil {
		return err
	}
	each := (rows - there) / w.hosts
	w.say("  %d instances were created through the API; %d more are written as rows and as files of the hosts, for what follows",
		there, each*w.hosts)
	if each == 0 {
		return nil
	}
	old := time.Now().Add(-time.Hour)
	// The hosts' ports above these are nobody's.
	const lowest = 25000
	for _, statement := range []string{
		`CREATE TABLE filled (id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,
			host_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin, host VARCHAR(255), n BIGINT)`,
		fmt.Sprintf(`INSERT INTO filled WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			SELECT CONCAT('ins_', LPAD(ROW_NUMBER() OVER (), 26, '0')), h.id, h.name, i FROM n CROSS JOIN hosts AS h`, each-1),
		fmt.Sprintf(`INSERT INTO instances (id, tenant_id, engine, version, name, live_name, plan, cpu_millis, memory_bytes,
			disk_bytes, parameters, labels, state, reason, host_id, address, port, fence, rev, created_at, updated_at, deleted_at)
			SELECT id, '%s', 'redis', '8', id, id, 'small', 500, 134217728, 1073741824,
			'{"appendfsync":"everysec","maxclients":50,"maxmemory":100663296,"maxmemory_policy":"noeviction"}', '{}',
			'running', '', host_id, host, %d + n, 1, 1, %d, %d, 0 FROM filled`,
			tenant.Default, lowest, old.UnixMilli(), old.UnixMilli()),
		fmt.Sprintf(`INSERT INTO ports (host_id, port, instance_id, name, rest_until)
			SELECT host_id, %d + n, id, 'redis', 0 FROM filled`, lowest),
		fmt.Sprintf(`INSERT INTO allocations (instance_id, tenant_id, host_id, disk_id, cpu_millis, memory_bytes, disk_bytes, ports,
			holder, job_id, created_at)
			SELECT f.id, '%s', f.host_id, d.id, 500, 134217728, 1073741824, 1, '', '', %d
			FROM filled AS f JOIN disks AS d ON d.host_id = f.host_id`, tenant.Default, old.UnixMilli()),
		fmt.Sprintf(`UPDATE hosts SET cpu_used = cpu_used + 500 * %[1]d, memory_used = memory_used + 134217728 * %[1]d,
			units = units + %[1]d`, each),
		fmt.Sprintf(`UPDATE disks SET used = used + 1073741824 * %[1]d, units = units + %[1]d`, each),
		"ANALYZE TABLE instances, ports, allocations, hosts, disks",
	} {
		if _, err := w.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return w.fillFolders(ctx, lowest, old)
}

// fillFolders writes the file of each instance, as a simulated host does.
func (w *world) fillFolders(ctx context.Context, lowest int, old time.Time) error {
	deployment := ""
	named := w.db.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = 'deployment'")
	if err := named.Scan(&deployment); err != nil {
		return err
	}
	rows, err := w.db.QueryContext(ctx, "SELECT id, host, n FROM filled")
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // the error is asked for below
	for rows.Next() {
		var (
			id, host string
			n        int
		)
		if err := rows.Scan(&id, &host, &n); err != nil {
			return err
		}
		content, err := json.Marshal(map[string]any{
			"deployment": deployment, "tenant": tenant.Default, "volume": map[string]any{"fence": 1, "created": old},
			"container": map[string]any{
				"fence": 1, "created": old, "started": old, "running": true, "settled": true,
				"ports": map[string]int{"redis": lowest + n},
			},
		})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(w.dir, w.folder()+"-hosts", host, id+".json"), content, 0o600); err != nil {
			return err
		}
	}
	return rows.Err()
}
