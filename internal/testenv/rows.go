package testenv

import (
	"database/sql"
	"net/url"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// OpenDatabase opens a program's own database beside it, by its URL
// (sqlite://FILE or mysql://USER:PASSWORD@HOST:PORT/DATABASE).
func OpenDatabase(t testing.TB, databaseURL string) *sql.DB {
	t.Helper()
	driver, source := "sqlite", "file:"+strings.TrimPrefix(databaseURL, "sqlite://")+"?_pragma=busy_timeout(5000)&_txlock=immediate"
	if u, err := url.Parse(databaseURL); err == nil && u.Scheme == "mysql" {
		cfg := mysql.NewConfig()
		cfg.Net, cfg.Addr, cfg.User, cfg.DBName = "tcp", u.Host, u.User.Username(), strings.Trim(u.Path, "/")
		cfg.Passwd, _ = u.User.Password()
		cfg.Logger = &mysql.NopLogger{}
		driver, source = "mysql", cfg.FormatDSN()
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
