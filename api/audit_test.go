package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/tenant"
)

const auditPath = "/api/v1/audit"

// log returns the newest entries of the whole audit log, newest first.
func (b *bench) log200(query string) []map[string]any {
	b.Helper()
	items, _ := b.call("GET", auditPath+"?limit=200&all=true"+query, "").is(200, "").json["items"].([]any)
	all := make([]map[string]any, len(items))
	for i, item := range items {
		all[i], _ = item.(map[string]any)
	}
	return all
}

// unwritten are the operations that change something, or show credentials, and leave no entry.
var unwritten = map[string]string{"POST /api/v1/hosts/placement": "it places nothing"}

// deeds are the actions of operations, where the answer to a request of the matrix is success.
var deeds = map[string]tenant.Action{
	"POST /api/v1/storage/:engine/instances": tenant.ActInstanceCreate, "DELETE /api/v1/storage/:engine/instances/:id": tenant.ActInstanceDelete,
	"POST /api/v1/storage/:engine/instances/:id/restart": tenant.ActInstanceRestart, "POST /api/v1/storage/:engine/instances/:id/stop": tenant.ActInstanceStop, "POST /api/v1/storage/:engine/instances/:id/start": tenant.ActInstanceStart,
	"GET /api/v1/storage/:engine/instances/:id/config": tenant.ActInstanceCredentials, "POST /api/v1/jobs/:id/cancel": tenant.ActJobCancel,
	"POST /api/v1/webhooks": tenant.ActWebhookCreate, "PATCH /api/v1/webhooks/:id": tenant.ActWebhookChange, "DELETE /api/v1/webhooks/:id": tenant.ActWebhookDelete,
	"POST /api/v1/webhooks/:id/rotate": tenant.ActWebhookRotate, "POST /api/v1/webhooks/:id/ping": tenant.ActWebhookPing,
	"POST /api/v1/deliveries/:id/redeliver": tenant.ActDeliveryRepeat, "POST /api/v1/webhooks/:id/deliveries/:delivery_id/redeliver": tenant.ActDeliveryRepeat,
	"POST /api/v1/tenants": tenant.ActTenantCreate, "PATCH /api/v1/tenants/:id": tenant.ActTenantRename, "DELETE /api/v1/tenants/:id": tenant.ActTenantDelete, "PUT /api/v1/tenants/:id/quota": tenant.ActQuotaSet,
	"POST /api/v1/tenants/:id/grants": tenant.ActGrantCreate, "DELETE /api/v1/tenants/:id/grants/:grant": tenant.ActGrantEnd,
	"POST /api/v1/keys": tenant.ActKeyCreate, "DELETE /api/v1/keys/:id": tenant.ActKeyRevoke,
	"POST /api/v1/users": tenant.ActUserCreate, "PATCH /api/v1/users/:id": tenant.ActUserChange,
	"POST /api/v1/tenants/:id/members": tenant.ActMemberAdd, "PATCH /api/v1/tenants/:id/members/:user": tenant.ActMemberChange, "DELETE /api/v1/tenants/:id/members/:user": tenant.ActMemberRemove,
	"POST /api/v1/tenants/:id/invitations": tenant.ActInvitationCreate, "DELETE /api/v1/tenants/:id/invitations/:invitation": tenant.ActInvitationWithdraw, "POST /api/v1/invitations/use": tenant.ActInvitationUse,
	"POST /api/v1/sessions": tenant.ActSessionBegin, "DELETE /api/v1/sessions/current": tenant.ActSessionEnd, "DELETE /api/v1/sessions": tenant.ActSessionsEnd, "PATCH /api/v1/sessions/current": tenant.ActSessionSwitch,
	"POST /api/v1/hosts": tenant.ActHostImport, "POST /api/v1/hosts/import": tenant.ActHostImport, "POST /api/v1/hosts/takeover": tenant.ActHostTakeover,
	"PUT /api/v1/hosts/reserved": tenant.ActHostReserve, "PUT /api/v1/hosts/status": tenant.ActHostCordon, "DELETE /api/v1/hosts": tenant.ActHostDelete,
	"PATCH /api/v1/hosts/:id": tenant.ActHostChange, "DELETE /api/v1/hosts/:id": tenant.ActHostDelete, "POST /api/v1/hosts/:id/cordon": tenant.ActHostCordon,
	"POST /api/v1/hosts/:id/uncordon": tenant.ActHostUncordon, "POST /api/v1/hosts/:id/drain": tenant.ActHostDrain, "POST /api/v1/hosts/:id/inspect": tenant.ActHostInspect,
	"POST /api/v1/hosts/:id/disks": tenant.ActDiskAdd, "PATCH /api/v1/hosts/:id/disks/:disk": tenant.ActDiskChange, "DELETE /api/v1/hosts/:id/disks/:disk": tenant.ActDiskRemove,
	"POST /api/v1/regions": tenant.ActRegionAdd, "POST /api/v1/swarms": tenant.ActSwarmAdd, "DELETE /api/v1/swarms/:name": tenant.ActSwarmRemove,
	"POST /api/v1/me/password": tenant.ActPasswordChange, "POST /api/v1/password-resets": tenant.ActResetCreate, "POST /api/v1/password-resets/use": tenant.ActResetUse,
}

