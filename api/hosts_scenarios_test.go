package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/sheet"
)

const hostsPath = "/api/v1/hosts"

// hostCount is how many hosts and jobs of the pool there are, to see that a refusal changed nothing.
func (b *bench) hostCount() int {
	b.Helper()
	list, err := b.store.Hosts(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return len(list)
}

// Each route with what it takes, and with what it does not.
func TestHostRoutes(t *testing.T) {
	b := newBench(t)
	b.call("POST", "/api/v1/regions", `{"region":"eu","zones":["a"]}`).is(201, "")
	h, disk := b.addHost()
	other, _ := b.addHost()
	one, none := hostsPath+"/"+h, hostsPath+"/hst_01J00000000000000000000000"
	for _, c := range []struct {
		method, path, body string
		status             int
		code, field        string
	}{
		{"GET", hostsPath, "", 200, "", ""},
		{"GET", hostsPath + "?state=cordoned&zone=a&rack=r1&arch=amd64&reserved=false", "", 200, "", ""},
		{"GET", hostsPath + "?state=nowhere", "", 422, "invalid", "state"},
		{"GET", hostsPath + "?label=x", "", 422, "invalid", "label"},
		{"GET", one, "", 200, "", ""},
		{"GET", none, "", 404, "not_found", ""},
		{"GET", hostsPath + "/x", "", 404, "not_found", ""},
		{"PATCH", one, `{"purpose":"databases","labels":{"a":"b"},"ports":{"first":21000,"last":21009}}`, 200, "", ""},
		{"PATCH", one, `{"region":"us"}`, 422, "invalid", "zone"},
		{"PATCH", one, `{"name":"Not A Name"}`, 422, "invalid", "name"},
		{"PATCH", one, `{"ports":{"first":30000,"last":20000}}`, 422, "invalid", "ports"},
		{"PATCH", one, `{"overcommit":{"cpu_percent":-1,"memory_percent":100,"reserved_cpu":0,"reserved_memory":0}}`, 422, "invalid", "overcommit"},
		{"PATCH", one, `{"nope":1}`, 422, "invalid", "nope"},
		{"PATCH", none, `{"purpose":"x"}`, 404, "not_found", ""},
		{"GET", one + "/instances", "", 200, "", ""},
		{"GET", one + "/instances?limit=0", "", 422, "invalid", "limit"},
		{"GET", none + "/instances", "", 404, "not_found", ""},
		{"GET", one + "/disks", "", 200, "", ""},
		{"POST", one + "/disks", `{"path":"/data2","type":"nvme","capacity":1073741824}`, 201, "", ""},
		{"POST", one + "/disks", `{"path":"/data2","type":"nvme","capacity":1073741824}`, 422, "invalid", "path"},
		{"POST", one + "/disks", `{"path":"/data2/within","type":"nvme","capacity":1073741824}`, 422, "invalid", "path"},
		{"POST", one + "/disks", `{"path":"data3","type":"floppy","capacity":0}`, 422, "invalid", "type"},
		{"POST", one + "/disks", `{"path":"/data4","type":"nvme","capacity":1073741824,"enforcement":"quota"}`, 422, "invalid", "enforcement"},
		{"POST", one + "/disks", `{"path":"/data4","type":"nvme","capacity":1073741824,"enforcement":"hope"}`, 422, "invalid", "enforcement"},
		{"PATCH", one + "/disks/" + disk, `{"enforcement":"quota"}`, 422, "invalid", "enforcement"},
		{"PATCH", one + "/disks/" + disk, `{"enforcement":"none"}`, 200, "", ""},
		{"PATCH", one + "/disks/" + disk, `{"state":"error"}`, 200, "", ""},
		{"PATCH", one + "/disks/" + disk, `{"state":"full"}`, 422, "invalid", "state"},
		{"PATCH", one + "/disks/" + disk, `{"capacity":-1}`, 422, "invalid", "capacity"},
		{"PATCH", hostsPath + "/" + other + "/disks/" + disk, `{"state":"error"}`, 404, "not_found", ""},
		{"DELETE", hostsPath + "/" + other + "/disks/" + disk, "", 404, "not_found", ""},
		{"DELETE", one + "/disks/" + disk, "", 204, "", ""},
		{"DELETE", one + "/disks/" + disk, "", 404, "not_found", ""},
		{"POST", one + "/uncordon", "", 200, "", ""},
		{"POST", one + "/cordon", "", 200, "", ""},
		{"POST", none + "/cordon", "", 404, "not_found", ""},
		{"PUT", hostsPath + "/reserved", fmt.Sprintf(`{"hosts":[%q,%q],"reserved":true}`, h, other), 200, "", ""},
		{"PUT", hostsPath + "/reserved", `{"hosts":[],"reserved":true}`, 422, "invalid", "hosts"},
		{"PUT", hostsPath + "/status", fmt.Sprintf(`{"hosts":[%q],"status":"online"}`, h), 200, "", ""},
		{"PUT", hostsPath + "/status", fmt.Sprintf(`{"hosts":[%q],"status":"failed"}`, h), 422, "invalid", "status"},
		{"GET", hostsPath + "/hierarchy?level=2&depth=2", "", 200, "", ""},
		{"GET", hostsPath + "/hierarchy?level=5", "", 422, "invalid", "level"},
		{"GET", hostsPath + "/stocks?group_by=rack", "", 200, "", ""},
		{"GET", hostsPath + "/stocks?group_by=planet", "", 422, "invalid", "group_by"},
		{"GET", hostsPath + "/template.csv", "", 200, "", ""},
		{"GET", hostsPath + "/template.xlsx", "", 200, "", ""},
		{"GET", hostsPath + "/template.doc", "", 404, "not_found", ""},
		{"POST", hostsPath + "/placement", `{"engine":"mysql"}`, 200, "", ""},
		{"POST", hostsPath + "/placement", `{"engine":"oracle"}`, 404, "not_found", ""},
		{"POST", hostsPath + "/placement", `{"engine":"mysql","plan":"x"}`, 422, "invalid", "plan"},
		{"POST", hostsPath + "/placement", `{"placement":{"strict":true}}`, 422, "invalid", "placement.strict"},
		{"POST", hostsPath + "/placement", `{"placement":{"region":"mars"}}`, 409, "no_capacity", ""},
		{"POST", hostsPath + "/placement", `{"common_ports":3,"placement":{"region":"eu"}}`, 409, "no_capacity", ""}, // the only host there is reserved
		{"POST", hostsPath + "/placement", `{"common_ports":3}`, 422, "invalid", "placement.region"},
		{"POST", hostsPath + "?skip_init=true&prepare=sysctls", aMachine("prep"), 422, "invalid", "prepare"},
		{"PATCH", one, `{"host_key":"ssh-ed25519 oops"}`, 422, "invalid", "host_key"},
		{"POST", hostsPath, `{}`, 422, "invalid", "name"},
		{"POST", hostsPath + "?dry_run=true", aMachine("dry"), 202, "", ""},
		{"POST", hostsPath + "?prepare=format_c", aMachine("prep"), 422, "invalid", "prepare"},
		{"POST", hostsPath, aMachine("m1"), 202, "", ""},
		{"POST", hostsPath, aMachine("m1"), 409, "host_exists", "hosts[0].name"},
		{"POST", hostsPath + "/import", "[" + aMachine("m2") + "," + aMachine("m3") + "]", 202, "", ""},
		{"POST", hostsPath + "/import", "[" + aMachine("m2") + "," + aMachine("m4") + "]", 422, "invalid", "hosts[0].name"},
		{"POST", hostsPath + "/import", "[]", 422, "invalid", "hosts"},
		{"POST", hostsPath + "/takeover", aMachine("m5"), 202, "", ""},
		{"POST", hostsPath + "/takeover", aMachine("m5"), 409, "host_exists", "hosts[0].name"},
		{"POST", one + "/inspect", "", 202, "", ""},
		{"POST", one + "/drain", "", 409, "busy", ""},
		{"POST", hostsPath + "/" + other + "/drain", "", 202, "", ""},
		{"DELETE", hostsPath, "", 422, "invalid", "host"},
		{"DELETE", one, "", 202, "", ""}, // which stops the inspection
		{"POST", one + "/inspect", "", 409, "busy", ""},
		{"DELETE", none, "", 404, "not_found", ""},
		{"DELETE", one + "?force=true", "", 202, "", ""},
		{"GET", one, "", 404, "not_found", ""},
		{"GET", "/api/v1/regions", "", 200, "", ""},
		{"POST", "/api/v1/regions", `{"region":"a b","zones":[]}`, 422, "invalid", "region"},
		{"GET", "/api/v1/swarms", "", 200, "", ""},
		{"POST", "/api/v1/swarms", `{"name":"prod","endpoint":"swarm://10.0.0.1:2376,m2.example:2376?data=/srv/berth","region":"eu","zone":"a","reserved":true}`, 201, "", ""},
		{"POST", "/api/v1/swarms", `{"name":"prod","endpoint":"swarm://10.0.0.1:2376","region":"eu"}`, 422, "invalid", "name"},
		{"POST", "/api/v1/swarms", `{"name":"Not A Name","endpoint":"swarm://10.0.0.1:2376","region":"eu"}`, 422, "invalid", "name"},
		{"POST", "/api/v1/swarms", `{"name":"x","endpoint":"tcp://10.0.0.1:2376","region":"eu"}`, 422, "invalid", "endpoint"},
		{"POST", "/api/v1/swarms", `{"name":"x","endpoint":"swarm://10.0.0.1:2376?node=n1","region":"eu"}`, 422, "invalid", "endpoint"},
		{"POST", "/api/v1/swarms", `{"name":"x","endpoint":"swarm://10.0.0.1","region":"eu"}`, 422, "invalid", "endpoint"},
		{"POST", "/api/v1/swarms", `{"name":"x","endpoint":"swarm://10.0.0.1:2376","region":"mars"}`, 422, "invalid", "region"},
		{"POST", "/api/v1/swarms", `{"name":"x","endpoint":"swarm://10.0.0.1:2376","region":"eu","zone":"z"}`, 422, "invalid", "zone"},
		{"POST", "/api/v1/swarms", `{"name":"x","endpoint":"swarm://10.0.0.1:2376"}`, 422, "invalid", "region"},
		{"GET", "/api/v1/swarms/prod", "", 200, "", ""},
		{"GET", "/api/v1/swarms/none", "", 404, "not_found", ""},
		{"DELETE", "/api/v1/swarms/prod", "", 204, "", ""},
		{"DELETE", "/api/v1/swarms/prod", "", 404, "not_found", ""},
	} {
		a := b.call(c.method, c.path, c.body)
		if a.status != c.status || c.code != "" && a.text("code") != c.code {
			t.Errorf("%s %s %s: got %d, want %d %s: %.400s", c.method, c.path, c.body, a.status, c.status, c.code, a.body)
		} else if c.field != "" {
			a.field(c.field)
		}
	}
}

// Of several hosts all are changed, or none.
func TestHostsTogether(t *testing.T) {
	b := newBench(t)
	h, _ := b.addHost()
	const unknown = "hst_01J00000000000000000000000"
	b.call("PUT", hostsPath+"/status", fmt.Sprintf(`{"hosts":[%q,%q],"status":"online"}`, h, unknown)).is(404, "not_found")
	b.call("PUT", hostsPath+"/reserved", fmt.Sprintf(`{"hosts":[%q,%q],"reserved":true}`, h, unknown)).is(404, "not_found")
	b.call("DELETE", hostsPath+"?host="+h+"&host="+unknown, "").is(404, "not_found")
	b.call("DELETE", hostsPath+"?force=true&host="+h+"&host="+unknown, "").is(404, "not_found")
	got := b.call("GET", hostsPath+"/"+h, "").is(200, "")
	if got.text("state") != "cordoned" || got.json["reserved"] != false || got.text("job_id") != "" {
		t.Errorf("%s", got.body)
	}
	other, _ := b.addHost()
	b.call("DELETE", hostsPath+"?host="+h+"&host="+other, "").is(202, "")
	for _, which := range []string{h, other} {
		if got := b.call("GET", hostsPath+"/"+which, ""); got.text("state") != "deleting" {
			t.Errorf("%s", got.body)
		}
	}
}

// csv is a file with a row for each name; the names of bad ones begin with a capital letter.
func csvOf(t *testing.T, names ...string) []byte {
	t.Helper()
	head, err := sheet.Template("csv")
	if err != nil {
		t.Fatal(err)
	}
	columns := strings.Split(strings.TrimSpace(strings.TrimPrefix(string(head), "\ufeff")), ",")
	text := strings.Join(columns, ",") + "\n"
	for _, name := range names {
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = map[string]string{
				"Host Name": name, "IP": strings.ToLower(name) + ".example", "Login UserName": "root", "Login Password": machinePassword,
				"RegionID": "eu", "ZoneID": "a", "Arch": "amd64", "CpuCores": "8", "Memory": "32",
			}[c]
		}
		text += strings.Join(row, ",") + "\n"
	}
	return []byte(text)
}

