package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// secured makes servers in each way that speak TLS, and may require it.
func secured(t *testing.T, name, version string, require bool, run func(*testing.T, *unit)) {
	t.Helper()
	for way, make := range map[string]func(*testing.T) *unit{
		"deployed": func(t *testing.T) *unit {
			inst := newInstance(t, find(t, name), version, "small", nil)
			inst.Spec.RequireTLS = require
			u := createFor(t, inst, "")
			u.start()
			u.ready()
			return u
		},
		"adopted": func(t *testing.T) *unit { return adoptedFor(t, name, version, "small", nil, require) },
	} {
		if way == "adopted" && find(t, name).Ports(require) != find(t, name).Ports(false) {
			continue // it takes other ports than a warm one has
		}
		t.Run(fmt.Sprintf("%s %s %s, TLS required %v", name, version, way, require), func(t *testing.T) { run(t, make(t)) })
	}
}

// config is what `config` shows of the instance.
func (u *unit) config() instance.Connection {
	cred := u.cred
	cred.Identity = authority.Identity{CA: theCA().Certificate()}
	return u.engine.Connection(u.inst, cred)
}

// client gives what a Go program makes of the CA that `config` shows.
func client(t *testing.T, c instance.Connection, serverName string) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(c.TLS.CA)) {
		t.Fatal("config shows no CA")
	}
	return &tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS12}
}

// connects says how a client of each engine does with a connection by TLS.
var connects = map[string]func(ctx context.Context, c instance.Connection, cfg *tls.Config) error{
	"mysql": func(ctx context.Context, c instance.Connection, cfg *tls.Config) error {
		return testenv.ConnectMySQL(ctx, c.TLS.DSN.Reveal(), cfg)
	},
	"redis": func(ctx context.Context, c instance.Connection, cfg *tls.Config) error {
		return testenv.ConnectRedis(ctx, c.TLS.URI.Reveal(), cfg)
	},
}

func TestTLSOnDocker(t *testing.T) {
	for _, e := range []struct{ name, version string }{{"mysql", "9.7"}, {"redis", "8"}, {"redis", "7"}} {
		for _, require := range []bool{false, true} {
			secured(t, e.name, e.version, require, func(t *testing.T, u *unit) {
				c := u.config()
				connect := connects[e.name]
				if err := connect(t.Context(), c, client(t, c, "127.0.0.1")); err != nil {
					t.Errorf("verified by the CA: %v", err)
				}
				var wrong x509.HostnameError
				if err := connect(t.Context(), c, client(t, c, "db.example.com")); !errors.As(err, &wrong) {
					t.Errorf("under another name: %v", err)
				}
				var unknown x509.UnknownAuthorityError
				if err := connect(t.Context(), c, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}); !errors.As(err, &unknown) { //nolint:gosec // any version
					t.Errorf("without the CA: %v", err)
				}
				if c.TLS.Required != require {
					t.Errorf("config says that TLS is required: %v", c.TLS.Required)
				}
				if err := u.plainly(); (err != nil) != require {
					t.Errorf("without TLS: %v", err)
				}
				u.byCommandLine()
			})
		}
	}
}

// plainly connects as the tenant without TLS.
func (u *unit) plainly() error {
	if u.inst.Spec.Engine == "mysql" {
		_, err := u.tenant().ExecContext(u.t.Context(), "DO 0")
		return err
	}
	r := redis.NewClient(&redis.Options{Addr: hostPort(u.inst), Username: u.cred.Username, Password: u.cred.Password.Reveal(), MaxRetries: -1, DialerRetries: 1})
	err := r.Ping(u.t.Context()).Err()
	return errors.Join(err, r.Close())
}

// byCommandLine runs the engines' own clients, as config has them, inside the container.
func (u *unit) byCommandLine() {
	u.t.Helper()
	inside, folder, say, answer := *u, "/tmp", `echo "SELECT 'fi' 'ne'" |`, "fine"
	inside.inst.Status.Port = u.work.Ports[0].Container
	if u.inst.Spec.Engine == "redis" {
		if folder, say, answer = redisHome, "echo PING |", "PONG"; len(u.work.Ports) > 1 {
			inside.inst.Status.TLSPort = u.work.Ports[1].Container
		}
	}
	c := inside.config()
	for _, try := range []struct {
		name, ca string
		good     bool
	}{
		{"127.0.0.1", c.TLS.CA, true},
		{"127.0.0.1", strangeCA(u.t), false},
		{"127.0.0.2", c.TLS.CA, u.inst.Spec.Engine == "redis"}, // redis-cli verifies no names
	} {
		command := strings.Replace(c.TLS.CLI.Reveal(), "127.0.0.1", try.name, 1)
		out, said, err := runDocker(u.t, try.ca, "exec", "--interactive", "--workdir", folder, u.container, "sh", "-c", "cat >ca.pem; "+say+" "+command)
		if (err == nil && strings.Contains(out, answer)) != try.good {
			u.t.Errorf("%s: %v: %q %s", strings.ReplaceAll(command, u.cred.Password.Reveal(), "…"), err, out, said)
		}
	}
}

