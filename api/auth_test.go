package api_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/fault"
)

// operations gives every operation of the OpenAPI document, with ids filled in.
func (b *bench) operations() []string {
	b.Helper()
	doc := b.call("GET", "/openapi.json", "").json
	paths, _ := doc["paths"].(map[string]any)
	var all []string
	for path, v := range paths {
		path = strings.NewReplacer("{engine}", "mysql", "{id}", "x").Replace(path)
		methods, _ := v.(map[string]any)
		for method := range methods {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(all)
	if len(all) < 10 {
		b.Fatalf("only %v", all)
	}
	return all
}

// anybodys are the operations that callers need not be known for.
var anybodys = []string{"POST /api/v1/users", "POST /api/v1/sessions", "POST /api/v1/password-resets/use"}

// Without the right key nothing answers but what must.
func TestEveryOperationNeedsTheKey(t *testing.T) {
	b := newBench(t)
	wrong := map[string]string{
		"no key": "", "empty": "Bearer ", "scheme only": "Bearer", "wrong": "Bearer wrong", "prefix": "Bearer " + adminKey[:len(adminKey)-1], "longer": "Bearer " + adminKey + "x",
		"basic": "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+adminKey)), "without a scheme": adminKey, "in capitals": "Bearer " + strings.ToUpper(adminKey),
	}
	routes := append(b.operations(), "GET /", "GET /api/v1/nope", "GET /metrics", "POST /healthz/x", "PUT /api/v1/engines", "GET /api/v1/../../docs/", "GET //docs/", "HEAD /api/v1/jobs")
	for name, header := range wrong {
		for _, route := range routes {
			if slices.Contains(anybodys, route) {
				continue
			}
			method, path, _ := strings.Cut(route, " ")
			a := b.send(method, path, strings.NewReader("{"), "Authorization", header)
			if a.status != http.StatusUnauthorized || method != "HEAD" && a.text("code") != "unauthorized" || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s, %s: %d %v %s", route, name, a.status, a.header, a.body)
			}
		}
	}
	for _, header := range []string{"Bearer " + adminKey, "bearer " + adminKey, "Bearer  " + adminKey + " "} {
		b.send("GET", "/api/v1/engines", nil, "Authorization", header).is(200, "")
	}
	for _, path := range []string{"/healthz", "/readyz", "/docs/", "/openapi.json"} {
		b.send("GET", path, nil).is(200, "")
	}
}

// An API without a key lets nobody in.
func TestNoKeyIsNoEntry(t *testing.T) {
	b := newBench(t, func(c *api.Config) { c.AdminKey = api.Config{}.AdminKey })
	b.send("GET", "/api/v1/engines", nil, "Authorization", "Bearer ").is(401, "unauthorized")
	b.send("GET", "/api/v1/engines", nil).is(401, "unauthorized")
}

func TestUnknownRoutes(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/", "/nope", "/api/v1", "/api/v1/", "/api/v1/engines/", "/api/v1/storage/x", "/api/v2/engines", "/schemas/x.json", "/openapi.yaml2", "/%ff", "/api/v1/nope/%00"} {
		b.call("GET", path, "").is(404, "not_found")
	}
	for _, route := range []string{"PUT /api/v1/engines", "POST /api/v1/engines", "PATCH " + mysqlPath, "TRACE /api/v1/jobs", "DELETE /api/v1/jobs/x", "POST /healthz"} {
		method, path, _ := strings.Cut(route, " ")
		if a := b.call(method, path, "").is(405, "method_not_allowed"); !strings.Contains(a.header.Get("Allow"), "GET") {
			t.Errorf("%s: Allow %q", route, a.header.Get("Allow"))
		}
	}
}

func withQueues(c *api.Config) {
	c.Queues = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "queues") })
}

// The queues' pages ask a browser for the key, and no other site can press their
// buttons.
func TestQueues(t *testing.T) {
	b := newBench(t, withQueues)
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for _, path := range []string{"/queues", "/queues/", "/queues/api/queues", "/queues/..%2f"} {
		for _, header := range []string{"", basic("admin", ""), basic("admin", "wrong"), basic(adminKey, ""), "Bearer wrong", "Basic nonsense"} {
			a := b.send("GET", path, nil, "Authorization", header)
			if a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic") {
				t.Errorf("%s with %q: %d %v", path, header, a.status, a.header)
			}
		}
		for _, header := range []string{basic("", adminKey), basic("anybody", adminKey), "Bearer " + adminKey} {
			if a := b.send("GET", path, nil, "Authorization", header); a.status != 200 || a.body != "queues" {
				t.Errorf("%s: %d", path, a.status)
			}
		}
	}
	key := basic("", adminKey)
	for _, test := range []struct {
		status  int
		headers []string
	}{
		{403, []string{"Sec-Fetch-Site", "cross-site"}},
		{403, []string{"Sec-Fetch-Site", "same-site"}},
		{403, []string{"Origin", "https://evil.example"}},
		{403, []string{"Origin", "null"}},
		{200, []string{"Sec-Fetch-Site", "same-origin"}},
		{200, nil},
	} {
		a := b.send("POST", "/queues/api/queues/x:pause", nil, append([]string{"Authorization", key}, test.headers...)...)
		if a.status != test.status {
			t.Errorf("POST with %v: %d", test.headers, a.status)
		}
	}
}

