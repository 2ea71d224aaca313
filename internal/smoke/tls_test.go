package smoke

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// TestTLS connects to instances by the CA that their configuration shows, and to some that
// require it.
func TestTLS(t *testing.T) {
	srv := startDev(t, noSweeps).server
	for _, engine := range []string{"mysql", "redis"} {
		for _, require := range []bool{false, true} {
			a, err := srv.Create(t.Context(), engine, "", client.CreateRequest{RequireTLS: require})
			if err != nil {
				t.Fatal(err)
			}
			if err := srv.await(t.Context(), a.Job, 2*time.Minute); err != nil {
				t.Fatal(err)
			}
			conn, err := srv.Connection(t.Context(), a.Instance)
			if err != nil || conn.TLS == nil || conn.TLS.Required != require {
				t.Fatalf("config shows %+v, %v", conn.TLS, err)
			}
			if left := time.Until(conn.TLS.ValidUntil); left < 390*24*time.Hour {
				t.Errorf("the certificate of %s is good for %s", engine, left)
			}
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM([]byte(conn.TLS.CA)) {
				t.Fatal("the CA is none")
			}
			if err := bySecure[engine](t.Context(), conn, &tls.Config{RootCAs: roots, ServerName: conn.Host, MinVersion: tls.VersionTLS12}); err != nil {
				t.Errorf("%s, verified by the CA: %v", engine, err)
			}
			var wrong x509.HostnameError
			if err := bySecure[engine](t.Context(), conn, &tls.Config{RootCAs: roots, ServerName: "elsewhere.example.com", MinVersion: tls.VersionTLS12}); !errors.As(err, &wrong) {
				t.Errorf("%s, under another name: %v", engine, err)
			}
			if err := byPlain[engine](t.Context(), conn); (err != nil) != require {
				t.Errorf("%s, TLS required %v, without TLS: %v", engine, require, err)
			}
			container := containerOf(t, a.Instance.ID)
			folder := map[string]string{"mysql": "/var/lib/mysql/conf", "redis": "/data/conf"}[engine]
			hidden := secrets{"server's key": strings.Split(docker(t, "exec", container, "cat", folder+"/server-key.pem"), "\n")[1]}
			hidden.absentFrom(t, "docker inspect of "+engine, docker(t, "inspect", container))
			hidden.absentFromAnswers(t, srv, []string{a.Instance.ID}, []string{a.Job.ID})
		}
	}
}

var bySecure = map[string]func(context.Context, client.Connection, *tls.Config) error{
	"mysql": func(ctx context.Context, conn client.Connection, cfg *tls.Config) error {
		return testenv.ConnectMySQL(ctx, conn.TLS.DSN, cfg)
	},
	"redis": func(ctx context.Context, conn client.Connection, cfg *tls.Config) error {
		return testenv.ConnectRedis(ctx, conn.TLS.URI, cfg)
	},
}

var byPlain = map[string]func(context.Context, client.Connection) error{
	"mysql": func(ctx context.Context, conn client.Connection) error {
		return testenv.ConnectMySQL(ctx, strings.Replace(conn.Forms.DSN, "tls=preferred", "tls=false", 1), nil)
	},
	"redis": func(ctx context.Context, conn client.Connection) error {
		return testenv.ConnectRedis(ctx, strings.Replace(conn.URI, "rediss://", "redis://", 1), nil)
	},
}
