package api_test

import (
	"strings"
	"testing"
)

// TestGrant: an operator who is no member reads credentials by a grant of their own only, until
// an owner ends it, and the tenant's log says so.
func TestGrant(t *testing.T) {
	b := newBench(t)
	one := b.tenant("one")
	_, owner := b.key(one, "owner")
	made := b.as(owner, "POST", mysqlPath, `{}`).is(202, "")
	b.work()
	config := mysqlPath + "/" + made.text("instance.id") + "/config"
	read := func(with string) answer { t.Helper(); return b.as(with, "GET", config, "", "Berth-Tenant", one) }
	if refused := read(adminKey).is(403, "forbidden"); !strings.Contains(refused.text("detail"), "berth grants add --tenant "+one) {
		t.Errorf("%s", refused.body)
	}
	grants := "/api/v1/tenants/" + one + "/grants"
	b.as(owner, "POST", grants, `{"reason":"mine"}`).is(403, "forbidden")
	b.call("POST", grants, `{"reason":" "}`).is(422, "invalid").field("reason")
	b.call("POST", grants, `{"reason":"a\nb"}`).is(422, "invalid").field("reason")
	for _, lasts := range []string{"25h", "1s", "-1h", "soon", "0s"} {
		b.call("POST", grants, `{"reason":"x","lasts":"`+lasts+`"}`).is(422, "invalid").field("lasts")
	}
	b.call("POST", "/api/v1/tenants/ten_0/grants", `{"reason":"x"}`).is(404, "not_found")
	given := b.call("POST", grants, `{"reason":"ticket 7","lasts":"30m"}`).is(201, "")
	read(adminKey).is(200, "")
	_, operator := b.key("", "operator")
	read(operator).is(403, "forbidden")
	_, user := b.user("", "operator")
	read(user).is(403, "forbidden")
	two := b.tenant("two")
	_, other := b.key(two, "owner")
	b.as(other, "POST", mysqlPath, `{}`).is(202, "")
	b.as(other, "GET", grants, "").is(404, "not_found")
	b.as(other, "DELETE", "/api/v1/tenants/"+two+"/grants/"+given.text("id"), "").is(404, "not_found")
	if list := b.as(owner, "GET", grants, "").is(200, ""); !strings.Contains(list.body, `"reason":"ticket 7"`) {
		t.Errorf("%s", list.body)
	}
	if log := b.as(owner, "GET", auditPath+"?action=instance.credentials", "").is(200, ""); !strings.Contains(log.body, "by grant "+given.text("id")) {
		t.Errorf("%s", log.body)
	}
	for range 2 {
		b.as(owner, "DELETE", grants+"/"+given.text("id"), "").is(204, "")
	}
	read(adminKey).is(403, "forbidden")
	if log := b.as(owner, "GET", auditPath+"?action=grant.end", "").is(200, ""); strings.Count(log.body, `"number"`) != 1 {
		t.Errorf("%s", log.body)
	}
}
