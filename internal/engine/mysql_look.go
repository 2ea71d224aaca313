package engine

import (
	"context"
	"database/sql"
	"errors"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
)

// Look proves by Berth's own account that the server takes and gives back what is written,
// then that the tenant's database is there and the tenant gets in. A server without that
// account, as earlier versions have left it, is proven by the tenant's.
func (e mysqlEngine) Look(ctx context.Context, inst instance.Instance, cred instance.Credentials) (found instance.Finding, err error) {
	password, err := berthPassword(inst, cred)
	if err != nil {
		return found, err
	}
	db, err := mysqlDatabase(inst, mysqlBerth, password, "", nil)
	if err != nil {
		return found, err
	}
	defer db.Close() //nolint:errcheck // its only connection is done
	conn, err := db.Conn(ctx)
	if mysqlRefuses(err, mysqlWrongPassword) {
		return found, e.Probe(ctx, inst, cred)
	}
	if err != nil {
		return found, notUsable("MySQL", "connecting", err)
	}
	defer conn.Close() //nolint:errcheck // its end is db's
	if err := useOwnTable(ctx, conn); err != nil {
		return found, err
	}
	found.Upkeep = mysqlUpkeep(ctx, conn, cred)
	if err := databaseThere(ctx, conn, cred.Database); err != nil {
		return found, err
	}
	err = tenantGetsIn(ctx, inst, cred)
	if misverified(err) && !inst.Spec.RequireTLS {
		found.Notice = noticeTLS
		cred.Identity.CA = ""
		err = tenantGetsIn(ctx, inst, cred)
	}
	if mysqlRefuses(err, mysqlWrongPassword) {
		found.Notice = instance.NoticePassword
		return found, nil
	}
	return found, err
}

// ownTable is written by nobody but Berth, and nothing of it is in the binary log.
const ownTable = "`" + mysqlBerth + "`.probe"

// useOwnTable writes a row and reads it back. It makes the table where it is not there.
func useOwnTable(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "SET sql_log_bin = 0"); err != nil {
		return notUsable("MySQL", "a statement", err)
	}
	var token string
	if err := conn.QueryRowContext(ctx, "SELECT UUID()").Scan(&token); err != nil {
		return notUsable("MySQL", "a query", err)
	}
	const put = "REPLACE INTO " + ownTable + " VALUES (CONNECTION_ID() % 64, ?)"
	_, err := conn.ExecContext(ctx, put, token)
	if mysqlRefuses(err, 1146, mysqlNoDatabase) { // the first look
		for _, s := range []string{
			"CREATE DATABASE IF NOT EXISTS `" + mysqlBerth + "`",
			"CREATE TABLE IF NOT EXISTS " + ownTable + " (id INT PRIMARY KEY, word CHAR(36) CHARACTER SET ascii NOT NULL) ENGINE=InnoDB",
		} {
			if _, err := conn.ExecContext(ctx, s); err != nil {
				return notUsable("MySQL", "creating a table", err)
			}
		}
		_, err = conn.ExecContext(ctx, put, token)
	}
	if err != nil {
		return notUsable("MySQL", "writing", err)
	}
	var got string
	if err := conn.QueryRowContext(ctx, "SELECT word FROM "+ownTable+" WHERE id = CONNECTION_ID() % 64").Scan(&got); err != nil {
		return notUsable("MySQL", "reading", err)
	}
	if got != token {
		return notUsable("MySQL", "reading back what was written", errors.New("the value read differs from the value written"))
	}
	return nil
}

func databaseThere(ctx context.Context, conn *sql.Conn, name string) error {
	var n int
	err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", name).Scan(&n)
	if err != nil {
		return notUsable("MySQL", "a query", err)
	}
	if n == 0 {
		return fault.Errorf(fault.CodeProbeFailed, nil, "MySQL cannot be used: the database %s does not exist: it was dropped; "+
			"recreate it with CREATE DATABASE %s", name, name)
	}
	return nil
}

// tenantGetsIn logs in as the tenant does.
func tenantGetsIn(ctx context.Context, inst instance.Instance, cred instance.Credentials) error {
	db, err := mysqlDatabase(inst, cred.Username, cred.Password, cred.Database, verifying(inst, cred))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // its only connection is done
	conn, err := db.Conn(ctx)
	if err != nil {
		return notUsable("MySQL", "logging in", err)
	}
	defer conn.Close() //nolint:errcheck // its end is db's
	var one int
	if err := conn.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
		return notUsable("MySQL", "a query", err)
	}
	return nil
}
