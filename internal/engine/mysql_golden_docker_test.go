package engine

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// goldenImage makes MySQL's golden data by plain Docker commands, as a runtime would.
func goldenImage(t *testing.T) string {
	t.Helper()
	e := find(t, "mysql")
	inst := newInstance(t, e, "", "", nil)
	g, ok := e.Golden(inst)
	if !ok {
		t.Fatal("MySQL has no golden data")
	}
	version, _ := e.Describe().Version("")
	args := []string{
		"create", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", g.User,
		"--memory", fmt.Sprint(g.Resources.MemoryBytes), "--pids-limit", fmt.Sprint(g.PidsLimit), "--tmpfs", "/tmp", "--entrypoint", g.Command[0],
	}
	id := docker(t, append(append(args, localImage(t, version.Images)), g.Command[1:]...)...)
	t.Cleanup(func() { _, _ = tryDocker(nil, "rm", "--force", "--volumes", id) })
	// The folder is not there yet: it comes with the archive.
	root := strings.TrimPrefix(g.Path, "/")
	files := make([]host.File, len(g.Files))
	for i, f := range g.Files {
		if strings.Contains(f.Content.Reveal(), "IDENTIFIED") {
			t.Errorf("%s has accounts", f.Path)
		}
		files[i] = host.File{Path: "/x/" + root + strings.TrimPrefix(f.Path, g.Path), Mode: f.Mode, Content: f.Content}
	}
	if out, err := tryDocker(archive(t, host.Workload{DataPath: "/x", Files: files}), "cp", "-", id+":/"); err != nil {
		t.Fatal(out)
	}
	began := time.Now()
	if out := docker(t, "start", "--attach", id); strings.Contains(out, "[ERROR]") {
		t.Error(out)
	}
	name := "berth-test/golden:" + id[:12]
	docker(t, "commit", id, name)
	t.Cleanup(func() { _, _ = tryDocker(nil, "rmi", name) })
	t.Logf("golden data: made in %s, %s", time.Since(began).Round(time.Millisecond), docker(t, "run", "--rm", "--entrypoint", "du", name, "-sh", g.Path))
	list := docker(t, "run", "--rm", "--entrypoint", "ls", name, "-A", g.Path, g.Path+"/data")
	for _, never := range []string{"auto.cnf", ".pem", "binlog", "unfinished"} {
		if strings.Contains(list, never) {
			t.Errorf("golden data holds %s:\n%s", never, list)
		}
	}
	return name
}

// serverIdentity is what no two servers may share.
func (u *unit) serverIdentity() map[string]string {
	u.t.Helper()
	sum := func(name string) string {
		out, err := u.exec("cat", name)
		if err != nil {
			u.t.Errorf("%s: %s", name, out)
		}
		return fmt.Sprintf("%x", sha256.Sum256([]byte(out)))
	}
	return map[string]string{
		"server_uuid":       text(u.t, u.tenant(), "SELECT @@server_uuid"),
		"certificate":       u.certificate(),
		"TLS key":           sum(mysqlHome + "/conf/server-key.pem"),
		"RSA key":           sum(mysqlHome + "/data/private_key.pem"),
		"password":          u.cred.Password.Reveal(),
		"root's password":   u.cred.AdminPassword.Reveal(),
		"the file auto.cnf": sum(mysqlHome + "/data/auto.cnf"),
	}
}

// certificate gives the one that a client gets, over a connection by TLS.
func (u *unit) certificate() (sum string) {
	u.t.Helper()
	name := "berth-test-" + u.container[:12]
	err := mysql.RegisterTLSConfig(name, &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // it is looked at
		VerifyConnection: func(s tls.ConnectionState) error {
			sum = fmt.Sprintf("%x", sha256.Sum256(s.PeerCertificates[0].Raw))
			return nil
		},
	})
	if err != nil {
		u.t.Fatal(err)
	}
	db := u.databaseBy(name, u.cred.Username, u.cred.Password, "")
	var variable, version string
	if err := db.QueryRowContext(u.t.Context(), "SHOW SESSION STATUS LIKE 'Ssl_version'").Scan(&variable, &version); err != nil || !strings.HasPrefix(version, "TLSv1.") {
		u.t.Errorf("the connection's TLS is %q (%v)", version, err)
	}
	return sum
}

