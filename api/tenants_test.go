package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// as sends a request with another key than the admin's.
func (b *bench) as(key, method, path, body string, headers ...string) answer {
	b.Helper()
	return b.call(method, path, body, append([]string{"Authorization", "Bearer " + key}, headers...)...)
}

// tenant makes a tenant.
func (b *bench) tenant(name string) string {
	b.Helper()
	return b.call("POST", "/api/v1/tenants", fmt.Sprintf(`{"name":%q}`, name)).is(201, "").text("id")
}

// key makes a key of the tenant, and returns its id and itself.
func (b *bench) key(of, role string, more ...string) (which, key string) {
	b.Helper()
	a := b.call("POST", "/api/v1/keys", fmt.Sprintf(`{"name":"a test","role":%q,"tenant_id":%q%s}`, role, of, strings.Join(more, ""))).is(201, "")
	return a.text("id"), a.text("key")
}

// closed waits until a key opens nothing any more.
func (b *bench) closed(key string) {
	b.Helper()
	testenv.Eventually(b, "the key is refused", soon, func(context.Context) error {
		if status := b.as(key, "GET", "/api/v1/me", "").status; status != http.StatusUnauthorized { //nolint:contextcheck // the bench has the test's
			return fmt.Errorf("it gets %d", status)
		}
		return nil
	})
}

func TestTenants(t *testing.T) {
	b := newBench(t)
	first := b.tenant("Käse & Co")
	if a := b.call("GET", "/api/v1/tenants/"+first, "").is(200, ""); a.text("name") != "Käse & Co" || a.text("created_at") == "" {
		t.Errorf("%s", a.body)
	}
	b.call("POST", "/api/v1/tenants", `{"name":"Käse & Co"}`).is(422, "invalid").field("name", "taken")
	for _, name := range []string{"", "  ", "two\nlines", strings.Repeat("x", 101)} {
		b.call("POST", "/api/v1/tenants", fmt.Sprintf(`{"name":%q}`, name)).is(422, "invalid").field("name")
	}
	b.call("PATCH", "/api/v1/tenants/"+first, `{"name":"cheese"}`).is(200, "")
	_, owner := b.key(first, "owner")
	b.as(owner, "PATCH", "/api/v1/tenants/"+first, `{"name":"default"}`).is(403, "forbidden") // or they could ask for names
	b.tenant("Käse & Co")                                                                     // the name is free
	b.call("PATCH", "/api/v1/tenants/"+first, `{"name":"default"}`).is(422, "invalid").field("name", "taken")
	if a := b.call("GET", "/api/v1/tenants", "").is(200, ""); !strings.Contains(a.body, `"cheese"`) || !strings.Contains(a.body, `"default"`) {
		t.Errorf("%s", a.body)
	}
	for _, none := range []string{"ten_none", "-", "%00", strings.Repeat("x", 500)} {
		b.call("GET", "/api/v1/tenants/"+none, "").is(404, "not_found")
		b.call("PATCH", "/api/v1/tenants/"+none, `{"name":"x"}`).is(404, "not_found")
	}
	again := []string{"Idempotency-Key", "k1"}
	made := b.call("POST", "/api/v1/tenants", `{"name":"once"}`, again...).is(201, "")
	if a := b.call("POST", "/api/v1/tenants", `{"name":"once"}`, again...).is(201, ""); a.text("id") != made.text("id") || a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%v %s", a.header, a.body)
	}
}

