package api_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/tenant"
)

// counter is a rate limit whose requests never come back.
type counter struct {
	mu    sync.Mutex
	limit int
	used  map[string]int
	names []string
	away  bool
}

func (c *counter) Take(_ context.Context, caller string) tenant.Allowance {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return tenant.Allowance{}
	}
	c.names = append(c.names, caller)
	if c.used[caller] >= c.limit {
		return tenant.Allowance{Limit: c.limit, Reset: time.Minute, Wait: 1500 * time.Millisecond}
	}
	c.used[caller]++
	return tenant.Allowance{Limit: c.limit, Left: c.limit - c.used[caller], Reset: 1100 * time.Millisecond}
}

func (c *counter) taken(caller string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used[caller]
}

// reset starts anew, with another limit.
func (c *counter) reset(limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit, c.used, c.names = limit, map[string]int{}, nil
}

// limited gives a bench whose callers and addresses have so many requests.
func limited(t *testing.T, callers, addresses int, change ...func(*api.Config)) (b *bench, ofCallers, ofAddresses *counter) {
	ofCallers, ofAddresses = &counter{limit: callers, used: map[string]int{}}, &counter{limit: addresses, used: map[string]int{}}
	b = newBench(t, append(change, func(c *api.Config) { c.Limits = api.RateLimits{Callers: ofCallers, Addresses: ofAddresses} })...)
	return b, ofCallers, ofAddresses
}

