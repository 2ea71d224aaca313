package api_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// outside is the API for requests that are made up byte by byte. What it must not do is in
// answered.
type outside struct {
	handler    http.Handler
	routes     []route // in the order of the document
	withBodies []route
	lists      []route // that are read, with nothing in their paths
}

type route struct{ method, path string }

// newOutside makes one, in which creates are refused last: by the quota, once all of the
// request has been read and found good, so that nothing piles up.
func newOutside(f *testing.F) *outside {
	f.Helper()
	_, handler := newBehind(f, true)
	o := &outside{handler: handler}
	if set := o.send("PUT", "/api/v1/tenants/default/quota", []byte(`{"jobs_per_hour":0}`), http.Header{}); set.Code != http.StatusOK {
		f.Fatalf("%d %s", set.Code, set.Body)
	}
	if a := o.send("POST", mysqlPath, []byte(`{"name":"shop"}`), http.Header{}); !strings.Contains(a.Body.String(), "quota_exceeded") {
		f.Fatalf("%d %s", a.Code, a.Body)
	}
	var document struct {
		Paths map[string]map[string]struct {
			RequestBody any `json:"requestBody"`
		}
	}
	if err := json.Unmarshal(o.send("GET", "/openapi.json", nil, http.Header{}).Body.Bytes(), &document); err != nil {
		f.Fatal(err)
	}
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(document.Paths[path])) {
			r := route{strings.ToUpper(method), strings.NewReplacer("{engine}", "mysql", "{id}", "default", "{token}", "x", "{user_id}", "usr_1").Replace(path)}
			o.routes = append(o.routes, r)
			if document.Paths[path][method].RequestBody != nil {
				o.withBodies = append(o.withBodies, r)
			} else if r.method == http.MethodGet && !strings.Contains(path, "{") {
				o.lists = append(o.lists, r)
			}
		}
	}
	if len(o.withBodies) < 10 || len(o.lists) < 5 {
		f.Fatalf("%d routes with bodies, %d lists", len(o.withBodies), len(o.lists))
	}
	return o
}

// send sends a request with the admin key, unless the header names another.
func (o *outside) send(method, target string, body []byte, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", bytes.NewReader(body))
	path, query, _ := strings.Cut(target, "?")
	plain, err := url.PathUnescape(path)
	if err != nil {
		plain = path
	}
	r.URL = &url.URL{Path: plain, RawPath: path, RawQuery: query}
	r.RequestURI, r.Header = r.URL.RequestURI(), header
	if _, given := header["Authorization"]; !given {
		header.Set("Authorization", "Bearer "+adminKey)
	}
	if _, given := header["Content-Type"]; !given && len(body) > 0 {
		header.Set("Content-Type", "application/json")
	}
	recorder := httptest.NewRecorder()
	o.handler.ServeHTTP(recorder, r)
	return recorder
}

// answered checks what holds whatever was sent: an answer is no fault of the server's, a
// refusal is a problem, all of it is JSON in UTF-8, and the key is not in it.
func answered(t *testing.T, a *httptest.ResponseRecorder, what ...any) {
	t.Helper()
	kind, _, err := mime.ParseMediaType(a.Header().Get("Content-Type"))
	body := a.Body.Bytes()
	fail := func(why string) { t.Errorf("%q: %s: %d %q %.500q", what, why, a.Code, kind, body) }
	if a.Code >= http.StatusInternalServerError && !bytes.Contains(body, []byte(`"no_capacity"`)) {
		fail("a fault of the server's")
	}
	for name, values := range a.Header() {
		if strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
			fail("the header " + name + " has another line")
		}
	}
	if bytes.Contains(body, []byte(adminKey)) {
		fail("the key is shown")
	}
	if a.Code < http.StatusBadRequest {
		return
	}
	var p struct {
		Status       int
		Code, Detail string
	}
	if err != nil || kind != "application/problem+json" || !utf8.Valid(body) || json.Unmarshal(body, &p) != nil || p.Status != a.Code || p.Code == "" || p.Detail == "" {
		fail("it is no problem")
	}
}

