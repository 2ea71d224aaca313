package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
)

func TestLifeOverHTTP(t *testing.T) {
	b := newBench(t)
	for engine, path := range map[string]string{"mysql": mysqlPath, "redis": redisPath} {
		a := b.call("POST", path, `{"name":"my-`+engine+`","labels":{"team":"a"}}`).is(202, "")
		id, job := a.text("instance.id"), a.text("job.id")
		pending := b.call("GET", path+"/"+id+"/config", "").is(409, "not_ready")
		if pending.text("job_id") != job || pending.header.Get("Retry-After") == "" {
			t.Errorf("%s %v", pending.body, pending.header)
		}
		b.work()
		if got := b.call("GET", "/api/v1/jobs/"+job, "").is(200, ""); got.text("state") != "succeeded" || got.json["progress"] != 100.0 {
			t.Errorf("%s", got.body)
		}
		if got := b.call("GET", path+"/"+id, "").is(200, ""); got.text("state") != "running" || got.text("endpoint.host") != "127.0.0.1" {
			t.Errorf("%s", got.body)
		}
		b.call("GET", "/api/v1/storage/instances/"+id, "").is(200, "")
		config := b.call("GET", path+"/"+id+"/config", "").is(200, "")
		for _, field := range []string{"host", "username", "password", "uri", "cli", "file.content"} {
			if config.text(field) == "" {
				t.Errorf("no %s in the configuration", field)
			}
		}
		if u, err := url.Parse(config.text("uri")); err != nil || u.Scheme != engine {
			t.Errorf("uri: %v, %v", u, err)
		}
		d := b.call("DELETE", path+"/"+id, "").is(202, "")
		again := b.call("DELETE", path+"/"+id, "").is(202, "")
		if d.text("job.id") != again.text("job.id") || d.text("job.kind") != "instance.delete" || d.header.Get("Location") != "/api/v1/jobs/"+d.text("job.id") {
			t.Errorf("%s\n%s", d.body, again.body)
		}
		if strings.Contains(d.body, "webhook_secret") {
			t.Error("a delete shows the webhook secret again")
		}
		b.call("GET", path+"/"+id+"/config", "").is(409, "not_ready")
		b.work()
		b.call("DELETE", path+"/"+id, "").is(410, "gone")
		b.call("GET", path+"/"+id+"/config", "").is(410, "gone")
		if got := b.call("GET", path+"/"+id, "").is(200, ""); got.text("state") != "deleted" || got.text("deleted_at") == "" || got.json["endpoint"] != nil {
			t.Errorf("%s", got.body)
		}
	}
}

// A forced delete waits for nobody, says who asked for it, and is no way round the
// tenant or the engine.
func TestForcedDelete(t *testing.T) {
	b := newBench(t)
	id, _ := b.made("redis", "{}")
	b.call("DELETE", mysqlPath+"/"+id+"?force=true", "").is(404, "not_found")
	b.call("DELETE", redisPath+"/"+id+"?force=maybe", "").is(422, "invalid")
	waiting := b.call("DELETE", redisPath+"/"+id, "").is(202, "")
	forced := b.call("DELETE", redisPath+"/"+id+"?force=true", "").is(202, "")
	if forced.text("instance.state") != "deleted" || forced.text("job.state") != "succeeded" || forced.text("job.kind") != "instance.delete" {
		t.Errorf("%s", forced.body)
	}
	if got := b.call("GET", "/api/v1/jobs/"+waiting.text("job.id"), ""); got.text("state") != "canceled" {
		t.Errorf("%s", got.body)
	}
	if got := b.call("GET", redisPath+"/"+id, "").is(200, ""); got.text("state") != "deleted" || !strings.Contains(got.text("reason"), "by force") {
		t.Errorf("%s", got.body)
	}
	b.call("DELETE", redisPath+"/"+id+"?force=true", "").is(410, "gone")
	b.call("GET", redisPath+"/"+id+"/config", "").is(410, "gone")
}

// A failed instance has no configuration, says why it failed, and can be deleted.
func TestFailedInstance(t *testing.T) {
	b := newBench(t)
	b.runtime.SetProbe(func(host.UnitID) error { return fmt.Errorf("no") })
	a := b.call("POST", redisPath, "").is(202, "")
	b.call("POST", "/api/v1/jobs/"+a.text("job.id")+"/cancel", "").is(202, "")
	b.work()
	id := a.text("instance.id")
	if got := b.call("GET", redisPath+"/"+id, ""); got.text("state") != "failed" || got.text("reason") == "" {
		t.Errorf("%s", got.body)
	}
	b.call("GET", redisPath+"/"+id+"/config", "").is(409, "not_ready")
	b.call("DELETE", redisPath+"/"+id, "").is(202, "")
}

