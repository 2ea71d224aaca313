package main

import (
	"slices"
	"strings"
	"testing"
)

func fakeWithTenants() *fakeBerth {
	f := newFake()
	const created = `"created_at":"2026-11-05T11:57:00.000Z"`
	one := `{"id":"ten_1","name":"Käse",` + created + "}"
	key := `{"id":"key_1","tenant_id":"ten_1","name":"ci","role":"member","engines":["redis"],"labels":{"team":"a"},"hint":"Ab3x","created_by":"x",` + created
	f.routes["GET /me"] = []string{`200 {"name":"key key_1 (ci)","tenant_id":"ten_1","role":"member","operator":false,"engines":["redis"],"labels":{"team":"a"}}`}
	f.routes["GET /tenants"] = []string{`200 {"items":[` + one + `]}`}
	f.routes["POST /tenants"] = []string{"201 " + one}
	f.routes["PATCH /tenants/ten_1"] = []string{"200 " + one}
	f.routes["GET /keys"] = []string{`200 {"items":[` + key + `,"last_used_at":"2026-11-05T11:58:00.000Z"}]}`}
	f.routes["POST /keys"] = []string{"201 " + key + `,"key":"berth_1"}`}
	f.routes["DELETE /keys/key_1"] = []string{"204 "}
	f.routes["GET /usage"] = []string{`200 {"tenant_id":"ten_1","instances":{"used":2,"limit":5},"cpu":{"used":1,"limit":1.5},"memory":{"used":1073741824},"disk":{"used":0},"ports":{"used":2},"jobs_per_hour":{"used":7,"limit":0}}`}
	f.routes["GET /tenants/ten_1/quota"] = []string{`200 {"instances":5,"cpu":-1,"memory":1073741824}`}
	f.routes["PUT /tenants/ten_1/quota"] = []string{`200 {"instances":7}`}
	return f
}

func TestTenantVerbs(t *testing.T) {
	for line, want := range map[string][2]string{ // what is printed, and what is asked for
		"whoami":                    {"Name:        key key_1 (ci)\nTenant:      ten_1\nRole:        member\nLimited to:  redis, team=a\n", "GET /me"},
		"tenants ls":                {"TENANT  NAME  AGE\nten_1   Käse  3m\n", "GET /tenants?limit=100"},
		"tenants add Käse":          {"Added ten_1 (Käse).\nMake its first key: berth keys add NAME --role owner --tenant ten_1\n", `POST /tenants {"name":"Käse"}`},
		"tenants rename ten_1 Käse": {"Renamed ten_1 (Käse).\n", `PATCH /tenants/ten_1 {"name":"Käse"}`},
		"keys ls": {
			"KEY    NAME  ROLE    LIMITED TO     ENDS WITH  AGE  EXPIRES  LAST USED\nkey_1  ci    member  redis, team=a  Ab3x       3m   never    2m ago\n",
			"GET /keys?limit=100",
		},
		"keys add ci --engine redis --label team=a --expires 1h": {
			"Added key_1 to tenant ten_1.\nThe key (shown only once): berth_1\nUse it: export BERTH_API_KEY=…\n",
			`POST /keys {"name":"ci","role":"member","engines":["redis"],"labels":{"team":"a"},"expires_at":"2026-11-05T13:00:00Z"}`,
		},
		"keys rm key_1": {"Revoked key_1.\n", "DELETE /keys/key_1"},
		"usage": {
			"WHAT           USED     LIMIT\ninstances      2        5\ncpu            1        1.5\nmemory         1.0 GiB  -\ndisk           0        -\nports          2        -\njobs_per_hour  7        0\n",
			"GET /usage",
		},
		"quota ten_1": {
			"WHAT           LIMIT\ninstances      5\ncpu            none\nmemory         1.0 GiB\ndisk           default\nports          default\njobs_per_hour  default\n",
			"GET /tenants/ten_1/quota",
		},
	} {
		f := fakeWithTenants()
		got := berth(t.Context(), t, f, nil, nil, strings.Fields(line)...)
		if got.code != 0 || got.errOut != "" || got.out != want[0] {
			t.Errorf("%s: exit %d, stderr %q\n%s\nwant:\n%s", line, got.code, got.errOut, got.out, want[0])
		}
		if sent := f.sent(); !slices.Equal(sent, []string{want[1]}) {
			t.Errorf("%s: sent %q", line, sent)
		}
	}
	for _, line := range []string{"keys add", "keys add x --label nonsense", "keys add x --expires -1h", "keys rm", "tenants rename ten_1", "keys ls --limit 0", "quota", "quota ten_1 cpu", "quota ten_1 cpu=1 cpu=2"} {
		if got := berth(t.Context(), t, fakeWithTenants(), nil, nil, strings.Fields(line)...); got.code != exitUsage {
			t.Errorf("%s: exit %d", line, got.code)
		}
	}
}

func TestQuotaVerbChangesSome(t *testing.T) {
	f := fakeWithTenants()
	got := berth(t.Context(), t, f, nil, nil, "quota", "ten_1", "instances=7", "memory=default", "disk=8gb")
	if got.code != 0 || !strings.Contains(got.out, "instances      7\n") {
		t.Errorf("exit %d, %q %q", got.code, got.out, got.errOut)
	}
	if sent, want := f.sent(), []string{"GET /tenants/ten_1/quota", `PUT /tenants/ten_1/quota {"cpu":-1,"disk":"8gb","instances":7}`}; !slices.Equal(sent, want) {
		t.Errorf("sent %q", sent)
	}
}
