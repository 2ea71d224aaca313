package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/tenant"
)

// open are the routes that are no operations of the document, and who may use each: "" is
// anybody. A route that is neither here nor declares a right fails the test.
var open = map[string]tenant.Right{
	"GET /healthz": "", "GET /readyz": "", "GET /docs": "", "GET /docs/*": "", "HEAD /openapi.json": "", "GET /openapi.json": "",
	"HEAD /openapi.yaml": "", "GET /openapi.yaml": "", "HEAD /openapi-3.0.json": "", "GET /openapi-3.0.json": "", "HEAD /openapi-3.0.yaml": "", "GET /openapi-3.0.yaml": "",
	"GET /": tenant.Identify, "/queues": tenant.Operate, "/queues/*": tenant.Operate, "/debug/pprof": tenant.Operate, "/debug/pprof/*": tenant.Operate,
}

// estate is what one tenant has, by the names that paths have for it.
type estate struct {
	tenant, instance, job, webhook, delivery, keyID string
}

func (b *bench) estate(of string) estate {
	b.Helper()
	e := estate{tenant: of}
	_, owner := b.key(e.tenant, "owner")
	hook := b.as(owner, "POST", "/api/v1/webhooks", `{"url":"https://example.com/hook"}`).is(201, "")
	e.webhook = hook.text("id")
	e.delivery = b.as(owner, "POST", "/api/v1/webhooks/"+e.webhook+"/ping", "").is(202, "").text("id")
	made := b.as(owner, "POST", mysqlPath, `{}`).is(202, "")
	e.instance, e.job = made.text("instance.id"), made.text("job.id")
	b.work()
	e.keyID, _ = b.key(e.tenant, "viewer")
	return e
}

// path fills a route's path in with what the tenant has.
func (e estate) path(route string) string {
	_, path, _ := strings.Cut(route, " ")
	of := map[string]string{"/jobs/": e.job, "/webhooks/": e.webhook, "/deliveries/": e.delivery, "/instances/": e.instance, "/tenants/": e.tenant, "/keys/": e.keyID}
	for place, which := range of {
		path = strings.Replace(path, place+":id", place+which, 1)
	}
	return strings.NewReplacer(":engine", "mysql", ":delivery_id", e.delivery, "*", "x").Replace(path)
}

// bodies are what requests need to say to be understood.
var bodies = map[string]string{
	"POST /api/v1/webhooks": `{"url":"https://example.com/x"}`, "PATCH /api/v1/webhooks/:id": `{"description":"x"}`, "POST /api/v1/tenants": `{"name":"fresh"}`,
	"PATCH /api/v1/tenants/:id": `{"name":"fresh"}`, "PUT /api/v1/tenants/:id/quota": `{"instances":100}`, "POST /api/v1/keys": `{"name":"x","role":"viewer"}`,
}

// TestMatrix calls every route as everybody: with no key and wrong ones, in every role, in
// the own tenant and in another one.
func TestMatrix(t *testing.T) {
	var cfg api.Config
	b := newBench(t, withQueues, func(c *api.Config) { cfg = *c })
	all, declared := api.Routes(cfg)
	routes := map[string]tenant.Right{}
	for _, route := range all {
		right, known := open[route]
		method, path, _ := strings.Cut(route, " ")
		if wide, any := open[path]; any {
			right, known = wide, true
		}
		if op, isOperation := declared[route]; isOperation {
			right, known = op, op != ""
		}
		if !known {
			t.Errorf("%s: nobody has said who may use it", route)
			continue
		}
		if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}, method) {
			routes[route] = right
		}
	}
	if len(declared) < 25 || len(routes) < len(declared) {
		t.Fatalf("%d routes, %d operations", len(routes), len(declared))
	}
	mine, foreign := b.estate(b.tenant("mine")), b.estate(b.tenant("foreign"))
	keys := map[tenant.Role]string{}
	for _, role := range tenant.Roles() {
		_, keys[role] = b.key(mine.tenant, string(role))
	}
	for route, right := range routes {
		for _, key := range []string{"", "wrong", "berth_" + strings.Repeat("0", 36), keys["owner"] + "x"} {
			status := b.try(route, mine, key)
			if right == "" && (status == 401 || status == 403) || right != "" && status != 401 {
				t.Errorf("%s with the key %q: %d", route, key, status)
			}
		}
		for role, key := range keys {
			may, things, with := right == "" || role.May(right), mine, key
			if may && !strings.HasPrefix(route, "GET ") { // some of it may be gone afterwards
				things = b.estate(b.tenant(route + " " + string(role)))
				_, with = b.key(things.tenant, string(role))
			}
			own := b.try(route, things, with)
			if role == tenant.Operator && right == tenant.Credentials && may {
				t.Errorf("%s: operators read credentials", route)
			}
			switch {
			case !may && own != 403, may && (own == 401 || own == 403 || own == 404 && !strings.Contains(route, "/docs/*") && !strings.Contains(route, "/debug/pprof") && route != "GET /"):
				t.Errorf("%s as %s: %d", route, role, own)
			}
			if mine.path(route) == foreign.path(route) {
				continue
			}
			got := b.try(route, foreign, key)
			switch {
			case strings.Contains(route, "/tenants/:id") && role == tenant.Operator && got != 401 && got != 403 && got != 404: // who runs all of them
			case got != 404 && (may || got != 403):
				t.Errorf("%s as %s of another tenant: %d", route, role, got)
			}
		}
	}
}

// try calls a route on what the tenant has.
func (b *bench) try(route string, e estate, key string) int {
	b.Helper()
	method, _, _ := strings.Cut(route, " ")
	header := ""
	if key != "" {
		header = "Bearer " + key
	}
	return b.send(method, e.path(route), strings.NewReader(bodies[route]), "Authorization", header, "Content-Type", "application/json").status
}
