package engine

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// mariadb runs one of MariaDB's clients here, as the tenant.
func (u *unit) mariadb(stdin, program string, args ...string) (stdout, stderr string, err error) {
	u.t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		u.t.Fatalf("%v; run scripts/mariadb.sh", err)
	}
	cmd := exec.CommandContext(u.t.Context(), program, append([]string{ //nolint:gosec // a test with its own arguments
		"--no-defaults", "--protocol=tcp", "--host=" + u.inst.Status.Address, fmt.Sprintf("--port=%d", u.inst.Status.Port), "--user=" + u.cred.Username,
	}, args...)...)
	cmd.Env = append(cmd.Environ(), "MYSQL_PWD="+u.cred.Password.Reveal())
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &said
	err = cmd.Run()
	return out.String(), said.String(), err
}

// What MariaDB's own tools dump is restored by them, into an instance with another user.
func TestMySQLDumpByMariaDBOnDocker(t *testing.T) {
	t.Parallel()
	u := deploy(t, "mysql", "9.7", "small", nil)
	u.restore(definers)
	dump, said, err := u.mariadb("", "mariadb-dump", "--single-transaction", "--routines", "--events", "--triggers", u.cred.Database)
	if err != nil || said != "" || !strings.Contains(dump, "-- Dump completed") {
		t.Fatalf("mariadb-dump: %v, it says: %s", err, said)
	}
	other := deploy(t, "mysql", "9.7", "small", map[string]any{"username": "somebody"})
	if out, said, err := other.mariadb(dump, "mariadb", other.cred.Database); err != nil {
		t.Fatalf("mariadb: %v\n%s%s", err, out, said)
	}
	other.well()
	for _, query := range []string{"SELECT CONCAT_WS(' ', COUNT(*), SUM(CRC32(CONCAT(id, n, seen)))) FROM a", "SELECT SUM(f(n)) FROM v"} {
		if a, b := text(t, u.tenant(), query), text(t, other.tenant(), query); a != b {
			t.Errorf("%s is %q, was %q", query, b, a)
		}
	}
	must(t, other.tenant(), "INSERT INTO a (n) VALUES (3)", "CALL p()")
	if got := text(t, other.tenant(), "SELECT seen IS NOT NULL FROM a WHERE n = 3"); got != "1" {
		t.Error("the trigger did not fire")
	}
	if got := text(t, other.tenant(), "SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_NAME = 'e'"); got != "1" {
		t.Error("the event is not there")
	}
}