// TestMySQLGoldenOnDocker starts servers of other sizes and charsets from one golden
// directory. They share nothing that is one server's own.
func TestMySQLGoldenOnDocker(t *testing.T) {
	image := goldenImage(t)
	var before map[string]string
	for plan, given := range map[string]map[string]any{
		"small":  {"charset": "latin1", "binlog_format": "STATEMENT"},
		"medium": nil,
	} {
		u := createOn(t, image, "mysql", "9.7", plan, given)
		began := time.Now()
		u.start()
		u.ready()
		t.Logf("%s: start to usable %s", plan, time.Since(began).Round(time.Millisecond))
		if out := u.logs(); strings.Contains(out, "Initialization - start") || strings.Contains(out, "[ERROR]") {
			t.Errorf("%s did not start from golden data, or not well:\n%s", plan, out)
		}
		db := u.tenant() // without TLS: the password goes by the server's RSA key
		for name, want := range map[string]string{"character_set_database": u.inst.Spec.Parameters.String("charset"), "innodb_doublewrite": "ON"} {
			if got := text(t, db, "SELECT @@"+name); got != want {
				t.Errorf("%s: %s is %s, want %s", plan, name, got, want)
			}
		}
		out, err := u.root("SELECT @@innodb_redo_log_capacity, COUNT(*) FROM mysql.user")
		if want := fmt.Sprintf("%d\t6", clamp(u.inst.Spec.Resources.MemoryBytes/16, 32*miB, giB)); err != nil || out != want {
			t.Errorf("%s: redo log and accounts are %q, want %q", plan, out, want)
		}
		if _, err := tryDocker(nil, "exec", u.container, "mysql", "--no-defaults", "--user=root", "--socket=/tmp/mysqld.sock", "--execute", "SELECT 1"); err == nil {
			t.Error("root needs no password")
		}
		u.refusesWrongPassword()
		var name, public string
		if err := db.QueryRowContext(t.Context(), "SHOW STATUS LIKE 'Caching_sha2_password_rsa_public_key'").Scan(&name, &public); err != nil || public != u.given("public_key.pem") {
			t.Errorf("%s: its RSA key is %s, not the one that it was given (%v)", plan, public, err)
		}
		if u.has(mysqlHome+"/conf/private_key.pem") || u.has(mysqlHome+"/unsafe") {
			t.Errorf("%s: the key lies where it was given, or the data is not taken for safe", plan)
		}
		identity := u.serverIdentity()
		for what, value := range identity {
			if value == "" || before[what] == value {
				t.Errorf("%s: %s is %q, as of another server", plan, what, value)
			}
		}
		before = identity
		must(t, db, "CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)")
		docker(t, "kill", u.container)
		u.start()
		u.ready()
		if n := text(t, u.tenant(), "SELECT COUNT(*) FROM t"); n != "1" {
			t.Errorf("%s: after a kill there are %s rows", plan, n)
		}
		for what, value := range u.serverIdentity() {
			if identity[what] != value {
				t.Errorf("%s: %s changed with a restart", plan, what)
			}
		}
		docker(t, "rm", "--force", u.container)
	}
}

// given gives a file that the server was started with.
func (u *unit) given(name string) string {
	for _, f := range u.work.Files {
		if strings.HasSuffix(f.Path, "/"+name) {
			return f.Content.Reveal()
		}
	}
	return ""
}

// A host that crashed before the disk had the copy leaves a data directory that nobody
// could log in to yet, of which anything may be missing.
func TestMySQLAfterACrashOnDocker(t *testing.T) {
	t.Parallel()
	for name, image := range map[string]string{"with golden data": goldenImage(t), "without": ""} {
		t.Run(name, func(t *testing.T) {
			u := createOn(t, image, "mysql", "9.7", "small", nil)
			broken := host.Workload{DataPath: mysqlHome, Files: []host.File{
				{Path: mysqlHome + "/unsafe", Mode: 0o600}, {Path: mysqlHome + "/data/ibdata1", Mode: 0o600, Content: secret.New("half")},
			}}
			if out, err := tryDocker(archive(t, broken), "cp", "-", u.container+":"+mysqlHome); err != nil {
				t.Fatal(out)
			}
			u.start()
			u.ready()
			if u.has(mysqlHome + "/unsafe") {
				t.Error("the data is not taken for safe")
			}
			must(t, u.tenant(), "CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)")
			docker(t, "restart", "--time", "0", u.container)
			u.ready()
			if n := text(t, u.tenant(), "SELECT COUNT(*) FROM t"); n != "1" {
				t.Errorf("after a restart there are %s rows", n)
			}
			docker(t, "rm", "--force", u.container)
		})
	}
}

// What is damaged, or cannot be read, is done without.
func TestMySQLWithoutGoldenOnDocker(t *testing.T) {
	t.Parallel()
	base := localImage(t, find(t, "mysql").Describe().Versions[0].Images)
	id := docker(t, "create", "--entrypoint", "sh", base, "-c", "mkdir -p /berth/data/x && chmod 0 /berth/data/x && rm -f /berth/none")
	t.Cleanup(func() { _, _ = tryDocker(nil, "rm", "--force", "--volumes", id) })
	docker(t, "start", "--attach", id)
	name := "berth-test/golden:" + id[:12]
	docker(t, "commit", id, name)
	t.Cleanup(func() { _, _ = tryDocker(nil, "rmi", name) })
	u := createOn(t, name, "mysql", "9.7", "small", nil)
	u.start()
	u.ready()
	if out := u.logs(); !strings.Contains(out, "Initialization - start") {
		t.Errorf("it was not initialised:\n%s", out)
	}
	docker(t, "rm", "--force", u.container)
}
