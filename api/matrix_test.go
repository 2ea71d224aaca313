package api_test

import (
	"fmt"
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
	tenant, instance, job, webhook, delivery, keyID, invitation, grant string
	user, spare                                                        string // a member, and somebody who is none
	host, disk, swarm                                                  string // which are no tenant's
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
	e.user, _ = b.user(e.tenant, "viewer")
	e.spare, _ = b.user("", "")
	e.invitation = b.as(owner, "POST", "/api/v1/tenants/"+of+"/invitations", `{"role":"viewer"}`).is(201, "").text("id")
	e.grant = b.call("POST", "/api/v1/tenants/"+of+"/grants", `{"reason":"a look"}`).is(201, "").text("id")
	e.host, e.disk = b.addHost()
	e.swarm = b.addSwarm()
	return e
}

// path fills a route's path in with what the tenant has.
func (e estate) path(route string) string {
	_, path, _ := strings.Cut(route, " ")
	of := map[string]string{"/jobs/": e.job, "/webhooks/": e.webhook, "/deliveries/": e.delivery, "/instances/": e.instance, "/tenants/": e.tenant, "/keys/": e.keyID, "/users/": e.user, "/hosts/": e.host}
	for place, which := range of {
		path = strings.Replace(path, place+":id", place+which, 1)
	}
	if route == "DELETE /api/v1/hosts" {
		path += "?host=" + e.host
	}
	return strings.NewReplacer(":user", e.user, ":invitation", e.invitation, ":grant", e.grant, ":engine", "mysql", ":delivery_id", e.delivery, ":disk", e.disk, ":name", e.swarm, ":format", "csv", "*", "x").Replace(path)
}

// bodies are what requests need to say to be understood.
var bodies = map[string]string{
	"POST /api/v1/webhooks": `{"url":"https://example.com/x"}`, "PATCH /api/v1/webhooks/:id": `{"description":"x"}`, "POST /api/v1/tenants": `{"name":"fresh"}`,
	"PATCH /api/v1/tenants/:id": `{"name":"fresh"}`, "PUT /api/v1/tenants/:id/quota": `{"instances":100}`, "POST /api/v1/keys": `{"name":"x","role":"viewer"}`,
	"POST /api/v1/tenants/:id/grants": `{"reason":"a look"}`,
	"PATCH /api/v1/users/:id":         `{"name":"fresh"}`, "PATCH /api/v1/sessions/current": `{"tenant_id":"TENANT"}`,
	"POST /api/v1/invitations/use": `{"token":"x"}`, "POST /api/v1/me/password": `{"old":"x","new":"y"}`,
	"POST /api/v1/password-resets/use": `{"token":"x","password":"y"}`, "POST /api/v1/users": `{"login":"x","password":"y"}`,
	"POST /api/v1/password-resets": `{"user_id":"USER"}`, "POST /api/v1/tenants/:id/members": `{"user_id":"SPARE","role":"viewer"}`,
	"POST /api/v1/hosts": aMachine("one"), "POST /api/v1/hosts/import": "[" + aMachine("two") + "]", "POST /api/v1/hosts/takeover": aMachine("three"),
	"POST /api/v1/hosts/placement": `{"engine":"mysql"}`, "PUT /api/v1/hosts/reserved": `{"hosts":["HOST"],"reserved":true}`,
	"PUT /api/v1/hosts/status": `{"hosts":["HOST"],"status":"cordoned"}`, "PATCH /api/v1/hosts/:id": `{"purpose":"x"}`,
	"POST /api/v1/hosts/:id/disks": `{"path":"/data2","type":"ssd","capacity":1073741824}`, "PATCH /api/v1/hosts/:id/disks/:disk": `{"state":"error"}`,
	"POST /api/v1/regions":                    `{"region":"us","zones":["x"]}`,
	"POST /api/v1/swarms":                     `{"name":"SWARM-2","endpoint":"swarm://10.0.0.1:2376","region":"eu"}`,
	"PATCH /api/v1/tenants/:id/members/:user": `{"role":"member"}`, "POST /api/v1/tenants/:id/invitations": `{"role":"viewer"}`,
}

func (e estate) body(route string) string {
	return strings.NewReplacer("TENANT", e.tenant, "USER", e.user, "SPARE", e.spare, "HOST", e.host, "SWARM", e.swarm).Replace(bodies[route])
}

// caller is one kind of caller, of any tenant.
type caller struct {
	role  tenant.Role
	user  bool // with a session
	shows func(of string) string
}

func (b *bench) callers() (all []caller) {
	for _, role := range tenant.Roles() {
		all = append(all,
			caller{role, false, func(of string) string { _, key := b.key(of, string(role)); return key }},
			caller{role, true, func(of string) string { _, token := b.user(of, string(role)); return token }})
	}
	return all
}

func (c caller) may(right tenant.Right) bool {
	return right == "" || right == tenant.Anybody || c.role.May(right) || c.user && right == tenant.Oneself
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
	callers, shown := b.callers(), map[int]string{}
	for i, c := range callers {
		shown[i] = c.shows(mine.tenant)
	}
	for route, right := range routes {
		for _, key := range []string{"", "wrong", "berth_" + strings.Repeat("0", 36), shown[0] + "x", shown[1] + "x", shown[1][:len(shown[1])-1]} {
			status, open := b.try(route, mine, key), right == "" || right == tenant.Anybody && (key == "" || route != "POST /api/v1/users")
			if open && (status == 401 || status == 403) || !open && status != 401 {
				t.Errorf("%s with the key %q: %d", route, key, status)
			}
		}
		for i, c := range callers {
			may, things, with := c.may(right), mine, shown[i]
			if may && !strings.HasPrefix(route, "GET ") { // some of it may be gone afterwards
				things = b.estate(b.tenant(fmt.Sprint(route, i)))
				with = c.shows(things.tenant)
			}
			own := b.try(route, things, with)
			if c.role == tenant.Operator && right == tenant.Credentials && may {
				t.Errorf("%s: operators read credentials", route)
			}
			switch {
			case !may && own != 403, may && (own == 401 || own == 403 || own == 404 && !strings.Contains(route, "/docs/*") && !strings.Contains(route, "/debug/pprof") && route != "GET /"):
				t.Errorf("%s as %s, user %v: %d", route, c.role, c.user, own)
			}
			if mine.path(route) == foreign.path(route) {
				continue
			}
			got, ofAll := b.try(route, foreign, shown[i]), strings.Contains(route, "/tenants/:id") || strings.Contains(route, "/users/:id") || strings.Contains(route, "/hosts") || strings.Contains(route, "/swarms")
			switch {
			case ofAll && c.role == tenant.Operator && got != 401 && got != 403 && got != 404: // who runs all of them
			case got != 404 && (may || got != 403):
				t.Errorf("%s as %s of another tenant, user %v: %d", route, c.role, c.user, got)
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
	return b.send(method, e.path(route), strings.NewReader(e.body(route)), "Authorization", header, "Content-Type", "application/json").status
}
