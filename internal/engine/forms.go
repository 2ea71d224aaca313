package engine

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// mysqlForms writes the connection as programs take it.
func mysqlForms(inst instance.Instance, cred instance.Credentials, uri url.URL) instance.ConnectionForms {
	password := cred.Password.Reveal()
	jdbc := url.URL{
		Scheme: "mysql", Host: hostPort(inst), Path: "/" + cred.Database,
		RawQuery: "user=" + url.QueryEscape(cred.Username) + "&password=" + url.QueryEscape(password),
	}
	dsn := mysqlDSN(inst, cred)
	if inst.Spec.RequireTLS {
		dsn.TLSConfig = "preferred" // which it would not use by itself
	}
	mariadb := uri
	mariadb.Scheme = "mariadb"
	return instance.ConnectionForms{
		Env: envLines("MYSQL_HOST", inst.Status.Address, "MYSQL_PORT", strconv.Itoa(inst.Status.Port), "MYSQL_USER", cred.Username,
			"MYSQL_PASSWORD", password, "MYSQL_DATABASE", cred.Database, "DATABASE_URL", uri.String()),
		JDBC: secret.New("jdbc:" + jdbc.String()), DSN: secret.New(dsn.FormatDSN()), MariaDB: secret.New(mariadb.String()),
	}
}

// mysqlDSN gives the connection as go-sql-driver has it.
func mysqlDSN(inst instance.Instance, cred instance.Credentials) *mysql.Config {
	dsn := mysql.NewConfig()
	dsn.User, dsn.Passwd, dsn.Net, dsn.Addr, dsn.DBName, dsn.ParseTime = cred.Username, cred.Password.Reveal(), "tcp", hostPort(inst), cred.Database, true
	_ = dsn.Apply(mysql.Charset("utf8mb4", "")) // which fails on none
	return dsn
}

// mysqlCLI gives the call of the client. Terminals are UTF-8, whatever the database is and
// whatever the client would make of LANG; the server turns that into what a column has.
func mysqlCLI(inst instance.Instance, cred instance.Credentials) secret.Secret {
	return secret.New(fmt.Sprintf("mysql -h %s -P %d -u %s -p%s --default-character-set=utf8mb4 %s",
		shellWord(inst.Status.Address), inst.Status.Port, shellWord(cred.Username), shellWord(cred.Password.Reveal()), shellWord(cred.Database)))
}

// redisForms writes the connection as programs take it.
func redisForms(inst instance.Instance, cred instance.Credentials, uri url.URL) instance.ConnectionForms {
	return instance.ConnectionForms{
		Env: envLines("REDIS_HOST", inst.Status.Address, "REDIS_PORT", strconv.Itoa(inst.Status.Port), "REDIS_USERNAME", cred.Username,
			"REDIS_PASSWORD", cred.Password.Reveal(), "REDIS_URL", uri.String()),
	}
}

// envLines gives lines of NAME=value, given as name, value, name, value, that a shell and
// a file of settings read alike.
func envLines(pairs ...string) secret.Secret {
	var lines strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&lines, "%s=%s\n", pairs[i], shellWord(pairs[i+1]))
	}
	return secret.New(lines.String())
}

// harmless is what no shell takes for anything but itself.
var harmless = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellWord quotes a text where a shell would make something else of it.
func shellWord(text string) string {
	if harmless.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
