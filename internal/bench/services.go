package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
)

// Databases and queues as a production has them: real servers with their own defaults,
// started for this run.

// redisServer gives the URL of a Redis.
func (b *bench) redisServer(ctx context.Context) (string, error) {
	image, err := b.docker.present(ctx, []string{"redis:8", "berth/redis:8"})
	if err != nil {
		return "", err
	}
	port, err := freePort(ctx)
	if err != nil {
		return "", err
	}
	name := "berth-bench-" + b.id + "-queue-" + runID()
	if err := b.startImage(ctx, name, image, "6379/tcp", port, nil, "redis-server", "--appendonly", "yes", "--protected-mode", "no"); err != nil {
		return "", err
	}
	url := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	options, err := redis.ParseURL(url)
	if err != nil {
		return "", err
	}
	client := redis.NewClient(options)
	defer client.Close() //nolint:errcheck // it was only asked whether it is there
	return url, until(ctx, time.Minute, 20*time.Millisecond, func() error { return client.Ping(ctx).Err() })
}

// mysqlServer gives the DSN of an empty database, for the driver and as Berth's setting.
func (b *bench) mysqlServer(ctx context.Context, more ...string) (dsn, setting string, err error) {
	image, err := b.docker.present(ctx, []string{"mysql:9.7", "berth/mysql:9.7"})
	if err != nil {
		return "", "", err
	}
	port, err := freePort(ctx)
	if err != nil {
		return "", "", err
	}
	password := rand.Text()
	name := "berth-bench-" + b.id + "-database-" + runID()
	err = b.startImage(ctx, name, image, "3306/tcp", port, []string{
		"MYSQL_ROOT_PASSWORD=" + rand.Text(), "MYSQL_DATABASE=berth", "MYSQL_USER=berth", "MYSQL_PASSWORD=" + password,
	}, append([]string{
		"mysqld", "--performance-schema=OFF", "--mysqlx=OFF", "--innodb-buffer-pool-size=1G", "--innodb-redo-log-capacity=2G", "--max-connections=300",
	}, more...)...)
	if err != nil {
		return "", "", err
	}
	_ = mysql.SetLogger(log.New(io.Discard, "", 0)) // a server that is starting refuses many
	dsn = fmt.Sprintf("berth:%s@tcp(127.0.0.1:%d)/berth?interpolateParams=true", password, port)
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return "", "", err
	}
	defer db.Close() //nolint:errcheck // it was only asked whether it is there
	err = until(ctx, 2*time.Minute, 50*time.Millisecond, func() error { return db.PingContext(ctx) })
	return dsn, fmt.Sprintf("mysql://berth:%s@127.0.0.1:%d/berth", password, port), err
}