// TestKeysOpenTheirTenant: what a key makes is its tenant's, and nobody else sees it.
func TestKeysOpenTheirTenant(t *testing.T) {
	b := newBench(t)
	one, other := b.tenant("one"), b.tenant("other")
	which, mine := b.key(one, "member")
	_, theirs := b.key(other, "owner")
	me := b.as(mine, "GET", "/api/v1/me", "").is(200, "")
	if me.text("tenant_id") != one || me.text("role") != "member" || me.json["operator"] != false || me.text("key_id") != which {
		t.Errorf("%s", me.body)
	}
	made := b.as(mine, "POST", mysqlPath, `{"name":"shop"}`).is(202, "")
	b.as(theirs, "POST", mysqlPath, `{"name":"shop"}`).is(202, "") // names are the tenants' own
	b.work()
	inst := made.text("instance.id")
	if a := b.as(mine, "GET", mysqlPath+"/"+inst+"/config", "").is(200, ""); a.text("password") == "" {
		t.Errorf("%s", a.body)
	}
	for _, path := range []string{mysqlPath + "/" + inst, mysqlPath + "/" + inst + "/config", "/api/v1/storage/instances/" + inst, "/api/v1/jobs/" + made.text("job.id")} {
		b.as(theirs, "GET", path, "").is(404, "not_found")
		b.call("GET", path, "").is(404, "not_found") // the admin key is another tenant's, unless it says whose
		if strings.HasSuffix(path, "/config") {
			b.call("GET", path, "", "Berth-Tenant", one).is(403, "forbidden")
		} else {
			b.call("GET", path, "", "Berth-Tenant", one).is(200, "")
		}
		b.as(theirs, "GET", path, "", "Berth-Tenant", one).is(404, "not_found")
	}
	b.as(theirs, "DELETE", mysqlPath+"/"+inst, "").is(404, "not_found")
	b.call("GET", "/api/v1/jobs", "", "Berth-Tenant", "ten_none").is(404, "not_found")
	b.as(mine, "GET", "/api/v1/jobs", "", "Berth-Tenant", one).is(200, "")
	if list := b.as(theirs, "GET", "/api/v1/storage/instances", "").is(200, ""); strings.Contains(list.body, inst) {
		t.Errorf("%s", list.body)
	}
}

func TestKeysEnd(t *testing.T) {
	b := newBench(t)
	one := b.tenant("one")
	which, key := b.key(one, "owner")
	list := b.as(key, "GET", "/api/v1/keys", "").is(200, "")
	if strings.Contains(list.body, key) || strings.Contains(list.body, tenant.HashToken(key)) || !strings.Contains(list.body, which) || !strings.Contains(list.body, `"hint":"`+key[len(key)-4:]) {
		t.Errorf("%s", list.body)
	}
	b.as(key, "DELETE", "/api/v1/keys/"+which, "").is(204, "")
	b.closed(key) // what is known of a key holds for half a second
	if a := b.as(key, "GET", "/api/v1/me", "").is(401, "unauthorized"); !strings.Contains(a.body, "revoked") {
		t.Errorf("%s", a.body)
	}
	b.call("DELETE", "/api/v1/keys/"+which, "", "Berth-Tenant", one).is(204, "") // the answer may have been lost
	b.call("DELETE", "/api/v1/keys/"+which, "").is(404, "not_found")

	now := clock.System()
	b.call("POST", "/api/v1/keys", fmt.Sprintf(`{"name":"x","role":"viewer","expires_at":%q}`, now.Add(-time.Second).Format(time.RFC3339))).is(422, "").field("expires_at", "future")
	for _, when := range []string{"0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-23:00", now.AddDate(11, 0, 0).Format(time.RFC3339)} {
		b.call("POST", "/api/v1/keys", fmt.Sprintf(`{"name":"x","role":"viewer","expires_at":%q}`, when)).is(422, "").field("expires_at", "ten years")
	}
	_, key = b.key(one, "viewer", fmt.Sprintf(`,"expires_at":%q`, now.Add(300*time.Millisecond).Format(time.RFC3339Nano)))
	b.closed(key)
	if a := b.as(key, "GET", "/api/v1/me", ""); !strings.Contains(a.body, "expired at") {
		t.Errorf("%s", a.body)
	}

	// A member may end what it leaked itself, and nothing else.
	mine, key := b.key(one, "viewer")
	other, _ := b.key(one, "viewer")
	b.as(key, "DELETE", "/api/v1/keys/"+other, "").is(403, "forbidden")
	b.as(key, "DELETE", "/api/v1/keys/"+mine, "").is(204, "")
}

