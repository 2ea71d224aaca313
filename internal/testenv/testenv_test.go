package testenv_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

func TestMySQLIsEmptyAndApart(t *testing.T) {
	first, second := openMySQL(t, testenv.MySQL(t)), openMySQL(t, testenv.MySQL(t))
	if _, err := first.ExecContext(t.Context(), "CREATE TABLE t (id INT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	tables := 0
	if err := second.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()").Scan(&tables); err != nil || tables != 0 {
		t.Fatalf("the other database has %d tables, %v", tables, err)
	}
}

func openMySQL(t *testing.T, databaseURL string) *sql.DB {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	db, err := sql.Open("mysql", u.User.Username()+":"+password+"@tcp("+u.Host+")"+u.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestRedisIsEmptyAndApart(t *testing.T) {
	first, second := openRedis(t, testenv.Redis(t)), openRedis(t, testenv.Redis(t))
	if err := first.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := second.DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Fatalf("the other database has %d keys, %v", n, err)
	}
	if err := second.Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Fatalf("got %v", err)
	}
	open, _ := url.Parse(testenv.Redis(t))
	open.User = nil
	if err := openRedis(t, open.String()).Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Fatalf("without the password: %v", err)
	}
}

func openRedis(t *testing.T, redisURL string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries, options.DialTimeout, options.DialerRetries = -1, time.Second, 1
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// TestAddressesAreApart draws so many that some would be the same, were they drawn alone.
func TestAddressesAreApart(t *testing.T) {
	t.Parallel()
	given := map[string]bool{}
	for range 500 {
		addr := testenv.FreeAddress(t)
		if given[addr] {
			t.Errorf("%s was given twice", addr)
		}
		given[addr] = true
	}
}

func TestProxy(t *testing.T) {
	proxied, proxy := testenv.NewProxy(t, testenv.Redis(t))
	rdb := openRedis(t, proxied)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	if err := rdb.Ping(ctx).Err(); err == nil {
		t.Fatal("it answers through a cut line")
	}
	proxy.Restore(t)
	if err := rdb.Ping(ctx).Err(); err != nil {
		t.Fatalf("after Restore: %v", err)
	}
}
