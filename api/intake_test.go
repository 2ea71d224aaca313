package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/tenant"
)

// pathsOf fills in the ids of things that are there, so that nothing but what is tested
// is wrong with a request.
func (b *bench) pathsOf() []string {
	b.Helper()
	instance, job := b.made("mysql", "{}")
	hook := b.call("POST", "/api/v1/webhooks", `{"url":"https://93.184.215.14/hook"}`).text("id")
	ping := b.call("POST", "/api/v1/webhooks/"+hook+"/ping", "").is(202, "").text("id")
	doc := b.call("GET", "/openapi.json", "").json
	paths, _ := doc["paths"].(map[string]any)
	var all []string
	host, disk := b.addHost()
	for path, v := range paths {
		user := "usr_x"
		id := map[bool]string{true: instance}[strings.Contains(path, "/storage/")]
		switch {
		case strings.Contains(path, "/jobs/"):
			id = job
		case strings.Contains(path, "/webhooks/"):
			id = hook
		case strings.Contains(path, "/deliveries/"):
			id = ping
		case strings.Contains(path, "/tenants/"):
			id = string(tenant.Default)
		case strings.Contains(path, "/keys/"):
			id, _ = b.key(string(tenant.Default), "viewer")
		case strings.Contains(path, "/users/"):
			id = user
		case strings.Contains(path, "/hosts/"):
			id = host
		}
		path = strings.NewReplacer("{user}", user, "{invitation}", "inv_x", "{engine}", "mysql", "{id}", id, "{delivery_id}", ping, "{disk}", disk, "{format}", "csv").Replace(path)
		methods, _ := v.(map[string]any)
		for method := range methods {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// A parameter that an operation does not have, or has once, is refused by its name.
func TestUnknownParameters(t *testing.T) {
	b := newBench(t)
	routes := b.pathsOf()
	before := b.rows()
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		headers := []string{"Upgrade", map[bool]string{true: "websocket"}[strings.HasSuffix(path, "/ws")]}
		for _, query := range []string{"nope=1", "nope", "nope=1&nope=2", "Limit=1", "limit%20=1"} {
			name, _, _ := strings.Cut(strings.ReplaceAll(query, "%20", " "), "=")
			b.call(method, path+"?"+query, "", headers...).is(422, "invalid").field(name, "unknown parameter")
		}
	}
	for _, path := range []string{
		"/api/v1/storage/instances?limit=1&limit=2", "/api/v1/storage/instances?state=running&state=failed", mysqlPath + "?name=a&name=a",
		mysqlPath + "?deleted=true&deleted=false", "/api/v1/jobs?kind=instance.create&kind=instance.delete", "/api/v1/jobs/job_x?wait=1s&wait=2s",
		"/api/v1/webhooks?cursor=a&cursor=b", "/api/v1/deliveries?job_id=a&job_id=b", "/api/v1/webhooks/whk_x/deliveries?state=pending&state=pending",
		"/api/v1/events?after=1&after=2", "/api/v1/events?type=a&type=b", "DELETE " + mysqlPath + "/ins_x?force=true&force=false",
	} {
		method := "GET"
		if m, rest, ok := strings.Cut(path, " "); ok {
			method, path = m, rest
		}
		name, _, _ := strings.Cut(path[strings.Index(path, "?")+1:], "=")
		b.call(method, path, "").is(422, "invalid").field(name, "once")
	}
	b.call("GET", "/api/v1/events/ws?after=1&after=2", "", "Upgrade", "websocket").is(422, "invalid").field("after", "once")
	b.call("GET", "/api/v1/storage/instances?label=a=b&label=c=d&limit=1", "").is(200, "")
	b.call("GET", "/api/v1/storage/instances?", "").is(200, "")
	b.call("GET", "/api/v1/storage/instances?nope=1&limit=2&limit=3", "").is(422, "invalid").field("nope", "limit, cursor").field("limit", "once")
	for _, query := range []string{"limit=%zz", "a;b", "limit=5;limit=6", "%"} {
		b.call("GET", "/api/v1/jobs?"+query, "").is(400, "malformed")
	}
	if after := b.rows(); after != before {
		t.Errorf("a refusal changed %v to %v", before, after)
	}
}

// An object that has a name twice is refused: parsers differ in which one counts.
func TestDuplicateKeys(t *testing.T) {
	b := newBench(t)
	hook := b.call("POST", "/api/v1/webhooks", `{"url":"https://93.184.215.14/hook"}`).text("id")
	before := b.rows()
	for _, s := range []struct{ method, path, body, field string }{
		{"POST", mysqlPath, `{"name":"a","name":"b"}`, "name"},
		{"POST", mysqlPath, `{"name":"a","name":"a"}`, "name"},
		{"POST", mysqlPath, `{"name":"a","version":"9.7","\u006eame":"b"}`, "name"},
		{"POST", redisPath, `{"parameters":{"maxclients":10,"maxclients":20}}`, "parameters.maxclients"},
		{"POST", redisPath, `{"resources":{"cpu":1,"memory":"512mb","cpu":2}}`, "resources.cpu"},
		{"POST", redisPath, `{"labels":{"a":"1","b":"2","a":"3"}}`, "labels.a"},
		{"POST", redisPath, `{"labels":{},"labels":{}}`, "labels"},
		{"POST", redisPath, `{"x":[{},{"y":{"z":1,"z":2}}]}`, "x[1].y.z"},
		{"POST", redisPath, `{"":1,"":2}`, ""},
		{"POST", "/api/v1/webhooks", `{"url":"https://93.184.215.14/a","url":"https://93.184.215.14/b"}`, "url"},
		{"PATCH", "/api/v1/webhooks/" + hook, `{"enabled":true,"enabled":false}`, "enabled"},
		{"POST", "/api/v1/webhooks/" + hook + "/rotate", `{"overlap":"1h","overlap":"2h"}`, "overlap"},
	} {
		b.call(s.method, s.path, s.body).is(422, "invalid").field(s.field, "more than once")
	}
	b.call("POST", mysqlPath, `{"name":"a","name":"b","labels":{"x":"","x":""}}`).is(422, "invalid").field("name").field("labels.x")
	b.call("POST", mysqlPath, `{"labels":{"a":"1"},"parameters":{}}`+"\n").is(202, "")
	// The depth that Go's parser takes is walked through, too.
	deep := strings.Repeat(`{"a":`, 9990) + `{"b":1,"b":2}` + strings.Repeat("}", 9990)
	b.call("POST", mysqlPath, deep).is(422, "invalid")
	if after := b.rows(); after[0] != before[0]+1 {
		t.Errorf("refusals changed %v to %v", before, after)
	}
}

func TestBodiesThatAreNoText(t *testing.T) {
	b := newBench(t)
	for name, body := range map[string]string{
		"latin1": "{\"labels\":{\"a\":\"\xfc\"}}", "in a name": "{\"\xff\":1}", "UTF-16": "\xff\xfe{\x00}\x00", "cut off": "{\"labels\":{\"a\":\"\xe2\x82\"}}", "surrogates": "{\"labels\":{\"a\":\"\xed\xa0\x80\"}}",
	} {
		t.Run(name, func(t *testing.T) { b.in(t).call("POST", mysqlPath, body).is(400, "malformed") })
	}
	if b.rows() != [2]int{} {
		t.Error("something was made")
	}
}

func TestMediaTypes(t *testing.T) {
	b := newBench(t)
	hook := "/api/v1/webhooks/" + b.call("POST", "/api/v1/webhooks", `{"url":"https://93.184.215.14/hook"}`).text("id")
	takers := map[string]string{"POST " + redisPath: `{}`, "POST /api/v1/webhooks": `{"url":"https://93.184.215.14/"}`, "PATCH " + hook: `{}`, "POST " + hook + "/rotate": `{"overlap":"0s"}`}
	for _, s := range []struct {
		kind, encoding string
		fine           bool
	}{
		{"", "", true},
		{"application/json", "", true},
		{"application/json; charset=utf-8", "", true},
		{"application/json;charset=UTF-8", "", true},
		{`Application/JSON; charset="utf-8"`, "", true},
		{"application/json; profile=x", "", true},
		{"application/merge-patch+json", "", true},
		{"application/x-www-form-urlencoded", "", true},
		{"application/json", "identity", true},
		{"application/json; charset=latin1", "", false},
		{"application/json; charset=iso-8859-1", "", false},
		{"application/json; charset=utf-16", "", false},
		{"application/x-www-form-urlencoded; charset=latin1", "", false},
		{"text/plain", "", false},
		{"text/plain; charset=utf-8", "", false},
		{"text/json", "", false},
		{"application/octet-stream", "", false},
		{"multipart/form-data; boundary=x", "", false},
		{"application/xml", "", false},
		{"application/jsonp", "", false},
		{"*/*", "", false},
		{"application/json, text/plain", "", false},
		{"json", "", false},
		{";", "", false},
		{"application/json", "gzip", false},
		{"application/json", "br", false},
		{"application/json", "identity, gzip", false},
		{"", "deflate", false},
	} {
		for route, body := range takers {
			method, path, _ := strings.Cut(route, " ")
			a := b.call(method, path, body, "Content-Type", s.kind, "Content-Encoding", s.encoding)
			if !s.fine {
				a.is(415, "unsupported_media_type")
			} else if a.status >= 300 {
				t.Errorf("%s with %q, %q: %d %s", route, s.kind, s.encoding, a.status, a.body)
			}
		}
	}
	// What takes no body has nothing to be wrong, unless it is sent one.
	b.call("POST", hook+"/ping", "", "Content-Type", "text/plain").is(202, "")
	b.call("POST", hook+"/ping", "x", "Content-Type", "text/plain").is(415, "unsupported_media_type")
	b.call("GET", hook, "", "Content-Type", "text/plain").is(200, "")
}

// raw speaks HTTP by hand, and gives the answer.
func raw(t *testing.T, url, head string, pieces ...string) (status int, answer map[string]any) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), soon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * soon))
	// In one go: what a server has not read when it hangs up resets the connection, and its
	// answer with it.
	request := head + "\r\nHost: berth\r\nAuthorization: Bearer " + adminKey + "\r\nContent-Type: application/json\r\n" + strings.Join(pieces, "")
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if half, ok := conn.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(body, &answer) // net/http's own refusals are text
	return res.StatusCode, answer
}