// TestEveryChangeLeavesAnEntry calls every operation that changes something, or shows
// credentials: each leaves one entry, which says who and from where, and names the request.
func TestEveryChangeLeavesAnEntry(t *testing.T) {
	var cfg api.Config
	b := newBench(t, func(c *api.Config) { cfg = *c })
	_, declared := api.Routes(cfg)
	tried := 0
	for route, right := range declared {
		method, _, _ := strings.Cut(route, " ")
		if method == "GET" && right != tenant.Credentials {
			continue
		}
		action, known := deeds[route]
		if !known && unwritten[route] == "" {
			t.Errorf("%s: nobody has said which entry it leaves", route)
			continue
		}
		tried++
		if !known {
			continue
		}
		e := b.estate(b.tenant("of " + route))
		token, body := b.actor(route, &e)
		before := len(b.log200("&subject=nothing")) // so that all before is in the chain
		last := b.newest()
		got := b.send(method, e.path(route), strings.NewReader(body), "Authorization", token, "Content-Type", "application/json")
		if got.status >= 300 {
			t.Errorf("%s: %d %s", route, got.status, got.body)
			continue
		}
		var fresh []map[string]any
		for _, entry := range b.log200("") {
			if entry["number"].(float64) > last {
				fresh = append(fresh, entry)
			}
		}
		if len(fresh) != 1 || before != 0 {
			t.Errorf("%s left %d entries: %v", route, len(fresh), fresh)
			continue
		}
		entry := fresh[0]
		if entry["action"] != string(action) || entry["result"] != "done" || entry["request_id"] != got.header.Get("X-Request-Id") || entry["request_id"] == nil ||
			entry["address"] != "192.0.2.1" || entry["actor"] == "" || entry["subject"] == nil {
			t.Errorf("%s: %v", route, entry)
		}
		if tenantOf, _ := entry["tenant_id"].(string); tenantOf != e.tenant && right != tenant.Operate && action != tenant.ActUserCreate {
			t.Errorf("%s is in the log of tenant %q, not %s: %v", route, tenantOf, e.tenant, entry)
		}
	}
	if tried < 25 || tried != len(deeds)+len(unwritten) {
		t.Errorf("%d operations tried, %d declared", tried, len(deeds)+len(unwritten))
	}
}

func (b *bench) newest() float64 {
	b.Helper()
	all := b.log200("")
	if len(all) == 0 {
		return 0
	}
	return all[0]["number"].(float64)
}

// actor returns who can do what the route does to the estate, and what they must say.
func (b *bench) actor(route string, e *estate) (header, body string) {
	b.Helper()
	body = e.body(route)
	login := func(role string) (token, name string) {
		_, token = b.user(e.tenant, role)
		return "Bearer " + token, b.as(token, "GET", mePath, "").text("login")
	}
	_, owner := b.key(e.tenant, "owner")
	header = "Bearer " + owner
	if route == "DELETE /api/v1/hosts/:id/disks/:disk" { // not the only one
		b.call("POST", "/api/v1/hosts/"+e.host+"/disks", `{"path":"/data9","type":"ssd","capacity":1073741824}`).is(201, "")
	}
	if strings.Contains(route, "/api/v1/hosts") || strings.Contains(route, "/api/v1/regions") || strings.Contains(route, "/api/v1/swarms") {
		return "Bearer " + adminKey, body
	}
	switch route {
	case "POST /api/v1/tenants":
		return "Bearer " + adminKey, fmt.Sprintf(`{"name":"fresh of %s"}`, e.tenant)
	case "DELETE /api/v1/tenants/:id":
		e.tenant = b.tenant("empty")
		return "Bearer " + adminKey, ""
	case "PATCH /api/v1/tenants/:id":
		return "Bearer " + adminKey, fmt.Sprintf(`{"name":"new of %s"}`, e.tenant)
	case "POST /api/v1/tenants/:id/grants", "PUT /api/v1/tenants/:id/quota", "PATCH /api/v1/users/:id":
		return "Bearer " + adminKey, body
	case "POST /api/v1/users":
		return "Bearer " + adminKey, `{"login":"somebody-else","password":"` + goodPassword + `"}`
	case "POST /api/v1/jobs/:id/cancel":
		e.job = b.as(owner, "POST", mysqlPath, `{}`).is(202, "").text("job.id")
	case "DELETE /api/v1/sessions/current", "DELETE /api/v1/sessions", "PATCH /api/v1/sessions/current":
		header, _ = login("member")
		return header, body
	case "POST /api/v1/me/password":
		header, _ = login("member")
		return header, fmt.Sprintf(`{"old":%q,"new":"another good password"}`, goodPassword)
	case "POST /api/v1/storage/:engine/instances/:id/start":
		b.as(owner, "POST", mysqlPath+"/"+e.instance+"/stop", "").is(202, "")
		b.work()
	case "POST /api/v1/sessions":
		_, name := login("member")
		return "", fmt.Sprintf(`{"login":%q,"password":%q}`, name, goodPassword)
	case "POST /api/v1/invitations/use":
		_, token := b.user("", "")
		made := b.as(owner, "POST", "/api/v1/tenants/"+e.tenant+"/invitations", `{"role":"viewer"}`).is(201, "")
		return "Bearer " + token, fmt.Sprintf(`{"token":%q}`, made.text("token"))
	case "POST /api/v1/password-resets/use":
		made := b.call("POST", "/api/v1/password-resets", fmt.Sprintf(`{"user_id":%q}`, e.user)).is(201, "")
		return "", fmt.Sprintf(`{"token":%q,"password":"another good password"}`, made.text("token"))
	}
	return header, body
}

