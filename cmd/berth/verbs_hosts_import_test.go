package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
)

func writeHosts(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte("Host Name,IP\ndb-1,10.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestHostsImport(t *testing.T) {
	f := fakeWithHosts()
	f.routes["POST /hosts/import"] = []string{`202 {"job":` + hostJob("9", "hosts.import",
		"queued") + `,"hosts":["hst_1","hst_2"],"count":2}`}
	f.routes["GET /hosts/hst_1"] = []string{"200 " + hostIn("1", "importing", `"job_id":"job_1",`),
		"200 " + hostIn("1", "online", "")}
	f.routes["GET /hosts/hst_2"] = []string{"200 " + hostIn("2", "importing", `"job_id":"job_2",`),
		"200 " + hostIn("2", "failed", `"reason":"login: refused",`)}
	f.routes["GET /jobs/job_1"] = []string{"200 " + hostJob("1", "host.import", "running"), "200 " + hostJob("1",
		"host.import", "succeeded")}
	f.routes["GET /jobs/job_2"] = []string{"200 " + hostJob("2", "host.import", "running"), "200 " + hostJob("2",
		"host.import", "failed")}
	f.routes["GET /jobs/job_9"] = []string{"200 " + hostJob("9", "hosts.import", "running"), "200 " + hostJob("9",
		"hosts.import", "failed")}
	got := berth(t.Context(), t, f, nil, nil, "hosts", "import", writeHosts(t, "hosts.csv"), "--skip-init", "--wait")
	want := result{
		1, "db-2 failed: login: refused\n1 of 2 hosts online.\n", "" +
			"import host db-1: checks done after 1.5s\nimport host db-1: ledger running: the books are right\n" +
			"import host db-2: checks done after 1.5s\nimport host db-2: ledger running: the books are right\n" +
			"import 2 hosts: 0 of 2 online, 0 failed, 2 under way\n" +
			"import host db-1: ledger done after 0.5s: the books are right\nimport host db-2: ledger failed after " +
			"0.5s: the books are right\n" +
			"import 2 hosts: 1 of 2 online, 1 failed, 0 under way\n" +
			"berth: import 2 hosts: 1 host failed; mend what is said above and import them again\n",
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if sent := f.sent()[0]; !strings.HasPrefix(sent,
		"POST /hosts/import?skip_init=true --") || !strings.Contains(sent, `filename="hosts.csv"`) ||
		!strings.Contains(sent, "db-1,10.0.0.1") {
		t.Errorf("sent %q", sent)
	}
}

func TestHostsImportRefused(t *testing.T) {
	f := fakeWithHosts()
	f.routes["POST /hosts/import"] = []string{`422 {"code":"invalid","detail":"the request was refused; nothing ` +
		`was changed","errors":[` +
		`{"field":"rows[2].address","message":"must be an IP address"},{"field":"rows[2].disks[0].path",` +
		`"message":"must be absolute"},` +
		`{"field":"rows[7].name","message":"is taken"},{"field":"more","message":"5 more fields are wrong"}]}`}
	got := berth(t.Context(), t, f, nil, nil, "hosts", "import", writeHosts(t, "hosts.xlsx"))
	want := result{
		1, "", "berth: the request was refused; nothing was changed\n  row 2\n    address: must be an IP " +
			"address\n    disks[0].path: must be absolute\n" +
			"  row 7\n    name: is taken\n  more: 5 more fields are wrong\n",
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	f.routes["POST /hosts/import"] = []string{`200 {"hosts":[],"count":3}`}
	got = berth(t.Context(), t, f, nil, nil, "hosts", "import", writeHosts(t, "hosts.json"), "--dry-run")
	if got != (result{0, "3 hosts could be imported; nothing was changed.\n", ""}) || !slices.ContainsFunc(f.sent(),
		func(s string) bool {
			return strings.HasPrefix(s, "POST /hosts/import?dry_run=true Host Name") // the JSON as it is, not as a form
		}) {
		t.Errorf("%+v, sent %q", got, f.sent())
	}
}

// A template is never written over a file, which somebody may have filled in.
func TestHostsTemplateFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts.csv")
	for i, code := range []int{0, 1} {
		if got := berth(t.Context(), t, fakeWithHosts(), nil, nil, "hosts", "template", "csv", "-o",
			file); got.code != code || got.out != "" {
			t.Errorf("%d: %+v", i, got)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "Host Name,IP\r\n" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestRenderFleet(t *testing.T) {
	f := fleet{
		{id: "hst_1", name: "db-1", state: client.HostOnline},
		{id: "hst_2", name: "db-22", state: client.HostImporting, job: client.Job{
			ID: "job_2", Progress: 40, Steps: []client.Step{{Name: "login", State: client.StepDone}, {Name: "install",
				State: client.StepRunning, Detail: "pulling", StartedAt: at(-3)}, {Name: "join",
				State: client.StepWaiting}},
		}},
		{id: "hst_3", name: "hst_3", state: client.HostImporting},
		{id: "hst_4", name: "db-4", state: client.HostFailed, reason: "login: refused"},
	}
	if got, want := drawn(renderFleet(f, "import 4 hosts", 80, noon)), ""+
		"  ✓ db-1   online\n  ⠋ db-22   40%  install  3.0s  pulling\n"+
		"  · hst_3  waiting\n  ✗ db-4   login: refused\n"+
		"⠋ import 4 hosts  1 of 4 online, 1 failed, 2 under way\n"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	many := make(fleet, 50)
	for i := range many {
		many[i] = fleetHost{id: "x", name: "x", state: client.HostOnline}
	}
	many[7].state = client.HostFailed
	if lines := renderFleet(many, "import", 80, noon.Add(time.Second)); len(lines) != 2 || lines[1].symbol != "✗" {
		t.Errorf("%v", lines)
	}
}

// Of many hosts some are looked at each time, all of them in turns.
func TestImportWatchTakesTurns(t *testing.T) {
	f := &fakeBerth{routes: map[string][]string{}}
	ids := make([]string, 30)
	for i := range ids {
		ids[i] = fmt.Sprintf("hst_%d", i)
		f.routes["GET /hosts/"+ids[i]] = []string{"200 " + hostIn("1", "importing", "")}
	}
	srv := httptest.NewServer(f)
	defer srv.Close()
	cl, err := client.New(client.Config{URL: srv.URL, APIKey: "brth_key"})
	if err != nil {
		t.Fatal(err)
	}
	w := &importWatch{cl: cl, fleet: newFleet(ids)}
	w.fleet[3].state = client.HostOnline // it is not looked at any more
	for _, want := range []int{12, 24, 36} {
		if w.look(t.Context(), looksAtOnce); len(f.sent()) != want {
			t.Errorf("%d requests, want %d", len(f.sent()), want)
		}
	}
	sent := slices.Compact(slices.Sorted(slices.Values(f.sent())))
	if len(sent) != 29 || slices.Contains(sent, "GET /hosts/hst_3") {
		t.Errorf("looked at %q", sent)
	}
}
