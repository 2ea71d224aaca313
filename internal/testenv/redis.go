package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

// redisMax is how many databases the server has, so how often a binary may ask.
const redisMax = 512

var (
	redisServer    = newRedisServer()
	redisPassword  = rand.Text()
	redisDatabases atomic.Int64
	redisCommand   = []string{"--requirepass", redisPassword, "--databases", strconv.Itoa(redisMax), "--save", "", "--appendonly", "no"}
)

// Redis gives the URL (redis://:PASSWORD@HOST:PORT/DB) of an empty database. Every
// call gives another one; all are on one server, so FLUSHALL would empty those of
// the other tests: use FLUSHDB.
func Redis(t testing.TB) string {
	t.Helper()
	addr := redisServer.start(t, nil, redisCommand, redisReady)
	db := redisDatabases.Add(1) - 1
	if db >= redisMax {
		t.Fatalf("this binary has asked for more than %d Redis databases", redisMax)
	}
	return redisURL(addr, db)
}

func newRedisServer() *server {
	return &server{name: "redis", port: "6379/tcp", images: []string{"redis:8", "berth/redis:8"}}
}

func redisURL(addr string, database int64) string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", redisPassword), Host: addr, Path: fmt.Sprintf("/%d", database)}
	return u.String()
}

func redisReady(ctx context.Context, addr string) error {
	rdb := redis.NewClient(&redis.Options{Addr: addr, Password: redisPassword, MaxRetries: -1})
	defer rdb.Close() //nolint:errcheck // nothing depends on it
	return rdb.Ping(ctx).Err()
}