// TestRateLimitOfCallers: each key, each user and the admin key has a limit of its own, whatever
// the sessions and addresses, and whatever is asked for.
func TestRateLimitOfCallers(t *testing.T) {
	b, callers, addresses := limited(t, 1000, 1000)
	one := b.tenant("one")
	id, key := b.key(one, "member")
	_, other := b.key(one, "member")
	user, session := b.user(one, "viewer")
	second := b.login("user-1", goodPassword).is(201, "").text("token")
	callers.reset(3)
	addresses.reset(1000)
	for _, path := range []string{"/api/v1/engines", "/api/v1/jobs/job_x", "/api/v1/jobs?nope=1"} {
		a := b.as(key, "GET", path, "")
		if a.status == 429 || a.header.Get("RateLimit-Policy") != `"caller";q=3;w=60` || !strings.HasSuffix(a.header.Get("RateLimit"), ";t=2") || !strings.HasPrefix(a.header.Get("RateLimit"), `"caller";r=`) {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	a := b.as(key, "GET", "/api/v1/engines", "").is(429, "too_many_requests")
	if a.header.Get("Retry-After") != "2" || a.header.Get("RateLimit") != `"caller";r=0;t=60` || a.header.Get("WWW-Authenticate") != "" || !strings.Contains(a.text("detail"), "3 a minute") {
		t.Errorf("%v %s", a.header, a.body)
	}
	before := b.rows()
	b.as(key, "POST", redisPath, "").is(429, "too_many_requests")
	if b.rows() != before {
		t.Error("a refused request has changed something")
	}
	b.as(other, "GET", "/api/v1/engines", "").is(200, "")
	for i, token := range []string{session, second, session, second} {
		want := 200
		if i == 3 {
			want = 429
		}
		b.as(token, "GET", "/api/v1/engines", "").is(want, "")
	}
	if got := [3]int{callers.taken(id), callers.taken(user), callers.taken("admin")}; got != [3]int{3, 3, 0} {
		t.Errorf("counted %v: %v", got, callers.used)
	}
}

// TestRateLimitOfAddresses: requests without a good key count for their address, and beyond the
// limit a guess is not even looked at. Who was known before is not held up.
func TestRateLimitOfAddresses(t *testing.T) {
	b, callers, addresses := limited(t, 1000, 1000, withQueues)
	_, known := b.key(string(tenant.Default), "viewer")
	_, unknown := b.key(string(tenant.Default), "viewer")
	b.as(known, "GET", "/api/v1/engines", "").is(200, "")
	callers.reset(1000)
	addresses.reset(4)
	a := b.as("berth_wrong", "GET", "/api/v1/engines", "").is(401, "unauthorized")
	if a.header.Get("RateLimit-Policy") != `"address";q=4;w=60` || a.header.Get("RateLimit") != `"address";r=3;t=2` {
		t.Errorf("%v", a.header)
	}
	b.anon("GET", "/docs/", "").is(200, "")
	b.anon("GET", "/queues", "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("x:guess"))).is(401, "unauthorized")
	b.login("nobody", "wrong password").is(401, "unauthorized")
	for _, key := range []string{"berth_wrong", "", unknown} {
		b.as(key, "GET", "/api/v1/engines", "").is(429, "too_many_requests")
	}
	b.anon("GET", "/queues", "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("x:"+unknown))).is(429, "too_many_requests")
	b.login("nobody", "wrong password").is(429, "too_many_requests")
	b.anon("GET", "/docs/", "").is(429, "too_many_requests")
	b.as(known, "GET", "/api/v1/engines", "").is(200, "")
	for _, path := range []string{"/healthz", "/readyz"} { // load balancers never wait
		if a := b.anon("GET", path, "").is(200, ""); a.header.Get("RateLimit") != "" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
	b.from("192.0.2.99:1", "GET", "/api/v1/engines", "", "Authorization", "Bearer "+unknown).is(200, "") // another address
	if addresses.taken("192.0.2.1") != 4 || addresses.taken("192.0.2.99") != 1 {
		t.Errorf("%v", addresses.used)
	}
}

// TestRevokedKeyCountsForItsAddress: what was good once is no way around the limit.
func TestRevokedKeyCountsForItsAddress(t *testing.T) {
	b, _, addresses := limited(t, 100000, 100000)
	id, key := b.key(string(tenant.Default), "viewer")
	b.as(key, "GET", "/api/v1/engines", "").is(200, "")
	b.call("DELETE", "/api/v1/keys/"+id, "").is(204, "")
	b.closed(key)
	addresses.reset(2)
	for _, want := range []int{401, 401, 429, 429} {
		b.as(key, "GET", "/api/v1/engines", "").is(want, "")
	}
}

// TestRateLimitBehindAProxy: an address is the client's, of IPv6 its network, and nobody gives
// themselves another one.
func TestRateLimitBehindAProxy(t *testing.T) {
	b, _, addresses := limited(t, 1000, 1000, trusting("10.0.0.0/8"))
	for peer, forwarded := range map[string]string{"10.0.0.1:1": "203.0.113.5, 2001:db8::7", "10.0.0.2:1": "2001:db8::8", "192.0.2.1:1": "203.0.113.6", "127.0.0.1:1": "203.0.113.7"} {
		b.from(peer, "GET", "/api/v1/engines", "", "X-Forwarded-For", forwarded).is(401, "unauthorized")
	}
	for name, want := range map[string]int{"2001:db8::/64": 2, "192.0.2.1": 1, "127.0.0.1": 1, "203.0.113.6": 0, "203.0.113.7": 0} {
		if got := addresses.taken(name); got != want {
			t.Errorf("%s: %d, want %d: %v", name, got, want, addresses.used)
		}
	}
}

// TestNoRateLimit: where nothing can be counted requests pass, and no header says otherwise; a
// stream and a long poll count once.
func TestNoRateLimit(t *testing.T) {
	b, callers, addresses := limited(t, 1000, 1000)
	callers.away, addresses.away = true, true
	for range 5 {
		if a := b.call("GET", "/api/v1/engines", "").is(200, ""); a.header.Get("RateLimit") != "" || a.header.Get("RateLimit-Policy") != "" {
			t.Errorf("%v", a.header)
		}
	}
	callers.away, addresses.away = false, false
	made := b.call("POST", redisPath, "").is(202, "")
	callers.reset(2)
	server := b.serve()
	res, cancel := b.open(server + eventsPath + "?after=0")
	lines := make([]byte, 10)
	if _, err := res.Body.Read(lines); err != nil {
		t.Error(err)
	}
	cancel()
	_ = res.Body.Close()
	b.call("GET", "/api/v1/jobs/"+made.text("job.id")+"?wait=300ms", "").is(200, "")
	if got := callers.taken("admin"); got != 2 {
		t.Errorf("%d requests were counted, want 2", got)
	}
	b.call("GET", "/api/v1/jobs", "").is(http.StatusTooManyRequests, "too_many_requests")
	callers.reset(1000)
	b.queue.Flush()
}
