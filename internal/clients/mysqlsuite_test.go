package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// leftOut are the tests of go-sql-driver/mysql's own that are not run, each for a reason.
var leftOut = map[string]string{
	"TestLoadData":                "LOAD DATA LOCAL INFILE is refused: a server that is taken over could ask its clients for any of their files",
	"TestLongData/compress":       "its value is as large as max_allowed_packet, and with compression larger: stock servers of the same limit refuse it, too",
	"TestConnectorReturnsTimeout": "it dials an address in the Internet, and no MySQL",
}

// skipsItself are the tests that look for something and do without.
var skipsItself = map[string]string{
	"TestConnectionAttributes": "it reads performance_schema, which is off: it would take half of a small instance's memory",
}

// TestMySQLDriverSuite runs the tests that come with go-sql-driver/mysql against an
// instance of the default plan, as its tenant.
func TestMySQLDriverSuite(t *testing.T) {
	conn := startDev(t).instance(t, "mysql")
	source := strings.TrimSpace(run(t, repository, nil, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/go-sql-driver/mysql"))
	suite := filepath.Join(t.TempDir(), "suite")
	if err := os.CopyFS(suite, os.DirFS(source)); err != nil { // in the cache nothing may be written
		t.Fatal(err)
	}
	var names []string
	for name := range leftOut {
		names = append(names, "^"+strings.ReplaceAll(name, "/", "$/^")+"$")
	}
	env := []string{
		"MYSQL_TEST_USER=" + conn.Username, "MYSQL_TEST_PASS=" + conn.Password, "MYSQL_TEST_PROT=tcp", "MYSQL_TEST_ADDR=" + hostPort(conn),
		"MYSQL_TEST_DBNAME=" + conn.Database, "MYSQL_TEST_CONCURRENT=1",
	}
	result := runSuite(t, suite, append(env, plainGo...), "-skip", strings.Join(names, "|"))
	if len(result["pass"]) < 100 {
		t.Errorf("only %d of its tests have passed", len(result["pass"]))
	}
	for _, name := range result["skip"] { // without a server it skips nearly everything
		if skipsItself[name] == "" {
			t.Errorf("%s was skipped by itself", name)
		}
	}
}

// runSuite runs the tests of a folder, shows what those say that fail, and gives their
// names by how they ended.
func runSuite(t *testing.T, dir string, env []string, args ...string) map[string][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1", "-json", "-timeout", commandLimit.String()}, append(args, ".")...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(testenv.CleanEnvironment(), env...), 10*time.Second
	out, err := cmd.CombinedOutput()
	said, ended := map[string]string{}, map[string][]string{}
	for line := range bytes.Lines(out) {
		var event struct{ Action, Test, Output string }
		if json.Unmarshal(line, &event) != nil {
			event.Output = string(line) // a compiler's words
		}
		said[event.Test] += event.Output
		switch event.Action {
		case "pass", "skip", "fail":
			if event.Action == "fail" {
				t.Errorf("%s fails:\n%s", event.Test, testenv.Tail(said[event.Test], 40))
			}
			if !strings.Contains(event.Test, "/") && event.Test != "" {
				ended[event.Action] = append(ended[event.Action], event.Test)
			}
		}
	}
	if err != nil && !t.Failed() {
		t.Errorf("go test: %v\n%s", err, testenv.Tail(said[""], 40))
	}
	return ended
}