func formOf(t *testing.T, name string, file []byte) (body []byte, kind string) {
	t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = part.Write(file)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return form.Bytes(), w.FormDataContentType()
}

func TestImportFiles(t *testing.T) {
	b := newBench(t)
	b.call("POST", "/api/v1/regions", `{"region":"eu","zones":["a"]}`).is(201, "")
	send := func(key string, body []byte, kind, query string, headers ...string) answer {
		return b.send("POST", hostsPath+"/import"+query, bytes.NewReader(body), append([]string{"Authorization", "Bearer " + key, "Content-Type", kind}, headers...)...)
	}
	bad := csvOf(t, "good-1", "BAD ONE", "good-2", "BAD TWO", "good-1")
	before := b.hostCount()
	for kind, body := range map[string][]byte{"text/csv": bad, "text/csv; charset=utf-8": bad} {
		a := send(adminKey, body, kind, "").is(422, "invalid")
		for _, row := range []string{"rows[3].name", "rows[5].name", "rows[6].name"} {
			a.field(row)
		}
	}
	form, kind := formOf(t, "hosts.csv", bad)
	send(adminKey, form, kind, "").is(422, "invalid").field("rows[3].name").field("rows[5].name").field("rows[6].name", "rows[2]")
	send(adminKey, []byte("no form"), kind, "").is(400, "")
	send(adminKey, []byte("PK\x03\x04 no workbook"), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "").is(422, "")
	good := csvOf(t, "good-1", "good-2")
	if a := send(adminKey, good, "text/csv", "?dry_run=true").is(202, ""); a.json["count"] != 2.0 || a.json["job"] != nil {
		t.Errorf("%s", a.body)
	}
	if got := b.hostCount(); got != before {
		t.Errorf("%d hosts, there were %d", got, before)
	}
	made := send(adminKey, good, "text/csv", "", "Idempotency-Key", "k1").is(202, "")
	again := send(adminKey, good, "text/csv", "", "Idempotency-Key", "k1").is(202, "")
	if made.text("job.id") == "" || made.text("job.id") != again.text("job.id") || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s\nand again %s", made.body, again.body)
	}
	send(adminKey, csvOf(t, "good-3"), "text/csv", "", "Idempotency-Key", "k1").is(422, "idempotency_mismatch")
	if got := b.hostCount(); got != before+2 {
		t.Errorf("%d hosts, there were %d", got, before)
	}
	form, kind = formOf(t, "hosts.csv", csvOf(t, "good-4"))
	send(adminKey, form, kind, "").is(202, "")
}

// unread fails the test that has it read.
type unread struct{ t *testing.T }

func (r unread) Read([]byte) (int, error) {
	r.t.Error("the file was read")
	return 0, io.EOF
}

func TestUploadsAreForOperators(t *testing.T) {
	b := newBench(t)
	_, owner := b.key("default", "owner")
	for _, kind := range []string{"text/csv", "multipart/form-data; boundary=x", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"} {
		b.send("POST", hostsPath+"/import", unread{t}, "Authorization", "Bearer "+owner, "Content-Type", kind).is(403, "forbidden")
	}
}

// The overcommit of a host that nobody has looked at yet takes effect when that is known.
func TestOvercommitBeforeTheFirstLook(t *testing.T) {
	b := newBench(t)
	got := b.call("PATCH", hostsPath+"/"+string(b.host.ID), `{"overcommit":{"cpu_percent":100,"memory_percent":100,"reserved_cpu":0,"reserved_memory":0}}`).is(200, "")
	if capacity, _ := got.json["capacity"].(map[string]any); capacity["cpu"] != 0.0 || capacity["memory"] != 0.0 {
		t.Errorf("%s", got.body)
	}
	b.call("POST", mysqlPath, "{}").is(202, "")
}
