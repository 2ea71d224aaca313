package engine

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
)

// mysqlWrites are the privileges on the database that a tenant does without while the disk is
// full. What is left reads, deletes, truncates and drops, and runs triggers and routines.
const mysqlWrites = "INSERT, UPDATE, CREATE, ALTER, INDEX, CREATE TEMPORARY TABLES"

// Files of the server, in bytes: those of InnoDB with what is free in them, those of other
// engines, whose sizes are looked up anew, the redo log, whose files have their whole size from
// the start, and the two of the double write. Binary logs are counted when they are bounded.
const (
	mysqlDoubleWrite = 16 * miB
	mysqlSystemFile  = "SELECT COALESCE(SUM(TOTAL_EXTENTS * EXTENT_SIZE), 0) FROM information_schema.FILES WHERE FILE_NAME = './ibdata1'"
	mysqlTablespaces = "SELECT COALESCE(SUM(FILE_SIZE), 0) FROM information_schema.INNODB_TABLESPACES"
	mysqlSessionTemp = "SELECT COALESCE(SUM(SIZE), 0) FROM information_schema.INNODB_SESSION_TEMP_TABLESPACES"
	mysqlOtherTables = "SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES " +
		"WHERE TABLE_SCHEMA = ? AND TABLE_TYPE = 'BASE TABLE' AND ENGINE <> 'InnoDB'"
	mysqlFree = "SELECT COALESCE(SUM(FREE_EXTENTS * EXTENT_SIZE), 0) FROM information_schema.FILES WHERE FILE_TYPE = 'TABLESPACE'"
)

// KeepDisk measures by what the server says of its files, which costs a few milliseconds and
// no process on the host. Temporary files of statements that run are not in it.
func (e mysqlEngine) KeepDisk(ctx context.Context, inst instance.Instance, cred instance.Credentials, refuse func(int64) bool) (int64, error) {
	password, err := berthPassword(inst, cred)
	if err != nil {
		return 0, err
	}
	db, err := mysqlDatabase(inst, mysqlBerth, password, "", nil)
	if err != nil {
		return 0, err
	}
	defer db.Close() //nolint:errcheck // its only connection is done
	conn, err := db.Conn(ctx)
	if mysqlRefuses(err, mysqlWrongPassword) {
		return 0, startedEarlier(err)
	}
	if err != nil {
		return 0, notUsable("MySQL", "connecting", err)
	}
	defer conn.Close() //nolint:errcheck // its end is db's
	files, free, err := mysqlFiles(ctx, conn, inst, cred)
	size := inst.Spec.Resources
	used := instance.DiskUsed(files, free, size)
	full := err == nil && refuse(used)
	if err == nil {
		err = mysqlRefuseWrites(ctx, conn, cred.Database, full)
	}
	if err == nil && full && free > size.DiskSlack() {
		err = mysqlReclaim(ctx, conn, cred.Database, size.DiskSlack())
	}
	if mysqlRefuses(err, mysqlNoAccess, mysqlNoTable, mysqlNoPrivilege) {
		return 0, startedEarlier(err)
	}
	return used, err
}

// startedEarlier is for a server whose account of Berth's may not do what this version does.
func startedEarlier(err error) error {
	return fault.Errorf(fault.CodeForbidden, err, "the server was started by an earlier version of Berth")
}

// mysqlFiles gives what the files of the server take, and what is free within those of tables.
func mysqlFiles(ctx context.Context, conn *sql.Conn, inst instance.Instance, cred instance.Credentials) (files, free int64, err error) {
	if _, err := conn.ExecContext(ctx, "SET SESSION information_schema_stats_expiry = 0, sql_log_bin = 0"); err != nil {
		return 0, 0, fmt.Errorf("measure the disk: %w", err)
	}
	if files, err = boundBinaryLogs(ctx, conn, binaryLogSpace(inst.Spec.Resources.DiskBytes)); err != nil {
		return 0, 0, err
	}
	files += mysqlDoubleWrite
	for _, q := range []struct {
		statement string
		about     []any
		sum       *int64
	}{
		{mysqlTablespaces, nil, &files},
		{mysqlSystemFile, nil, &files},
		{mysqlSessionTemp, nil, &files},
		{mysqlOtherTables, []any{cred.Database}, &files},
		{"SELECT @@innodb_redo_log_capacity", nil, &files},
		{mysqlFree, nil, &free},
	} {
		var n int64
		if err := conn.QueryRowContext(ctx, q.statement, q.about...).Scan(&n); err != nil {
			return 0, 0, fmt.Errorf("measure the disk: %w", err)
		}
		*q.sum += n
	}
	return files, free, nil
}

