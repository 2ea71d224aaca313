package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// With the database away every request is refused with 503, and nothing is kept.
func TestDatabaseDown(t *testing.T) {
	b := newBench(t)
	id, job := b.made("mysql", `{"name":"here"}`)
	before := b.rows()
	b.down.Store(true)
	for _, route := range []string{
		"POST " + mysqlPath, "GET " + mysqlPath, "GET /api/v1/storage/instances", "GET " + mysqlPath + "/" + id, "GET " + mysqlPath + "/" + id + "/config",
		"DELETE " + mysqlPath + "/" + id, "GET /api/v1/jobs", "GET /api/v1/jobs/" + job, "GET /api/v1/jobs/" + job + "?wait=10s", "POST /api/v1/jobs/" + job + "/cancel",
	} {
		method, path, _ := strings.Cut(route, " ")
		if a := b.call(method, path, "").is(503, "unavailable"); a.header.Get("Retry-After") == "" || strings.Contains(a.body, "connection refused") {
			t.Errorf("%s: %s %v", route, a.body, a.header)
		}
	}
	b.down.Store(false)
	if after := b.rows(); after != before || len(b.queue.Take()) != 0 {
		t.Errorf("%v became %v", before, after)
	}
	// What needs no database answers on.
	b.down.Store(true)
	b.call("GET", "/api/v1/engines", "").is(200, "")
	b.call("POST", mysqlPath, `{"plan":"x"}`).is(422, "invalid")
}

// With the queue away requests are accepted: the database knows.
func TestQueueDown(t *testing.T) {
	b := newBench(t)
	b.queue.SetDown(true)
	begun := time.Now()
	a := b.call("POST", redisPath, "").is(202, "")
	b.call("DELETE", redisPath+"/"+a.text("instance.id"), "").is(202, "")
	if took := time.Since(begun); took > soon {
		t.Errorf("it took %s", took)
	}
	b.call("GET", "/api/v1/jobs/"+a.text("job.id"), "").is(200, "")
}

// A full range is refused at once, and a freed port is not handed out before its
// rest is over.
func TestPortsExhausted(t *testing.T) {
	b := newBench(t)
	b.setPorts(20000, 20004) // an odd number: a Redis takes two
	b.made("redis", "")
	id, _ := b.made("redis", "")
	before := b.rows()
	a := b.call("POST", redisPath, "").is(503, "capacity_exhausted")
	if a.header.Get("Retry-After") == "" || b.rows() != before {
		t.Errorf("%v, %v", a.header, b.rows())
	}
	b.call("DELETE", redisPath+"/"+id, "").is(202, "")
	b.work()
	b.call("POST", redisPath, "").is(503, "capacity_exhausted")
	b.setPorts(20000, 20005)
	b.made("redis", "")
}

func TestIdempotencyKey(t *testing.T) {
	b := newBench(t)
	const request = `{"name":"once","parameters":{"max_connections":42},"labels":{"a":"<b>&"}}`
	first := b.call("POST", mysqlPath, request, "Idempotency-Key", "k-1").is(202, "")
	if first.text("webhook_secret") == "" {
		t.Error("no webhook secret")
	}
	if first.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("marked as a replay: %v", first.header)
	}
	b.work() // the answer shows what has become of it
	for _, same := range []string{request, `{ "labels":{"a":"<b>&"}, "parameters":{"max_connections":42},` + "\n" + `"name":"once"}`} {
		again := b.call("POST", mysqlPath, same, "Idempotency-Key", "k-1").is(202, "")
		if again.text("instance.state") != "running" || again.text("job.state") != "succeeded" || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("replayed %v %s", again.header, again.body)
		}
		if again.text("instance.id") != first.text("instance.id") || again.text("webhook_secret") != first.text("webhook_secret") || again.header.Get("Location") != first.header.Get("Location") || again.header.Get("Retry-After") != first.header.Get("Retry-After") {
			t.Errorf("replayed\n%s, was\n%s", again.body, first.body)
		}
	}
	b.call("POST", mysqlPath, `{"name":"other"}`, "Idempotency-Key", "k-1").is(422, "idempotency_mismatch")
	b.call("POST", redisPath, request, "Idempotency-Key", "k-1").is(422, "idempotency_mismatch")
	if rows := b.rows(); rows != [2]int{1, 1} {
		t.Errorf("rows %v", rows)
	}
	// A refusal is not stored: the client may correct itself.
	b.call("POST", mysqlPath, `{"plan":"x"}`, "Idempotency-Key", "k-2").is(422, "invalid")
	b.call("POST", mysqlPath, `{}`, "Idempotency-Key", "k-2").is(202, "")
	for _, key := range []string{strings.Repeat("k", 256), "bücher", "a\xffb", "tab\there"} {
		b.call("POST", mysqlPath, `{}`, "Idempotency-Key", key).is(422, "invalid").field("Idempotency-Key", "255", "ASCII")
	}
	b.call("POST", mysqlPath, `{}`, "Idempotency-Key", strings.Repeat("k", 255)).is(202, "")
}

// While the first request is still being answered, another one with its key is told
// to come back.
func TestIdempotencyInFlight(t *testing.T) {
	b := newBench(t)
	hold := make(chan struct{})
	b.hold.Store(&hold)
	first := make(chan answer)
	go func() { first <- b.call("POST", mysqlPath, `{}`, "Idempotency-Key", "k") }()
	<-b.held
	a := b.call("POST", mysqlPath, `{}`, "Idempotency-Key", "k").is(409, "idempotency_in_flight")
	if a.header.Get("Retry-After") == "" {
		t.Errorf("headers %v", a.header)
	}
	b.hold.Store(nil)
	close(hold)
	done := (<-first).is(202, "")
	if again := b.call("POST", mysqlPath, `{}`, "Idempotency-Key", "k").is(202, ""); again.body != done.body {
		t.Errorf("replayed %s, was %s", again.body, done.body)
	}
}

func TestIdempotencyAtOnce(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	answers := make([]answer, 20)
	for i := range answers {
		wg.Go(func() { answers[i] = b.call("POST", mysqlPath, `{}`, "Idempotency-Key", "k") })
	}
	wg.Wait()
	accepted := map[string]bool{}
	for _, a := range answers {
		switch a.status {
		case http.StatusAccepted:
			accepted[a.body] = true
		case http.StatusConflict:
			a.is(409, "idempotency_in_flight")
		default:
			a.is(202, "")
		}
	}
	if rows := b.rows(); len(accepted) != 1 || rows != [2]int{1, 1} {
		t.Errorf("%d different answers, rows %v", len(accepted), rows)
	}
}

// Requests without a key are each their own.
func TestManyAtOnce(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { b.call("POST", redisPath, fmt.Sprintf(`{"name":"r-%d"}`, i/2)) })
	}
	wg.Wait()
	if rows := b.rows(); rows != [2]int{10, 10} {
		t.Errorf("rows %v", rows)
	}
	b.work()
	taken := map[string]bool{}
	for _, id := range b.call("GET", redisPath, "").ids() {
		a := b.call("GET", redisPath+"/"+id, "").is(200, "")
		endpoint, _ := a.json["endpoint"].(map[string]any)
		taken[fmt.Sprint(endpoint["port"])] = true
	}
	if len(taken) != 10 {
		t.Errorf("ports %v", taken)
	}
}
