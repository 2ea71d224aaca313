package api_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-project/berth/api"
)

// from sends a request as the peer.
func (b *bench) from(peer, method, path, body string, headers ...string) answer {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), method, path, strings.NewReader(body))
	r.RemoteAddr = peer
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, r)
	return decoded(b.T, recorder)
}

func trusting(networks ...string) func(*api.Config) {
	return func(c *api.Config) {
		for _, n := range networks {
			c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(n))
		}
	}
}

// TestClientAddress: who the client is, is the peer's word only where the peer is trusted, and
// of what trusted proxies say the last that one of them has seen itself.
func TestClientAddress(t *testing.T) {
	proxied := newBench(t, trusting("10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7/32"))
	direct := newBench(t)
	for i, test := range []struct {
		bench     *bench
		peer      string
		forwarded []string
		want      string
	}{
		{direct, "192.0.2.1:1", nil, "192.0.2.1"},
		{direct, "127.0.0.1:1", []string{"198.51.100.1"}, "127.0.0.1"},
		{direct, "10.0.0.1:1", []string{"198.51.100.1"}, "10.0.0.1"},
		{direct, "[2001:db8::1]:1", []string{"198.51.100.1"}, "2001:db8::1"},
		{proxied, "10.0.0.1:1", nil, "10.0.0.1"},
		{proxied, "10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{proxied, "[::ffff:10.0.0.1]:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{proxied, "10.0.0.1:1", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{proxied, "10.0.0.1:1", []string{"203.0.113.9", "198.51.100.1", "10.2.3.4"}, "198.51.100.1"},
		{proxied, "10.0.0.1:1", []string{"203.0.113.9, 127.0.0.1"}, "127.0.0.1"}, // what is not named is not trusted, loopback neither
		{proxied, "10.0.0.1:1", []string{"10.9.9.9, 192.0.2.7"}, "10.9.9.9"},
		{proxied, "10.0.0.1:1", []string{"198.51.100.1, nonsense"}, "10.0.0.1"},
		{proxied, "10.0.0.1:1", []string{" 198.51.100.1 ,"}, "10.0.0.1"},
		{proxied, "[2001:db8:1::5]:1", []string{"2001:db8:2::7"}, "2001:db8:2::7"},
		{proxied, "192.0.2.8:1", []string{"198.51.100.1"}, "192.0.2.8"},
		{proxied, "127.0.0.1:1", []string{"198.51.100.1"}, "127.0.0.1"},
		{proxied, "@", []string{"198.51.100.1"}, "@"},
	} {
		var headers []string
		for _, f := range test.forwarded {
			headers = append(headers, "X-Forwarded-For", f)
		}
		id := fmt.Sprintf("case-%d", i)
		test.bench.from(test.peer, "GET", "/api/v1/engines", "", append(headers, "X-Request-Id", id, "X-Real-IP", "203.0.113.1", "Forwarded", "for=203.0.113.1")...)
		found := regexp.MustCompile(`msg=request .*address="?([^" ]+)"? request_id=` + id + `\b`).FindStringSubmatch(test.bench.log.String())
		if len(found) != 2 || found[1] != test.want {
			t.Errorf("%s, %v: %v, want %s", test.peer, test.forwarded, found, test.want)
		}
	}
	const warning = "headers of a proxy are ignored"
	if n := strings.Count(direct.log.String(), warning); n != 1 {
		t.Errorf("%d lines warn, want 1", n)
	}
}

// TestForwardedProto: whether the client speaks TLS is the word of trusted proxies only.
func TestForwardedProto(t *testing.T) {
	b := newBench(t, trusting("10.0.0.0/8"))
	b.user(b.tenant("one"), "member")
	body := fmt.Sprintf(`{"login":"user-1","password":%q,"cookie":true}`, goodPassword)
	for _, test := range []struct {
		peer, proto string
		want        bool
	}{
		{"10.0.0.1:1", "https", true}, {"10.0.0.1:1", "HTTPS", true}, {"10.0.0.1:1", "http", false}, {"10.0.0.1:1", "", false}, {"10.0.0.1:1", "http, https", false},
		{"127.0.0.1:1", "https", false}, {"192.0.2.1:1", "https", false},
	} {
		in := b.from(test.peer, "POST", "/api/v1/sessions", body, "X-Forwarded-Proto", test.proto, "Sec-Fetch-Site", "same-origin").is(201, "")
		b.secretly(in.cookie())
		page := b.from(test.peer, "GET", "/", "", "Accept", "text/html", "X-Forwarded-Proto", test.proto).is(200, "")
		secure := strings.Contains(in.header.Get("Set-Cookie"), "; Secure")
		strict := page.header.Get("Strict-Transport-Security")
		if secure != test.want || (strict == "max-age=31536000") != test.want || strings.Contains(page.body, "https://example.com/api") != test.want {
			t.Errorf("%s says %q: cookie %v, HSTS %q", test.peer, test.proto, secure, strict)
		}
	}
}

// TestThrottleBehindAProxy: guesses count for the client that a trusted proxy names; a client that
// names others is slowed down as itself.
func TestThrottleBehindAProxy(t *testing.T) {
	b := newBench(t, trusting("10.0.0.0/8"))
	b.user(b.tenant("one"), "member")
	guess := func(peer, forwarded string) answer {
		return b.from(peer, "POST", "/api/v1/sessions", `{"login":"user-1","password":"a wrong password"}`, "X-Forwarded-For", forwarded)
	}
	for range 5 {
		guess("10.0.0.1:1", "203.0.113.1").is(401, "unauthorized")
	}
	guess("10.0.0.1:1", "203.0.113.1").is(429, "too_many_requests")
	guess("10.0.0.2:1", "203.0.113.1").is(429, "too_many_requests") // by another proxy
	guess("10.0.0.1:1", "203.0.113.2").is(401, "unauthorized")      // another client
	for i := range 5 {
		guess("192.0.2.1:1", fmt.Sprintf("203.0.113.%d", 10+i)).is(401, "unauthorized")
	}
	guess("192.0.2.1:1", "203.0.113.99").is(429, "too_many_requests")
}

// TestPageHeaders: no page can be framed, guessed at, or load what is not its own, and what is
// no page loads nothing.
func TestPageHeaders(t *testing.T) {
	b := newBench(t, withQueues)
	for path, accept := range map[string]string{
		"/": "text/html", "/docs/": "", "/docs/swagger-ui.css": "", "/queues": "", "/queues/static/x": "", "/debug/pprof/": "", "/debug/pprof/cmdline": "",
		"/openapi.json": "", "/healthz": "", "/api/v1/engines": "", "/api/v1/nope": "", "/nope": "",
	} {
		h := b.call("GET", path, "", "Accept", accept).header
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "base-uri 'none'") || !strings.HasPrefix(policy, "default-src '") || !strings.Contains(policy, "form-action '") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Frame-Options") != "DENY" || h.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: %v", path, h)
		}
	}
	gate := api.NewGate(t.Context())
	w := httptest.NewRecorder()
	gate.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	if h := w.Header(); !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || !strings.HasPrefix(h.Get("X-Request-Id"), "req_") {
		t.Errorf("at the gate: %v", h)
	}
}