// Profiles are for whoever has the key, in a browser or with a tool.
func TestProfiles(t *testing.T) {
	b := newBench(t)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("anybody:"+adminKey))
	for path, want := range map[string]string{
		"/debug/pprof/": "goroutine", "/debug/pprof/heap?debug=1": "heap profile", "/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/cmdline": "api.test", "/debug/pprof/symbol": "num_symbols",
	} {
		for _, header := range []string{"", "Bearer wrong", "Basic nonsense"} {
			if a := b.send("GET", path, nil, "Authorization", header); a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic") {
				t.Errorf("%s with %q: %d", path, header, a.status)
			}
		}
		for _, header := range []string{basic, "Bearer " + adminKey} {
			if a := b.send("GET", path, nil, "Authorization", header); a.status != 200 || !strings.Contains(a.body, want) {
				t.Errorf("%s: %d %.200q", path, a.status, a.body)
			}
		}
	}
	if a := b.send("GET", "/debug/pprof", nil, "Authorization", basic); a.status != 302 {
		t.Errorf("/debug/pprof: %d", a.status)
	}
	if a := b.send("GET", "/debug/pprofile", nil, "Authorization", ""); a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("another path: %d", a.status)
	}
}

func TestReady(t *testing.T) {
	b := newBench(t, func(c *api.Config) {
		c.Checks["redis"] = func(context.Context) error { return nil }
		c.Checks["docker"] = func(ctx context.Context) error { <-ctx.Done(); return errors.New("secret address") }
	})
	a := b.send("GET", "/readyz", nil).is(503, "")
	if a.text("parts.docker") != "down" || a.text("parts.redis") != "ok" || a.text("parts.database") != "ok" || a.header.Get("Retry-After") == "" {
		t.Errorf("%s %v", a.body, a.header)
	}
	if strings.Contains(a.body, "secret address") {
		t.Error("anybody can read what the log is for")
	}
	if a.text("reasons.docker") == "" || a.text("reasons.database") != "" {
		t.Errorf("%s", a.body)
	}
	b = newBench(t, func(c *api.Config) {
		c.Checks["docker"] = func(context.Context) error {
			return fault.Errorf(fault.CodeHostUnavailable, errors.New("secret address"), "permission denied at the socket")
		}
	})
	if a := b.send("GET", "/readyz", nil).is(503, ""); a.text("reasons.docker") != "permission denied at the socket" || strings.Contains(a.body, "secret") {
		t.Errorf("%s", a.body)
	}
	b = newBench(t)
	if a := b.send("GET", "/readyz", nil).is(200, ""); a.text("status") != "ready" {
		t.Errorf("%s", a.body)
	}
	b.down.Store(true)
	if a := b.send("GET", "/readyz", nil).is(503, ""); a.text("parts.database") != "down" {
		t.Errorf("%s", a.body)
	}
	b.send("GET", "/healthz", nil).is(200, "")
}

func zipped(c *api.Config) { c.Gzip = true }

func TestGzip(t *testing.T) {
	for _, on := range []bool{false, true} {
		b := newBench(t, func(c *api.Config) { c.Gzip = on })
		a := b.send("GET", "/openapi.json", nil, "Accept-Encoding", "gzip")
		if zipped := a.header.Get("Content-Encoding") == "gzip"; zipped != on {
			t.Errorf("gzip %v: %v", on, a.header)
		}
		if a := b.send("GET", "/openapi.json", nil); a.header.Get("Content-Encoding") != "" {
			t.Errorf("nobody asked: %v", a.header)
		}
		b.call("GET", "/api/v1/jobs/x", "", "Accept-Encoding", "gzip").is(404, "not_found")
	}
}

func TestCORS(t *testing.T) {
	preflight := []string{"Origin", "https://app.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization"}
	for _, on := range []bool{false, true} {
		b := newBench(t, func(c *api.Config) {
			if on {
				c.CORSOrigins = []string{"https://app.example"}
			}
		})
		for _, header := range []string{"authorization", "content-type", "idempotency-key", "last-event-id", "cache-control"} {
			if a := b.send("OPTIONS", mysqlPath, nil, preflight...); on && !strings.Contains(strings.ToLower(a.header.Get("Access-Control-Allow-Headers")), header) {
				t.Errorf("%s may not be sent: %v", header, a.header)
			}
		}
		if a := b.call("GET", "/api/v1/engines", "", "Origin", "https://app.example"); on {
			for _, header := range []string{"Location", "Retry-After", "X-Request-Id", "WWW-Authenticate", "Idempotency-Replayed", "Berth-Last-Event"} {
				if !strings.Contains(strings.ToLower(a.header.Get("Access-Control-Expose-Headers")), strings.ToLower(header)) {
					t.Errorf("%s may not be read: %v", header, a.header)
				}
			}
		}
		a := b.send("OPTIONS", mysqlPath, nil, preflight...)
		if allowed := a.header.Get("Access-Control-Allow-Origin") == "https://app.example"; allowed != on || a.status != 204 {
			t.Errorf("CORS %v: %d %v", on, a.status, a.header)
		}
		if a := b.call("GET", "/api/v1/engines", "", "Origin", "https://evil.example").is(200, ""); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("another origin: %v", a.header)
		}
		// A browser must be able to read why it was refused.
		if a := b.send("GET", "/api/v1/engines", nil, "Origin", "https://app.example").is(401, "unauthorized"); (a.header.Get("Access-Control-Allow-Origin") != "") != on {
			t.Errorf("401: %v", a.header)
		}
	}
}