// TestRefusedRequestsAreWritten: who is known and was refused something is in the log; who is
// not known leaves nothing, but for a wrong log-in.
func TestRefusedRequestsAreWritten(t *testing.T) {
	b := newBench(t)
	one := b.tenant("one")
	id, viewer := b.key(one, "viewer")
	last := b.newest()
	b.as(viewer, "POST", mysqlPath, "{}").is(403, "forbidden")
	b.anon("POST", mysqlPath, "{}").is(401, "unauthorized")
	b.as(viewer, "GET", mysqlPath+"/ins_0", "").is(404, "not_found")
	b.login("nobody-has-this-name", goodPassword).is(401, "unauthorized")
	all := b.log200("&result=refused")
	if len(all) != 2 || all[1]["number"].(float64) != last+1 || all[1]["action"] != "request" || all[1]["key_id"] != id || all[1]["detail"] != "POST "+mysqlPath || all[1]["tenant_id"] != one {
		t.Fatalf("%v", all)
	}
	if text, _ := json.Marshal(all[0]); all[0]["action"] != "session.begin" || strings.Contains(string(text), "nobody-has-this-name") {
		t.Errorf("%s", text)
	}
}

// TestAuditIsolation: owners see the log of their tenant, operators all, others none.
func TestAuditIsolation(t *testing.T) {
	b := newBench(t)
	one, two := b.tenant("one"), b.tenant("two")
	_, owner := b.key(one, "owner")
	_, member := b.key(one, "member")
	_, other := b.key(two, "owner")
	b.as(member, "POST", mysqlPath, "{}").is(202, "")
	mine := b.as(owner, "GET", auditPath+"?action=instance.create", "").is(200, "")
	if strings.Count(mine.body, `"number"`) != 1 || !strings.Contains(mine.body, one) {
		t.Errorf("%s", mine.body)
	}
	if strings.Contains(b.as(other, "GET", auditPath, "").is(200, "").body, one) {
		t.Error("an owner sees the log of another tenant")
	}
	b.as(owner, "GET", auditPath+"?all=true", "").is(403, "forbidden")
	b.as(member, "GET", auditPath, "").is(403, "forbidden")
	b.as(owner, "GET", auditPath+"?result=maybe", "").is(422, "invalid")
	b.as(owner, "GET", auditPath+"?since=yesterday", "").is(422, "invalid")
	first := b.as(owner, "GET", auditPath+"?limit=1", "").is(200, "")
	cursor := first.text("next_cursor")
	b.as(owner, "GET", auditPath+"?limit=1&cursor="+cursor, "").is(200, "")
	b.as(other, "GET", auditPath+"?cursor="+cursor, "").is(422, "invalid").field("cursor")
	if got := b.call("GET", auditPath, "", "Berth-Tenant", one).is(200, ""); !strings.Contains(got.body, one) || strings.Contains(got.body, two) {
		t.Errorf("an operator in the tenant: %s", got.body)
	}
}

// TestAuditLines: as JSON lines the whole log comes, however long, and in the order of the chain.
func TestAuditLines(t *testing.T) {
	b := newBench(t)
	one := b.tenant("one")
	for i := range 430 {
		b.call("PATCH", "/api/v1/tenants/"+one, fmt.Sprintf(`{"name":"name %d"}`, i)).is(200, "")
	}
	srv := b.serve()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv+auditPath+"?all=true&limit=3", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminKey)
	r.Header.Set("Accept", "application/x-ndjson")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines, want := bufio.NewScanner(res.Body), 431.0
	for ; lines.Scan(); want-- {
		var e struct{ Number float64 }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Number != want {
			t.Fatalf("%s: %v, want number %v", lines.Text(), err, want)
		}
	}
	if want != 0 || res.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("it ends before %v: %v", want, res.Header)
	}
}

// TestNoCredentialsWithoutEntry: where what was read cannot be written down, it is not shown.
func TestNoCredentialsWithoutEntry(t *testing.T) {
	b := newBench(t)
	made := b.call("POST", mysqlPath, "{}").is(202, "")
	b.work()
	path := mysqlPath + "/" + made.text("instance.id") + "/config"
	b.call("GET", path, "").is(200, "")
	if all := b.log200("&action=instance.credentials"); len(all) != 1 || all[0]["subject"] != made.text("instance.id") {
		t.Errorf("%v", all)
	}
	b.txDown.Store(true)
	if got := b.call("GET", path, "").is(503, "unavailable"); strings.Contains(got.body, "password") {
		t.Errorf("%s", got.body)
	}
}