// A body that does not come as its headers announce is the client's fault.
func TestBrokenBodies(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	const chunked = "Transfer-Encoding: chunked\r\n\r\n"
	for _, path := range []string{redisPath, "/api/v1/webhooks", "/api/v1/jobs/job_x/cancel", "/api/v1/webhooks/whk_x/ping"} {
		for name, pieces := range map[string][]string{
			"no chunk":             {chunked, "nonsense\r\n{}\r\n0\r\n\r\n"},
			"negative chunk":       {chunked, "-1\r\n{}\r\n0\r\n\r\n"},
			"chunk too long":       {chunked, "fffffffffffffffffffff\r\n{}\r\n0\r\n\r\n"},
			"chunk without an end": {chunked, "2\r\n{}"},
			"chunk of another":     {chunked, "2\r\n{}xx\r\n0\r\n\r\n"},
			"no last chunk":        {chunked, "2\r\n{}\r\n"},
			"shorter than said":    {"Content-Length: 10\r\n\r\n", "{}"},
			"nothing of it":        {"Content-Length: 10\r\n\r\n"},
			"length no number":     {"Content-Length: x\r\n\r\n", "{}"},
			"negative length":      {"Content-Length: -2\r\n\r\n", "{}"},
			"two lengths":          {"Content-Length: 2\r\nContent-Length: 3\r\n\r\n", "{}"},
		} {
			status, answer := raw(t, url, "POST "+path+" HTTP/1.1", pieces...)
			if status != http.StatusBadRequest {
				t.Errorf("%s, %s: %d %v", path, name, status, answer)
			}
			if strings.Contains(name, "length") || strings.Contains(name, "lengths") {
				continue // net/http refuses it before we see it
			}
			if answer["code"] != "malformed" {
				t.Errorf("%s, %s: %v", path, name, answer)
			}
		}
	}
	status, answer := raw(t, url, "POST "+redisPath+" HTTP/1.1", "Content-Length: 99999999999\r\n\r\n")
	if status != 413 || answer["code"] != "too_large" {
		t.Errorf("%d %v", status, answer)
	}
	if b.rows() != [2]int{} {
		t.Error("something was made")
	}
	exact := `{"labels":{"a":""}` + strings.Repeat(" ", 1<<20-19) + "}"
	b.call("POST", redisPath, exact).is(202, "")
	b.call("POST", redisPath, exact+" ").is(413, "too_large")
}

