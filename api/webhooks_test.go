package api_test

import (
	"strings"
	"testing"
	"time"
)

const (
	hooksPath = "/api/v1/webhooks"
	publicURL = `"url": "https://192.88.98.1/hook?token=t"`
)

func (b *bench) hook(fields string) answer {
	b.Helper()
	return b.call("POST", hooksPath, "{"+publicURL+fields+"}").is(201, "")
}

func (a answer) items() []answer {
	a.Helper()
	list, _ := a.json["items"].([]any)
	out := make([]answer, len(list))
	for i, v := range list {
		m, _ := v.(map[string]any)
		out[i] = answer{T: a.T, json: m}
	}
	return out
}

// A webhook is made, read, changed, rotated and deleted; its secret is shown twice:
// when it is made and when it is changed for another.
func TestWebhookLife(t *testing.T) {
	b := newBench(t)
	h := b.hook(`, "events": ["instance.*", "job.failed"], "description": "tell me"`)
	path := h.header.Get("Location")
	first := h.text("secret")
	if path != hooksPath+"/"+h.text("id") || !strings.HasPrefix(first, "whsec_") || !strings.HasPrefix(h.text("id"), "whk_") || h.json["enabled"] != true {
		t.Fatalf("%s %v", h.body, h.header)
	}
	got := b.call("GET", path, "").is(200, "")
	if got.text("description") != "tell me" || got.text("url") != "https://192.88.98.1/hook?token=t" || got.json["secret"] != nil {
		t.Errorf("%s", got.body)
	}
	changed := b.call("PATCH", path, `{"events": [], "enabled": false}`).is(200, "")
	if changed.json["enabled"] != false || changed.text("description") != "tell me" || !strings.Contains(changed.body, `"events":[]`) {
		t.Errorf("%s", changed.body)
	}
	b.call("POST", path+"/ping", "").is(409, "not_ready")
	b.call("PATCH", path, `{"enabled": true}`).is(200, "")
	rotated := b.call("POST", path+"/rotate", "").is(200, "")
	until, err := time.Parse("2006-01-02T15:04:05.000Z", rotated.text("previous_secret_until"))
	if err != nil || time.Until(until) < 23*time.Hour || rotated.text("secret") == first || !strings.HasPrefix(rotated.text("secret"), "whsec_") {
		t.Errorf("%s", rotated.body)
	}
	if got := b.call("POST", path+"/rotate", `{"overlap": "0s"}`).is(200, ""); got.text("previous_secret_until") != "" {
		t.Errorf("%s", got.body)
	}
	list := b.call("GET", hooksPath, "").is(200, "")
	if len(list.items()) != 1 || strings.Contains(list.body, "whsec_") {
		t.Errorf("%s", list.body)
	}
	b.call("DELETE", path, "").is(200, "")
	for _, route := range []string{"GET ", "PATCH ", "DELETE "} {
		method, _, _ := strings.Cut(route, " ")
		b.call(method, path, "{}").is(404, "not_found")
	}
	for _, tail := range []string{"/rotate", "/ping"} {
		b.call("POST", path+tail, "").is(404, "not_found")
	}
	b.call("GET", path+"/deliveries", "").is(404, "not_found")
}

func TestWebhookRefused(t *testing.T) {
	b := newBench(t)
	for body, field := range map[string]string{
		`{}`: "url", `{"url": ""}`: "url", `{"url": "ftp://192.88.98.1"}`: "url", `{"url": "http://127.0.0.1/"}`: "url", `{"url": "http://169.254.169.254/"}`: "url",
		`{"url": "https://u:p@192.88.98.1/"}`: "url", "{" + publicURL + `, "events": ["*.failed"]}`: "events[0]", "{" + publicURL + `, "events": ["a", "instance.*.x"]}`: "events[1]",
		"{" + publicURL + `, "events": ["Job.Failed"]}`: "events[0]", "{" + publicURL + `, "description": "` + strings.Repeat("x", 201) + `"}`: "description",
		"{" + publicURL + `, "events": "job.failed"}`: "events",
	} {
		if got := b.call("POST", hooksPath, body).is(422, "invalid"); got.json["errors"] != nil {
			got.field(field)
		}
	}
	b.call("POST", hooksPath, "{"+publicURL+`, "secret": "mine"}`).is(422, "invalid").field("secret", "url, events, description, enabled")
	b.call("POST", hooksPath, "[]").is(400, "malformed")
	path := b.hook("").header.Get("Location")
	b.call("PATCH", path, `{"url": "http://10.0.0.1/"}`).is(422, "invalid").field("url", "not public")
	b.call("POST", path+"/rotate", `{"overlap": "30d"}`).is(422, "invalid").field("overlap", "24h")
	b.call("POST", path+"/rotate", `{"overlap": "-1s"}`).is(422, "invalid").field("overlap", "168h")
	b.call("POST", path+"/rotate", `{"wait": "1h"}`).is(422, "invalid").field("wait", "overlap")
	if got := b.call("GET", hooksPath, ""); len(got.items()) != 1 {
		t.Errorf("%s", got.body)
	}
}

