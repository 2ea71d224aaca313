package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	hostDoc = `{"id":"hst_%[1]s","name":"db-%[1]s","source":"pool","state":"%[2]s",%[3]s"health":"healthy",` +
		`"reserved":false,` +
		`"address":"10.0.0.%[1]s","endpoint":"ssh://root@10.0.0.%[1]s:22","host_key":"ssh-ed25519 AAAA",` +
		`"ports":{"first":20000,"last":29999},` +
		`"region":"eu","zone":"a","rack":"r1","arch":"amd64","labels":{"team":"x"},"engine":"ABCD",` +
		`"found":{"cpu":4,"memory":8589934592,"os":"Debian 13","kernel":"6.12","engine_version":"28.5.2",` +
		`"storage_driver":"overlay2","at":"2026-11-05T11:57:00.000Z"},` +
		`"overcommit":{"cpu_percent":400,"memory_percent":100,"reserved_cpu":0.25,"reserved_memory":536870912},` +
		`"capacity":{"cpu":15.75,"memory":8053063680},"used":{"cpu":2,"memory":1073741824,"instances":2},` +
		`"disks":[{"id":"dsk_1","path":"/data1","type":"nvme","capacity":549755813888,"used":21474836480,` +
		`"instances":2,"state":"available","enforcement":"none"}],` +
		`"checks":[{"name":"swap","verdict":"warn","found":"2 GiB","wanted":"off","advice":"turn it off"}],` +
		`"created_at":"2026-11-05T11:57:00.000Z"}`
	hostJobDoc = `{"id":"job_%[1]s","subject":"hst_1","instance_id":"","engine":"host","kind":"%[2]s",` +
		`"state":"%[3]s","progress":50,"attempt":1,` +
		`"steps":[{"name":"checks","state":"done","attempt":1,"started_at":"2026-11-05T11:59:58.000Z",` +
		`"finished_at":"2026-11-05T11:59:59.500Z"},` +
		`{"name":"ledger","state":"%[4]s","attempt":1,"detail":"the books are right",` +
		`"started_at":"2026-11-05T11:59:59.500Z"}],%[5]s` +
		`"deadline":"2026-11-05T12:10:00.000Z","created_at":"2026-11-05T11:59:58.000Z"}`
	swarmDoc = `{"name":"prod","endpoint":"swarm://10.0.0.1:2376","region":"eu","zone":"a","reserved":false,"nodes":[` +
		`{"id":"n1","hostname":"m1","address":"10.0.0.1","state":"ready","availability":"active","host":"m1"},` +
		`{"id":"n2","hostname":"m2","state":"down","availability":"active","host":null,"reason":"the node is down in the swarm"}],` +
		`"seen_at":"2026-11-05T11:57:00.000Z","error":"no answer","created_at":"2026-11-05T11:57:00.000Z"}`
	loginRefused = `"error":{"code":"login_refused","step":"login","message":"10.0.0.2:22 does not take the ` +
		`password","retryable":false},`
)

func hostIn(number, state, more string) string { return fmt.Sprintf(hostDoc, number, state, more) }

func hostJob(number, kind, state string) string {
	switch state {
	case "failed":
		return fmt.Sprintf(hostJobDoc, number, kind, state, "failed", loginRefused)
	case "succeeded":
		return fmt.Sprintf(hostJobDoc, number, kind, state, "done", "")
	default:
		return fmt.Sprintf(hostJobDoc, number, kind, state, "running", "")
	}
}

