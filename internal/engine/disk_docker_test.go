package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/testenv"
)

// blob gives bytes that no compression makes smaller.
func blob(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}

// deployOfDisk gives an instance that runs with so many bytes of disk.
func deployOfDisk(t *testing.T, name, version string, disk int64, change ...func(*instance.Instance)) *unit {
	t.Helper()
	inst := newInstance(t, find(t, name), version, "small", nil)
	inst.Spec.Resources.DiskBytes = disk
	for _, c := range change {
		c(&inst)
	}
	u := createFor(t, inst, "")
	u.start()
	u.ready()
	return u
}

func (u *unit) keepDisk(refuse bool) int64 {
	u.t.Helper()
	used, err := u.engine.(instance.DiskKeeper).KeepDisk(u.t.Context(), u.inst, u.cred, func(int64) bool { return refuse })
	if err != nil {
		u.t.Fatalf("KeepDisk: %v", err)
	}
	return used
}

// volumeSize gives what the files in the instance's volume are long.
func (u *unit) volumeSize() int64 {
	u.t.Helper()
	out, err := u.exec("du", "-s", "--apparent-size", "-B1", u.work.DataPath)
	size, bad := strconv.ParseInt(strings.Fields(out + " ?")[0], 10, 64)
	if err != nil || bad != nil {
		u.t.Fatalf("du: %v: %s", err, out)
	}
	return size
}

// mysqlOnce does something as the tenant in a connection of its own.
func (u *unit) mysqlOnce(statements ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		db, err := mysqlDatabase(u.inst, u.cred.Username, u.cred.Password, u.cred.Database, nil)
		if err != nil {
			return err
		}
		defer db.Close() //nolint:errcheck // its only connection is done
		for _, s := range statements {
			if _, err := db.ExecContext(ctx, s); err != nil {
				return fmt.Errorf("%.60s: %w", s, err)
			}
		}
		return nil
	}
}

// fillMySQL stores so many MiB in a table.
func (u *unit) fillMySQL(ctx context.Context, table string, mib int) error {
	db, err := mysqlDatabase(u.inst, u.cred.Username, u.cred.Password, u.cred.Database, nil)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // its only connection is done
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+table+" (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB)"); err != nil {
		return err
	}
	for range mib {
		if _, err := db.ExecContext(ctx, "INSERT INTO "+table+" (b) VALUES (?)", blob(1<<20)); err != nil {
			return err
		}
	}
	return nil
}

func TestMySQLDiskOnDocker(t *testing.T) {
	t.Parallel()
	u := deployOfDisk(t, "mysql", "9.7", giB)
	if err := u.mysqlOnce("CREATE TABLE small (n INT)", "INSERT INTO small VALUES (1)")(t.Context()); err != nil {
		t.Fatal(err)
	}
	instancetest.DiskContract(t, instancetest.DiskSubject{
		Keeper: u.engine.(instance.DiskKeeper), Instance: u.inst, Credentials: u.cred, Grain: 16 << 20,
		Write:  func(ctx context.Context) error { return u.fillMySQL(ctx, "big", 64) },
		Small:  u.mysqlOnce("INSERT INTO small VALUES (1)"),
		Read:   u.mysqlOnce("SELECT * FROM small"),
		Delete: u.mysqlOnce("DELETE FROM big"),
	})
}

