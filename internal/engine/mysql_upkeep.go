package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-project/berth/internal/instance"
)

// mysqlUpkeep does what MySQL does not do by itself: it gives what was restored the accounts
// that it runs as, and a server that an earlier version has made its time zones. None of it is
// the tenant's to wait for.
func mysqlUpkeep(ctx context.Context, conn *sql.Conn, cred instance.Credentials) error {
	return errors.Join(giveDefiners(ctx, conn, cred.Database), giveTimeZones(ctx, conn))
}

// Bounds of the binary logs: a tenth of the disk together, in files of which some fit.
const (
	binaryLogShare = 10
	binaryLogFiles = 12
)

// binaryLogSpace is what the binary logs may take together.
func binaryLogSpace(disk int64) int64 { return max(disk/binaryLogShare, 64*miB) }

// binaryLogSize is the size from which on a binary log is followed by the next.
func binaryLogSize(disk int64) int64 {
	return clamp(binaryLogSpace(disk)/binaryLogFiles/miB*miB, 4*miB, 64*miB)
}

// transactionShare bounds what one transaction may write: it is in a temporary file first, and
// then whole in one binary log.
const transactionShare = 4

// binaryLog is a file of the binary log.
type binaryLog struct {
	name string
	size int64
}

// binaryLogs gives them, the oldest first.
func binaryLogs(ctx context.Context, conn *sql.Conn) (files []binaryLog, err error) {
	rows, err := conn.QueryContext(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return nil, fmt.Errorf("list the binary logs: %w", err)
	}
	defer rows.Close() //nolint:errcheck // read to its end
	for rows.Next() {
		var f binaryLog
		var encrypted string
		if err := rows.Scan(&f.name, &f.size, &encrypted); err != nil {
			return nil, fmt.Errorf("list the binary logs: %w", err)
		}
		files = append(files, f)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list the binary logs: %w", err)
	}
	return files, nil
}

// boundBinaryLogs removes the oldest binary logs that are too much together, and gives what
// the others take. MySQL has no bound of its own for that, and nobody replicates from it.
func boundBinaryLogs(ctx context.Context, conn *sql.Conn, most int64) (total int64, err error) {
	files, err := binaryLogs(ctx, conn)
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		total += f.size
	}
	first := 0
	for ; total > most && first < len(files)-1; first++ {
		total -= files[first].size
	}
	if first == 0 {
		return total, nil
	}
	if _, err := conn.ExecContext(ctx, "PURGE BINARY LOGS TO '"+files[first].name+"'"); err != nil {
		return 0, fmt.Errorf("remove binary logs: %w", err)
	}
	return total, nil
}

// giveDefiners makes an account that nobody can log in to for each definer in the database
// that has none: what was restored from a dump runs as the user it was dumped with. None is
// made under the tenant's own name at another host than localhost, where no client is:
// MySQL takes the account of the closest host, and the tenant could not log in any more.
func giveDefiners(ctx context.Context, conn *sql.Conn, database string) error {
	_, err := conn.ExecContext(ctx, "CALL `"+mysqlBerth+"`.give_definers(?)", database)
	if mysqlRefuses(err, 1305, mysqlNoDatabase) {
		return nil // earlier versions have made no such procedure
	}
	if err != nil {
		return fmt.Errorf("make accounts for definers: %w", err)
	}
	return nil
}

// giveTimeZones fills the tables of time zones where they are empty.
func giveTimeZones(ctx context.Context, conn *sql.Conn) (err error) {
	var filled bool
	err = conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM mysql.time_zone_name)").Scan(&filled)
	if mysqlRefuses(err, mysqlNoTable) {
		return nil // it was adopted, and had them before
	}
	if err != nil || filled {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("fill the time zones: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("fill the time zones: %w", err), tx.Rollback())
		}
	}()
	for s := range strings.SplitSeq(mysqlTimeZones, ";\n") {
		if s == "" {
			continue
		}
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return tx.Commit()
}
