package engine

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// look looks after the unit as the health watch does.
func (u *unit) look() (instance.Finding, error) {
	ctx, cancel := context.WithTimeout(u.t.Context(), 20*time.Second)
	defer cancel()
	return u.engine.(instance.Caretaker).Look(ctx, u.inst, u.cred)
}

// well fails the test where there is anything to be said of the unit.
func (u *unit) well() {
	u.t.Helper()
	found, err := u.look()
	if err != nil || found.Notice != "" || found.Upkeep != nil {
		u.t.Errorf("a look found %q, upkeep %v, %v", found.Notice, found.Upkeep, err)
	}
}

// run runs one of the server's own clients inside, as the tenant, over the network.
func (u *unit) run(stdin, program string, args ...string) (stdout, stderr string, err error) {
	u.t.Helper()
	return runDocker(u.t, stdin, append([]string{
		"exec", "-i", u.container, program, "--no-defaults", "--host=127.0.0.1", "--protocol=tcp",
		"--user=" + u.cred.Username, "--password=" + u.cred.Password.Reveal(),
	}, args...)...)
}

func TestMySQLTimeZonesOnDocker(t *testing.T) {
	t.Parallel()
	for how, made := range makers {
		t.Run(how, func(t *testing.T) {
			u := made(t, "mysql", "9.7", "small", nil)
			zonesAreRight(t, u)
			docker(t, "kill", u.container)
			u.start()
			u.ready()
			zonesAreRight(t, u)
		})
	}
}