// TestMySQLDiskIsAllThatIsThereOnDocker compares what the server says with the files.
func TestMySQLDiskIsAllThatIsThereOnDocker(t *testing.T) {
	t.Parallel()
	u := deployOfDisk(t, "mysql", "9.7", 64*giB) // so that free space counts as free
	const near = 16 << 20
	check := func(what string) {
		t.Helper()
		said, there := u.keepDisk(false), u.volumeSize()
		t.Logf("%s: %d MiB measured, %d MiB of files", what, said>>20, there>>20)
		if said < there-near || said > there+near {
			t.Errorf("%s: %d bytes measured, %d are there", what, said, there)
		}
	}
	check("empty")
	if err := u.fillMySQL(t.Context(), "inno", 96); err != nil {
		t.Fatal(err)
	}
	check("InnoDB and binary logs")
	if err := u.mysqlOnce("CREATE TABLE isam ENGINE=MyISAM SELECT * FROM inno")(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("MyISAM")
}

// TestMySQLFullOnDocker has what a tenant can try while the disk is full.
func TestMySQLFullOnDocker(t *testing.T) {
	t.Parallel()
	u := deployOfDisk(t, "mysql", "9.7", giB)
	ctx := t.Context()
	db := u.tenant()
	must(t, db, "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)", "CREATE TABLE log (n INT)", "INSERT INTO t (n) VALUES (1), (2), (3)",
		"CREATE TRIGGER gone AFTER DELETE ON t FOR EACH ROW SET @gone = OLD.n",
		"CREATE DEFINER = 'other'@'%' PROCEDURE sneak() SQL SECURITY DEFINER INSERT INTO t (n) VALUES (9)",
		"CREATE DEFINER = 'other'@'%' VIEW v AS SELECT * FROM t")
	if _, err := u.engine.(instance.Caretaker).Look(ctx, u.inst, u.cred); err != nil { // which makes the definer's account
		t.Fatal(err)
	}
	must(t, db, "CALL sneak()")
	open, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	u.keepDisk(true)
	if _, err := open.ExecContext(ctx, "INSERT INTO t (n) VALUES (4)"); err == nil {
		t.Error("a connection that was open may write")
	}
	_ = open.Close()
	for _, s := range []string{
		"INSERT INTO t (n) VALUES (4)", "UPDATE t SET n = n + 1", "REPLACE INTO t VALUES (1, 5)", "CREATE TABLE x (n INT)", "CREATE TABLE x SELECT * FROM t",
		"ALTER TABLE t ADD COLUMN m INT", "CREATE INDEX i ON t (n)", "CREATE TEMPORARY TABLE x (n INT)", "CALL sneak()", "INSERT INTO v (n) VALUES (1)",
		"GRANT INSERT ON " + u.cred.Database + ".* TO CURRENT_USER()", "SET GLOBAL read_only = OFF",
	} {
		if _, err := db.ExecContext(ctx, s); err == nil {
			t.Errorf("while the disk is full this works: %s", s)
		}
	}
	must(t, db, "SELECT * FROM v", "DELETE FROM t WHERE id = 1", "TRUNCATE log", "DROP TABLE log", "DROP PROCEDURE sneak", "DROP VIEW v", "CHECK TABLE t")

	// A start of the same instance, known to be full, begins with writes refused.
	u.inst.Status.Disk.State = instance.DiskFull
	if u.work, err = u.engine.Workload(u.inst, u.cred); err != nil {
		t.Fatal(err)
	}
	if out, err := tryDocker(archive(t, u.work), "cp", "-", u.container+":"+u.work.DataPath); err != nil {
		t.Fatalf("docker cp: %v: %s", err, out)
	}
	docker(t, "restart", u.container)
	u.answers(db)
	if _, err := db.ExecContext(ctx, "INSERT INTO t (n) VALUES (4)"); !mysqlRefuses(err, mysqlNoTable) {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := u.engine.(instance.Caretaker).Look(ctx, u.inst, u.cred); err != nil {
		t.Errorf("a full instance is called ill: %v", err)
	}
	u.keepDisk(false)
	var me *mysql.MySQLError
	if _, err := db.ExecContext(ctx, "INSERT INTO t (n) VALUES (4)"); errors.As(err, &me) {
		t.Errorf("writes are accepted again, and refused: %v", err)
	}
	must(t, db, "INSERT INTO t (n) VALUES (4)")
	if err := u.probe(); err != nil {
		t.Error(err)
	}
}

// TestMySQLSessionsComeBackOnDocker has a client that is in the middle of something when writes
// are given back, and keeps its connections: it may write soon after, too, and later sessions
// are left alone.
func TestMySQLSessionsComeBackOnDocker(t *testing.T) {
	t.Parallel()
	u := deployOfDisk(t, "mysql", "9.7", giB)
	db := u.tenant()
	must(t, db, "CREATE TABLE t (n INT)")
	u.keepDisk(true)
	busy, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close() //nolint:errcheck // it was ended
	number := "0"
	if err := busy.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&number); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := busy.ExecContext(t.Context(), "DO SLEEP(4)")
		done <- err
	}()
	testenv.Eventually(t, "it is in the middle", 10*time.Second, func(context.Context) error {
		doing, err := u.root("SELECT COMMAND FROM information_schema.PROCESSLIST WHERE ID = " + number)
		if err == nil && !strings.Contains(doing, "Query") {
			err = errors.New(doing)
		}
		return err
	})
	u.keepDisk(false)
	if err := <-done; err != nil {
		t.Errorf("what was under way was ended: %v", err)
	}
	if _, err := busy.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); !mysqlRefuses(err, mysqlNoTable) {
		t.Errorf("on the old connection: %v", err)
	}
	later, err := u.tenant().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close() //nolint:errcheck // the test is over
	if _, err := later.ExecContext(t.Context(), "INSERT INTO t VALUES (2)"); err != nil {
		t.Errorf("on a new connection: %v", err)
	}
	testenv.Eventually(t, "the mark is gone", 10*time.Second, func(context.Context) error {
		u.keepDisk(false) //nolint:contextcheck // it has the test's
		marks, err := u.root(fmt.Sprintf("SELECT word FROM %s WHERE id = %d", ownTable, fullMark))
		if err == nil && marks != "" {
			err = errors.New(marks)
		}
		return err
	})
	if _, err := busy.ExecContext(t.Context(), "INSERT INTO t VALUES (3)"); err == nil || mysqlRefuses(err, mysqlNoTable) {
		t.Errorf("the old connection goes on: %v", err)
	}
	if _, err := later.ExecContext(t.Context(), "INSERT INTO t VALUES (4)"); err != nil {
		t.Errorf("the new connection was ended, too: %v", err)
	}
	must(t, db, "INSERT INTO t VALUES (5)")
}

