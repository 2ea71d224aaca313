package smoke

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/client"
)

// usable is how long a server that was restarted may take.
const usable = 30 * time.Second

// openMySQL connects as an application would, by what the config endpoint says.
func openMySQL(t *testing.T, c client.Connection) *sql.DB {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName = "tcp", fmt.Sprintf("%s:%d", c.Host, c.Port), c.Username, c.Password, c.Database
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = 5*time.Second, 10*time.Second, 10*time.Second
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openRedis(t *testing.T, c client.Connection) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(c.URI)
	if err != nil {
		t.Fatalf("the URI is of no use: %v", err)
	}
	options.DialTimeout, options.MaxRetries, options.DialerRetries = 2*time.Second, -1, 1
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// checkMySQLSettings looks whether the parameters are in force, for the server and for
// the tenant's database.
func checkMySQLSettings(t *testing.T, db *sql.DB, want map[string]string) {
	t.Helper()
	for name, value := range want {
		var got string
		if err := db.QueryRowContext(t.Context(), "SHOW VARIABLES WHERE Variable_name = ?", name).Scan(new(string), &got); err != nil || got != value {
			t.Errorf("MySQL: %s is %q (%v), want %q", name, got, err, value)
		}
	}
}

// checkMySQLRights looks whether the tenant has their database and no others.
func checkMySQLRights(t *testing.T, db *sql.DB, c client.Connection) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SHOW DATABASES")
	if err != nil {
		t.Fatalf("SHOW DATABASES: %v", err)
	}
	defer rows.Close() //nolint:errcheck // it was only read
	var seen []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	seen = slices.DeleteFunc(seen, func(name string) bool { return name == "information_schema" || name == "performance_schema" })
	if !slices.Equal(seen, []string{c.Database}) {
		t.Errorf("the tenant sees the databases %v, want %s alone", seen, c.Database)
	}
	for _, statement := range []string{
		"CREATE DATABASE other", "SELECT user FROM mysql.user", "CREATE USER other@'%'", "SET GLOBAL max_connections = 5",
		"SELECT 1 INTO OUTFILE '/tmp/x'", "SHUTDOWN",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err == nil {
			t.Errorf("the tenant may %s", statement)
		}
	}
}

// refusedByMySQL looks whether somebody else is kept out.
func refusedByMySQL(t *testing.T, c client.Connection, user, password string) {
	t.Helper()
	c.Username, c.Password = user, password
	err := openMySQL(t, c).PingContext(t.Context())
	var refusal *mysql.MySQLError
	if !errors.As(err, &refusal) || refusal.Number != 1045 {
		t.Errorf("MySQL answers %s with a wrong password: %v, want error 1045", user, err)
	}
}

func refusedByRedis(t *testing.T, c client.Connection, password, want string) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("%s:%d", c.Host, c.Port), Password: password, MaxRetries: -1})
	defer rdb.Close() //nolint:errcheck // nothing depends on it
	if err := rdb.Get(t.Context(), "any").Err(); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Redis answers a stranger: %v, want %s", err, want)
	}
}

// workMySQL does what an application does: it writes and reads back.
func workMySQL(ctx context.Context, db *sql.DB, value string) error {
	for _, statement := range []string{"CREATE TABLE IF NOT EXISTS smoke (v VARCHAR(64) PRIMARY KEY)", "REPLACE INTO smoke VALUES ('" + value + "')"} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return readMySQL(ctx, db, value)
}

func readMySQL(ctx context.Context, db *sql.DB, value string) error {
	var got string
	err := db.QueryRowContext(ctx, "SELECT v FROM smoke WHERE v = ?", value).Scan(&got)
	if err == nil && got != value {
		err = fmt.Errorf("MySQL holds %q, want %q", got, value)
	}
	return err
}

func workRedis(ctx context.Context, rdb *redis.Client, value string) error {
	if err := rdb.Set(ctx, "smoke", value, 0).Err(); err != nil {
		return err
	}
	return readRedis(ctx, rdb, value)
}

func readRedis(ctx context.Context, rdb *redis.Client, value string) error {
	got, err := rdb.Get(ctx, "smoke").Result()
	if err == nil && got != value {
		err = fmt.Errorf("Redis holds %q, want %q", got, value) //nolint:staticcheck // a name
	}
	return err
}

func checkRedisSettings(t *testing.T, rdb *redis.Client, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got, err := rdb.ConfigGet(t.Context(), name).Result(); err != nil || got[name] != value {
			t.Errorf("Redis: %s is %v (%v), want %q", name, got, err, value)
		}
	}
}
