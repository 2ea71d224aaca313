package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// withKeys sends a request with as many keys as given.
func (b *bench) withKeys(method, path, body string, keys ...string) answer {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+adminKey)
	r.Header["Idempotency-Key"] = keys
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, r)
	return decoded(b.T, recorder)
}

func TestIdempotencyKeyForms(t *testing.T) {
	b := newBench(t)
	hook := "/api/v1/webhooks/" + b.hook("").text("id")
	takers := map[string]string{
		mysqlPath: "{}", "/api/v1/webhooks": `{"url":"https://93.184.215.14/hook"}`, hook + "/rotate": `{"overlap":"0s"}`, hook + "/ping": "",
	}
	for path, body := range takers {
		for name, keys := range map[string][]string{
			"empty": {""}, "blank": {"   "}, "empty string": {`""`}, "two": {"a", "b"}, "the same twice": {"a", "a"}, "one and an empty one": {"a", ""},
			"no end": {`"abc`}, "only a quote": {`"`}, "behind the end": {`"abc"d`}, "unknown escape": {`"a\b"`}, "escaped end": {`"abc\"`},
			"too long": {strings.Repeat("k", 256)}, "too long, quoted": {`"` + strings.Repeat("k", 256) + `"`}, "no ASCII": {"bücher"}, "quoted, no ASCII": {`"bücher"`}, "tab": {"a\tb"},
		} {
			before := b.rows()
			if a := b.withKeys("POST", path, body, keys...); a.status != 422 || b.rows() != before {
				t.Errorf("%s, %s: %d %s", path, name, a.status, a.body)
			} else {
				a.field("Idempotency-Key")
			}
		}
		longest := strings.Repeat("k", 250) + path[len(path)-5:]
		for i, same := range [][]string{
			{"k" + path, ` k` + path + ` `, `"k` + path + `"`},
			{`"a\"b\\c` + path + `"`, `a"b\c` + path},
			{`k k,k"` + path, `"k k,k\"` + path + `"`},
			{longest, `"` + longest + `"`},
		} {
			first := b.withKeys("POST", path, body, same[0])
			if first.status >= 300 || first.header.Get("Idempotency-Replayed") != "" {
				t.Fatalf("%s %d: %d %v %s", path, i, first.status, first.header, first.body)
			}
			for _, key := range same {
				again := b.withKeys("POST", path, body, key)
				if again.status != first.status || again.body != first.body || again.header.Get("Idempotency-Replayed") != "true" || again.header.Get("Location") != first.header.Get("Location") {
					t.Errorf("%s with %s: %d %v\n%s, was\n%s", path, key, again.status, again.header, again.body, first.body)
				}
			}
		}
	}
	// What makes nothing does not mind a key, if it is one.
	b.withKeys("POST", "/api/v1/jobs/job_x/cancel", "", "").is(422, "invalid")
	b.withKeys("DELETE", hook, "", "a", "b").is(422, "invalid")
	b.withKeys("GET", mysqlPath, "", "", "").is(200, "")
}

// Whatever makes something is safe to repeat, and says what has become of it.
func TestReplaysAreMarked(t *testing.T) {
	b := newBench(t)
	post := func(path, body, key string) answer {
		b.Helper()
		return b.call("POST", path, body, "Idempotency-Key", key)
	}
	marked := func(a answer, want bool) answer {
		t.Helper()
		if got := a.header.Get("Idempotency-Replayed"); (got == "true") != want || !want && got != "" {
			t.Errorf("replayed %q: %s", got, a.body)
		}
		return a
	}
	made := marked(post(mysqlPath, `{"name":"once"}`, "i").is(202, ""), false)
	id := made.text("instance.id")
	if again := marked(post(mysqlPath, `{"name":"once"}`, "i").is(202, ""), true); again.body != made.body {
		t.Errorf("%s, was %s", again.body, made.body)
	}
	b.work()
	if again := marked(post(mysqlPath, `{"name":"once"}`, "i"), true); again.text("instance.state") != "running" || again.text("job.state") != "succeeded" || again.text("webhook_secret") == "" {
		t.Errorf("%s", again.body)
	}
	b.call("DELETE", mysqlPath+"/"+id, "").is(202, "")
	if again := marked(post(mysqlPath, `{"name":"once"}`, "i"), true); again.text("instance.state") != "deleting" {
		t.Errorf("%s", again.body)
	}
	b.work()
	again := marked(post(mysqlPath, `{"name":"once"}`, "i").is(202, ""), true)
	if again.text("instance.state") != "deleted" || again.text("instance.deleted_at") == "" || again.text("instance.id") != id || again.header.Get("Location") == "" || again.text("webhook_secret") != "" {
		t.Errorf("%v %s", again.header, again.body)
	}

	const body = `{"url":"https://93.184.215.14/hook","events":["job.*"]}`
	hook := marked(post("/api/v1/webhooks", body, "w").is(201, ""), false)
	path := "/api/v1/webhooks/" + hook.text("id")
	if again := marked(post("/api/v1/webhooks", `{ "events":["job.*"],"url":"https://93.184.215.14/hook"}`, "w").is(201, ""), true); again.body != hook.body {
		t.Errorf("%s, was %s", again.body, hook.body)
	}
	b.call("PATCH", path, `{"description":"changed"}`).is(200, "")
	if again := marked(post("/api/v1/webhooks", body, "w").is(201, ""), true); again.text("description") != "changed" || again.text("secret") != hook.text("secret") {
		t.Errorf("%s", again.body)
	}
	post("/api/v1/webhooks", `{"url":"https://93.184.215.14/other"}`, "w").is(422, "idempotency_mismatch")
	post(path+"/ping", "", "w").is(422, "idempotency_mismatch")
	post(mysqlPath, "{}", "w").is(422, "idempotency_mismatch")

	rotated := marked(post(path+"/rotate", `{"overlap":"1h"}`, "r").is(200, ""), false)
	for range 5 { // more than there may be old secrets
		if again := marked(post(path+"/rotate", `{"overlap":"1h"}`, "r").is(200, ""), true); again.text("secret") != rotated.text("secret") {
			t.Errorf("%s", again.body)
		}
	}
	post(path+"/rotate", `{"overlap":"2h"}`, "r").is(422, "idempotency_mismatch")
	ping := marked(post(path+"/ping", "", "p").is(202, ""), false)
	if again := marked(post(path+"/ping", "", "p").is(202, ""), true); again.text("id") != ping.text("id") {
		t.Errorf("%s", again.body)
	}
	for i, path := range []string{"/api/v1/deliveries/" + ping.text("id") + "/redeliver", path + "/deliveries/" + ping.text("id") + "/redeliver"} {
		key := fmt.Sprint("d", i)
		first := marked(post(path, "", key).is(202, ""), false)
		if again := marked(post(path, "", key).is(202, ""), true); again.text("id") != first.text("id") {
			t.Errorf("%s", again.body)
		}
	}
	if n := len(b.call("GET", "/api/v1/webhooks", "").items()); n != 1 {
		t.Errorf("%d webhooks", n)
	}
	b.call("DELETE", path, "").is(200, "")
	post("/api/v1/webhooks", body, "w").is(http.StatusGone, "gone")
	post(path+"/rotate", `{"overlap":"1h"}`, "r").is(http.StatusGone, "gone")
	b.queue.Flush()
}