func fakeWithHosts() *fakeBerth {
	f := newFake()
	one := hostIn("1", "online", "")
	page := `200 {"items":[` + one + `]}`
	regions := `{"items":[{"region":"eu","name":"Europe","zones":["a","b"]}]}`
	disk := `{"id":"dsk_1","path":"/data1","type":"nvme","capacity":549755813888,"used":0,"instances":0,` +
		`"state":"error","enforcement":"none"}`
	for route, answer := range map[string]string{
		"GET /hosts": page, "GET /hosts/hst_1": "200 " + one, "POST /hosts/hst_1/cordon": "200 " + one, "POST /hosts/hst_1/uncordon": "200 " + one,
		"PUT /hosts/reserved":       page,
		"PATCH /hosts/hst_1":        "200 " + one,
		"POST /hosts/hst_1/drain":   "202 " + hostJob("1", "host.drain", "queued"),
		"POST /hosts/hst_1/inspect": "202 " + hostJob("1", "host.inspect", "queued"),
		"DELETE /hosts/hst_1":       "202 " + hostJob("1", "host.delete", "queued"),
		"POST /hosts": `202 {"job":` + hostJob("9", "hosts.import",
			"queued") + `,"hosts":["hst_1"],"count":1}`,
		"POST /hosts/takeover":    `202 {"host":` + one + `,"job":` + hostJob("1", "host.takeover", "queued") + `}`,
		"GET /hosts/template.csv": "200 Host Name,IP\r\n",
		"GET /hosts/hst_1/instances": `200 {"items":[{"id":"ins_1","tenant_id":"ten_1","resources":{"cpu":1,` +
			`"memory":536870912,"disk":10737418240},"disk":"dsk_1","ports":2,"group":"g",` +
			`"created_at":"2026-11-05T11:57:00.000Z"}]}`,
		"POST /hosts/hst_1/disks": "201 " + disk, "PATCH /hosts/hst_1/disks/dsk_1": "200 " + disk,
		"DELETE /hosts/hst_1/disks/dsk_1": "204 ",
		"GET /hosts/hierarchy": `200 {"items":[{"level":"region","name":"eu","hosts":2,"open":1,"instances":3,` +
			`"branches":[` +
			`{"level":"zone","name":"a","hosts":1,"open":1,"instances":1,"branches":[{"level":"host",` +
			`"name":"db-1","host_id":"hst_1","hosts":1,"open":1,"instances":1}]},` +
			`{"level":"zone","name":"b","hosts":1,"open":0,"instances":2,"branches":[{"level":"host",` +
			`"name":"db-2","hosts":1,"open":0,"instances":2}]}]}]}`,
		"GET /hosts/stocks": `200 {"items":[{"group":"eu","hosts":2,"open":1,"cpu":13.75,"memory":-1,` +
			`"disk":1073741824,"disks":2,"fits":{"redis/small":-1,"mysql/small":7}}]}`,
		"POST /hosts/placement": `200 {"hosts":[{"id":"hst_1","name":"db-1","region":"eu","zone":"a","rack":"r1"},` +
			`{"id":"hst_2","name":"db-2","region":"eu","zone":"b"}]}`,
		"GET /regions": "200 " + regions, "POST /regions": "201 " + regions,
		"GET /swarms": `200 {"items":[` + swarmDoc + `]}`, "GET /swarms/prod": "200 " + swarmDoc, "POST /swarms": "201 " + swarmDoc,
		"DELETE /swarms/prod": "204 ",
	} {
		f.routes[route] = []string{answer}
	}
	return f
}

const hostTable = "" +
	"NAME  STATE   HEALTH   REGION  ZONE  RACK  ADDRESS   INSTANCES  CPU      MEMORY           AGE  ID\n" +
	"db-1  online  healthy  eu      a     r1    10.0.0.1  2          2/15.75  1.0 GiB/7.5 GiB  3m   hst_1\n"