// at picks one of a list by a number that was made up.
func at[T any](list []T, n uint8) T { return list[int(n)%len(list)] }

// FuzzBodies sends bodies to every route that takes one.
func FuzzBodies(f *testing.F) {
	o := newOutside(f)
	for n := range o.withBodies {
		for _, body := range []string{
			"", "{}", "null", "[]", `"x"`, "{", "\xff", "\ufeff{}", `{"a":1,"a":2}`, `{"name":null}`, `{"name":"\ud800"}`, `{"name":"\u0000","role":"owner"}`, `{"name":{"name":[{}]}}`,
			`{"name":"shop","plan":"small","labels":{"a":"b"},"parameters":{"max_connections":50},"callback_url":"https://example.com/x"}`, `{"resources":{"cpu":1e400,"memory":-1,"disk":"64mb"}}`,
			`{"url":"http://[::1","events":["*"]}`, `{"login":"alice","password":"0123456789ab"}`, `{"instances":-1,"cpu":0.0001,"memory":9007199254740993}`, `{"expires_at":"0000-01-01T00:00:00Z"}`,
			`{"role":"owner","limits":{"engines":["mysql"],"labels":{"":""}}}`, strings.Repeat("[", 5000), strings.Repeat(`{"a":`, 5000),
		} {
			f.Add(uint8(n), []byte(body)) //nolint:gosec // fewer than 256
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		r := at(o.withBodies, which)
		answered(t, o.send(r.method, r.path, body, http.Header{}), r, body)
	})
}

// outsideHeaders are those that Berth reads.
var outsideHeaders = []string{
	"Authorization", "Cookie", "Idempotency-Key", "Last-Event-Id", "Berth-Tenant", "Accept", "Content-Type", "Content-Encoding", "X-Request-Id", "Origin", "Sec-Fetch-Site",
	"X-Forwarded-Proto", "X-Forwarded-For", "Accept-Encoding", "Access-Control-Request-Method",
}

// FuzzHeaders sends headers to every route. Nothing but the key opens anything, and the feed
// goes on after the number of an event only.
func FuzzHeaders(f *testing.F) {
	o := newOutside(f)
	feed := slices.IndexFunc(o.routes, func(r route) bool { return r == route{"GET", "/api/v1/events"} })
	create := slices.IndexFunc(o.routes, func(r route) bool { return r == route{"POST", mysqlPath} })
	me := slices.IndexFunc(o.routes, func(r route) bool { return r == route{"GET", mePath} })
	for h := range outsideHeaders {
		for _, value := range []string{
			"", "x", `"`, `"a\"b"`, "a,b", "\t", "\xff", "😀", "-1", "0", "9223372036854775808", "1e3", "+1", "Bearer " + adminKey, "bearer  " + adminKey + " ", "Bearer", "Basic eDp5", "Bearer \xff",
			"berth_session=" + adminKey, "berth_session=berth_session_" + strings.Repeat("0", 36), `berth_session="x"; berth_session=y`, "berth_session", "null", "https://evil.example", "cross-site",
			"application/json; charset=utf-8", "text/event-stream", "application/x-ndjson", "gzip;q=0", ";", "default", "ten_x", "' OR 1=1", strings.Repeat("a", 300),
		} {
			for _, r := range []int{feed, create, me} {
				f.Add(uint8(r), uint8(h), value) //nolint:gosec // fewer than 256
			}
		}
	}
	f.Fuzz(func(t *testing.T, which, header uint8, value string) {
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return // net/http refuses it
		}
		r, name := at(o.routes, which), at(outsideHeaders, header)
		with := http.Header{name: {value}}
		if name == "Last-Event-Id" {
			with.Set("Accept", "text/event-stream")
		}
		if name == "Cookie" {
			with["Authorization"] = nil
		}
		method := r.method
		if r.path == "/api/v1/events" {
			method = http.MethodHead // or the answer has no end
		}
		a := o.send(method, r.path, nil, with)
		if method != http.MethodHead {
			answered(t, a, r, with)
		} else if a.Code >= http.StatusInternalServerError {
			t.Errorf("%v %v: %d", r, with, a.Code)
		}
		open := r.path == "/healthz" || r.path == "/readyz"
		scheme, key, _ := strings.Cut(value, " ")
		shown := name != "Authorization" && name != "Cookie" || name == "Authorization" && strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(key) == adminKey
		if a.Code < http.StatusBadRequest && !shown && !open {
			t.Errorf("%v %v opens it: %d", r, with, a.Code)
		}
		if number, err := strconv.ParseInt(value, 10, 64); r.path == "/api/v1/events" && name == "Last-Event-Id" && value != "" && (a.Code == http.StatusOK) != (err == nil && number >= 0) {
			t.Errorf("after %q: %d", value, a.Code)
		}
	})
}