// idRoutes are the operations that name an instance or a job.
func idRoutes(id string) []string {
	return []string{
		"GET /api/v1/storage/instances/" + id, "GET " + mysqlPath + "/" + id, "GET " + mysqlPath + "/" + id + "/config", "DELETE " + mysqlPath + "/" + id,
		"GET /api/v1/jobs/" + id, "POST /api/v1/jobs/" + id + "/cancel",
	}
}

func TestUnknownIDs(t *testing.T) {
	b := newBench(t)
	instance, job := b.made("redis", "{}")
	for _, id := range []string{
		"x", "ins_01J00000000000000000000000", "job_01J00000000000000000000000", "%00", "a%00b", "'", "%22", "%27%20OR%201=1--", "%F0%9F%98%80", "%ff", "%FF%FE", "%C3%28",
		"..", "..%2f..%2fjobs", "%20", "a;b", "%0a", "%25", "*", strings.Repeat("x", 30000), strings.Repeat("%F0%9F%98%80", 1000),
	} {
		for _, route := range idRoutes(id) {
			method, path, _ := strings.Cut(route, " ")
			b.call(method, path, "").is(404, "not_found")
		}
	}
	// The id of the one is no id of the other, and the engine must be the right one.
	b.call("GET", "/api/v1/jobs/"+instance, "").is(404, "not_found")
	b.call("GET", "/api/v1/storage/instances/"+job, "").is(404, "not_found")
	b.call("GET", mysqlPath+"/"+instance, "").is(404, "not_found")
	b.call("DELETE", mysqlPath+"/"+instance, "").is(404, "not_found")
	b.call("GET", mysqlPath+"/"+instance+"/config", "").is(404, "not_found")
	b.call("GET", "/api/v1/storage/oracle/instances/"+instance, "").is(404, "not_found")
	b.call("GET", "/api/v1/storage/oracle/instances", "").is(404, "not_found")
	b.call("POST", "/api/v1/jobs//cancel", "").is(404, "not_found")
	if got := b.call("GET", redisPath+"/"+instance, ""); got.text("state") != "running" {
		t.Errorf("%s", got.body)
	}
}

