package api_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/testenv"
)

// quota sets the limits of a tenant.
func (b *bench) quota(of, limits string) answer {
	b.Helper()
	return b.call("PUT", "/api/v1/tenants/"+of+"/quota", limits)
}

func TestQuota(t *testing.T) {
	b := newBench(t)
	team := b.tenant("team")
	_, owner := b.key(team, "owner")
	_, member := b.key(team, "member")
	use := func(path string, want any) {
		t.Helper()
		parts := strings.Split(path, ".")
		a := b.as(owner, "GET", "/api/v1/usage", "").is(200, "")
		group, _ := a.json[parts[0]].(map[string]any)
		if got := group[parts[1]]; got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	use("instances.limit", nil)
	b.quota(team, `{"instances":2,"cpu":1.5,"memory":"8gb","disk":-1}`).is(200, "")
	if a := b.as(owner, "GET", "/api/v1/tenants/"+team+"/quota", "").is(200, ""); a.body != `{"instances":2,"cpu":1.5,"memory":8589934592,"disk":-1}`+"\n" {
		t.Errorf("%s", a.body)
	}
	create := func(key string) answer { return b.as(key, "POST", mysqlPath, `{"resources":{"cpu":0.5}}`) }
	first := create(member).is(202, "")
	create(member).is(202, "")
	refused := create(owner).is(403, "quota_exceeded")
	if q, _ := refused.json["quota"].(map[string]any); q["name"] != "instances" || q["limit"] != 2.0 || q["used"] != 2.0 || q["asked"] != 1.0 {
		t.Errorf("%s", refused.body)
	}
	if !strings.Contains(refused.text("detail"), "is 2 instances, of which 2 are used") {
		t.Errorf("%s", refused.body)
	}
	use("instances.used", 2.0)
	use("instances.limit", 2.0)
	use("cpu.used", 1.0)
	use("cpu.limit", 1.5)
	use("disk.limit", nil)
	use("ports.used", 2.0)
	use("jobs_per_hour.used", 2.0)
	for _, list := range []string{"/api/v1/storage/instances", "/api/v1/jobs"} { // a refusal leaves nothing
		if a := b.as(owner, "GET", list, "").is(200, ""); len(a.items()) != 2 {
			t.Errorf("%s: %s", list, a.body)
		}
	}

	// It is given back when it is gone, not when that is asked for.
	b.work()
	b.as(member, "DELETE", mysqlPath+"/"+first.text("instance.id"), "").is(202, "")
	create(member).is(403, "quota_exceeded")
	b.work()
	create(member).is(202, "")
	b.work()

	// What is there stays when the limit is lowered, and can be deleted.
	b.quota(team, `{"instances":0}`).is(200, "")
	create(member).is(403, "quota_exceeded")
	b.quota(team, `{"cpu":1.2}`).is(200, "")
	if a := create(member).is(403, "quota_exceeded"); !strings.Contains(a.body, `"quota":{"name":"cpu","limit":1.2,"used":1,"asked":0.5}`) {
		t.Errorf("%s", a.body)
	}
	b.quota(team, `{"jobs_per_hour":3}`).is(200, "")
	if a := create(member).is(403, "quota_exceeded"); a.header.Get("Retry-After") != "60" {
		t.Errorf("%v %s", a.header, a.body)
	}
	b.quota(team, `{}`).is(200, "")
	create(member).is(202, "")
	b.call("POST", mysqlPath, "").is(202, "") // another tenant

	for _, wrong := range []string{`{"cars":1}`, `{"instances":-2}`, `{"cpu":-0.5}`, `{"cpu":1e300}`, `{"memory":"many"}`, `{"memory":-2}`, `{"disk":1e300}`} {
		if a := b.quota(team, wrong); a.status != 422 {
			t.Errorf("%s: %d %s", wrong, a.status, a.body)
		}
	}
	b.as(owner, "PUT", "/api/v1/tenants/"+team+"/quota", `{}`).is(403, "forbidden")
	b.as(member, "GET", "/api/v1/usage", "").is(403, "forbidden")
	b.quota("ten_none", `{}`).is(404, "not_found")
	if a := b.call("GET", "/api/v1/usage", "", "Berth-Tenant", team).is(200, ""); a.text("tenant_id") != team {
		t.Errorf("%s", a.body)
	}
}

// A create that failed and was cleaned up holds nothing.
func TestQuotaOfFailed(t *testing.T) {
	b := newBench(t)
	team := b.tenant("team")
	_, member := b.key(team, "member")
	b.quota(team, `{"instances":1}`).is(200, "")
	b.runtime.Fail(hosttest.MethodStart, hosttest.Fault{Before: true, Err: fault.Errorf(fault.CodeGone, nil, "no luck for good")})
	failed := b.as(member, "POST", mysqlPath, "").is(202, "")
	b.as(member, "POST", mysqlPath, "").is(403, "quota_exceeded")
	b.work()
	if a := b.as(member, "GET", mysqlPath+"/"+failed.text("instance.id"), "").is(200, ""); a.text("state") != "failed" {
		t.Fatalf("%s", a.body)
	}
	b.as(member, "POST", mysqlPath, "").is(202, "")
}

var errRefused = errors.New("refused")

// TestQuotaIsNeverOversold: of a hundred creates at once for the last three places three are
// accepted.
func TestQuotaIsNeverOversold(t *testing.T) {
	b := newBench(t)
	team := b.tenant("team")
	_, member := b.key(team, "member")
	b.quota(team, `{"instances":3}`).is(200, "")
	errs := testenv.Together(100, func(int) error {
		if a := b.as(member, "POST", mysqlPath, ""); a.status != 202 && !strings.Contains(a.body, "quota_exceeded") {
			return fmt.Errorf("%d %s", a.status, a.body)
		} else if a.status == 202 {
			return nil
		}
		return errRefused
	})
	accepted := 0
	for _, err := range errs {
		switch {
		case err == nil:
			accepted++
		case !errors.Is(err, errRefused):
			t.Error(err)
		}
	}
	if accepted != 3 {
		t.Errorf("%d were accepted", accepted)
	}
	if a := b.call("GET", "/api/v1/usage", "", "Berth-Tenant", team).is(200, ""); !strings.Contains(a.body, `"instances":{"used":3,"limit":3}`) {
		t.Errorf("%s", a.body)
	}
}
