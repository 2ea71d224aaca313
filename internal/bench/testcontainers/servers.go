package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

const (
	startLimit = 2 * time.Minute
	look       = 10 * time.Millisecond
)

func init() { _ = mysql.SetLogger(&mysql.NopLogger{}) } // a server that is starting refuses many

// start gives a server that has done real work.
func start(ctx context.Context, q question) (testcontainers.Container, error) {
	labels := testcontainers.WithLabels(q.Labels)
	switch q.Engine {
	case "redis":
		c, err := testcontainers.Run(ctx, q.Image, labels, testcontainers.WithExposedPorts("6379/tcp"),
			testcontainers.WithCmd("redis-server", "--appendonly", "yes", "--protected-mode", "no"),
			testcontainers.WithWaitStrategyAndDeadline(startLimit, wait.ForListeningPort("6379/tcp").SkipInternalCheck().WithStartupTimeout(startLimit).WithPollInterval(look)))
		if err != nil {
			return c, err
		}
		address, err := c.PortEndpoint(ctx, "6379/tcp", "")
		if err != nil {
			return c, err
		}
		return c, workRedis(ctx, address)
	case "mysql":
		password := rand.Text()
		address := func(host string, port network.Port) string {
			return fmt.Sprintf("tenant:%s@tcp(%s)/orders", password, net.JoinHostPort(host, port.Port()))
		}
		c, err := testcontainers.Run(ctx, q.Image, labels, testcontainers.WithExposedPorts("3306/tcp"),
			testcontainers.WithEnv(map[string]string{
				"MYSQL_ROOT_PASSWORD": rand.Text(), "MYSQL_DATABASE": "orders", "MYSQL_USER": "tenant", "MYSQL_PASSWORD": password,
			}),
			testcontainers.WithWaitStrategyAndDeadline(startLimit, wait.ForSQL("3306/tcp", "mysql", address).WithStartupTimeout(startLimit).WithPollInterval(look)))
		if err != nil {
			return c, err
		}
		endpoint, err := c.PortEndpoint(ctx, "3306/tcp", "")
		if err != nil {
			return c, err
		}
		return c, workMySQL(ctx, "tenant:"+password+"@tcp("+endpoint+")/orders")
	}
	return nil, fmt.Errorf("no engine %q", q.Engine)
}

// workRedis writes, reads back and deletes a key.
func workRedis(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // its work is done
	in := bufio.NewReader(conn)
	for _, step := range []struct{ command, want string }{{"SET probe 1", "+OK"}, {"GET probe", "$1"}, {"", "1"}, {"DEL probe", ":1"}} {
		if step.command != "" {
			if _, err := fmt.Fprintf(conn, "%s\r\n", step.command); err != nil {
				return err
			}
		}
		if line, err := in.ReadString('\n'); err != nil || strings.TrimSpace(line) != step.want {
			return fmt.Errorf("%s: %q, %w", step.command, line, err)
		}
	}
	return nil
}

// workMySQL makes a table, writes, reads back and drops it.
func workMySQL(ctx context.Context, dsn string) error {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // its work is done
	for _, statement := range []string{"CREATE TABLE probe (n INT)", "INSERT INTO probe VALUES (1)"} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	n := 0
	if err := db.QueryRowContext(ctx, "SELECT n FROM probe").Scan(&n); err != nil || n != 1 {
		return fmt.Errorf("read back %d, %w", n, err)
	}
	_, err = db.ExecContext(ctx, "DROP TABLE probe")
	return err
}
