package engine

import (
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// Each form says the same to who reads it, whatever the password is made of.
func TestForms(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "db.example.com", "::1"} {
		for _, password := range []string{"plain123", `a'b"c$d\e f`, "p@ss:w/rd?x=1&y#z%41+ü", "-p"} {
			inst := instance.Instance{Status: instance.Status{Address: host, Port: 20001}}
			cred := instance.Credentials{Username: "shop_a", Password: secret.New(password), Database: "shop_a"}
			uri := url.URL{Scheme: "mysql", User: url.UserPassword(cred.Username, password), Host: hostPort(inst), Path: "/shop_a"}
			f := mysqlForms(inst, cred, uri)
			if dsn, err := mysql.ParseDSN(f.DSN.Reveal()); err != nil || dsn.User != "shop_a" || dsn.Passwd != password || dsn.Addr != hostPort(inst) || dsn.DBName != "shop_a" || !dsn.ParseTime {
				t.Errorf("DSN %s: %+v, %v", f.DSN.Reveal(), dsn, err)
			}
			jdbc, err := url.Parse(strings.TrimPrefix(f.JDBC.Reveal(), "jdbc:"))
			if err != nil || jdbc.Scheme != "mysql" || jdbc.Host != hostPort(inst) || jdbc.Path != "/shop_a" || jdbc.Query().Get("user") != "shop_a" || jdbc.Query().Get("password") != password {
				t.Errorf("JDBC %s: %v", f.JDBC.Reveal(), err)
			}
			maria, err := url.Parse(f.MariaDB.Reveal())
			if got, _ := maria.User.Password(); err != nil || maria.Scheme != "mariadb" || got != password || maria.Host != hostPort(inst) {
				t.Errorf("MariaDB %s: %v", f.MariaDB.Reveal(), err)
			}
			sh := func(env secret.Secret, show string) []string {
				t.Helper()
				out, err := exec.CommandContext(t.Context(), "sh", "-c", env.Reveal()+`printf '%s\n' `+show).Output() //nolint:gosec // that is the test
				if err != nil {
					t.Fatalf("%v:\n%s", err, env.Reveal())
				}
				return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			}
			want := strings.Join([]string{host, "20001", "shop_a", password, "shop_a", uri.String()}, "|")
			if got := strings.Join(sh(f.Env, `"$MYSQL_HOST" "$MYSQL_PORT" "$MYSQL_USER" "$MYSQL_PASSWORD" "$MYSQL_DATABASE" "$DATABASE_URL"`), "|"); got != want {
				t.Errorf("environment %q, want %q", got, want)
			}
			uri.Scheme, uri.Path = "redis", "/0"
			want = strings.Join([]string{host, "20001", password, uri.String()}, "|")
			if got := strings.Join(sh(redisForms(inst, cred, uri).Env, `"$REDIS_HOST" "$REDIS_PORT" "$REDIS_PASSWORD" "$REDIS_URL"`), "|"); got != want {
				t.Errorf("environment %q, want %q", got, want)
			}
			words := sh(secret.New("mysql() { printf '%s\\n' \"$@\"; }\n"+mysqlCLI(inst, cred).Reveal()+"\n"), "end")
			want = strings.Join([]string{"-h", host, "-P", "20001", "-u", "shop_a", "-p" + password, "--default-character-set=utf8mb4", "shop_a", "end"}, "|")
			if got := strings.Join(words, "|"); got != want {
				t.Errorf("the shell reads %q, want %q", got, want)
			}
		}
	}
}