// What belongs to another tenant is answered as if it were not there.
func TestOtherTenants(t *testing.T) {
	b := newBench(t)
	other := instance.Instance{ID: "ins_other", Tenant: "other", Spec: instance.Spec{Engine: "mysql", Version: "9.7", Plan: "small"}, Name: "secret-name", State: instance.StatePending}
	err := b.store.Tx(t.Context(), func(tx rooms.Tx) error {
		if err := tx.InsertInstance(other); err != nil {
			return err
		}
		return tx.InsertJob(job.Job{ID: "job_other", Tenant: "other", Subject: id.Subject(other.ID), Class: "mysql", Kind: instance.JobCreate, State: job.Queued})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range append(idRoutes("ins_other")[:4], idRoutes("job_other")[4:]...) {
		method, path, _ := strings.Cut(route, " ")
		got := b.call(method, path, "").is(404, "not_found")
		missing := b.call(method, strings.ReplaceAll(path, "_other", "_xxxxx"), "").is(404, "not_found")
		if strings.ReplaceAll(got.unnamed(), "_other", "_xxxxx") != missing.unnamed() {
			t.Errorf("%s differs from what is not there:\n%s%s", route, got.body, missing.body)
		}
	}
	for _, path := range []string{"/api/v1/storage/instances?deleted=true", mysqlPath, "/api/v1/jobs", "/api/v1/jobs?instance_id=ins_other", mysqlPath + "?name=secret-name"} {
		if got := b.call("GET", path, "").is(200, ""); strings.Contains(got.body, "other") || strings.Contains(got.body, "secret-name") {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	if j, err := b.store.Job(t.Context(), "job_other"); err != nil || j.State != job.Queued {
		t.Errorf("%+v, %v", j, err)
	}
	// And its name is not taken here.
	b.call("POST", mysqlPath, `{"name":"secret-name"}`).is(202, "")
}

// ids gives the ids of a list's items.
func (a answer) ids() []string {
	a.Helper()
	items, ok := a.json["items"].([]any)
	if !ok {
		a.Errorf("no items in %s", a.body)
	}
	var ids []string
	for _, item := range items {
		m, _ := item.(map[string]any)
		id, _ := m["id"].(string)
		ids = append(ids, id)
	}
	return ids
}

func TestLists(t *testing.T) {
	b := newBench(t)
	var mysqls, all []string
	for i := range 5 {
		a := b.call("POST", mysqlPath, fmt.Sprintf(`{"name":"m%d","labels":{"odd":"%d","all":"yes","e":""}}`, i, i%2)).is(202, "")
		mysqls = append([]string{a.text("instance.id")}, mysqls...)
		r := b.call("POST", redisPath, `{}`).is(202, "")
		all = append([]string{r.text("instance.id"), a.text("instance.id")}, all...)
	}
	pages := func(path string, limit int) (ids []string) {
		t.Helper()
		for cursor, n := "", 0; n < 20; n++ {
			a := b.call("GET", fmt.Sprintf("%slimit=%d&cursor=%s", path, limit, cursor), "").is(200, "")
			page := a.ids()
			if len(page) > limit {
				t.Errorf("%d items instead of %d", len(page), limit)
			}
			ids = append(ids, page...)
			if cursor = a.text("next_cursor"); cursor == "" {
				return ids
			}
		}
		t.Fatal("the list never ends")
		return nil
	}
	for _, limit := range []int{1, 2, 3, 5, 10, 200} {
		if got := pages(mysqlPath+"?", limit); !slices.Equal(got, mysqls) {
			t.Errorf("by %d: %v, want %v", limit, got, mysqls)
		}
		if got := pages("/api/v1/storage/instances?", limit); !slices.Equal(got, all) {
			t.Errorf("all by %d: %v, want %v", limit, got, all)
		}
		if got := pages("/api/v1/jobs?", limit); len(got) != 10 || !slices.IsSortedFunc(got, func(x, y string) int { return strings.Compare(y, x) }) {
			t.Errorf("jobs by %d: %v", limit, got)
		}
	}
	for query, want := range map[string]int{
		"label=odd=1": 2, "label=odd=1&label=all=yes": 2, "label=odd=1&label=all=no": 0, "label=odd=2": 0, "label=e=": 5, "label=none=": 0,
		"name=m3": 1, "name=none": 0, "state=pending": 5, "state=running": 0, "state=": 5, "name=%F0%9F%98%80": 0, "name='": 0, "label=a%00b=c": 0,
		"state=pending&name=m1&label=odd=1": 1,
	} {
		if got := b.call("GET", mysqlPath+"?"+query, "").is(200, "").ids(); len(got) != want {
			t.Errorf("?%s gives %d, want %d", query, len(got), want)
		}
	}
	if got := b.call("GET", "/api/v1/jobs?instance_id="+mysqls[0]+"&kind=instance.create&state=queued", "").ids(); len(got) != 1 {
		t.Errorf("jobs of one instance: %v", got)
	}
	// Deleted ones are listed when asked for.
	b.call("DELETE", mysqlPath+"/"+mysqls[0], "").is(202, "")
	b.work()
	for query, want := range map[string]int{"": 4, "deleted=true": 5, "state=deleted": 1, "name=m4": 0, "name=m4&deleted=true": 1} {
		if got := b.call("GET", mysqlPath+"?"+query, "").is(200, "").ids(); len(got) != want {
			t.Errorf("?%s gives %d, want %d", query, len(got), want)
		}
	}
}

func TestBadQueries(t *testing.T) {
	b := newBench(t)
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=-1": "limit", "limit=201": "limit", "limit=x": "limit", "limit=99999999999999999999": "limit", "state=x": "state",
		"deleted=maybe": "deleted", "label=x": "label", "label==x": "label", "cursor=" + strings.Repeat("x", 41): "cursor", "cursor=%27%00": "cursor", "name=" + strings.Repeat("x", 101): "name",
	} {
		b.call("GET", mysqlPath+"?"+query, "").is(422, "invalid").field(field)
	}
	b.call("GET", "/api/v1/jobs?state=x", "").is(422, "invalid").field("state", "queued")
	b.call("GET", "/api/v1/jobs?kind=x", "").is(422, "invalid").field("kind", "instance.create")
	b.call("GET", mysqlPath+"?name=%ff", "").is(http.StatusBadRequest, "malformed")
	b.call("GET", "/api/v1/jobs?instance_id=%FF", "").is(http.StatusBadRequest, "malformed")
	for _, path := range []string{"/api/v1/jobs", "/api/v1/events", "/api/v1/deliveries"} {
		b.call("GET", path+"?subject=ins_1&instance_id=ins_1", "").is(200, "")
		a := b.call("GET", path+"?subject=ins_1&instance_id=ins_2", "").is(422, "invalid")
		if got := fmt.Sprint(a.json["errors"]); !strings.Contains(got, "instance_id") {
			t.Errorf("%s: two subjects are refused with %s", path, got)
		}
	}
}

// A delete checks its callback before it does anything.
func TestDeleteRefused(t *testing.T) {
	b := newBench(t)
	id, _ := b.made("redis", "{}")
	for _, target := range []string{"nonsense", "ftp://example.com", "http://127.0.0.1/", "http://[fe80::1]/", "http://192.168.1.1/"} {
		b.call("DELETE", redisPath+"/"+id+"?callback_url="+url.QueryEscape(target), "").is(422, "invalid").field("callback_url")
	}
	if got := b.call("GET", redisPath+"/"+id, ""); got.text("state") != "running" {
		t.Errorf("%s", got.body)
	}
	b.call("DELETE", redisPath+"/"+id+"?callback_url="+url.QueryEscape("https://93.184.215.14/x"), "").is(202, "")
}