func TestHostVerbs(t *testing.T) {
	for line, want := range map[string][2]string{ // what is printed, and what was asked for last
		"ls --region eu --state online --label team=x": {hostTable,
			"GET /hosts?label=team%3Dx&limit=100&region=eu&state=online"},
		"show db-1": {"" +
			"Name:        db-1\nID:          hst_1\nState:       online\nHealth:      healthy\nSource:      " +
			"pool\nAddress:     10.0.0.1\n" +
			"Endpoint:    ssh://root@10.0.0.1:22\nHost key:    ssh-ed25519 AAAA\nPlace:       eu/a/r1\nPorts:     " +
			"  20000-29999\n" +
			"Arch:        amd64\nLabels:      team=x\nEngine:      ABCD\nMachine:     4 cores, 8.0 GiB memory\n" +
			"System:      Debian 13, kernel 6.12, Docker 28.5.2 on overlay2\nSeen:        2026-11-05T11:57:00Z " +
			"(3m ago)\n" +
			"Overcommit:  cpu 400 %, memory 100 %; 0.25 cores and 512 MiB kept for the system\n" +
			"CPU:         2 of 15.75 held\nMemory:      1.0 GiB of 7.5 GiB held\nInstances:   2\nCreated:     " +
			"2026-11-05T11:57:00Z (3m ago)\n\n" +
			"DISK   PATH    TYPE  STATE      USED    CAPACITY  INSTANCES  ENFORCEMENT\ndsk_1  /data1  nvme  available  20 GiB  " +
			"512 GiB   2          none\n\n" +
			"CHECK  VERDICT  FOUND  WANTED  ADVICE\nswap   warn     2 GiB  off     turn it off\n", "GET /hosts/hst_1"},
		"cordon db-1":    {"Cordoned db-1.\n", "POST /hosts/hst_1/cordon"},
		"uncordon hst_1": {"Uncordoned db-1.\n", "POST /hosts/hst_1/uncordon"},
		"reserve db-1":   {"Reserved db-1.\n", `PUT /hosts/reserved {"hosts":["hst_1"],"reserved":true}`},
		"unreserve db-1": {"Unreserved db-1.\n", `PUT /hosts/reserved {"hosts":["hst_1"],"reserved":false}`},
		"drain db-1":     {"Draining host db-1. Wait for it: berth wait job_1\n", "POST /hosts/hst_1/drain"},
		"inspect db-1":   {"Inspecting host db-1. Wait for it: berth wait job_1\n", "POST /hosts/hst_1/inspect"},
		"rm db-1":        {"Deleting host db-1. Wait for it: berth wait job_1\n", "DELETE /hosts/hst_1"},
		"set db-1 --name db-9 --label a=b --remove-label team --overcommit-cpu 200 --keep-memory 0 --ports " +
			"20000-20999": {
			"Changed host db-1.\n", `PATCH /hosts/hst_1 {"name":"db-9","labels":{"a":"b"},"ports":{"first":20000,` +
				`"last":20999},` +
				`"overcommit":{"cpu_percent":200,"memory_percent":100,"reserved_cpu":0.25,"reserved_memory":0}}`,
		},
		"disks ls db-1": {"DISK   PATH    TYPE  STATE      USED    CAPACITY  INSTANCES  ENFORCEMENT\ndsk_1  /data1  nvme  " +
			"available  20 GiB  512 GiB   2          none\n", "GET /hosts/hst_1"},
		"disks add db-1 /data2:ssd:10g --reserved": {
			"Added disk dsk_1 (/data1) to host db-1.\n",
			`POST /hosts/hst_1/disks {"path":"/data2","type":"ssd","capacity":10737418240,"state":"Reserved"}`,
		},
		"disks add db-1 /data2:ssd:10g:loop": {
			"Added disk dsk_1 (/data1) to host db-1.\n",
			`POST /hosts/hst_1/disks {"path":"/data2","type":"ssd","capacity":10737418240,"enforcement":"loop"}`,
		},
		"disks set db-1 /data1 --enforcement loop": {
			"Disk /data1 of host db-1 is error.\n", `PATCH /hosts/hst_1/disks/dsk_1 {"enforcement":"loop"}`,
		},
		"disks set db-1 /data1 --state error --capacity 0": {
			"Disk /data1 of host db-1 is error.\n", `PATCH /hosts/hst_1/disks/dsk_1 {"capacity":0,"state":"error"}`,
		},
		"disks rm db-1 dsk_1": {"Removed disk dsk_1 of host db-1.\n", "DELETE /hosts/hst_1/disks/dsk_1"},
		"tree --level region": {"" +
			"eu          2 hosts, 1 open, 3 instances\n" +
			"├─ a        1 host, 1 open, 1 instance\n" +
			"│  └─ db-1  1 instance\n" +
			"└─ b        1 host, 0 open, 2 instances\n" +
			"   └─ db-2  2 instances, closed\n", "GET /hosts/hierarchy?depth=4&level=1"},
		"tree --level zone --depth 2": {"", "GET /hosts/hierarchy?depth=2&level=2"},
		"stocks --by zone": {"" +
			"ZONE  HOSTS  OPEN  CPU FREE  MEMORY FREE  DISKS  DISK FREE  STILL FIT\n" +
			"eu    2      1     13.75     not limited  2      1.0 GiB    mysql/small=7 redis/small=not limited\n",
			"GET /hosts/stocks?group_by=zone"},
		"instances db-1": {"" +
			"INSTANCE  TENANT  RESOURCES                           PORTS  DISK   GROUP  AGE\n" +
			"ins_1     ten_1   1 cpu, 512 MiB memory, 10 GiB disk  2      dsk_1  g      3m\n",
			"GET /hosts/hst_1/instances?limit=100"},
		"try mysql:large --count 2 --region eu --group g --spread rack --strict --host-label team=x": {"" +
			"INSTANCE  HOST  REGION  ZONE  RACK  ID\n1         db-1  eu      a     r1    hst_1\n2         db-2  " +
			"eu      b     -     hst_2\n",
			`POST /hosts/placement {"engine":"mysql","plan":"large","count":2,"placement":{"region":"eu",` +
				`"labels":{"team":"x"},"group":"g","spread":"rack","strict":true}}`},
		"regions ls": {"REGION  ZONES  NAME\neu      a, b   Europe\n", "GET /regions"},
		"regions add eu a b": {"REGION  ZONES  NAME\neu      a, b   Europe\n",
			`POST /regions {"region":"eu","zones":["a","b"]}`},
		"swarms ls": {"" +
			"NAME  REGION  ZONE  NODES  HOSTS  SEEN  ENDPOINT               ERROR\n" +
			"prod  eu      a     2      1      3m    swarm://10.0.0.1:2376  no answer\n", "GET /swarms"},
		"swarms show prod": {"" +
			"Name:      prod\nEndpoint:  swarm://10.0.0.1:2376\nPlace:     eu/a\nSeen:      2026-11-05T11:57:00Z (3m ago)\n" +
			"Error:     no answer\nCreated:   2026-11-05T11:57:00Z (3m ago)\n\n" +
			"NODE  STATE  AVAILABILITY  ADDRESS   HOST  REASON                         ID\n" +
			"m1    ready  active        10.0.0.1  m1    -                              n1\n" +
			"m2    down   active        -         -     the node is down in the swarm  n2\n", "GET /swarms/prod"},
		"swarms add prod swarm://10.0.0.1:2376 --region eu --zone a --reserved": {
			"Added swarm prod. See what becomes of its nodes: berth hosts swarms show prod\n",
			`POST /swarms {"name":"prod","endpoint":"swarm://10.0.0.1:2376","region":"eu","zone":"a","reserved":true}`,
		},
		"swarms rm prod": {"Forgot swarm prod. Its nodes that are hosts stay hosts: berth hosts ls\n", "DELETE /swarms/prod"},
		"template csv":   {"Host Name,IP\r\n", "GET /hosts/template.csv"},
		"takeover db-1 10.0.0.1 --user root --region eu --zone a": {
			"Taking over host db-1 (hst_1). Wait for it: berth wait job_1\n",
			`POST /hosts/takeover {"name":"db-1","address":"10.0.0.1","user":"root","region":"eu","zone":"a"}`,
		},
	} {
		t.Run(line, func(t *testing.T) {
			f := fakeWithHosts()
			got := berth(t.Context(), t, f, nil, nil, append([]string{"hosts"}, strings.Fields(line)...)...)
			if got.code != 0 || got.errOut != "" || want[0] != "" && got.out != want[0] {
				t.Errorf("exit %d, stderr %q\n%s\nwant:\n%s", got.code, got.errOut, got.out, want[0])
			}
			if sent := f.sent(); len(sent) == 0 || sent[len(sent)-1] != want[1] {
				t.Errorf("sent %q", sent)
			}
		})
	}
}