// FuzzQueries asks for lists and pages with whatever there is behind a question mark.
func FuzzQueries(f *testing.F) {
	o := newOutside(f)
	for n := range o.lists {
		for _, query := range []string{
			"", "limit=1", "limit=-1&limit=2", "cursor=x", "cursor=ins_01J9ZQ4T8E4W2Y6N0G5R7K3M1C", "cursor=%00", "cursor=%ff", "after=-1", "after=9223372036854775807", "type=,", "a=%zz", "&&;", "=",
			"since=0000-01-01T00:00:00Z&until=x", "all=yes", "result=done", "state=%27", "subject=' OR 1=1", "kind=\xff", "%ff=1", "label=a%3Db", "name=" + strings.Repeat("x", 3000),
		} {
			f.Add(uint8(n), query) //nolint:gosec // fewer than 256
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		r := at(o.lists, which)
		answered(t, o.send(r.method, r.path+"?"+query, nil, http.Header{}), r, query)
	})
}

// FuzzSocket opens the feed by WebSocket with whatever there is behind a question mark: it is
// refused as any request is, or taken, for which a recorder is no connection (501).
func FuzzSocket(f *testing.F) {
	o := newOutside(f)
	for _, query := range []string{"", "after=7", "after=-1", "after=x", "after=1&after=2", "after=99999999999999999999", "type=instance.running,,", "subject=a&instance_id=b", "limit=1", "%ff=%zz", "subject=%00", "type=%ff"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		with := http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"MDEyMzQ1Njc4OWFiY2RlZg=="},
		}
		if a := o.send("GET", "/api/v1/events/ws?"+query, nil, with); a.Code != http.StatusNotImplemented {
			answered(t, a, query)
		}
	})
}

// FuzzPaths asks for whatever there is below the API's path.
func FuzzPaths(f *testing.F) {
	o := newOutside(f)
	methods := []string{"GET", "DELETE", "POST", "PATCH", "PUT"}
	for _, r := range o.routes {
		if rest, ok := strings.CutPrefix(r.path, "/api/v1/"); ok {
			f.Add(uint8(slices.Index(methods, r.method)), rest) //nolint:gosec // one of five
		}
	}
	for _, path := range []string{
		"jobs/%00", "jobs/%ff", "jobs/..", "jobs/%2e%2e/x", "instances//", "jobs/job_1%2fcancel", "instances/' OR 1=1", "tenants/default%20", "keys/\x7f", "jobs/" + strings.Repeat("x", 5000), "storage/%E2%84%AA/instances", "%", "jobs/%zz",
	} {
		for n := range methods {
			f.Add(uint8(n), path) //nolint:gosec // one of five
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, path string) {
		path, _, _ = strings.Cut(path, "?")
		if strings.Contains(path, "quota") || path == "sessions" { // what the others rely on; and it is slowed down
			return
		}
		answered(t, o.send(at(methods, which), "/api/v1/"+path, nil, http.Header{}), path)
	})
}
