package testenv

import (
	"context"
	"fmt"
	"testing"
)

// Own is a server of one test's own, which it may end and start again.
type Own struct {
	URL    string
	t      testing.TB
	server *server
	ready  func(ctx context.Context, addr string) error
}

// OwnMySQL gives a MySQL that keeps its data over an end, with an empty database.
func OwnMySQL(t testing.TB) *Own {
	t.Helper()
	o := own(t, newMySQLServer(), mysqlOptions, mysqlCommand, mysqlReady)
	o.URL = newDatabase(t, o.server.addr)
	return o
}

// SmallMySQL gives a MySQL whose data folder is a disk of so many MiB, in memory, with an
// empty database.
func SmallMySQL(t testing.TB, megabytes int) *Own {
	t.Helper()
	options := append([]string{"--tmpfs", fmt.Sprintf("/var/lib/mysql:rw,size=%dm", megabytes)}, mysqlOptions...)
	o := own(t, newMySQLServer(), options, mysqlCommand, mysqlReady)
	o.URL = newDatabase(t, o.server.addr)
	return o
}

// Exec runs a command in the server's container.
func (o *Own) Exec(command ...string) {
	o.t.Helper()
	args := append([]string{"exec", o.server.container}, command...)
	if out, err := docker(context.WithoutCancel(o.t.Context()), args...); err != nil {
		o.t.Fatalf("%v: %s", err, out)
	}
}

// OwnRedis gives an empty Redis that forgets everything when it ends.
func OwnRedis(t testing.TB) *Own {
	t.Helper()
	o := own(t, newRedisServer(), nil, redisCommand, redisReady)
	o.URL = redisURL(o.server.addr, 0)
	return o
}

func own(t testing.TB, s *server, options, command []string, ready func(context.Context, string) error) *Own {
	t.Helper()
	s.addr = FreeAddress(t) // the same after every start
	s.start(t, options, command, ready)
	return &Own{t: t, server: s, ready: ready}
}

// Kill ends the server as a power cut would.
func (o *Own) Kill() { o.docker("kill") }

// Start starts it again, at the same address, and waits until it is ready.
func (o *Own) Start() {
	o.t.Helper()
	o.docker("start")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.t.Context()), startLimit)
	defer cancel()
	if err := o.server.await(ctx, o.ready); err != nil {
		o.t.Fatal(err)
	}
}

func (o *Own) docker(verb string) {
	o.t.Helper()
	if _, err := docker(context.WithoutCancel(o.t.Context()), verb, o.server.container); err != nil {
		o.t.Fatal(err)
	}
}