// An upload that goes on may take longer than the server gives a request as a whole.
func TestSlowUpload(t *testing.T) {
	b := newBench(t)
	url := b.serve() // which gives a request two seconds
	body, feed := io.Pipe()
	go func() {
		ticker := time.NewTicker(serverLimit / 4)
		defer ticker.Stop()
		for _, c := range `{"name": "slow"}` {
			<-ticker.C
			if _, err := fmt.Fprintf(feed, "%c", c); err != nil {
				return
			}
		}
		_ = feed.Close()
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+redisPath, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminKey)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if answer, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 202 || !bytes.Contains(answer, []byte(`"slow"`)) {
		t.Errorf("%s %v %s", res.Status, err, answer)
	}
}

// One that says nothing does not hold a connection for ever.
func TestSilentUpload(t *testing.T) {
	b := newBench(t)
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(b.serve(), "http://"), soon)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(6 * soon))
	if _, err := io.WriteString(conn, "POST "+redisPath+" HTTP/1.1\r\nHost: berth\r\nAuthorization: Bearer "+adminKey+"\r\nContent-Length: 10\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusRequestTimeout {
		t.Error(res.Status)
	}
}

// A path means the same however it is encoded.
func TestEncodedPaths(t *testing.T) {
	b := newBench(t)
	id, job := b.made("mysql", `{"name":"one"}`)
	encoded := func(s string) string {
		var out strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&out, "%%%02x", c)
		}
		return out.String()
	}
	for _, path := range []string{
		"/api/v1/storage/my%73ql/instances", "/api/v1/storage/" + encoded("mysql") + "/instances", "/api/v1/st%6Frage/instances", "/%61pi/v1/%6a%6F%62s",
		mysqlPath + "/" + encoded(id), "/api/v1/storage/instances/ins%5F" + id[4:], "/api/v1/jobs/" + encoded(job), "/api/v1/st%6Frage/mysql/instances/" + encoded(id) + "/config",
	} {
		b.call("GET", path, "").is(200, "")
	}
	// One decoding, not two, and no way up.
	for _, path := range []string{
		"/api/v1/storage/my%2573ql/instances", "/api/v1/storage/mysql%2Finstances", "/api/v1%2Fjobs", "/api/v1/jobs/x%2F..%2F" + job, "/api/v1/jobs/..%2F..%2Fengines",
		"/api/v1/jobs/%2e%2e/engines", "/api/v1/storage/redis%2f..%2fmysql/instances", "/api/v1/storage/mysql%00/instances", "/api/v1/jobs/%2E", "/docs%2f..%2fapi/v1/jobs",
	} {
		b.call("GET", path, "").is(404, "not_found")
	}
	for _, path := range []string{"/docs%2f..%2fapi/v1/jobs", "/api/v1/%6aobs", "/d%6fcs%2f", "/queues%2f", "/%2fapi/v1/jobs"} {
		b.send("GET", path, nil).is(401, "unauthorized")
	}
	b.call("POST", "/api/v1/storage/re%64is/instances", "{}").is(202, "")
	b.call("DELETE", "/api/v1/storage/my%73ql/instances/"+encoded(id), "").is(202, "")
}

