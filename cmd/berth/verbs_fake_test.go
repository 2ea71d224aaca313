package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

const (
	cacheDoc = `{"id":"ins_1","engine":"redis","version":"8","name":"cache","plan":"small",` +
		`"resources":{"cpu":0.5,"memory":536870912,"disk":10737418240},"parameters":{"maxmemory":67108864},"labels":{"team":"a"},` +
		`"state":"%s","disk":{"used_bytes":1073741824,"limit_bytes":10737418240,"state":"ok","enforcement":"measured"},"endpoint":{"host":"127.0.0.1","port":20001},"created_at":"2026-11-05T11:57:00.000Z","updated_at":"2026-11-05T11:57:00.000Z"}`
	jobDoc = `{"id":"job_1","instance_id":"ins_1","engine":"redis","kind":"instance.create","state":"%s","progress":50,"attempt":0,` +
		`"steps":[{"name":"image","state":"%s","attempt":1,"started_at":"2026-11-05T11:59:58.000Z","finished_at":"2026-11-05T11:59:59.500Z"},` +
		`{"name":"ready","state":"%s","attempt":2,"detail":"PING","error":"%s","started_at":"2026-11-05T11:59:59.500Z"}],` +
		`%s"deadline":"2026-11-05T12:10:00.000Z","created_at":"2026-11-05T11:59:58.000Z"}`
	configDoc = `{"engine":"redis","host":"127.0.0.1","port":20001,"username":"app","password":"pa55&word",` +
		`"uri":"redis://app:pa55&word@127.0.0.1:20001/0","cli":"redis-cli -p 20001","forms":{"env":"REDIS_HOST=127.0.0.1\nREDIS_PORT=20001\n"},` +
		`"tls":{"ca":"-----BEGIN CERTIFICATE-----\n","port":20002,"required":false,"uri":"rediss://app:pa55&word@127.0.0.1:20002/0","cli":"redis-cli --tls -p 20002","valid_until":"2027-11-05T00:00:00.000Z"},` +
		`"parameters":{"maxmemory":67108864},` +
		`"file":{"name":"redis.conf","content":"maxmemory 67108864\n"}}`
	enginesDoc = `{"items":[{"name":"redis","title":"Redis","description":"In-memory store",` +
		`"versions":[{"name":"8","default":true},{"name":"7","default":false}],` +
		`"plans":[{"name":"small","description":"for trying","default":true,"resources":{"cpu":0.5,"memory":536870912,"disk":10737418240}}],` +
		`"parameters":{"properties":{"maxclients":{"type":"integer","minimum":1,"maximum":10000,"default":1000,"description":"clients"},` +
		`"appendfsync":{"type":"string","enum":["always","everysec","no"]},` +
		`"maxmemory":{"oneOf":[{"type":"integer","minimum":1,"maximum":67108864},{"type":"string"}]}}}}]}`
	eventDoc = `{"number":12,"id":"evt_1","type":"instance.running","instance_id":"ins_1","job_id":"job_1","message":"usable at\n<b>",` +
		`"created_at":"2026-11-05T11:59:00.000Z"}`
	failure = `"error":{"code":"probe_failed","step":"ready","message":"the server\ndid not answer","retryable":true},`
)

func jobIn(state string) string {
	switch state {
	case "queued":
		return fmt.Sprintf(jobDoc, state, "waiting", "waiting", "", "")
	case "running":
		return fmt.Sprintf(jobDoc, state, "done", "running", "", "")
	case "failed":
		return fmt.Sprintf(jobDoc, state, "undone", "failed", "no PONG", failure)
	default:
		return fmt.Sprintf(jobDoc, state, "done", "done", "", "")
	}
}

// fakeBerth answers each route with its answers in turn, the last one ever after.
type fakeBerth struct {
	mu       sync.Mutex
	routes   map[string][]string // "METHOD /path" below /api/v1; an answer is "STATUS BODY"
	requests []string            // "METHOD /path?query BODY"
	onJob    func()              // called when a job is looked at
	key      string              // that it takes; empty: brth_key
	tenants  []string            // the header Berth-Tenant of each request
	keys     []string            // its Idempotency-Key
}