// mysqlReclaim gives back what is free in the table that has the most of it, and of which no
// more is left than may be written anew. The tenant could not: that takes rights which they do
// without. A statement goes on when its connection ends, and a lock keeps the next look from
// beginning another one.
func mysqlReclaim(ctx context.Context, conn *sql.Conn, database string, most int64) error {
	var locked sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK('berth.reclaim', 0)").Scan(&locked); err != nil || locked.Int64 != 1 {
		return err
	}
	tables, err := column(ctx, conn, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND ENGINE = 'InnoDB' "+
		"AND DATA_LENGTH + INDEX_LENGTH <= ? AND DATA_FREE > 0 ORDER BY DATA_FREE DESC LIMIT 1", database, most)
	if err != nil || len(tables) == 0 {
		return err
	}
	if _, err := conn.ExecContext(ctx, "SET SESSION lock_wait_timeout = 2"); err != nil { // else everybody waits behind it
		return err
	}
	quote := strings.NewReplacer("`", "``")
	_, err = conn.ExecContext(ctx, "ALTER TABLE `"+quote.Replace(database)+"`.`"+quote.Replace(tables[0])+"` FORCE")
	if ctx.Err() != nil || mysqlRefuses(err, mysqlLockWait) {
		return nil // it goes on, or is begun again
	}
	if err != nil {
		return fmt.Errorf("reclaim what is free in a table: %w", err)
	}
	return nil
}

// mysqlRefuseWrites takes the privileges to write from all accounts but Berth's own that have
// them on the database: the tenant's, and those that routines of theirs run as; or gives them
// back. Sessions keep what they may do in the database that they are in, so they are ended. A
// mark in Berth's own table says that they were, or are to be: it is taken away last.
func mysqlRefuseWrites(ctx context.Context, conn *sql.Conn, database string, refuse bool) error {
	has := map[bool]string{true: "N", false: "Y"}
	accounts, err := column(ctx, conn, "SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) FROM mysql.db WHERE Db IN (?, ?) AND User <> ? "+
		"AND Select_priv = 'Y' AND Insert_priv <> ?", grantPattern(database), database, mysqlBerth, has[refuse])
	if err != nil {
		return fmt.Errorf("look for accounts that may write: %w", err)
	}
	for _, account := range accounts {
		on := " ON `" + grantPattern(database) + "`.* "
		statement := "GRANT " + mysqlWrites + on + "TO " + account //nolint:gosec // the server has quoted it
		if refuse {
			statement = "REVOKE " + mysqlWrites + on + "FROM " + account
		}
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("refuse writes (%t): %w", refuse, err)
		}
	}
	marks, err := column(ctx, conn, "SELECT word FROM "+ownTable+" WHERE id = ?", fullMark)
	if err != nil {
		return fmt.Errorf("refuse writes (%t): %w", refuse, err)
	}
	switch {
	case len(marks) > 0 == refuse && len(accounts) == 0:
		return nil
	case refuse:
		err = endSessions(ctx, conn)
	default:
		err = renewSessions(ctx, conn, strings.Join(marks, ""))
	}
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return nil
}

const (
	// fullMark is the row of ownTable that is there while writes are refused, and until no
	// session is left that was begun meanwhile.
	fullMark = -1
	// fullWord is its word while they are refused. Then it is the number of the last session
	// that was there when they were given back.
	fullWord = "full"

	setMark       = "REPLACE INTO " + ownTable + " VALUES (?, ?)"
	tenantSession = " FROM information_schema.PROCESSLIST WHERE USER NOT IN (?, 'event_scheduler', 'system user', 'root')"
)

// endSessions ends those that have logged in before writes were refused.
func endSessions(ctx context.Context, conn *sql.Conn) error {
	ids, err := column(ctx, conn, "SELECT ID"+tenantSession, mysqlBerth)
	if err == nil {
		err = kill(ctx, conn, ids)
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, setMark, fullMark, fullWord)
	}
	return err
}

// renewSessions ends those that have logged in before writes were given back. One that is in
// the middle of something goes on, and is ended when a later look finds it at rest: a client
// that keeps its connections could not write for as long as it does.
func renewSessions(ctx context.Context, conn *sql.Conn, mark string) error {
	last, err := strconv.ParseInt(mark, 10, 64)
	if err != nil { // they were given back just now
		if err := conn.QueryRowContext(ctx, "SELECT COALESCE(MAX(ID), 0)"+tenantSession, mysqlBerth).Scan(&last); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, setMark, fullMark, strconv.FormatInt(last, 10)); err != nil {
			return err
		}
	}
	const earlier = tenantSession + " AND ID <= ?"
	ids, err := column(ctx, conn, "SELECT ID"+earlier+" AND COMMAND = 'Sleep' AND ID NOT IN (SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX)", mysqlBerth, last)
	if err == nil {
		err = kill(ctx, conn, ids)
	}
	if err != nil {
		return err
	}
	left, err := column(ctx, conn, "SELECT ID"+earlier+" LIMIT 1", mysqlBerth, last)
	if err == nil && len(left) == 0 {
		_, err = conn.ExecContext(ctx, "DELETE FROM "+ownTable+" WHERE id = ?", fullMark)
	}
	return err
}

func kill(ctx context.Context, conn *sql.Conn, ids []string) error {
	for _, id := range ids {
		if _, err := conn.ExecContext(ctx, "KILL CONNECTION "+id); err != nil && !mysqlRefuses(err, mysqlNoThread) {
			return err
		}
	}
	return nil
}

// column gives the only column of an answer.
func column(ctx context.Context, conn *sql.Conn, query string, about ...any) (list []string, err error) {
	rows, err := conn.QueryContext(ctx, query, about...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // read to its end
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}