func TestHostsJSON(t *testing.T) {
	one := hostIn("1", "online", "")
	for line, want := range map[string]string{
		"ls": `{"items":[` + one + `]}`, "show db-1": one, "cordon db-1": `{"items":[` + one + `]}`,
		"drain db-1":       hostJob("1", "host.drain", "queued"),
		"regions ls":       `{"items":[{"region":"eu","name":"Europe","zones":["a","b"]}]}`,
		"swarms show prod": swarmDoc, "swarms ls": `{"items":[` + swarmDoc + `]}`,
	} {
		got := berth(t.Context(), t, fakeWithHosts(), nil, nil, strings.Fields("hosts "+line+" -o json")...)
		if got.code != 0 || compacted(t, got.out) != want {
			t.Errorf("%s: exit %d %q\ngot  %s\nwant %s", line, got.code, got.errOut, got.out, want)
		}
	}
}

func compacted(t *testing.T, text string) string {
	t.Helper()
	var v json.RawMessage
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

func TestHostsWait(t *testing.T) {
	f := fakeWithHosts()
	f.routes["GET /jobs/job_1"] = []string{"200 " + hostJob("1", "host.inspect", "running"), "200 " + hostJob("1",
		"host.inspect", "succeeded")}
	got := berth(t.Context(), t, f, nil, nil, "hosts", "inspect", "db-1", "--wait")
	want := result{
		0, "Inspected host db-1: the books are right.\n\nCHECK  VERDICT  FOUND  WANTED  ADVICE\nswap   warn     2 " +
			"GiB  off     turn it off\n",
		"inspect host db-1: checks done after 1.5s\ninspect host db-1: ledger running: the books are right\n" +
			"inspect host db-1: ledger done after 0.5s: the books are right\n",
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	f.routes["GET /jobs/job_1"] = []string{"200 " + hostJob("1", "host.drain", "failed")}
	got = berth(t.Context(), t, f, nil, nil, "hosts", "drain", "db-1", "--wait")
	if got.code != 1 || !strings.Contains(got.errOut,
		"berth: drain host db-1: job job_1 failed at step \"login\": 10.0.0.2:22 does not take the password\n") {
		t.Errorf("%+v", got)
	}
	f.routes["DELETE /hosts/hst_1"] = []string{"202 " + hostJob("1", "host.delete", "succeeded")}
	got = berth(t.Context(), t, f, nil, nil, "hosts", "rm", "db-1", "--force")
	if got != (result{0, "Deleted host db-1.\n", ""}) || !slices.Contains(f.sent(), "DELETE /hosts/hst_1?force=true") {
		t.Errorf("%+v", got)
	}
}

// The password is read from the standard input, and is in no argument.
func TestHostsAdd(t *testing.T) {
	f := fakeWithHosts()
	f.routes["GET /hosts/hst_1"] = []string{"200 " + hostIn("1", "importing", `"job_id":"job_1",`)}
	f.routes["GET /jobs/job_1"] = []string{"200 " + hostJob("1", "host.import", "succeeded")}
	f.routes["GET /jobs/job_9"] = []string{"200 " + hostJob("9", "hosts.import", "succeeded")}
	line := "hosts add db-1 10.0.0.1 --user ops --region eu --zone a --disk /data1:nvme:1g --label team=x " +
		"--prepare docker,sysctls --ignore-warnings --password-stdin --wait"
	got := berth(t.Context(), t, f, map[string]string{"stdin": "s3cret\n"}, nil, strings.Fields(line)...)
	if got.code != 0 || got.out != "Host db-1 is online.\n" || !strings.Contains(got.errOut,
		"import host db-1: checks done after 1.5s\n") {
		t.Errorf("%+v", got)
	}
	const post = `POST /hosts?ignore_warnings=true&prepare=docker%2Csysctls {"name":"db-1","address":"10.0.0.1",` +
		`"user":"ops","password":"s3cret",` +
		`"region":"eu","zone":"a","labels":{"team":"x"},"disks":[{"path":"/data1","type":"nvme",` +
		`"capacity":1073741824}]}`
	if sent := f.sent(); sent[0] != post || f.keys[0] == "" {
		t.Errorf("sent %q with the key %q", sent[0], f.keys[0])
	}

	f.routes["POST /hosts"] = []string{`200 {"hosts":[],"count":1}`}
	got = berth(t.Context(), t, f, nil, nil, "hosts", "add", "db-1", "10.0.0.1", "--user", "ops", "--region", "eu",
		"--zone", "a", "--dry-run")
	if got != (result{0, "Host db-1 could be imported; nothing was changed.\n", ""}) {
		t.Errorf("%+v", got)
	}
	f.routes["POST /hosts"] = []string{`422 {"code":"invalid","detail":"the request was refused",` +
		`"errors":[{"field":"hosts[0].zone","message":"there is no zone z in region eu; add it first"}]}`}
	got = berth(t.Context(), t, f, nil, nil, "hosts", "add", "db-1", "10.0.0.1", "--user", "ops", "--region", "eu",
		"--zone", "z")
	if got != (result{1, "", "berth: the request was refused\n  zone: there is no zone z in region eu; add it " +
		"first\n"}) {
		t.Errorf("%+v", got)
	}
}

func TestHostsUsage(t *testing.T) {
	f := fakeWithHosts()
	for _, line := range []string{
		"add db-1", "add db-1 a --disk x", "add db-1 a --timeout 0s", "set db-1", "set db-1 --ports 1",
		"disks add db-1 /data1", "disks set db-1 dsk_1",
		"tree --level rock", "tree --depth 5", "stocks --by planet", "try", "try mysql --count 0",
		"try mysql --region=", "regions add eu", "swarms add prod", "swarms add prod swarm://a:1", "swarms rm", "swarms show",
		"template pdf", "import", "cordon", "ls --label x", "drain db-1 --timeout 0s",
	} {
		if got := berth(t.Context(), t, f, nil, nil, append([]string{"hosts"},
			strings.Fields(line)...)...); got.code != exitUsage {
			t.Errorf("%s: exit %d, %q", line, got.code, got.errOut)
		}
	}
	if sent := f.sent(); len(sent) > 0 {
		t.Errorf("sent %q", sent)
	}
	f.routes["GET /hosts"] = []string{`200 {"items":[]}`}
	if got := berth(t.Context(), t, f, nil, nil, "hosts", "show",
		"db-7"); got.code != 1 || got.errOut != "berth: there is no host named \"db-7\"\n" {
		t.Errorf("%+v", got)
	}
}

func TestCreatePlacement(t *testing.T) {
	f := newFake()
	got := berth(t.Context(), t, f, nil, nil, "create", "redis", "--region", "eu", "--zone", "a", "--rack", "r1",
		"--host", "db-1", "--disk-type", "nvme",
		"--group", "g", "--spread", "host", "--strict", "--host-label", "team=x")
	const post = `POST /storage/redis/instances {"placement":{"region":"eu","zone":"a","rack":"r1","host":"db-1",` +
		`"labels":{"team":"x"},"disk_type":"nvme",` +
		`"group":"g","spread":"host","strict":true}}`
	if sent := f.sent(); got.code != 0 || !strings.HasPrefix(sent[0], strings.TrimSuffix(post, "}}")) {
		t.Errorf("%+v, sent %q", got, sent)
	}
	if got := berth(t.Context(), t, f, nil, nil, "create", "redis", "--zone="); got.code != exitUsage {
		t.Errorf("%+v", got)
	}
}

// Certificates are read from the files of Docker's own client.
func TestHostsSetCertificates(t *testing.T) {
	dir := t.TempDir()
	set := func() (result, []string) {
		f := fakeWithHosts()
		return berth(t.Context(), t, f, nil, nil, "hosts", "set", "db-1", "--certificates", dir), f.sent()
	}
	for _, name := range []string{"ca", "cert", "key"} {
		if got, sent := set(); got.code != 1 || !strings.Contains(got.errOut, "read the certificates") || len(sent) != 0 {
			t.Errorf("without %s.pem: %+v, sent %q", name, got, sent)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".pem"), []byte("PEM of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, sent := set()
	want := `PATCH /hosts/hst_1 {"certificates":{"ca":"PEM of ca","cert":"PEM of cert","key":"PEM of key"}}`
	if got.code != 0 || len(sent) == 0 || sent[len(sent)-1] != want {
		t.Errorf("%+v, sent %q", got, sent)
	}
}