func (f *fakeBerth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	route := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v1")
	f.mu.Lock()
	f.tenants = append(f.tenants, r.Header.Get("Berth-Tenant"))
	f.keys = append(f.keys, r.Header.Get("Idempotency-Key"))
	f.requests = append(f.requests, strings.TrimSpace(r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/api/v1")+" "+string(body)))
	answer := `404 {"code":"not_found","detail":"no such thing"}`
	if left := f.routes[route]; len(left) > 0 {
		answer = left[0]
		if len(left) > 1 {
			f.routes[route] = left[1:]
		}
	}
	f.mu.Unlock()
	key := f.key
	if key == "" {
		key = "brth_key"
	}
	open := route == "POST /sessions" || route == "POST /users" || route == "POST /password-resets/use"
	if r.Header.Get("Authorization") != "Bearer "+key && (!open || r.Header.Get("Authorization") != "") {
		answer = `401 {"code":"unauthorized","detail":"no valid API key"}`
	}
	if f.onJob != nil && strings.HasPrefix(route, "GET /jobs/") {
		f.onJob()
	}
	status := 0
	_, _ = fmt.Sscan(answer, &status)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer[4:])
}

func (f *fakeBerth) sent() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

type result struct {
	code        int
	out, errOut string
}

// berth runs a command line against the fake, in an environment where only the
// given terminal, if any, is one.
func berth(ctx context.Context, t *testing.T, f *fakeBerth, env map[string]string, size *terminalSize, args ...string) result {
	t.Helper()
	srv := httptest.NewServer(f)
	defer srv.Close()
	all := map[string]string{"BERTH_URL": srv.URL, "SERVER": srv.URL, "BERTH_API_KEY": "brth_key", "NO_COLOR": "1"}
	for k, v := range env {
		all[k] = strings.ReplaceAll(v, "SERVER", srv.URL)
	}
	c := &cli{
		getenv: func(k string) string { return all[k] },
		now:    func() time.Time { return noon },
		terminal: func(io.Writer) (terminalSize, bool) {
			if size == nil {
				return terminalSize{}, false
			}
			return *size, true
		},
		connect: func(cfg client.Config) (*client.Client, error) {
			cfg.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
			return client.New(cfg)
		},
	}
	var out, errOut bytes.Buffer
	root := &cobra.Command{Use: "berth", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(c.commands()...)
	root.SetArgs(args)
	root.SetIn(strings.NewReader(all["stdin"]))
	root.SetOut(&out)
	root.SetErr(&errOut)
	code := reportError(&errOut, root.ExecuteContext(ctx))
	return result{code, out.String(), strings.ReplaceAll(errOut.String(), srv.URL, "URL")}
}

func newFake() *fakeBerth {
	cache := fmt.Sprintf(cacheDoc, "running")
	creating := `{"instance":` + fmt.Sprintf(cacheDoc, "pending") + `,"job":` + jobIn("queued") + `,"webhook_secret":"whsec_1"}`
	deleting := `{"instance":` + fmt.Sprintf(cacheDoc, "deleting") + `,"job":` + jobIn("queued") + `}`
	return &fakeBerth{routes: map[string][]string{
		"GET /engines":                              {"200 " + enginesDoc},
		"POST /storage/redis/instances":             {"202 " + creating},
		"GET /storage/instances":                    {`200 {"items":[` + cache + `]}`},
		"GET /storage/instances/ins_1":              {"200 " + cache},
		"GET /storage/redis/instances/ins_1":        {"200 " + cache},
		"GET /storage/redis/instances/ins_1/config": {"200 " + configDoc},
		"DELETE /storage/redis/instances/ins_1":     {"202 " + deleting},
		"GET /jobs":                                 {`200 {"items":[` + jobIn("running") + `]}`},
		"GET /events":                               {`200 {"items":[` + eventDoc + `],"next_after":12}`},
		"GET /jobs/job_1":                           {"200 " + jobIn("queued"), "200 " + jobIn("running"), "200 " + jobIn("succeeded")},
	}}
}