func TestWebhookLimitAndPages(t *testing.T) {
	b := newBench(t)
	for range 50 {
		b.hook("")
	}
	b.call("POST", hooksPath, "{"+publicURL+"}").is(422, "invalid").field("url", "50")
	seen, cursor := map[string]bool{}, ""
	for {
		page := b.call("GET", hooksPath+"?limit=20&cursor="+cursor, "").is(200, "")
		for _, h := range page.items() {
			seen[h.text("id")] = true
		}
		if cursor = page.text("next_cursor"); cursor == "" {
			break
		}
	}
	if len(seen) != 50 {
		t.Errorf("%d of 50", len(seen))
	}
}

// Every event of a create is there as a delivery, for the webhook that wants it, and
// the callback is found by its job.
func TestDeliveriesOfACreate(t *testing.T) {
	b := newBench(t)
	all, jobs := b.hook("").text("id"), b.hook(`, "events": ["job.*"]`).text("id")
	_, job := b.made("redis", `{"callback_url": "https://192.88.98.2/callback"}`)
	types := func(path string) string {
		var list []string
		for _, d := range b.call("GET", path, "").is(200, "").items() {
			if d.text("state") != "pending" || d.text("next_attempt_at") == "" || d.text("job_id") != job || d.json["payload"] != nil {
				t.Errorf("%v", d.json)
			}
			list = append(list, d.text("event_type"))
		}
		return strings.Join(list, " ")
	}
	for path, want := range map[string]string{
		hooksPath + "/" + all + "/deliveries":                                   "job.succeeded instance.running instance.provisioning instance.pending",
		hooksPath + "/" + jobs + "/deliveries":                                  "job.succeeded",
		"/api/v1/deliveries?job_id=" + job:                                      "job.succeeded job.succeeded job.succeeded instance.running instance.provisioning instance.pending",
		"/api/v1/deliveries?webhook_id=" + jobs:                                 "job.succeeded",
		"/api/v1/deliveries?job_id=job_none":                                    "",
		"/api/v1/deliveries?job_id=" + job + "&state=delivered":                 "",
		"/api/v1/deliveries?job_id=" + job + "&state=pending&webhook_id=" + all: "job.succeeded instance.running instance.provisioning instance.pending",
	} {
		if got := types(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	d := b.call("GET", hooksPath+"/"+jobs+"/deliveries", "").items()[0]
	path := hooksPath + "/" + jobs + "/deliveries/" + d.text("id")
	one := b.call("GET", path, "").is(200, "")
	if one.text("payload.type") != "job.succeeded" || one.text("payload.data.event_id") != one.text("event_id") || one.text("payload.data.instance.state") != "running" {
		t.Errorf("%s", one.body)
	}
	b.call("GET", hooksPath+"/"+all+"/deliveries/"+d.text("id"), "").is(404, "not_found")
	b.call("POST", hooksPath+"/"+all+"/deliveries/"+d.text("id")+"/redeliver", "").is(404, "not_found")
	if again := b.call("POST", path+"/redeliver", "").is(202, ""); again.text("id") != d.text("id") || again.text("state") != "pending" {
		t.Errorf("%s", again.body) // it has not ended: it begins anew
	}
	b.call("DELETE", hooksPath+"/"+jobs, "").is(200, "")
	ended := b.call("GET", "/api/v1/deliveries/"+d.text("id"), "").is(200, "")
	if ended.text("state") != "canceled" || !strings.Contains(ended.text("last_error"), "deleted") {
		t.Errorf("%s", ended.body)
	}
	b.call("POST", "/api/v1/deliveries/"+d.text("id")+"/redeliver", "").is(410, "gone")
	for _, id := range []string{"dlv_none", "%ff", "x"} {
		b.call("GET", "/api/v1/deliveries/"+id, "").is(404, "not_found")
		b.call("POST", "/api/v1/deliveries/"+id+"/redeliver", "").is(404, "not_found")
	}
}

func TestPing(t *testing.T) {
	b := newBench(t)
	path := b.hook(`, "events": ["job.failed"]`).header.Get("Location")
	d := b.call("POST", path+"/ping", "").is(202, "")
	if d.text("event_type") != "webhook.ping" || d.text("payload.type") != "webhook.ping" || d.text("url") != "https://192.88.98.1/hook?token=t" {
		t.Errorf("%s", d.body)
	}
	if got := b.call("GET", path+"/deliveries", ""); len(got.items()) != 1 {
		t.Errorf("%s", got.body)
	}
}