// HEAD is answered wherever GET is, with its headers and no body.
func TestHead(t *testing.T) {
	b := newBench(t, withQueues)
	for _, route := range append(b.pathsOf(), "GET /healthz", "GET /readyz", "GET /docs", "GET /docs/", "GET /openapi.json", "GET /openapi.yaml", "GET /openapi-3.0.json", "GET /queues", "GET /debug/pprof/cmdline", "GET /api/v1/nope", "GET /api/v1/jobs/nope", "GET /api/v1/jobs?limit=0") {
		method, path, _ := strings.Cut(route, " ")
		if method != http.MethodGet {
			continue
		}
		get, head := b.call("GET", path, ""), b.call("HEAD", path, "")
		if head.status != get.status || head.body != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") || head.header.Get("Location") != get.header.Get("Location") {
			t.Errorf("HEAD %s: %d %v %q; GET: %d %v", path, head.status, head.header, head.body, get.status, get.header)
		}
		if length := head.header.Get("Content-Length"); length != fmt.Sprint(len(get.body)) && len(get.body) > 0 && path != "/readyz" {
			t.Errorf("HEAD %s: length %q, want %d", path, length, len(get.body))
		}
	}
	b.send("HEAD", "/api/v1/jobs", nil).is(401, "")
	if a := b.call("HEAD", "/api/v1/jobs/x/cancel", "").is(405, ""); strings.Contains(a.header.Get("Allow"), "HEAD") {
		t.Errorf("%v", a.header)
	}
	for _, method := range []string{"PUT", "OPTIONS"} {
		if a := b.call(method, "/api/v1/jobs", ""); !strings.Contains(a.header.Get("Allow"), "GET, HEAD") {
			t.Errorf("%s: %v", method, a.header)
		}
	}
	// A stream has headers, too, and ends with them.
	a := b.call("HEAD", "/api/v1/events", "", "Accept", "text/event-stream").is(200, "")
	if a.header.Get("Content-Type") != "text/event-stream" || a.body != "" {
		t.Errorf("%v %q", a.header, a.body)
	}
	b.call("HEAD", "/api/v1/events/ws", "", "Upgrade", "websocket", "Connection", "upgrade").is(426, "")
	// Over the wire: the connection can be used for the next request.
	url := b.serve()
	for range 2 {
		res, err := http.Head(url + "/openapi.json") //nolint:noctx // a test's
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 200 || res.ContentLength < 1000 {
			t.Errorf("%s, %d", res.Status, res.ContentLength)
		}
	}
}