// TestRequestID: every answer has one, problems and log lines have the same, and what a client
// sends is taken over only if it is harmless.
func TestRequestID(t *testing.T) {
	b := newBench(t, withQueues)
	for _, route := range []string{
		"GET /healthz", "GET /readyz", "GET /docs/", "GET /openapi.json", "GET /queues", "GET /debug/pprof/cmdline", "GET /api/v1/engines", "GET /api/v1/jobs/job_x", "GET /api/v1/jobs?x=y",
		"POST /api/v1/storage/redis/instances", "GET /nope", "PUT /api/v1/engines", "HEAD /api/v1/engines", "GET /api/v1/jobs?%zz", "OPTIONS /api/v1/jobs", "GET /api/v1/events/ws",
	} {
		method, path, _ := strings.Cut(route, " ")
		a := b.call(method, path, `{"nope":1}`)
		id := a.header.Get("X-Request-Id")
		if !regexp.MustCompile(`^req_[0-9A-Z]{26}$`).MatchString(id) || len(a.header.Values("X-Request-Id")) != 1 {
			t.Errorf("%s: id %q", route, a.header.Values("X-Request-Id"))
		}
		if a.status >= 400 && method != "HEAD" && a.text("request_id") != id {
			t.Errorf("%s: id %q, problem %s", route, id, a.body)
		}
		if n := strings.Count(b.log.String(), "msg=request ") - strings.Count(b.log.String(), "request_id="); n > 0 {
			t.Errorf("%s: lines without an id:\n%s", route, b.log.String())
		}
	}
	for sent, taken := range map[string]bool{
		"f47ac10b-58cc-4372-a567-0e02b2c3d479": true, "trace.1:2_3": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "a\"b": false, "<script>": false, "a=b": false, "é": false, adminKey: false, "x" + adminKey[:20]: false,
	} {
		a := b.call("GET", "/api/v1/nope", "", "X-Request-Id", sent).is(404, "")
		if got := a.header.Get("X-Request-Id"); (got == sent) != taken || got == "" || a.text("request_id") != got {
			t.Errorf("sent %q, got %q and %s", sent, got, a.body)
		}
	}
	// What went wrong is logged with the id of the request that it happened to.
	b.down.Store(true)
	b.call("GET", "/api/v1/jobs", "", "X-Request-Id", "while-down").is(503, "unavailable")
	b.down.Store(false)
	if !regexp.MustCompile(`level=WARN msg="request refused" .*request_id=while-down`).MatchString(b.log.String()) {
		t.Errorf("%s", b.log.String())
	}
}

// TestLargeBodies: 413 for whatever is sent a body that is too large, announced or not.
func TestLargeBodies(t *testing.T) {
	b := newBench(t, withQueues)
	large := strings.Repeat("a", 1<<20+1)
	for _, path := range []string{"/api/v1/storage/redis/instances", "/api/v1/jobs/job_x/cancel", "/queues/api/x", "/debug/pprof/symbol", "/nope", "/docs/"} {
		b.call("POST", path, large).is(413, "too_large")
	}
	if a := b.send("POST", "/api/v1/storage/redis/instances", struct{ io.Reader }{strings.NewReader(`{"name":"` + large)}, "Authorization", "Bearer "+adminKey).is(413, "too_large"); a.header.Get("X-Request-Id") == "" {
		t.Errorf("%v", a.header)
	}
	b.send("POST", "/api/v1/storage/redis/instances", strings.NewReader(large)).is(401, "unauthorized") // nobody's is not looked at
}
