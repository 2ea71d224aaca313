package store

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// FuzzDatabaseURL: a database URL that is taken names the server, the database, the user and
// the password that it was made of; one that is not is refused without a word of its password.
func FuzzDatabaseURL(f *testing.F) {
	for _, word := range []string{"berth", "S3cret-of-mine", "a b", "a@b", "a:b", "a/b", "a?b", "a#b", "%", "%zz", "ü", "a&tls=false", ")/x", "tcp(h)", "\x00", "\xff", "\n", ""} {
		f.Add(word, word, "db.example", uint16(3306), word)
		f.Add("berth", word, "::1", uint16(0), "berth")
		f.Add("berth", word, word, uint16(1), "berth")
	}
	f.Fuzz(func(t *testing.T, user, password, host string, port uint16, database string) {
		u := url.URL{Scheme: "mysql", User: url.UserPassword(user, password), Host: host, Path: "/" + database}
		if port > 0 {
			u.Host = net.JoinHostPort(host, strconv.Itoa(int(port)))
		}
		for _, text := range []string{u.String(), "mysql://" + user + ":" + password + "@" + u.Host + "/" + database, user + ":" + password, password + "://" + user} {
			err := CheckURL(text)
			if err != nil && len(password) > 12 && strings.Contains(err.Error(), password) && !strings.Contains(text, password+"://") {
				t.Errorf("%q: the error has the password: %v", text, err)
			}
		}
		cfg, err := mysqlSettings(u.String())
		if err != nil {
			return
		}
		if cfg.User != user || cfg.Passwd != password || cfg.DBName != strings.Trim(database, "/") || cfg.Net != "tcp" {
			t.Errorf("%q: user %q, password %q, database %q, %s", u.String(), cfg.User, cfg.Passwd, cfg.DBName, cfg.Net)
		}
		if port > 0 && cfg.Addr != net.JoinHostPort(host, strconv.Itoa(int(port))) {
			t.Errorf("%q: the server is %q", u.String(), cfg.Addr)
		}
	})
}

// FuzzSQLiteFile: a path names its file, whatever is in it, and never an option of SQLite's.
func FuzzSQLiteFile(f *testing.F) {
	for _, path := range []string{".berth/berth.db", "/a b/c.db", "a?mode=memory", "a#b", "%2e", "%", "a&_pragma=x", "ü", "\x00", "//host/a", ":memory:"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		// SQLite decodes %HH up to the first ? or #, and what is behind a ? is options (uri.html).
		rest, ok := strings.CutPrefix(sqliteFile(path), "file:")
		if !ok || strings.ContainsAny(rest, "?#") {
			t.Fatalf("%q gives %q", path, sqliteFile(path))
		}
		if back, err := url.PathUnescape(rest); err != nil || back != path {
			t.Errorf("%q gives %q, which is %q, %v", path, rest, back, err)
		}
	})
}
