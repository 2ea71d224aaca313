package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/api"
)

func TestJob(t *testing.T) {
	b := newBench(t)
	a := b.call("POST", redisPath, "").is(202, "")
	path := "/api/v1/jobs/" + a.text("job.id")
	if got := b.call("GET", path, "").is(200, ""); got.text("state") != "queued" || got.json["progress"] != 0.0 || got.text("instance_id") != a.text("instance.id") {
		t.Errorf("%s", got.body)
	}
	b.work()
	got := b.call("GET", path, "").is(200, "")
	steps, _ := got.json["steps"].([]any)
	if len(steps) < 3 || got.text("finished_at") == "" || got.text("started_at") == "" || got.json["error"] != nil {
		t.Errorf("%s", got.body)
	}
	for _, s := range steps {
		m, _ := s.(map[string]any)
		if m["state"] != "done" || m["started_at"] == nil || m["finished_at"] == nil || m["attempt"] != 1.0 {
			t.Errorf("step %v", m)
		}
		if at, err := time.Parse("2006-01-02T15:04:05.000Z", m["started_at"].(string)); err != nil || at.IsZero() {
			t.Errorf("time %v", m["started_at"])
		}
	}
	b.call("POST", path+"/cancel", "").is(409, "not_cancelable")
}

func TestCancel(t *testing.T) {
	b := newBench(t)
	a := b.call("POST", redisPath, "").is(202, "")
	path := "/api/v1/jobs/" + a.text("job.id")
	for range 2 {
		if got := b.call("POST", path+"/cancel", "").is(202, ""); got.header.Get("Location") != path || got.text("error.code") != "canceled" {
			t.Errorf("%s %v", got.body, got.header)
		}
	}
	b.work()
	if got := b.call("GET", path, ""); got.text("state") != "canceled" || got.text("error.message") == "" {
		t.Errorf("%s", got.body)
	}
	d := b.call("DELETE", redisPath+"/"+a.text("instance.id"), "").is(202, "")
	b.call("POST", "/api/v1/jobs/"+d.text("job.id")+"/cancel", "").is(409, "not_cancelable")
}

// A long poll is answered as soon as the job has ended.
func TestWaitReturnsEarly(t *testing.T) {
	b := newBench(t)
	a := b.call("POST", redisPath, "").is(202, "")
	answered := make(chan answer)
	begun := time.Now()
	go func() { answered <- b.call("GET", "/api/v1/jobs/"+a.text("job.id")+"?wait=60s", "") }()
	b.work()
	select {
	case got := <-answered:
		if got.text("state") != "succeeded" {
			t.Errorf("%s", got.body)
		}
		t.Logf("answered after %s", time.Since(begun).Round(time.Millisecond))
	case <-time.After(soon):
		t.Fatal("not answered")
	}
	// One that has ended is answered at once.
	b.call("GET", "/api/v1/jobs/"+a.text("job.id")+"?wait=60s", "").is(200, "")
}

// A long poll is answered when its time is up, and not before.
func TestWaitEnds(t *testing.T) {
	b := newBench(t)
	a := b.call("POST", redisPath, "").is(202, "")
	for _, wait := range []string{"0s", "50ms", "300ms"} {
		want, err := time.ParseDuration(wait)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		got := b.call("GET", "/api/v1/jobs/"+a.text("job.id")+"?wait="+wait, "").is(200, "")
		if took := time.Since(begun); took < want || took > want+soon || got.text("state") != "queued" {
			t.Errorf("wait=%s took %s: %s", wait, took, got.body)
		}
	}
}

// A server that stops sends everybody to another one, and loses nobody on the way.
func TestStoppingServerSendsClientsAway(t *testing.T) {
	stopping, stop := context.WithCancel(context.Background())
	b := newBench(t, func(c *api.Config) { c.Stopping = stopping })
	if a := b.send("GET", "/readyz", nil).is(200, ""); a.header.Get("Connection") != "" {
		t.Errorf("%v", a.header)
	}
	stop()
	if a := b.send("GET", "/readyz", nil).is(503, ""); a.text("status") != "stopping" {
		t.Errorf("%s", a.body)
	}
	if a := b.call("POST", redisPath, "").is(202, ""); a.header.Get("Connection") != "close" {
		t.Errorf("%v", a.header)
	}
}

// A server that stops lets nobody wait.
func TestWaitEndsWithTheServer(t *testing.T) {
	stopping, stop := context.WithCancel(context.Background())
	b := newBench(t, func(c *api.Config) { c.Stopping = stopping })
	a := b.call("POST", redisPath, "").is(202, "")
	answered := make(chan answer)
	go func() { answered <- b.call("GET", "/api/v1/jobs/"+a.text("job.id")+"?wait=60s", "") }()
	stop()
	select {
	case got := <-answered:
		got.is(200, "")
	case <-time.After(soon):
		t.Fatal("not answered")
	}
}

func TestBadWait(t *testing.T) {
	b := newBench(t)
	a := b.call("POST", redisPath, "").is(202, "")
	for _, wait := range []string{"x", "-1s", "30", "1y", "%00", "9999999999999999h", "1s%20"} {
		b.call("GET", "/api/v1/jobs/"+a.text("job.id")+"?wait="+wait, "").is(422, "invalid").field("wait", "30s")
	}
	b.call("GET", "/api/v1/jobs/job_none?wait=10s", "").is(404, "not_found")
}

// A client that goes away is no failure of ours, and not logged as one.
func TestClientGoesAway(t *testing.T) {
	b := newBench(t)
	a := b.call("POST", redisPath, "").is(202, "")
	ctx, leave := context.WithCancel(t.Context())
	leave()
	for _, path := range []string{"/api/v1/jobs/" + a.text("job.id") + "?wait=60s", "/api/v1/jobs", redisPath} {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+adminKey)
		b.handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	if strings.Contains(b.log.String(), "level=ERROR") {
		t.Errorf("log: %s", b.log)
	}
}
