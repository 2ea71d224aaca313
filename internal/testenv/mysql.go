package testenv

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

var (
	mysqlServer    = newMySQLServer()
	mysqlPassword  = rand.Text()
	mysqlDatabases atomic.Int64
)

// mysqlOptions keep the data in memory; mysqlCommand leaves out what makes data
// durable, which a test's need not be.
var (
	mysqlInMemory = []string{"--tmpfs", "/var/lib/mysql:rw,size=2g"}
	mysqlOptions  = []string{"--env", "MYSQL_ROOT_PASSWORD=" + mysqlPassword, "--env", "MYSQL_ROOT_HOST=%"}
	mysqlCommand  = []string{
		"--innodb-flush-log-at-trx-commit=2", "--skip-log-bin", "--innodb-doublewrite=OFF", "--innodb-redo-log-capacity=64M",
		"--innodb-flush-method=nosync", "--performance-schema=OFF", "--mysqlx=OFF", "--max-connections=500",
	}
)

// MySQL gives the URL (mysql://USER:PASSWORD@HOST:PORT/DATABASE) of a fresh, empty
// database. Every call makes another one; all are on one server, whose root the
// user is.
func MySQL(t testing.TB) string {
	t.Helper()
	return newDatabase(t, mysqlServer.start(t, slices.Concat(mysqlInMemory, mysqlOptions), mysqlCommand, mysqlReady))
}

func newMySQLServer() *server {
	return &server{name: "mysql", port: "3306/tcp", images: []string{"mysql:9.7", "berth/mysql:9.7"}}
}

func newDatabase(t testing.TB, addr string) (databaseURL string) {
	t.Helper()
	name := fmt.Sprintf("test_%d", mysqlDatabases.Add(1))
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	if err := mysqlExec(ctx, addr, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("create database: %v", err)
	}
	u := url.URL{Scheme: "mysql", User: url.UserPassword("root", mysqlPassword), Host: addr, Path: "/" + name}
	return u.String()
}

// mysqlReady asks over TCP, which a server that fills its data folder does not hear.
func mysqlReady(ctx context.Context, addr string) error { return mysqlExec(ctx, addr, "DO 1") }

func mysqlExec(ctx context.Context, addr, statement string) error {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd = "tcp", addr, "root", mysqlPassword
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = 2*time.Second, callLimit, callLimit
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close() //nolint:errcheck // its only statement is done
	_, err = db.ExecContext(ctx, statement)
	return err
}