// TestKeyIsShownOnce: the same request again shows the same key; another one none.
func TestKeyIsShownOnce(t *testing.T) {
	b := newBench(t)
	again := []string{"Idempotency-Key", "k"}
	first := b.call("POST", "/api/v1/keys", `{"name":"x","role":"viewer"}`, again...).is(201, "")
	second := b.call("POST", "/api/v1/keys", `{"name":"x","role":"viewer"}`, again...).is(201, "")
	if !tenant.WellFormed(first.text("key")) || first.text("key") != second.text("key") || second.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s\n%s", first.body, second.body)
	}
	b.call("DELETE", "/api/v1/keys/"+first.text("id"), "").is(204, "")
	b.call("POST", "/api/v1/keys", `{"name":"x","role":"viewer"}`, again...).is(410, "gone")
	// The answer is for who asked first, and a key in the place of an id is not repeated.
	one := b.tenant("one")
	_, owner := b.key(one, "owner")
	_, other := b.key(one, "owner")
	made := b.as(owner, "POST", "/api/v1/keys", `{"name":"y","role":"viewer"}`, again...).is(201, "")
	b.as(other, "POST", "/api/v1/keys", `{"name":"y","role":"viewer"}`, again...).is(422, "idempotency_mismatch")
	b.call("POST", "/api/v1/keys", `{"name":"y","role":"viewer"}`, "Idempotency-Key", "k", "Berth-Tenant", one).is(422, "idempotency_mismatch")
	if a := b.as(owner, "DELETE", "/api/v1/keys/"+made.text("key"), "").is(404, "not_found"); strings.Contains(a.body, made.text("key")) {
		t.Errorf("%s", a.body)
	}
	if log := b.log.String(); strings.Contains(log, first.text("key")) || strings.Contains(log, tenant.HashToken(first.text("key"))) {
		t.Error("the key is in the log")
	}
}

func TestKeysGiveNoMoreThanTheirOwn(t *testing.T) {
	b := newBench(t)
	one, other := b.tenant("one"), b.tenant("other")
	_, owner := b.key(one, "owner")
	for _, role := range []string{"viewer", "member", "owner"} {
		b.as(owner, "POST", "/api/v1/keys", fmt.Sprintf(`{"name":"x","role":%q}`, role)).is(201, "")
	}
	b.as(owner, "POST", "/api/v1/keys", `{"name":"x","role":"operator"}`).is(422, "invalid").field("role", "viewer, member, owner")
	b.as(owner, "POST", "/api/v1/keys", `{"name":"x","role":"root"}`).is(422, "invalid").field("role")
	b.as(owner, "POST", "/api/v1/keys", fmt.Sprintf(`{"name":"x","role":"viewer","tenant_id":%q}`, other)).is(404, "not_found")
	b.as(owner, "POST", "/api/v1/keys", `{"name":"x","role":"viewer","tenant_id":"ten_none"}`).is(404, "not_found")
	b.call("POST", "/api/v1/keys", `{"name":"x","role":"viewer","tenant_id":"-"}`).is(404, "not_found")
	b.as(owner, "POST", "/api/v1/tenants", `{"name":"mine"}`).is(403, "forbidden")
	b.as(owner, "PATCH", "/api/v1/tenants/"+other, `{"name":"mine"}`).is(404, "not_found")
	if list := b.as(owner, "GET", "/api/v1/tenants", ""); strings.Contains(list.body, other) || !strings.Contains(list.body, one) {
		t.Errorf("%s", list.body)
	}
	// An operator's key runs the platform, and is nothing in the tenants.
	_, operator := b.key(one, "operator")
	b.as(operator, "POST", "/api/v1/tenants", `{"name":"third"}`).is(201, "")
	b.as(operator, "GET", "/api/v1/storage/instances", "", "Berth-Tenant", other).is(200, "")
	b.as(operator, "POST", mysqlPath, `{}`).is(403, "forbidden")
	b.as(owner, "DELETE", "/api/v1/keys/"+b.as(operator, "GET", "/api/v1/me", "").text("key_id"), "").is(403, "forbidden")
}

