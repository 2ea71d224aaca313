package engine

import (
	"strings"
	"testing"
)

// The client's call stores what was typed, whatever the client's default is: an option
// file that says latin1, and no locale.
func TestMySQLClientCallOnDocker(t *testing.T) {
	t.Parallel()
	for charset, want := range map[string]string{"utf8mb4": "C3BCF09F9A80", "latin1": "FC"} {
		t.Run(charset, func(t *testing.T) {
			u := deploy(t, "mysql", "9.7", "small", map[string]any{"charset": charset})
			inside := u.inst
			inside.Status.Address, inside.Status.Port = "127.0.0.1", 3306
			typed := "ü🚀"
			if charset == "latin1" {
				typed = "ü"
			}
			call := func(cli string) string {
				t.Helper()
				script := `mkdir -p /tmp/home && printf '[mysql]\ndefault-character-set=latin1\n' >/tmp/home/.my.cnf && export HOME=/tmp/home LC_ALL=C && ` + cli +
					` -N -e "DROP TABLE IF EXISTS said; CREATE TABLE said (what VARCHAR(20)); INSERT INTO said VALUES ('` + typed + `')"`
				if out, err := u.exec("sh", "-c", script); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				return text(t, u.tenant(), "SELECT HEX(what) FROM said")
			}
			cli := mysqlCLI(inside, u.cred).Reveal()
			if got := call(cli); got != want {
				t.Errorf("%q is stored as %s, want %s", typed, got, want)
			}
			if got := call(strings.Replace(cli, " --default-character-set=utf8mb4", "", 1)); got == want {
				t.Error("the client's default makes no difference: this test shows nothing")
			}
		})
	}
}