func TestAcceptEncoding(t *testing.T) {
	b := newBench(t, zipped)
	for accept, want := range map[string]bool{
		"gzip": true, "GZIP": true, "x-gzip": true, "gzip, deflate, br": true, "deflate, gzip;q=0.5": true, "gzip;q=1.0": true, "br;q=1, gzip ; q=0.001": true, "identity;q=0.1, gzip": true,
		"": false, "gzip;q=0": false, "gzip;q=0.0": false, "gzip; q=0.000": false, "gzip;Q=0": false, "gzip;q=0, *": false, "gzip;q=0,identity": false, "identity": false, "*;q=0": false,
		"identity;q=1, *;q=0": false, "deflate, br": false, "notgzip": false, "gzipped": false, "gzip;q=x": false, "gzip;q=-1": false, "br;q=1, gzip;q=0": false,
	} {
		a := b.send("GET", "/openapi.json", nil, "Accept-Encoding", accept)
		if got := a.header.Get("Content-Encoding"); (got == "gzip") != want || got == "" && a.json["openapi"] == nil {
			t.Errorf("%q: encoding %q", accept, got)
		}
		if vary := a.header.Values("Vary"); !slices.Contains(vary, "Accept-Encoding") || len(vary) != 1 {
			t.Errorf("%q: Vary %q", accept, vary)
		}
		if head := b.send("HEAD", "/openapi.json", nil, "Accept-Encoding", accept); head.header.Get("Content-Encoding") != a.header.Get("Content-Encoding") {
			t.Errorf("%q: HEAD %v", accept, head.header)
		}
	}
}
