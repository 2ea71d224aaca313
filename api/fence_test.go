package api_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// fences is what the store has seen of the fences of requests.
type fences struct {
	mu    sync.Mutex
	blind bool
	seen  map[string][]tenant.ID // by method; "none" is no fence
}

func (f *fences) note(ctx context.Context, method string) {
	of, fenced := tenant.Fence(ctx)
	if !fenced {
		of = "none"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen != nil && !slices.Contains(f.seen[method], of) {
		f.seen[method] = append(f.seen[method], of)
	}
}

// isBlind reports whether the rooms are to be told that everything is the caller's.
func (f *fences) isBlind() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blind
}

func (f *fences) blindfold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blind = true
}

// begin forgets what was seen, and end gives what was seen since.
func (f *fences) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = map[string][]tenant.ID{}
}

func (f *fences) end() map[string][]tenant.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = nil
	return seen
}

// owned says of something that was read that it is the caller's, where the store is blind.
func (f *fences) owned(ctx context.Context, owner *tenant.ID) {
	if of, fenced := tenant.Fence(ctx); fenced && f.isBlind() {
		*owner = of
	}
}

func (s *benchStore) Delivery(ctx context.Context, id webhook.DeliveryID) (webhook.Delivery, error) {
	s.b.fences.note(ctx, "Delivery")
	d, err := s.Store.Delivery(ctx, id)
	s.b.fences.owned(ctx, &d.Tenant)
	return d, err
}

func (s *benchStore) Webhook(ctx context.Context, id webhook.ID) (webhook.Webhook, error) {
	s.b.fences.note(ctx, "Webhook")
	h, err := s.Store.Webhook(ctx, id)
	s.b.fences.owned(ctx, &h.Tenant)
	return h, err
}

func (s *benchStore) Events(ctx context.Context, f event.Filter, after int64, limit int) ([]event.Event, error) {
	s.b.fences.note(ctx, "Events")
	return s.Store.Events(ctx, f, after, limit)
}

func (s *benchStore) Idempotent(ctx context.Context, of tenant.ID, key string) (record idempotency.Record, err error) {
	s.b.fences.note(ctx, "Idempotent")
	return s.Store.Idempotent(ctx, of, key)
}

// blindTx says of everything that it is the caller's.
type blindTx struct {
	rooms.Tx
	of tenant.ID
}

func (t blindTx) Instance(id instance.ID) (instance.Instance, error) {
	i, err := t.Tx.Instance(id)
	i.Tenant = t.of
	return i, err
}

func (t blindTx) Job(id id.Job) (job.Job, error) {
	j, err := t.Tx.Job(id)
	j.Tenant = t.of
	return j, err
}

func (t blindTx) ActiveJob(of id.Subject) (job.Job, error) {
	j, err := t.Tx.ActiveJob(of)
	j.Tenant = t.of
	return j, err
}

func (t blindTx) Delivery(id webhook.DeliveryID) (webhook.Delivery, error) {
	d, err := t.Tx.Delivery(id)
	d.Tenant = t.of
	return d, err
}

func (t blindTx) Webhook(id webhook.ID) (webhook.Webhook, error) {
	h, err := t.Tx.Webhook(id)
	h.Tenant = t.of
	return h, err
}

// TestFenceAlone has the use cases believe that everything is the caller's, as if they did not
// compare tenants: all the same, what is another tenant's is not found, and stays as it is.
func TestFenceAlone(t *testing.T) {
	b := newBench(t)
	mine, foreign := b.estate(b.tenant("mine")), b.estate(b.tenant("foreign"))
	_, owner := b.key(mine.tenant, "owner")
	_, theirs := b.key(foreign.tenant, "owner")
	look := func() (all []string) {
		for _, path := range []string{mysqlPath, "/api/v1/jobs", "/api/v1/webhooks", "/api/v1/webhooks/" + foreign.webhook + "/deliveries", eventsPath} {
			all = append(all, b.as(theirs, "GET", path, "").is(200, "").body)
		}
		return all
	}
	before := look()
	b.fences.blindfold()
	tried := 0
	_, declared := api.Routes(b.config)
	for route := range declared {
		of := func(e estate) string { return e.path(route) }
		if of(mine) == of(foreign) || strings.Contains(route, "/tenants/") || strings.Contains(route, "/users/") || strings.Contains(route, "/keys/") || strings.Contains(route, "/hosts") || strings.Contains(route, "/swarms") {
			continue // those are the tenant room's own, or nobody's
		}
		if status := b.try(route, foreign, owner); status != 404 {
			t.Errorf("%s: %d", route, status)
		}
		tried++
	}
	if tried < 12 {
		t.Errorf("%d routes tried", tried)
	}
	if after := look(); !slices.Equal(after, before) {
		t.Errorf("another tenant's things were\n%s\nand are\n%s", before, after)
	}
	if status := b.try("GET /api/v1/storage/:engine/instances/:id", mine, owner); status != 200 {
		t.Errorf("the own instance: %d", status)
	}
}

// TestRequestsAreFenced: whatever a request reads and writes, it does so within its tenant's
// fence; a stream, a WebSocket and a long poll, too.
func TestRequestsAreFenced(t *testing.T) {
	b := newBench(t)
	mine := b.estate(b.tenant("mine"))
	_, owner := b.key(mine.tenant, "owner")
	queued := b.as(owner, "POST", mysqlPath, "{}").is(202, "").text("job.id")
	url := b.serve()
	b.say(tenant.ID(mine.tenant), "one")
	b.fences.begin()
	for _, path := range []string{mysqlPath, mysqlPath + "/" + mine.instance, "/api/v1/jobs", "/api/v1/jobs/" + queued + "?wait=50ms", eventsPath,
		"/api/v1/webhooks/" + mine.webhook, "/api/v1/webhooks/" + mine.webhook + "/deliveries/" + mine.delivery} {
		b.as(owner, "GET", path, "")
	}
	b.as(owner, "POST", mysqlPath, "{}", "Idempotency-Key", "again").is(202, "")
	b.as(owner, "POST", mysqlPath, "{}", "Idempotency-Key", "again").is(202, "")
	stream, cancel := b.stream(url+eventsPath+"?after=0", "Authorization", "Bearer "+owner)
	if !stream.lines.Scan() {
		t.Error("the stream has ended")
	}
	conn := b.dial(url, "?after=0", "Authorization", "Bearer "+owner)
	if _, _, err := conn.Read(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	seen := b.fences.end()
	for _, method := range []string{"Instance", "Instances", "Job", "Jobs", "Events", "Webhook", "Delivery", "Idempotent", "Tx"} {
		want := []tenant.ID{tenant.ID(mine.tenant)}
		if method == "Instances" {
			want = append(want, tenant.Nobody) // the warm ones
		}
		if got := seen[method]; len(got) == 0 || slices.ContainsFunc(got, func(of tenant.ID) bool { return !slices.Contains(want, of) }) {
			t.Errorf("%s was asked within the fences of %v, want %v", method, got, want)
		}
	}
}
