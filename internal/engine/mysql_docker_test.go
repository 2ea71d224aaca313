package engine

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

	"github.com/berth-project/berth/internal/secret"
)

// database connects to the server as the given user.
func (u *unit) database(user string, password secret.Secret, name string) *sql.DB {
	u.t.Helper()
	return u.databaseBy("", user, password, name)
}

// databaseBy does so by a TLS configuration; "": without TLS.
func (u *unit) databaseBy(config, user string, password secret.Secret, name string) *sql.DB {
	u.t.Helper()
	cfg := mysql.NewConfig()
	cfg.TLSConfig = config
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName = "tcp", hostPort(u.inst), user, password.Reveal(), name
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		u.t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	u.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (u *unit) tenant() *sql.DB { return u.database(u.cred.Username, u.cred.Password, u.cred.Database) }

// root runs a statement inside, over the socket.
func (u *unit) root(statement string) (string, error) {
	return tryDocker(nil, "exec", "--env", "MYSQL_PWD="+u.cred.AdminPassword.Reveal(), u.container,
		"mysql", "--no-defaults", "--user=root", "--socket=/tmp/mysqld.sock", "--skip-column-names", "--batch", "--execute", statement)
}

func text(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var s sql.NullString
	if err := db.QueryRowContext(t.Context(), query).Scan(&s); err != nil {
		t.Errorf("%s: %v", query, err)
	}
	return s.String
}

func must(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestMySQLSettingsOnDocker(t *testing.T) {
	t.Parallel()
	for how, made := range makers {
		t.Run(how, func(t *testing.T) { testMySQLSettings(t, made) })
	}
}

func testMySQLSettings(t *testing.T, made maker) {
	u := made(t, "mysql", "9.7", "small", map[string]any{
		"charset": "latin1", "collation": "latin1_german1_ci", "binlog_format": "STATEMENT", "max_connections": 5,
		"innodb_lock_wait_timeout": 7, "wait_timeout": 100,
	})
	db := u.tenant()
	for name, want := range map[string]string{
		"character_set_server": "latin1", "collation_server": "latin1_german1_ci", "binlog_format": "STATEMENT", "max_connections": "5",
		"innodb_lock_wait_timeout": "7", "wait_timeout": "100", "interactive_timeout": "100", "log_bin": "ON", "local_infile": "OFF",
		"secure_file_priv": "NULL", "skip_name_resolve": "ON", "performance_schema": "OFF", "innodb_doublewrite": "ON",
		"innodb_buffer_pool_size": "134217728", "innodb_redo_log_capacity": "33554432", "innodb_flush_log_at_trx_commit": "1",
	} {
		var key, got string
		err := db.QueryRowContext(t.Context(), "SHOW GLOBAL VARIABLES LIKE '"+name+"'").Scan(&key, &got)
		if err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
	if got := text(t, db, "SELECT @@collation_database"); got != "latin1_german1_ci" {
		t.Errorf("the database has %s", got)
	}
	if n := text(t, db, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()"); n != "0" {
		t.Errorf("the probe left %s tables", n)
	}

	conns := make([]*sql.Conn, 5)
	for i := range conns {
		var err error
		if conns[i], err = db.Conn(t.Context()); err != nil {
			t.Fatalf("connection %d of 5: %v", i+1, err)
		}
	}
	_, err := db.Conn(t.Context())
	if me := (*mysql.MySQLError)(nil); !errors.As(err, &me) || me.Number != 1040 {
		t.Errorf("a sixth connection: %v", err)
	}
	if out, err := u.root("SELECT 'in'"); err != nil || !strings.Contains(out, "in") {
		t.Errorf("root is locked out when all connections are taken: %s", out)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	u.hidesSecrets()
}

func TestMySQLRightsOnDocker(t *testing.T) {
	t.Parallel()
	for how, made := range makers {
		t.Run(how, func(t *testing.T) { testMySQLRights(t, made) })
	}
}

func testMySQLRights(t *testing.T, made maker) {
	u := made(t, "mysql", "9.7", "small", nil)
	db := u.tenant()
	must(t, db,
		"CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)", "CREATE VIEW v AS SELECT n FROM t", "INSERT INTO t (n) VALUES (1)",
		"CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 2", "CREATE FUNCTION f() RETURNS INT RETURN 1", "CREATE PROCEDURE p() SELECT f()",
		"CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM t", "CREATE TEMPORARY TABLE tt (i INT)", "ALTER TABLE t ADD INDEX (n)", "TRUNCATE t", "DROP EVENT e")
	for _, s := range []string{
		"SELECT * FROM mysql.user", "SELECT * FROM mysql.db", "CREATE DATABASE other", "CREATE DATABASE shopxa", "CREATE TABLE shopxa.t (i INT)",
		"CREATE USER evil", "GRANT ALL ON shop_a.* TO root@localhost", "ALTER USER root@localhost IDENTIFIED BY 'x'", "DROP DATABASE mysql", "SET GLOBAL max_connections = 1000",
		"SET PERSIST max_connections = 1000", "SELECT 1 INTO OUTFILE '/tmp/x'", "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t",
		"INSTALL COMPONENT 'file://component_validate_password'", "SHUTDOWN", "PURGE BINARY LOGS BEFORE NOW()", "SHOW BINARY LOGS", "RESET BINARY LOGS AND GTIDS",
		"SELECT * FROM mysql.global_grants", "SELECT * FROM mysql.tables_priv", "SELECT * FROM `berth.health`.probe", "CALL `berth.health`.give_definers('mysql')",
		"LOAD DATA INFILE '/etc/passwd' INTO TABLE t", "SELECT 1 INTO DUMPFILE '/tmp/x'", "CREATE TABLE x (i INT) DATA DIRECTORY = '/tmp'",
		"CREATE TABLESPACE x ADD DATAFILE '/tmp/x.ibd'", "INSTALL PLUGIN x SONAME 'x.so'", "CREATE FUNCTION x RETURNS INTEGER SONAME 'x.so'",
		"CREATE SERVER x FOREIGN DATA WRAPPER mysql OPTIONS (HOST '127.0.0.1')", "CREATE TABLE x (i INT) ENGINE = FEDERATED CONNECTION = 'mysql://127.0.0.1/x/x'",
		"CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1'", "START REPLICA", "CLONE LOCAL DATA DIRECTORY = '/tmp/x'", "ALTER INSTANCE RELOAD TLS", "RESTART",
		"SET GLOBAL general_log = ON", "SET GLOBAL local_infile = ON", "SET PERSIST_ONLY max_connections = 9", "SET sql_log_bin = 0", "SET GLOBAL event_scheduler = OFF",
		"GRANT ALL ON *.* TO CURRENT_USER()", "SET PASSWORD FOR root@localhost = 'x'", "CREATE DEFINER = root@localhost PROCEDURE x() SELECT 1",
		"CREATE DEFINER = 'berth.health'@'%' PROCEDURE x() SELECT 1", "CREATE ROLE evil", "FLUSH PRIVILEGES", "LOCK INSTANCE FOR BACKUP",
	} {
		if _, err := db.ExecContext(t.Context(), s); err == nil {
			t.Errorf("the tenant may do this: %s", s)
		}
	}
	if got := text(t, db, "SELECT LOAD_FILE('/etc/passwd')"); got != "" {
		t.Error("the tenant may read files")
	}
	names := text(t, db, "SELECT GROUP_CONCAT(schema_name ORDER BY schema_name) FROM information_schema.schemata")
	if names != "information_schema,performance_schema,shop_a" {
		t.Errorf("the tenant sees %s", names)
	}
	// Those that mysqldump and what it restores need.
	rights := text(t, db, "SELECT GROUP_CONCAT(privilege_type ORDER BY privilege_type) FROM information_schema.user_privileges WHERE privilege_type <> 'USAGE'")
	if rights != "ALLOW_NONEXISTENT_DEFINER,PROCESS,SET_ANY_DEFINER,SHOW_ROUTINE" {
		t.Errorf("the tenant has the global rights %s", rights)
	}

	u.refusesWrongPassword()
	for _, p := range []secret.Secret{u.cred.AdminPassword, {}} {
		if err := u.database("root", p, "").PingContext(t.Context()); err == nil {
			t.Error("root may come over the network")
		}
	}
	if out, err := tryDocker(nil, "exec", u.container, "mysql", "--no-defaults", "--user=root", "--socket=/tmp/mysqld.sock", "--execute", "SELECT 1"); err == nil {
		t.Errorf("root needs no password: %s", out)
	}
	out, err := u.root("SELECT CONCAT(User, '@', Host) FROM mysql.user ORDER BY 1")
	if want := "berth.health@%\nmysql.infoschema@localhost\nmysql.session@localhost\nmysql.sys@localhost\nroot@localhost\nshop_a@%"; err != nil || out != want {
		t.Errorf("the accounts are %q", out)
	}
	// The probe takes away what one before it left.
	must(t, db, "CREATE TABLE _berth_probe (x INT)", "INSERT INTO _berth_probe VALUES (1)")
	if err := u.probe(); err != nil {
		t.Errorf("the probe stumbles over an old table: %v", err)
	}
	if n := text(t, db, "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = '_berth_probe'"); n != "0" {
		t.Error("the probe left its table")
	}
	results := make(chan error)
	for range 8 {
		go func() { results <- u.engine.Probe(context.WithoutCancel(t.Context()), u.inst, u.cred) }()
	}
	for range 8 {
		if err := <-results; err != nil {
			t.Errorf("one of eight probes at once: %v", err)
		}
	}
	u.hidesSecrets()
}

func TestMySQLRestartOnDocker(t *testing.T) {
	t.Parallel()
	for how, made := range makers {
		t.Run(how, func(t *testing.T) { testMySQLRestart(t, made) })
	}
}

func testMySQLRestart(t *testing.T, made maker) {
	u := made(t, "mysql", "9.7", "small", nil)
	must(t, u.tenant(), "CREATE TABLE t (word VARCHAR(20))", "INSERT INTO t VALUES ('safe')")
	if out, err := u.root("CREATE USER evil@'%'; GRANT ALL ON *.* TO evil@'%'; CREATE USER evil@localhost; GRANT ALL ON mysql.* TO shop_a@'%'; CREATE VIEW shop_a.v AS SELECT 1; CREATE DEFINER = evil@'%' VIEW shop_a.w AS SELECT 1"); err != nil {
		t.Fatal(out)
	}
	began := time.Now()
	docker(t, "restart", "--time", "60", u.container)
	u.ready()
	t.Logf("restart: %s", time.Since(began).Round(time.Millisecond))
	if got := text(t, u.tenant(), "SELECT word FROM t"); got != "safe" {
		t.Errorf("after a restart: %q", got)
	}
	if out, err := u.root("SELECT COUNT(*) FROM mysql.user WHERE User = 'evil'"); err != nil || out != "0" {
		t.Errorf("a foreign account lives on: %s", out)
	}
	if _, err := u.tenant().ExecContext(t.Context(), "SELECT * FROM mysql.user"); err == nil {
		t.Error("a right on another database lives on")
	}
	must(t, u.tenant(), "INSERT INTO t VALUES ('killed')")
	docker(t, "kill", u.container)
	u.start()
	u.ready()
	if got := text(t, u.tenant(), "SELECT COUNT(*) FROM t"); got != "2" {
		t.Errorf("after a kill there are %s rows", got)
	}
	began = time.Now()
	if code := u.stop(); code != "0" {
		t.Errorf("it ended with %s", code)
	}
	t.Logf("stop: %s", time.Since(began).Round(time.Millisecond))
}

// A crash while the data directory is being made must not leave one that is taken for
// whole, at any moment.
func TestMySQLKilledWhileInitializingOnDocker(t *testing.T) {
	u := create(t, "mysql", "9.7", "small", nil)
	data, unfinished := mysqlHome+"/data", mysqlHome+"/data.unfinished"
	moments := []string{unfinished, unfinished + "/ibdata1", unfinished + "/mysql.ibd", unfinished + "/sys"}
	for i, moment := range moments {
		last := i == len(moments)-1
		u.start()
		waitFor(t, u, moment, data)
		began := time.Now()
		if i%2 == 0 {
			docker(t, "kill", u.container)
		} else {
			docker(t, "stop", "--time", "20", u.container)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("ending it took %s", took)
		}
		// At the last moment it may have been quicker; then it is whole.
		if u.has(data) && !last {
			t.Fatalf("ended at %s, there is a data directory", moment)
		}
	}
	u.start()
	u.ready()
	if out, _ := u.exec("ls", mysqlHome); !slices.Equal(strings.Fields(out), []string{"conf", "data", "tmp"}) {
		t.Errorf("the volume holds %s", out)
	}
}

// waitFor waits until one of two paths is there.
func waitFor(t *testing.T, u *unit, one, other string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := u.exec("test", "-e", one, "-o", "-e", other); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("neither %s nor %s came", one, other)
		case <-tick.C:
		}
	}
}

// A bigger plan has the performance schema and stays within its memory with as many
// connections as it takes by default.
func TestMySQLMediumOnDocker(t *testing.T) {
	t.Parallel()
	for _, plan := range []string{"small", "medium"} {
		u := deploy(t, "mysql", "9.7", plan, nil)
		want := map[string]string{"small": "0", "medium": "1"}[plan]
		db := u.tenant()
		if got := text(t, db, "SELECT @@performance_schema"); got != want {
			t.Errorf("%s: performance_schema is %s", plan, got)
		}
		before := docker(t, "stats", "--no-stream", "--format", "{{.MemUsage}}", u.container)
		must(t, db, "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, s VARCHAR(100), INDEX (s))", "INSERT INTO t (s) VALUES (UUID())")
		for range 12 {
			must(t, db, "INSERT INTO t (s) SELECT UUID() FROM t")
		}
		var conns []*sql.Conn
		for range u.inst.Spec.Parameters.Int("max_connections") {
			c := u.connection(db)
			conns = append(conns, c)
			if _, err := c.ExecContext(t.Context(), "SELECT COUNT(*) FROM (SELECT s FROM t ORDER BY RAND() LIMIT 1000) x"); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: memory %s, with %d connections %s", plan, before, len(conns), docker(t, "stats", "--no-stream", "--format", "{{.MemUsage}}", u.container))
		for _, c := range conns {
			_ = c.Close()
		}
		if oom := docker(t, "inspect", "--format", "{{.State.OOMKilled}}", u.container); oom != fmt.Sprint(false) {
			t.Error("it was out of memory")
		}
	}
}
