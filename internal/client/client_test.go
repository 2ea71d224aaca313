package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
)

// script answers the n-th request with its n-th answer, and the last one ever after.
type script struct {
	answers []answer

	mu   sync.Mutex
	sent []seen
}

type answer struct {
	status int
	header map[string]string
	body   string
	hangUp bool // close the connection instead of answering
}

type seen struct {
	method, uri, key, auth, body string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.sent = append(s.sent, seen{
		r.Method, r.URL.RequestURI(), r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization"), string(body),
	})
	a := s.answers[min(len(s.sent), len(s.answers))-1]
	s.mu.Unlock()
	if a.hangUp {
		panic(http.ErrAbortHandler)
	}
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(max(a.status, 200))
	_, _ = io.WriteString(w, a.body)
}

func (s *script) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// clock records the pauses and never really sleeps.
type clock struct {
	at     time.Time
	pauses []time.Duration
}

func (c *clock) now() time.Time { return c.at }

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.pauses = append(c.pauses, d)
	c.at = c.at.Add(d)
	return ctx.Err()
}

func serve(t *testing.T, answers ...answer) (*client.Client, *script, *clock) {
	t.Helper()
	s := &script{answers: answers}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	clk := &clock{at: time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)}
	c, err := client.New(client.Config{URL: srv.URL, APIKey: "brth_key", Now: clk.now, Sleep: clk.sleep})
	if err != nil {
		t.Fatal(err)
	}
	return c, s, clk
}

const accepted = `{"instance":{"id":"ins_1","name":"cache","new_field":1},"job":{"id":"job_1","state":"queued"},"webhook_secret":"whsec_x"}`

func TestCreateRepeatsWithTheSameKey(t *testing.T) {
	tests := map[string]struct {
		answers []answer
		pauses  []time.Duration
	}{
		"answered at once": {[]answer{{status: 202, body: accepted}}, nil},
		"lost connection": {
			[]answer{{hangUp: true}, {hangUp: true}, {status: 202, body: accepted}},
			[]time.Duration{200 * time.Millisecond, 400 * time.Millisecond},
		},
		"busy server": {
			[]answer{
				{status: 502}, {status: 503, header: map[string]string{"Retry-After": "3"}},
				{status: 429, header: map[string]string{"Retry-After": "Thu, 05 Nov 2026 12:00:05 GMT"}},
				{status: 202, body: accepted},
			},
			// 5 s after the start, less what the pauses before it took.
			[]time.Duration{200 * time.Millisecond, 3 * time.Second, 1800 * time.Millisecond},
		},
		"own first attempt still running": {
			[]answer{
				{status: 409, header: map[string]string{"Content-Type": "application/problem+json"}, body: `{"code":"idempotency_in_flight","detail":"wait"}`},
				{status: 202, body: accepted},
			},
			[]time.Duration{200 * time.Millisecond},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, s, clk := serve(t, tt.answers...)
			got, err := c.Create(t.Context(), "redis", "key-1", client.CreateRequest{Name: "cache", Parameters: map[string]any{"maxclients": 50}})
			if err != nil {
				t.Fatal(err)
			}
			if got.Job.ID != "job_1" || got.WebhookSecret != "whsec_x" {
				t.Errorf("got %+v", got)
			}
			if !reflect.DeepEqual(clk.pauses, tt.pauses) {
				t.Errorf("paused %v, want %v", clk.pauses, tt.pauses)
			}
			want := seen{"POST", "/api/v1/storage/redis/instances", "key-1", "Bearer brth_key", `{"name":"cache","parameters":{"maxclients":50}}`}
			if len(s.requests()) != len(tt.answers) {
				t.Errorf("%d requests, want %d", len(s.requests()), len(tt.answers))
			}
			for _, r := range s.requests() {
				if r != want {
					t.Errorf("sent %+v\nwant %+v", r, want)
				}
			}
		})
	}
}

// Whatever makes something is repeated under one key, so that it is made once.
func TestMakersRepeatWithTheSameKey(t *testing.T) {
	for path, call := range map[string]func(context.Context, *client.Client) error{
		"/api/v1/webhooks": func(ctx context.Context, c *client.Client) error {
			_, err := c.AddWebhook(ctx, "key-1", client.WebhookRequest{URL: "https://example.com"})
			return err
		},
		"/api/v1/webhooks/whk_1/ping": func(ctx context.Context, c *client.Client) error {
			_, err := c.PingWebhook(ctx, "key-1", "whk_1")
			return err
		},
		"/api/v1/tenants": func(ctx context.Context, c *client.Client) error {
			_, err := c.AddTenant(ctx, "key-1", "team")
			return err
		},
		"/api/v1/keys": func(ctx context.Context, c *client.Client) error {
			_, err := c.AddKey(ctx, "key-1", client.KeyRequest{Name: "ci"})
			return err
		},
	} {
		t.Run(path, func(t *testing.T) {
			c, s, _ := serve(t, answer{hangUp: true}, answer{status: 503}, answer{status: 200, body: `{}`})
			if err := call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if len(s.requests()) != 3 {
				t.Fatalf("%d requests, want 3", len(s.requests()))
			}
			for _, r := range s.requests() {
				if r != s.requests()[0] || r.key != "key-1" || r.uri != path {
					t.Errorf("sent %+v", r)
				}
			}
		})
	}
}