func zonesAreRight(t *testing.T, u *unit) {
	t.Helper()
	db := u.tenant()
	for query, want := range map[string]string{
		"SELECT CONVERT_TZ('2026-06-01 12:00:00', 'UTC', 'Europe/Berlin')":              "2026-06-01 14:00:00",
		"SELECT CONVERT_TZ('2026-12-01 12:00:00', 'UTC', 'Asia/Shanghai')":              "2026-12-01 20:00:00",
		"SELECT CONVERT_TZ('2026-12-01 12:00:00', 'UTC', 'Europe/Berlin')":              "2026-12-01 13:00:00",
		"SELECT CONVERT_TZ('2026-03-29 01:59:59', '+01:00', 'Europe/Berlin')":           "2026-03-29 01:59:59",
		"SELECT CONVERT_TZ('2026-03-29 02:00:00', '+01:00', 'Europe/Berlin')":           "2026-03-29 03:00:00",
		"SELECT CONVERT_TZ('2026-10-25 03:00:00', '+02:00', 'Europe/Berlin')":           "2026-10-25 02:00:00",
		"SELECT CONVERT_TZ('2026-07-01 12:00:00', 'Europe/Berlin', 'America/New_York')": "2026-07-01 06:00:00",
		"SELECT CONVERT_TZ('2026-01-01 12:00:00', 'UTC', 'Australia/Lord_Howe')":        "2026-01-01 23:00:00",
		"SELECT CONVERT_TZ('2026-07-01 12:00:00', 'UTC', 'Australia/Lord_Howe')":        "2026-07-01 22:30:00",
		"SELECT CONVERT_TZ('1970-01-15 12:00:00', 'UTC', 'America/Sao_Paulo')":          "1970-01-15 09:00:00",
		"SELECT CONVERT_TZ('1970-01-15 12:00:00', 'UTC', 'Pacific/Auckland')":           "1970-01-16 00:00:00",
		"SELECT CONVERT_TZ('1985-07-01 12:00:00', 'UTC', 'Europe/Moscow')":              "1985-07-01 16:00:00",
		"SELECT CONVERT_TZ('2026-06-01 12:00:00', 'UTC', 'US/Pacific')":                 "2026-06-01 05:00:00",
		"SELECT CONVERT_TZ('2026-06-01 12:00:00', 'UTC', 'Asia/Calcutta')":              "2026-06-01 17:30:00",
		"SELECT CONVERT_TZ('2026-06-01 12:00:00', 'GMT', 'Etc/GMT+5')":                  "2026-06-01 07:00:00",
		"SELECT CONVERT_TZ('2045-06-01 12:00:00', 'UTC', 'Europe/Berlin')":              "2045-06-01 14:00:00",
		"SELECT CONVERT_TZ('2045-12-01 12:00:00', 'UTC', 'Europe/Berlin')":              "2045-12-01 13:00:00",
		"SELECT CONVERT_TZ('2026-06-01 12:00:00', 'SYSTEM', 'UTC')":                     "2026-06-01 12:00:00",
		"SELECT CONVERT_TZ('2026-05-20 12:00:00', 'UTC', 'Africa/Cairo')":               "2026-05-20 15:00:00",
	} {
		if got := text(t, db, query); got != want {
			t.Errorf("%s is %q, want %q", query, got, want)
		}
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's
	var got string
	if _, err := conn.ExecContext(t.Context(), "SET time_zone = 'Europe/Berlin'"); err != nil {
		t.Error(err)
	}
	if err := conn.QueryRowContext(t.Context(), "SELECT FROM_UNIXTIME(1780315200)").Scan(&got); err != nil || got != "2026-06-01 14:00:00" {
		t.Errorf("in Berlin it is %s (%v)", got, err)
	}
	if out, err := u.root("SELECT COUNT(*) FROM mysql.time_zone_name WHERE CONVERT_TZ('2026-06-01 12:00:00', 'UTC', Name) IS NULL OR CONVERT_TZ('2026-06-01 12:00:00', Name, 'UTC') IS NULL"); err != nil || out != "0" {
		t.Errorf("%s zones give NULL (%v)", out, err)
	}
}

// definers is a database whose parts run as who made them.
const definers = `
CREATE TABLE a (id INT PRIMARY KEY AUTO_INCREMENT, n INT, seen DATETIME NULL);
CREATE VIEW v AS SELECT n FROM a WHERE n > 0;
CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.seen = NOW();
CREATE FUNCTION f(x INT) RETURNS INT DETERMINISTIC RETURN x + 1;
CREATE PROCEDURE p() SELECT f(n) FROM v;
CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM a WHERE n < 0;
INSERT INTO a (n) VALUES (1), (2);
`

// dump dumps the unit's database with the server's own tool.
func (u *unit) dump(options ...string) string {
	u.t.Helper()
	out, said, err := u.run("", "mysqldump", append(options, "--single-transaction", u.cred.Database)...)
	if err != nil || strings.Count(said, "\n") != 1 || !strings.Contains(said, "Using a password") {
		u.t.Errorf("mysqldump %v: %v, it says: %s", options, err, said)
	}
	if !strings.Contains(out, "-- Dump completed") {
		u.t.Errorf("the dump is not whole: …%s", out[max(0, len(out)-200):])
	}
	return out
}

func (u *unit) restore(dump string) {
	u.t.Helper()
	if out, said, err := u.run(dump, "mysql", u.cred.Database); err != nil {
		u.t.Errorf("restoring: %v\n%s%s", err, out, said)
	}
}

func TestMySQLDumpOnDocker(t *testing.T) {
	t.Parallel()
	for how, made := range makers {
		t.Run(how, func(t *testing.T) {
			u := made(t, "mysql", "9.7", "small", nil)
			u.restore(definers)
			u.well() // there is more in the server now, which is not the tenant's
			whole := []string{"--routines", "--events", "--triggers"}
			dump := u.dump(whole...)
			if plain := u.dump(); strings.Contains(plain, "GTID_PURGED") || strings.Contains(plain, "berth") {
				t.Errorf("there is noise in the dump:\n%s", plain)
			}
			for what, given := range map[string]map[string]any{
				"another user": {"username": "somebody", "database": "Elsewhere_1"},
				"the same":     {"username": u.cred.Username, "database": u.cred.Database},
			} {
				other := made(t, "mysql", "9.7", "small", given)
				if other.cred.Username != given["username"] || other.cred.Database != given["database"] {
					t.Fatalf("%s: it was given %s and %s", what, other.cred.Username, other.cred.Database)
				}
				other.restore(dump)
				other.well()
				same := func(query string) {
					t.Helper()
					if a, b := text(t, u.tenant(), query), text(t, other.tenant(), query); a != b {
						t.Errorf("%s: %s is %q, was %q", what, query, b, a)
					}
				}
				same("SELECT CONCAT_WS(' ', COUNT(*), SUM(CRC32(CONCAT(id, n, seen)))) FROM a")
				same("SELECT SUM(f(n)) FROM v")
				must(t, other.tenant(), "INSERT INTO a (n) VALUES (3)", "CALL p()")
				if got := text(t, other.tenant(), "SELECT seen IS NOT NULL FROM a WHERE n = 3"); got != "1" {
					t.Errorf("%s: the trigger did not fire", what)
				}
				if got := text(t, other.tenant(), "SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_NAME = 'e'"); got != "1" {
					t.Errorf("%s: the event is not there", what)
				}
				if again := other.dump(whole...); !strings.Contains(again, "RETURN x + 1") && !strings.Contains(again, "return x + 1") {
					t.Errorf("%s: what was restored is not in the next dump", what)
				}
				docker(t, "kill", other.container)
				other.start()
				other.ready()
				must(t, other.tenant(), "INSERT INTO a (n) VALUES (4)")
				other.well()
			}
		})
	}
}

// No tenant runs anything as the administrator, as Berth or as the server.
func TestMySQLDefinersOnDocker(t *testing.T) {
	t.Parallel()
	u := deploy(t, "mysql", "9.7", "small", nil)
	u.well()
	db := u.tenant()
	must(t, db, "CREATE TABLE t (i INT)")
	own := "`" + u.cred.Username + "`"
	for _, who := range []string{
		"root@localhost", "ROOT@LOCALHOST", "root@'127.0.0.1'", "root@'%'", "'berth.health'@'%'", "'berth.health'@x", "'berth.health'@'127.0.0.1'", "'berth.health'@''",
		"'mysql.sys'@localhost", "'mysql.session'@localhost", "'mysql.sys'@x", "nobody@'%'", own + "@localhost", own + "@'127.0.0.1'", own + "@'172.%'",
		own + "@'10.0.0.0/255.0.0.0'", own + "@'0.0.0.0/0.0.0.0'", own + "@'172.16.0.0/12'", own + "@'_%'", own + "@'%.%.%.%'",
	} {
		for i, s := range []string{
			"CREATE DEFINER = " + who + " PROCEDURE sly() SQL SECURITY DEFINER SELECT CURRENT_USER()",
			"CREATE DEFINER = " + who + " FUNCTION slyf() RETURNS CHAR(99) READS SQL DATA RETURN CURRENT_USER()",
			"CREATE DEFINER = " + who + " TRIGGER slyt BEFORE INSERT ON t FOR EACH ROW SET @who = CURRENT_USER()",
			"CREATE DEFINER = " + who + " EVENT slye ON SCHEDULE EVERY 1 SECOND DO INSERT INTO t VALUES (2)",
			"CREATE DEFINER = " + who + " SQL SECURITY DEFINER VIEW slyv AS SELECT CURRENT_USER() AS u",
		} {
			_, err := db.ExecContext(t.Context(), s)
			if err != nil {
				if !mysqlRefuses(err, 1227) {
					t.Errorf("%s: %v", s, err)
				}
				continue
			}
			if i%2 == 0 { // also as Berth makes accounts for them
				u.well()
				again := u.tenant() // who still gets in
				if err := again.PingContext(t.Context()); err != nil {
					t.Fatalf("%s, and the tenant does not get in: %v", s, err)
				}
			}
			for _, use := range []string{"CALL sly()", "SELECT slyf()"} { // (a view may say who it is, and reads what its maker may)
				var got string
				if err := db.QueryRowContext(t.Context(), use).Scan(&got); err == nil && (got == "root@localhost" || strings.HasPrefix(got, "berth") || strings.HasPrefix(got, "mysql")) {
					t.Errorf("%s, and %s is %s", s, use, got)
				}
			}
			if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err == nil {
				if got := text(t, db, "SELECT @who"); strings.Contains(got, "berth") || strings.Contains(got, "mysql") || got == "root@localhost" {
					t.Errorf("%s, and the trigger ran as %s", s, got)
				}
			}
		}
		for _, s := range []string{"PROCEDURE sly", "FUNCTION slyf", "TRIGGER slyt", "EVENT slye", "VIEW slyv"} {
			must(t, db, "DROP "+strings.Replace(s, " ", " IF EXISTS ", 1))
		}
	}
	for _, s := range []string{"SELECT * FROM `berth.health`.probe", "CALL `berth.health`.give_definers('mysql')", "DROP USER 'berth.health'@'%'",
		"ALTER USER 'berth.health'@'%' IDENTIFIED BY 'x'", "DROP USER CURRENT_USER()", "CREATE USER x", "GRANT PROCESS ON *.* TO x",
		"CREATE DEFINER = 'berth.health'@x VIEW sly AS SELECT * FROM `berth.health`.probe", "CREATE DEFINER = 'berth.health'@x VIEW sly AS SELECT * FROM mysql.time_zone"} {
		if _, err := db.ExecContext(t.Context(), s); err == nil {
			t.Errorf("the tenant may do this: %s", s)
		}
	}
	// What is made for definers lets nobody in, and does nothing elsewhere.
	if out, err := u.root("SELECT GROUP_CONCAT(User, '@', Host, ' ', account_locked) FROM mysql.user WHERE User_attributes->>'$.metadata.berth' = 'definer'; SHOW GRANTS FOR nobody@'%'"); err != nil ||
		!strings.Contains(out, "nobody@% Y") || strings.Contains(out, " N") || strings.Contains(out, "ON *.* TO `nobody`@`%` WITH") {
		t.Errorf("the accounts for definers are %s (%v)", out, err)
	}
}

func TestMySQLPasswordChangedInsideOnDocker(t *testing.T) {
	t.Parallel()
	for how, made := range makers {
		t.Run(how, func(t *testing.T) {
			u := made(t, "mysql", "9.7", "small", nil)
			u.well()
			must(t, u.tenant(), "CREATE TABLE t (i INT)", "ALTER USER USER() IDENTIFIED BY 'Changed1'")
			changed := func(when string) {
				t.Helper()
				found, err := u.look()
				if err != nil || found.Notice != instance.NoticePassword || found.Upkeep != nil {
					t.Errorf("%s: a look found %q, upkeep %v, %v", when, found.Notice, found.Upkeep, err)
				}
				must(t, u.database(u.cred.Username, secret.New("Changed1"), u.cred.Database), "INSERT INTO t VALUES (1)")
			}
			changed("at once")
			docker(t, "kill", u.container)
			u.start()
			u.answers(u.database(u.cred.Username, secret.New("Changed1"), u.cred.Database))
			changed("after a kill")
			// What a repair hands over is the same, and must not set it back either.
			if out, err := tryDocker(archive(t, u.work), "cp", "-", u.container+":"+u.work.DataPath); err != nil {
				t.Fatal(out)
			}
			docker(t, "restart", "--time", "60", u.container)
			u.answers(u.database(u.cred.Username, secret.New("Changed1"), u.cred.Database))
			changed("after a repair")
			must(t, u.database(u.cred.Username, secret.New("Changed1"), u.cred.Database), "SET PASSWORD = '"+u.cred.Password.Reveal()+"'")
			u.well()
		})
	}
}

func TestMySQLReasonsOnDocker(t *testing.T) {
	t.Parallel()
	u := deploy(t, "mysql", "9.7", "small", map[string]any{"max_connections": 5})
	u.well()
	says := func(what string, words ...string) {
		t.Helper()
		_, err := u.look()
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: a look says %v", what, err)
			}
		}
	}
	db := u.tenant()
	var conns []interface{ Close() error }
	for range 5 {
		conns = append(conns, u.connection(db))
	}
	says("all connections are taken", "all connections are taken (max_connections)")
	for _, c := range conns {
		_ = c.Close()
	}
	_ = db.Close()
	db = u.tenant() // the others are let go of in the server's own time
	u.answers(db)
	must(t, db, "DROP DATABASE "+u.cred.Database)
	says("the database is dropped", "the database shop_a does not exist", "CREATE DATABASE shop_a")
	db = u.database(u.cred.Username, u.cred.Password, "")
	u.answers(db)
	must(t, db, "CREATE DATABASE "+u.cred.Database)
	u.well()
	docker(t, "pause", u.container)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	_, err := u.engine.(instance.Caretaker).Look(ctx, u.inst, u.cred)
	cancel()
	docker(t, "unpause", u.container)
	if err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("paused, a look says %v", err)
	}
	u.stop()
	says("it is stopped", "nothing accepts connections")
}