// While Redis reads its file it says that there is none, which does not make the disk empty.
func TestRedisDiskWhileLoading(t *testing.T) {
	t.Parallel()
	const info = "# Persistence\r\nloading:%d\r\naof_rewrite_in_progress:0\r\naof_current_size:%d\r\naof_base_size:88\r\nused_memory_dataset:9\r\n"
	if f, err := readRedisFile(fmt.Sprintf(info, 0, 1000)); err != nil || f != (redisFile{size: 1000, base: 88, data: 9}) {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := readRedisFile(fmt.Sprintf(info, 1, 0)); fault.CodeOf(err) != fault.CodeProbeFailed {
		t.Errorf("while it loads: %v", err)
	}
}

// TestMySQLReclaimOnDocker has a table with more free space than counts as free get smaller
// while the tenant may not write, so that deleting rows is enough to come out of it.
func TestMySQLReclaimOnDocker(t *testing.T) {
	t.Parallel()
	u := deployOfDisk(t, "mysql", "9.7", 256*miB) // of which a quarter may be free
	if err := u.fillMySQL(t.Context(), "big", 112); err != nil {
		t.Fatal(err)
	}
	u.keepDisk(true)
	if err := u.mysqlOnce("DELETE FROM big WHERE id > 4")(t.Context()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the table's file is smaller", time.Minute, func(context.Context) error {
		u.keepDisk(true) //nolint:contextcheck // it has the test's own
		out, err := u.exec("stat", "-c", "%s", mysqlHome+"/data/"+u.cred.Database+"/big.ibd")
		if size, _ := strconv.ParseInt(out, 10, 64); err != nil || size == 0 || size > 16*miB {
			return fmt.Errorf("it has %s bytes (%w)", out, err)
		}
		return nil
	})
	if err := u.mysqlOnce("INSERT INTO big (b) VALUES ('x')")(t.Context()); !mysqlRefuses(err, mysqlNoTable) {
		t.Errorf("the tenant may write: %v", err)
	}
	u.keepDisk(false)
	if got := text(t, u.tenant(), "SELECT COUNT(*) FROM big"); got != "4" {
		t.Errorf("there are %s rows", got)
	}
}

// TestDiskOfEarlierServersOnDocker has servers whose account of Berth's has the rights that
// earlier versions gave it. They are used as before, and not measured.
func TestDiskOfEarlierServersOnDocker(t *testing.T) {
	t.Parallel()
	keep := func(t *testing.T, u *unit) {
		t.Helper()
		_, err := u.engine.(instance.DiskKeeper).KeepDisk(t.Context(), u.inst, u.cred, func(int64) bool { return true })
		if fault.CodeOf(err) != fault.CodeForbidden {
			t.Errorf("got %v", err)
		}
		if _, err := u.engine.(instance.Caretaker).Look(t.Context(), u.inst, u.cred); err != nil {
			t.Error(err)
		}
		if err := u.probe(); err != nil {
			t.Error(err)
		}
	}
	t.Run("mysql", func(t *testing.T) {
		t.Parallel()
		u := deploy(t, "mysql", "9.7", "small", nil)
		for _, s := range []string{"REVOKE PROCESS ON *.* FROM 'berth.health'@'%'", "REVOKE SELECT ON mysql.db FROM 'berth.health'@'%'"} {
			if out, err := u.root(s); err != nil {
				t.Fatal(out)
			}
		}
		keep(t, u)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		u := create(t, "redis", "8", "small", nil)
		own, err := berthPassword(u.inst, u.cred)
		if err != nil {
			t.Fatal(err)
		}
		users := fmt.Sprintf("user default on sanitize-payload #%s ~* &* +@all %s\nuser berth on #%s ~_berth_probe:* resetchannels -@all +ping +set +get +del\n",
			redisHash(u.cred.Password), strings.Join(redisRules, " "), redisHash(own))
		for i, f := range u.work.Files {
			if strings.HasSuffix(f.Path, "users.acl") {
				u.work.Files[i].Content = secret.New(users)
			}
		}
		if out, err := tryDocker(archive(t, u.work), "cp", "-", u.container+":"+u.work.DataPath); err != nil {
			t.Fatalf("docker cp: %v: %s", err, out)
		}
		u.start()
		u.ready()
		keep(t, u)
	})
}