func TestGivesUp(t *testing.T) {
	tests := map[string]struct {
		answer   answer
		requests int
		code     string
	}{
		"after four lost answers":     {answer{hangUp: true}, 4, ""},
		"after four times busy":       {answer{status: 503, body: `{"code":"unavailable","detail":"the database is away"}`}, 4, "unavailable"},
		"when asked for long":         {answer{status: 429, header: map[string]string{"Retry-After": "3600"}, body: `{"code":"slow","detail":"x"}`}, 1, "slow"},
		"on a refusal":                {answer{status: 422, body: `{"code":"invalid","detail":"x"}`}, 1, "invalid"},
		"on a redirect":               {answer{status: 307, header: map[string]string{"Location": "http://127.0.0.1:1/"}}, 1, ""},
		"on something else than JSON": {answer{status: 200, body: `<html>`}, 1, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, s, _ := serve(t, tt.answer)
			_, err := c.Create(t.Context(), "redis", "k", client.CreateRequest{})
			if err == nil {
				t.Fatal("no error")
			}
			if len(s.requests()) != tt.requests {
				t.Errorf("%d requests, want %d", len(s.requests()), tt.requests)
			}
			if tt.code != "" && !client.HasCode(err, tt.code) {
				t.Errorf("got %v, want code %s", err, tt.code)
			}
			var unreachable *client.UnreachableError
			if errors.As(err, &unreachable) != tt.answer.hangUp {
				t.Errorf("unreachable is wrong for %v", err)
			}
		})
	}
}

func TestProblem(t *testing.T) {
	c, _, _ := serve(t, answer{
		status: 409, header: map[string]string{"Content-Type": "application/problem+json"},
		body: `{"type":"about:blank","title":"Conflict","status":409,"detail":"another job runs","code":"busy",` +
			`"errors":[{"field":"parameters.x","message":"unknown"}],"job_id":"job_9"}`,
	})
	_, err := c.Delete(t.Context(), client.Instance{ID: "ins_1", Engine: "redis"})
	var p *client.Problem
	if !errors.As(err, &p) {
		t.Fatalf("got %v", err)
	}
	want := &client.Problem{
		Type: "about:blank", Title: "Conflict", Status: 409, Detail: "another job runs", Code: "busy", JobID: "job_9",
		Errors: []client.FieldError{{Field: "parameters.x", Message: "unknown"}}, RetryAfter: -1,
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, want %+v", p, want)
	}

	c, _, _ = serve(t, answer{status: 404, header: map[string]string{"Content-Type": "text/html"}, body: "<h1>nginx</h1>"})
	if _, err = c.Engines(t.Context()); err == nil || !strings.Contains(err.Error(), "404 Not Found without a reason") {
		t.Errorf("a stranger's answer is reported as %v", err)
	}
}

func TestDocumentsKeepWhatIsNotKnown(t *testing.T) {
	c, _, _ := serve(t, answer{body: `{"items":[{"id":"ins_1","new_field":{"a":1}}],"next_cursor":"c2"}`})
	page, err := c.Instances(t.Context(), client.InstanceFilter{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(page)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"items":[{"id":"ins_1","new_field":{"a":1}}],"next_cursor":"c2"}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	own, err := json.Marshal(client.Job{ID: "job_1"})
	if err != nil || !strings.HasPrefix(string(own), `{"id":"job_1"`) {
		t.Errorf("a value of our own gives %s, %v", own, err)
	}
}

func TestAddresses(t *testing.T) {
	c, s, _ := serve(t, answer{body: `{"items":[{"id":"ins_2","name":"cache","engine":"redis"}]}`})
	ctx := t.Context()
	calls := []func() error{
		func() error {
			_, err := c.Instances(ctx, client.InstanceFilter{
				Engine: "redis", State: "running", Labels: []string{"a=1", "b=2"}, Deleted: true, Limit: 5, Cursor: "x",
			})
			return err
		},
		func() error { _, err := c.Find(ctx, "cache"); return err },
		func() error { _, err := c.Find(ctx, "ins_2"); return err },
		func() error { _, err := c.Connection(ctx, client.Instance{ID: "ins_2", Engine: "redis"}); return err },
		func() error {
			_, err := c.Jobs(ctx, client.JobFilter{InstanceID: "ins_2", Parent: "job_9", State: "failed"})
			return err
		},
		func() error { _, err := c.Job(ctx, "job/../1", 30*time.Second); return err },
		func() error { _, err := c.CancelJob(ctx, "job_1"); return err },
	}
	want := []string{
		"GET /api/v1/storage/redis/instances?cursor=x&deleted=true&label=a%3D1&label=b%3D2&limit=5&state=running",
		"GET /api/v1/storage/instances?name=cache",
		"GET /api/v1/storage/instances/ins_2",
		"GET /api/v1/storage/redis/instances/ins_2/config",
		"GET /api/v1/jobs?instance_id=ins_2&parent=job_9&state=failed",
		"GET /api/v1/jobs/job%2F..%2F1?wait=30s",
		"POST /api/v1/jobs/job_1/cancel",
	}
	for i, call := range calls {
		if err := call(); err != nil {
			t.Fatal(err)
		}
		if got := s.requests()[i].method + " " + s.requests()[i].uri; got != want[i] {
			t.Errorf("got  %s\nwant %s", got, want[i])
		}
	}
	if _, err := c.Find(ctx, "other"); !client.HasCode(err, client.CodeNotFound) {
		t.Errorf("an unknown name gives %v", err)
	}
	if _, err := c.Job(ctx, "..", 0); err == nil {
		t.Error("an id that walks up the path is sent")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, url := range []string{"", "localhost:8080", "ftp://h", "http://", "::"} {
		if _, err := client.New(client.Config{URL: url}); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
}
