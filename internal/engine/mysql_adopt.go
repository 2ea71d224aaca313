package engine

import (
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// Adopt says to the running server what its configuration and its init file will say to
// it at the next start. The statements are the same; the account that they are said
// from goes with the others, and its session goes on until it is closed
// (https://dev.mysql.com/doc/refman/9.7/en/drop-user.html).
func (e mysqlEngine) Adopt(ctx context.Context, inst instance.Instance, cred instance.Credentials) error {
	accounts, err := renderMySQLInit(inst, cred)
	if err != nil {
		return err
	}
	db, err := mysqlDatabase(inst, warmName, cred.WarmPassword, "", nil) // it has another certificate yet
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // its only connection is done
	conn, err := db.Conn(ctx)
	if err != nil {
		return notUsable("MySQL", "logging in to the warm server", err)
	}
	defer conn.Close() //nolint:errcheck // its end is db's
	var today bool
	err = conn.QueryRowContext(ctx, "SELECT @@gtid_mode = 'OFF' AND EXISTS (SELECT 1 FROM mysql.time_zone_name)").Scan(&today)
	if err != nil || !today {
		return notUsable("MySQL", "adopting a server that an earlier version has started", err)
	}
	statements := append(mysqlGlobals(inst), "ALTER INSTANCE RELOAD TLS", "SET sql_log_bin = 0", "DROP DATABASE IF EXISTS "+warmName, "RESET BINARY LOGS AND GTIDS")
	for line := range strings.Lines(accounts) {
		if strings.Contains(line, " ON mysql.time_zone") {
			continue // nobody has to fill them, and each takes half a millisecond
		}
		statements = append(statements, strings.TrimSpace(line))
	}
	for i, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return notUsable("MySQL", fmt.Sprintf("statement %d of the adoption", i+1), err) // it may hold a password
		}
	}
	return nil
}

// mysqlGlobals gives the statements for what the configuration file says of the
// parameters.
func mysqlGlobals(inst instance.Instance) []string {
	p := inst.Spec.Parameters
	var statements []string
	for _, of := range []string{"server", "database", "client", "connection", "results"} { // which follow the first at a start
		statements = append(statements, fmt.Sprintf("SET GLOBAL character_set_%s = %s", of, p.String(paramCharset)))
	}
	for _, of := range []string{"server", "database", "connection"} {
		statements = append(statements, fmt.Sprintf("SET GLOBAL collation_%s = %s", of, p.String(paramCollation)))
	}
	return append(statements,
		fmt.Sprintf("SET GLOBAL binlog_format = %s", p.String(paramBinlogFormat)),
		fmt.Sprintf("SET GLOBAL max_connections = %d", p.Int(paramMaxConnections)),
		fmt.Sprintf("SET GLOBAL innodb_lock_wait_timeout = %d", p.Int(paramLockWaitTimeout)),
		fmt.Sprintf("SET GLOBAL wait_timeout = %d", p.Int(paramWaitTimeout)),
		fmt.Sprintf("SET GLOBAL interactive_timeout = %d", p.Int(paramWaitTimeout)),
		// As the server sizes it at a start (refman, thread_cache_size).
		fmt.Sprintf("SET GLOBAL thread_cache_size = %d", min(8+p.Int(paramMaxConnections)/100, 100)),
		"FLUSH STATUS",
	)
}

// mysqlDatabase gives one connection at a time to the server, with TLS where it has that.
// It verifies the server where settings for that are given.
func mysqlDatabase(inst instance.Instance, user string, password secret.Secret, database string, verify *tls.Config) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", hostPort(inst)
	cfg.User, cfg.Passwd, cfg.DBName = user, password.Reveal(), database
	if cfg.TLS = verify; verify == nil {
		cfg.TLSConfig = "preferred"
	}
	cfg.Logger = &mysql.NopLogger{} // what went wrong is in the error
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, notUsable("MySQL", "the connection's settings", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}
