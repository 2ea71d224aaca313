package testenv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// wrongBooks are questions for what is not used as the allocations say, or more than there is.
var wrongBooks = []string{
	`SELECT h.name, h.cpu_used, h.memory_used, h.units FROM hosts h
	LEFT JOIN (SELECT host_id, SUM(cpu_millis) AS cpu, SUM(memory_bytes) AS memory, COUNT(*) AS units FROM allocations GROUP BY host_id) a ON a.host_id = h.id
	WHERE h.cpu_used <> COALESCE(a.cpu, 0) OR h.memory_used <> COALESCE(a.memory, 0) OR h.units <> COALESCE(a.units, 0)
		OR (h.cpu_cap > 0 AND h.cpu_used > h.cpu_cap) OR (h.memory_cap > 0 AND h.memory_used > h.memory_cap)`,
	`SELECT d.id, 0, d.used, d.units FROM disks d
	LEFT JOIN (SELECT disk_id, SUM(disk_bytes) AS bytes, COUNT(*) AS units FROM allocations GROUP BY disk_id) a ON a.disk_id = d.id
	WHERE d.used <> COALESCE(a.bytes, 0) OR d.units <> COALESCE(a.units, 0) OR (d.capacity > 0 AND d.used > d.capacity)`,
}

// WrongBooks gives the hosts and the disks in Berth's own database of which something else is used than the
// sum of the allocations there, or more than there is.
func WrongBooks(ctx context.Context, db *sql.DB) (wrong []string, err error) {
	for _, query := range wrongBooks {
		rows, err := db.QueryContext(ctx, query)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			var what string
			var cpu, bytes, units int64
			if err = rows.Scan(&what, &cpu, &bytes, &units); err != nil {
				break
			}
			wrong = append(wrong, fmt.Sprintf("%s: %d millicores, %d bytes, %d units are used", what, cpu, bytes, units))
		}
		if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
			return nil, err
		}
	}
	return wrong, nil
}
