package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/testenv"
)

// syncedBy gives golden data with a sync that is another one: a script that may ask the
// real one.
func syncedBy(t *testing.T, golden, script string) string {
	t.Helper()
	id := docker(t, "create", golden)
	t.Cleanup(func() { _, _ = tryDocker(nil, "rm", "--force", "--volumes", id) })
	w := host.Workload{DataPath: "/x", Files: []host.File{{Path: "/x/sync", Mode: 0o755, Content: secret.New("#!/bin/sh\n" + script)}}}
	if out, err := tryDocker(archive(t, w), "cp", "-", id+":/usr/local/bin"); err != nil {
		t.Fatal(out)
	}
	name := "berth-test/golden:" + id[:12]
	docker(t, "commit", id, name)
	t.Cleanup(func() { _, _ = tryDocker(nil, "rmi", name) })
	return name
}

func (u *unit) running() bool {
	return docker(u.t, "inspect", "--format", "{{.State.Running}}", u.container) == "true"
}

// until waits for what must come within half a minute.
func (u *unit) until(what string, met func() bool) {
	u.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(testenv.Limit(30 * time.Second)); !met(); <-tick.C {
		if time.Now().After(end) {
			u.t.Fatalf("not %s: %s", what, u.logs())
		}
	}
}

// keepsRows writes a row and has the server killed and started again.
func (u *unit) keepsRows() {
	u.t.Helper()
	must(u.t, u.tenant(), "CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)")
	docker(u.t, "kill", u.container)
	u.start()
	u.ready()
	if n := text(u.t, u.tenant(), "SELECT COUNT(*) FROM t"); n != "1" {
		u.t.Errorf("after a kill there are %s rows", n)
	}
}

// What the disk does not take is no server's, and no later start throws away what a
// server had.
func TestMySQLOnABadDiskOnDocker(t *testing.T) {
	t.Parallel()
	golden := goldenImage(t)
	create := func(t *testing.T, script string) *unit {
		t.Helper()
		u := createOn(t, syncedBy(t, golden, script+"\nexec /usr/bin/sync \"$@\"\n"), "mysql", "9.7", "small", nil)
		t.Cleanup(func() { _, _ = tryDocker(nil, "rm", "--force", u.container) })
		u.start()
		return u
	}
	t.Run("the folder is not kept, once", func(t *testing.T) {
		u := create(t, `if [ "$*" = /var/lib/mysql ] && [ ! -e /var/lib/mysql/failed ]; then : >/var/lib/mysql/failed; exit 1; fi`)
		u.until("ended", func() bool { return !u.running() })
		u.start()
		u.ready()
		u.keepsRows()
	})
	t.Run("the copy is not kept", func(t *testing.T) {
		u := create(t, `[ $# -gt 3 ] || [ "$1" = -f ] || exec /usr/bin/sync "$@"; sleep 1.5; exit 1`)
		u.until("ended", func() bool { return !u.running() })
		if said := u.logs(); !strings.Contains(said, "the disk does not take") {
			t.Errorf("it says %s", said)
		}
		if !u.has(mysqlHome + "/unsafe") {
			t.Error("the data directory is taken for safe")
		}
	})
	t.Run("a file of it is gone by then", func(t *testing.T) {
		u := create(t, `[ $# -le 3 ] || exit 1`)
		u.ready()
		u.keepsRows()
	})
	t.Run("somebody else has started on it", func(t *testing.T) {
		u := create(t, `[ $# -le 3 ] || [ -e /var/lib/mysql/conf/fast ] || sleep 30`)
		u.until("begun", func() bool { return u.has(mysqlHome+"/unsafe") && u.has(mysqlHome+"/data") })
		docker(t, "kill", u.container)
		put := func(script string) {
			w := host.Workload{DataPath: mysqlHome, Files: []host.File{
				{Path: mysqlStart, Mode: 0o440, Content: secret.New(script)}, {Path: mysqlHome + "/conf/fast", Mode: 0o440},
			}}
			if out, err := tryDocker(archive(t, w), "cp", "-", u.container+":"+mysqlHome); err != nil {
				t.Fatal(out)
			}
		}
		// As the version before did, which knew no mark.
		put("mkdir -p /var/lib/mysql/tmp\nexec mysqld --defaults-file=/var/lib/mysql/conf/my.cnf --init-file=/var/lib/mysql/conf/init.sql\n")
		u.start()
		u.ready()
		must(t, u.tenant(), "CREATE TABLE before_us (n INT)")
		docker(t, "kill", u.container)
		put(mysqlStartScript)
		u.start()
		u.ready()
		text(t, u.tenant(), "SELECT COUNT(*) FROM before_us")
		u.keepsRows()
	})
}