func TestLimitedKeys(t *testing.T) {
	b := newBench(t)
	one := b.tenant("one")
	_, all := b.key(one, "owner")
	_, redisOnly := b.key(one, "owner", `,"engines":["redis"]`)
	_, labeled := b.key(one, "member", `,"labels":{"team":"a"}`)
	b.call("POST", "/api/v1/keys", `{"name":"x","role":"member","engines":["oracle"]}`).is(422, "invalid").field("engines", "mysql, redis")
	const redisPath = "/api/v1/storage/redis/instances"
	mysql := b.as(all, "POST", mysqlPath, `{}`).is(202, "")
	redis := b.as(redisOnly, "POST", redisPath, `{}`).is(202, "")
	teams := b.as(labeled, "POST", mysqlPath, `{"labels":{"team":"a","x":"y"}}`).is(202, "")
	b.as(redisOnly, "POST", mysqlPath, `{}`).is(403, "forbidden")
	b.as(labeled, "POST", mysqlPath, `{"labels":{"team":"b"}}`).is(403, "forbidden")
	for key, sees := range map[string]string{redisOnly: redis.text("instance.id"), labeled: teams.text("instance.id")} {
		for _, a := range []answer{mysql, redis, teams} {
			status := map[bool]int{true: 200, false: 404}[a.text("instance.id") == sees]
			b.as(key, "GET", "/api/v1/storage/instances/"+a.text("instance.id"), "").is(status, "")
			b.as(key, "GET", "/api/v1/jobs/"+a.text("job.id"), "").is(status, "")
			b.as(key, "GET", "/api/v1/jobs/"+a.text("job.id")+"?wait=1ms", "").is(status, "")
			if status == 404 {
				b.as(key, "POST", "/api/v1/jobs/"+a.text("job.id")+"/cancel", "").is(404, "")
			}
		}
		if list := b.as(key, "GET", "/api/v1/storage/instances", "").is(200, ""); strings.Count(list.body, `"engine"`) != 1 || !strings.Contains(list.body, sees) {
			t.Errorf("%s", list.body)
		}
		for _, path := range []string{"/api/v1/jobs", "/api/v1/events", "/api/v1/webhooks", "/api/v1/deliveries"} {
			b.as(key, "GET", path, "").is(403, "forbidden")
		}
		b.as(key, "GET", "/api/v1/events", "", "Accept", "text/event-stream").is(403, "forbidden")
	}
	b.as(redisOnly, "GET", "/api/v1/storage/mysql/instances", "").is(200, "")
	if list := b.as(labeled, "GET", "/api/v1/storage/instances?label=team=b", "").is(200, ""); strings.Contains(list.body, `"engine"`) {
		t.Errorf("%s", list.body)
	}
	b.as(redisOnly, "POST", "/api/v1/keys", `{"name":"x","role":"viewer"}`).is(403, "forbidden") // which would have no limits
	b.as(redisOnly, "GET", "/api/v1/keys", "").is(403, "forbidden")
	// Names are the tenant's, but what holds one is not everybody's to know.
	b.as(all, "POST", mysqlPath, `{"name":"taken"}`).is(202, "")
	if a := b.as(redisOnly, "POST", redisPath, `{"name":"taken"}`).is(422, "invalid").field("name", "taken"); strings.Contains(a.body, "ins_") {
		t.Errorf("%s", a.body)
	}
	for labels, field := range map[string]string{
		`{"a":"` + strings.Repeat("x", 64) + `"}`: "labels.a", `{"":"x"}`: "labels.", `{"ü ":"x"}`: "labels.ü ",
	} {
		b.call("POST", "/api/v1/keys", `{"name":"x","role":"member","labels":`+labels+`}`).is(422, "invalid").field(field)
	}
}

// TestLastUse: when a key was last used is written, and not with every request.
func TestLastUse(t *testing.T) {
	b := newBench(t)
	which, key := b.key(b.tenant("one"), "viewer")
	for range 20 {
		b.as(key, "GET", "/api/v1/me", "").is(200, "")
	}
	k, err := b.store.KeyByHash(t.Context(), tenant.HashToken(key))
	if err != nil || string(k.ID) != which || k.UsedAt.IsZero() {
		t.Fatalf("%+v, %v", k, err)
	}
	used := k.UsedAt
	b.as(key, "GET", "/api/v1/me", "").is(200, "")
	if k, _ = b.store.KeyByHash(t.Context(), k.Hash); !k.UsedAt.Equal(used) {
		t.Errorf("written again after %s", k.UsedAt.Sub(used))
	}
}

// TestKeysWhileTheDatabaseIsAway: the admin key needs no database to be known; others are
// told to come back.
func TestKeysWhileTheDatabaseIsAway(t *testing.T) {
	b := newBench(t)
	_, key := b.key(b.tenant("one"), "viewer")
	b.down.Store(true)
	b.as(key, "GET", "/api/v1/engines", "").is(http.StatusServiceUnavailable, "unavailable")
	b.call("GET", "/api/v1/engines", "").is(200, "")
	b.as("berth_nonsense", "GET", "/api/v1/engines", "").is(401, "unauthorized")
	b.down.Store(false)
	b.as(key, "GET", "/api/v1/engines", "").is(200, "")
}