// TestRecertifyOnDocker gives running servers another certificate, which new connections get
// while old ones go on.
func TestRecertifyOnDocker(t *testing.T) {
	for _, e := range []struct{ name, version string }{{"mysql", "9.7"}, {"redis", "8"}, {"redis", "7"}} {
		for _, require := range []bool{false, true} {
			secured(t, e.name, e.version, require, func(t *testing.T, u *unit) {
				certified := u.engine.(instance.Certified)
				started := docker(t, "inspect", "--format", "{{.State.StartedAt}}", u.container)
				before := u.cred
				connection := u.openConnection()
				first := connection()
				u.certify(u.inst.Status.CertifiedUntil.AddDate(0, 0, -1))
				if err := certified.Recertify(t.Context(), u.inst, u.cred); err == nil {
					t.Error("it says that a server presents what is not in its files")
				}
				if u.cred.Identity.Certificate == before.Identity.Certificate {
					t.Fatal("the certificates are the same")
				}
				var err error
				if u.work, err = u.engine.Workload(u.inst, u.cred); err != nil {
					t.Fatal(err)
				}
				if out, err := tryDocker(archive(t, u.work), "cp", "-", u.container+":"+u.work.DataPath); err != nil {
					t.Fatalf("docker cp: %v: %s", err, out)
				}
				if err := certified.Recertify(t.Context(), u.inst, u.cred); err != nil {
					t.Fatal(err)
				}
				if err := u.probe(); err != nil {
					t.Error(err)
				}
				c := u.config()
				if err := connects[e.name](t.Context(), c, client(t, c, "127.0.0.1")); err != nil {
					t.Error(err)
				}
				if same := connection(); same != first {
					t.Errorf("a connection that was open is %q, and was %q", same, first)
				}
				if again := docker(t, "inspect", "--format", "{{.State.StartedAt}}", u.container); again != started {
					t.Error("it was restarted")
				}
			})
		}
	}
}

// openConnection opens one with TLS, and gives what asks the server for its number.
func (u *unit) openConnection() func() string {
	u.t.Helper()
	c := u.config()
	if u.inst.Spec.Engine == "mysql" {
		if err := mysql.RegisterTLSConfig("berth", client(u.t, c, "127.0.0.1")); err != nil {
			u.t.Fatal(err)
		}
		db := u.databaseBy("berth", u.cred.Username, u.cred.Password, u.cred.Database)
		db.SetMaxOpenConns(1)
		return func() string { return text(u.t, db, "SELECT CONNECTION_ID()") }
	}
	options, err := redis.ParseURL(c.TLS.URI.Reveal())
	if err != nil {
		u.t.Fatal(err)
	}
	options.TLSConfig, options.PoolSize = client(u.t, c, "127.0.0.1"), 1
	r := redis.NewClient(options)
	u.t.Cleanup(func() { _ = r.Close() })
	return func() string { return fmt.Sprint(r.ClientID(u.t.Context()).Result()) }
}

// TestLookWithoutCertificateOnDocker has servers that present another certificate than the
// authority's, as a worker of an earlier release leaves them: they go on, and the tenant is told.
func TestLookWithoutCertificateOnDocker(t *testing.T) {
	for _, e := range []struct{ name, version string }{{"mysql", "9.7"}, {"redis", "8"}} {
		u := createFor(t, newInstance(t, find(t, e.name), e.version, "small", nil), "")
		u.start()
		u.ready()
		look := func(want string) {
			t.Helper()
			found, err := u.engine.(instance.Caretaker).Look(t.Context(), u.inst, u.cred)
			if err != nil || found.Notice != want || found.Upkeep != nil {
				t.Errorf("%s: %+v, %v, want %q", e.name, found, err, want)
			}
		}
		look("")
		u.cred.Identity.CA = strangeCA(t)
		look(noticeTLS)
		if err := u.engine.Probe(t.Context(), u.inst, u.cred); err == nil {
			t.Errorf("%s: a proof does not verify the server", e.name)
		}
	}
}

func strangeCA(t *testing.T) string {
	t.Helper()
	own := instance.Instance{ID: "ins_other", Tenant: tenant.Default}
	certificate, _, err := selfSigned(own, instance.Credentials{AdminPassword: secret.New("secret")})
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