// A server whose accounts an earlier version has set is looked after by the tenant's.
func TestMySQLOfAnEarlierVersionOnDocker(t *testing.T) {
	t.Parallel()
	u := deploy(t, "mysql", "9.7", "small", nil)
	if out, err := u.root("DROP USER 'berth.health'@'%'"); err != nil {
		t.Fatal(out)
	}
	u.well()
	// At its next start it has the account again, and lacks what only new data has.
	if out, err := u.root("DROP DATABASE `berth.health`; DELETE FROM mysql.time_zone; DELETE FROM mysql.time_zone_name; DELETE FROM mysql.time_zone_transition; DELETE FROM mysql.time_zone_transition_type"); err != nil {
		t.Fatal(out)
	}
	docker(t, "restart", u.container)
	u.ready()
	u.well()
	zonesAreRight(t, u)
}

// The binary logs take no more than their share of the disk, and the server goes on.
func TestMySQLBinaryLogsOnDocker(t *testing.T) {
	t.Parallel()
	inst := newInstance(t, find(t, "mysql"), "9.7", "small", nil)
	inst.Spec.Plan, inst.Spec.Resources.DiskBytes = instance.PlanCustom, giB
	u := createFor(t, inst, "")
	u.start()
	u.ready()
	must(t, u.tenant(), "CREATE TABLE b (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)")
	for range 24 {
		must(t, u.tenant(), "INSERT INTO b (b) VALUES (REPEAT('f', 8*1024*1024))")
	}
	total := func() (sum int64) {
		t.Helper()
		out, err := u.root("SHOW BINARY LOGS")
		if err != nil {
			t.Fatal(out)
		}
		for line := range strings.Lines(out) {
			n, _ := strconv.ParseInt(strings.Fields(line)[1], 10, 64)
			sum += n
		}
		return sum
	}
	before := total()
	u.keepDisk(false)
	if after := total(); before < 180*miB || after > binaryLogSpace(giB) || after < binaryLogSpace(giB)/2 {
		t.Errorf("the binary logs took %d MiB, and take %d MiB", before/miB, after/miB)
	}
	u.well()
	docker(t, "restart", u.container)
	u.ready()
	if got := text(t, u.tenant(), "SELECT COUNT(*) FROM b"); got != "24" {
		t.Errorf("there are %s rows", got)
	}
}
