package api_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-project/berth/api"
)

const browserAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

// inline checks that a policy allows the scripts and styles that are written in a page,
// and nothing else of them.
func inline(t *testing.T, a answer, tag, directive string) {
	t.Helper()
	policy := a.header.Get("Content-Security-Policy")
	var allowed string
	for part := range strings.SplitSeq(policy, ";") {
		if name, sources, _ := strings.Cut(strings.TrimSpace(part), " "); name == directive {
			allowed = sources
		}
	}
	found := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(a.body, -1)
	for _, f := range found {
		sum := sha256.Sum256([]byte(f[1]))
		if !strings.Contains(allowed, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Errorf("%s does not allow %.60q: %s", directive, f[1], policy)
		}
	}
	if len(found) == 0 || strings.Contains(allowed, "unsafe") || strings.Contains(allowed, "*") {
		t.Errorf("%d of <%s>, allowed: %s", len(found), tag, allowed)
	}
}

// foreign finds what a page loads from another host.
var foreign = regexp.MustCompile(`(?i)(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//[^"')\s]+|@import`)

func TestHome(t *testing.T) {
	b := newBench(t, withQueues)
	for _, accept := range []string{browserAccept, "text/html", "TEXT/HTML;q=0.9, */*;q=0.1", "application/xhtml+xml"} {
		a := b.send("GET", "/", nil, "Accept", accept)
		if a.status != 200 || a.header.Get("Content-Type") != "text/html; charset=UTF-8" || a.header.Get("Vary") != "Accept" {
			t.Errorf("%q: %d %v", accept, a.status, a.header)
		}
		for _, word := range []string{`href="/docs/"`, `href="/queues"`, "admin.key", "BERTH_ADMIN_KEY", "http://example.com/api/v1/storage", "<title>Berth</title>"} {
			if !strings.Contains(a.body, word) {
				t.Errorf("%q: no %q in\n%s", accept, word, a.body)
			}
		}
		inline(t, a, "style", "style-src")
		if found := foreign.FindAllString(a.body, -1); found != nil || strings.Contains(a.body, adminKey) || strings.Contains(a.body, "<script") {
			t.Errorf("%v", found)
		}
		if head := b.send("HEAD", "/", nil, "Accept", accept); head.status != 200 || head.body != "" {
			t.Errorf("HEAD: %d %q", head.status, head.body)
		}
	}
	for _, accept := range []string{"", "*/*", "application/json", "application/json, text/html;q=0.5", "text/html;q=0, */*", "application/problem+json", "image/png"} {
		b.send("GET", "/", nil, "Accept", accept).is(401, "unauthorized")
		b.call("GET", "/", "", "Accept", accept).is(404, "not_found")
	}
	b.send("GET", "/", nil, "Accept", "application/json, text/html").is(401, "unauthorized")
	b.send("POST", "/", nil, "Accept", browserAccept).is(401, "unauthorized")
	b.send("GET", "/api/v1/jobs", nil, "Accept", browserAccept).is(401, "unauthorized")
	b.send("GET", "//", nil, "Accept", browserAccept).is(401, "unauthorized")
	if a := b.send("GET", "http://a.example\"><b>/", nil, "Accept", browserAccept); strings.Contains(a.body, "<b>") {
		t.Error("the name of the server is not escaped")
	}
	if a := newBench(t).send("GET", "/", nil, "Accept", browserAccept); strings.Contains(a.body, "/queues") {
		t.Error("queues that are not there")
	}
}

func TestDocsPolicy(t *testing.T) {
	b := newBench(t)
	a := b.send("GET", "/docs/", nil).is(200, "")
	inline(t, a, "script", "script-src")
	for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "connect-src 'self'"} {
		if policy := a.header.Get("Content-Security-Policy"); !strings.Contains(policy, part) {
			t.Errorf("no %s in %s", part, policy)
		}
	}
	if found := foreign.FindAllString(a.body, -1); found != nil {
		t.Errorf("%v", found)
	}
	// Its parts are compressed once, for those who take it, whatever the setting.
	for _, change := range []func(*api.Config){func(*api.Config) {}, zipped} {
		b := newBench(t, change)
		for accept, want := range map[string]string{"gzip": "gzip", "gzip, deflate, br": "gzip", "gzip;q=0": "", "": "", "identity": "", "br": ""} {
			a := b.send("GET", "/docs/swagger-ui.css", nil, "Accept-Encoding", accept).is(200, "")
			text := a.body
			if want == "gzip" {
				r, err := gzip.NewReader(strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				plain, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				text = string(plain)
			}
			if a.header.Get("Content-Encoding") != want || !strings.Contains(text, ".swagger-ui") || a.header.Get("Content-Security-Policy") == "" || a.header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%q: %v %.40q", accept, a.header, text)
			}
		}
	}
}

// The queues' pages ask nobody else for anything.
func TestQueuesStayHere(t *testing.T) {
	page := `<!doctype html><html><head><link rel="stylesheet" href="https://fonts.example/css?family=Roboto:300&display=swap"/>` +
		`<link rel="preconnect" href="//cdn.example"><link rel="icon" href="/queues/favicon.ico"/></head><body><a href="https://elsewhere.example/">more</a></body></html>`
	b := newBench(t, func(c *api.Config) {
		c.Queues = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Path", r.URL.Path)
			_, _ = io.WriteString(w, page)
		})
	})
	a := b.call("GET", "/queues", "")
	if a.status != 200 || strings.Contains(a.body, "fonts.example") || strings.Contains(a.body, "cdn.example") || !strings.Contains(a.body, "/queues/favicon.ico") || !strings.Contains(a.body, "elsewhere.example") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a.header.Get("Content-Type") != "text/html; charset=UTF-8" || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'self'") || a.header.Get("X-Path") != "/queues" {
		t.Errorf("%v", a.header)
	}
	for _, path := range []string{"/queues/api/x", "/queues/static/x.js"} { // are passed on as they are
		if a := b.call("GET", path, ""); a.body != page {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}