// TestMySQLFileCeilingOnDocker has no file grow beyond the ceiling, whatever happens between
// two measurements, and the server outlives it.
func TestMySQLFileCeilingOnDocker(t *testing.T) {
	t.Parallel()
	u := deployOfDisk(t, "mysql", "9.7", 128*miB)
	err := u.fillMySQL(t.Context(), "big", 200)
	t.Logf("at the ceiling: %v", err)
	if err == nil {
		t.Error("a file has grown beyond the ceiling")
	}
	if running := docker(t, "inspect", "--format", "{{.State.Running}} {{.RestartCount}}", u.container); running != "true 0" {
		t.Fatalf("the server is gone: %s\n%s", running, u.logs())
	}
	if err := u.mysqlOnce("SELECT COUNT(*) FROM big", "TRUNCATE big", "INSERT INTO big (b) VALUES ('x')")(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRedisDiskOnDocker(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8", "7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			u := deployOfDisk(t, "redis", version, 256*miB, func(i *instance.Instance) {
				i.Spec.Resources.MemoryBytes = 256 * miB
				i.Spec.Parameters[paramMaxMemory] = 192 * miB
			})
			do := func(use func(context.Context, *redis.Client) error) func(context.Context) error {
				return func(ctx context.Context) error {
					return withRedis(ctx, u.inst, account{u.cred.Username, u.cred.Password, nil}, use)
				}
			}
			const keys = 64
			instancetest.DiskContract(t, instancetest.DiskSubject{
				Keeper: u.engine.(instance.DiskKeeper), Instance: u.inst, Credentials: u.cred, Grain: 8 << 20,
				Write: do(func(ctx context.Context, c *redis.Client) error {
					var wrong []error
					for i := range keys {
						wrong = append(wrong, c.Set(ctx, fmt.Sprint("big:", i), blob(1<<20), 0).Err())
					}
					return errors.Join(wrong...)
				}),
				Small: do(func(ctx context.Context, c *redis.Client) error { return c.Set(ctx, "small", "1", 0).Err() }),
				Read:  do(func(ctx context.Context, c *redis.Client) error { return c.DBSize(ctx).Err() }),
				Delete: do(func(ctx context.Context, c *redis.Client) error {
					var wrong []error
					for i := range keys {
						wrong = append(wrong, c.Del(ctx, fmt.Sprint("big:", i)).Err())
					}
					return errors.Join(wrong...)
				}),
			})
		})
	}
}

// TestRedisFullOnDocker has what a tenant can try while the disk is full.
func TestRedisFullOnDocker(t *testing.T) {
	t.Parallel()
	for how, made := range makers {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			u := made(t, "redis", "8", "small", nil)
			c := u.client()
			allows(t, c, "RPUSH l a b c", "ZADD z 1 a", "SADD s a", "HSET h f v", "XADD x * f v", "SET k v", "SET k2 v")
			u.keepDisk(true)
			forbids(t, c, "SET k w", "APPEND k w", "RPUSH l d", "HSET h g v", "XADD x * f v", "SETRANGE k 1000000 x", "COPY k k3", "SORT l ALPHA STORE l2",
				"EVAL return(redis.call('set','k','w')) 0", "RESTORE r 0 x", "INCR n", "FUNCTION FLUSH", "ACL SETUSER default +@all", "CONFIG SET appendonly no")
			allows(t, c, "GET k", "LRANGE l 0 -1", "LPOP l", "ZREM z a", "SREM s a", "HDEL h f", "XTRIM x MAXLEN 0", "DEL k", "UNLINK k2", "PING", "PUBLISH a b",
				"EVAL return(redis.call('del','l')) 0", "KEYS *", "INFO", "FLUSHDB")
			if _, err := u.engine.(instance.Caretaker).Look(t.Context(), u.inst, u.cred); err != nil {
				t.Errorf("a full instance is called ill: %v", err)
			}
			u.keepDisk(false)
			allows(t, c, "SET k w", "GET k")
			redisHasModules(t, u, c)
			forbids(t, c, "CONFIG SET maxmemory 1gb", "ACL LIST", "SHUTDOWN NOSAVE", "REPLICAOF 127.0.0.1 1")

			u.inst.Status.Disk.State = instance.DiskFull
			var err error
			if u.work, err = u.engine.Workload(u.inst, u.cred); err != nil {
				t.Fatal(err)
			}
			if out, err := tryDocker(archive(t, u.work), "cp", "-", u.container+":"+u.work.DataPath); err != nil {
				t.Fatalf("docker cp: %v: %s", err, out)
			}
			docker(t, "restart", u.container)
			again := u.client()
			testenv.Eventually(t, "it answers after a restart", 20*time.Second, func(ctx context.Context) error { return again.Ping(ctx).Err() })
			forbids(t, again, "SET k x")
			allows(t, again, "GET k", "DEL k")
		})
	}
}