// allEnd asserts that a stream, a socket and a long poll end, because their caller is not
// recognized any more.
func (b *bench) allEnd(stream *stream, conn *websocket.Conn, waited <-chan answer) {
	b.Helper()
	if e, more := stream.next(nil); more {
		b.Errorf("the stream goes on: %+v", e)
	}
	for {
		ctx, cancel := context.WithTimeout(b.Context(), soon)
		_, _, err := conn.Read(ctx)
		cancel()
		if err != nil {
			if status := websocket.CloseStatus(err); status != websocket.StatusPolicyViolation {
				b.Errorf("the socket ends with %d: %v", status, err)
			}
			break
		}
	}
	(<-waited).is(401, "unauthorized")
}

// TestRevocationEndsWhatGoesOn: a stream, a socket and a long poll end when the key does.
func TestRevocationEndsWhatGoesOn(t *testing.T) {
	b := newBench(t)
	which, key := b.key(string(tenant.Default), "viewer")
	pending := b.call("POST", mysqlPath, "{}").is(202, "")
	url := b.serve()
	stream, _ := b.stream(url+eventsPath+"?type=test.o", "Authorization", "Bearer "+key)
	conn := b.dial(url, "", "Authorization", "Bearer "+key)
	waited := make(chan answer)
	go func() { waited <- b.as(key, "GET", "/api/v1/jobs/"+pending.text("job.id")+"?wait=50s", "") }()
	b.say(tenant.Default, "one")
	stream.must(2, "one")
	revoked := time.Now()
	b.call("DELETE", "/api/v1/keys/"+which, "").is(204, "")
	b.allEnd(stream, conn, waited)
	if took := time.Since(revoked); took > soon/2 {
		t.Errorf("it took %s", took)
	}
}

// TestDeleteTenant: a tenant that has instances stays; without, it ends with all that opens it,
// also against a create that is under way.
func TestDeleteTenant(t *testing.T) {
	b := newBench(t)
	one := b.tenant("one")
	_, owner := b.key(one, "owner")
	_, session := b.user(one, "owner")
	made := b.as(owner, "POST", mysqlPath, `{}`).is(202, "")
	b.work()
	path := "/api/v1/tenants/" + one
	b.as(owner, "DELETE", path, "").is(403, "forbidden")
	b.call("DELETE", path, "").is(409, "conflict")
	b.as(owner, "DELETE", mysqlPath+"/"+made.text("instance.id"), "").is(202, "")
	b.call("DELETE", path, "").is(409, "conflict")
	b.work()
	b.call("DELETE", path, "").is(204, "")
	b.call("DELETE", path, "").is(404, "not_found")
	b.call("GET", path, "").is(404, "not_found")
	b.call("POST", "/api/v1/keys", `{"name":"late","role":"owner","tenant_id":"`+one+`"}`).is(404, "not_found")
	testenv.Eventually(t, "the key opens nothing", 5*time.Second, func(context.Context) error {
		if got := b.as(owner, "GET", mysqlPath, ""); got.status != 401 { //nolint:contextcheck // the bench has one
			return fmt.Errorf("%d", got.status)
		}
		return nil
	})
	b.as(session, "GET", mysqlPath, "").is(403, "forbidden")
	b.call("POST", "/api/v1/tenants", `{"name":"one"}`).is(201, "") // the name is free
	b.call("DELETE", "/api/v1/tenants/default", "").is(409, "conflict")
	b.call("DELETE", "/api/v1/tenants/-", "").is(404, "not_found")
	if log := b.log200("&action=tenant.delete"); len(log) != 1 || log[0]["subject"] != one {
		t.Errorf("%v", log)
	}
}

// TestDeleteTenantMeanwhile: of a deletion and creates at the same time, either the tenant is
// gone and has nothing, or it is there.
func TestDeleteTenantMeanwhile(t *testing.T) {
	b := newBench(t)
	for round := range 10 {
		of := b.tenant(fmt.Sprint("round ", round))
		_, owner := b.key(of, "owner")
		var status [5]int
		testenv.Together(len(status), func(n int) error {
			if n == 0 {
				status[n] = b.call("DELETE", "/api/v1/tenants/"+of, "").status
			} else {
				status[n] = b.as(owner, "POST", mysqlPath, `{}`).status
			}
			return nil
		})
		made := 0
		for _, s := range status[1:] {
			if s == 202 {
				made++
			}
		}
		if status[0] == 204 && made > 0 || status[0] != 204 && made == 0 {
			t.Errorf("round %d: %v", round, status)
		}
	}
}
