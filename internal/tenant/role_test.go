package tenant

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
)

// TestRights is the table of who may do what, once more and in full.
func TestRights(t *testing.T) {
	all := []Right{Anybody, Oneself, Identify, Read, Change, Credentials, Manage, Operate}
	for role, want := range map[Role]string{
		Viewer: "00110000", Member: "00111100", Owner: "00111110", Operator: "00110011", "": "00000000", "Owner": "00000000", "owner ": "00000000",
	} {
		got := ""
		for _, right := range all {
			if role.May(right) {
				got += "1"
			} else {
				got += "0"
			}
		}
		if got != want {
			t.Errorf("%q may %s, want %s of %v", role, got, want, all)
		}
	}
	if Owner.May("") || Owner.May("sing") {
		t.Error("there are rights that nobody declared")
	}
}

func TestPrincipalMay(t *testing.T) {
	viewer := Principal{Tenant: "ten_1", Role: Viewer, Name: "key key_1 (ci)"}
	err := viewer.May(Change)
	if fault.CodeOf(err) != fault.CodeForbidden || !strings.Contains(err.Error(), "viewer") || !strings.Contains(err.Error(), "member or owner") {
		t.Errorf("%v", err)
	}
	for _, p := range []Principal{{}, {Name: "x"}, {Role: "nonsense"}} {
		if p.May(Identify) == nil {
			t.Errorf("%+v may", p)
		}
	}
	both := Principal{Tenant: Default, Role: Owner, Operator: true}
	for _, right := range []Right{Identify, Read, Change, Credentials, Manage, Operate} {
		if err := both.MayAll(right); err != nil {
			t.Error(err)
		}
	}
	elsewhere := Principal{Tenant: "ten_1", Operator: true}
	if elsewhere.May(Credentials) == nil || elsewhere.May(Change) == nil || elsewhere.May(Read) != nil {
		t.Error("an operator in a foreign tenant")
	}
	limited := Principal{Role: Owner, Limits: Limits{Engines: []string{"redis"}}}
	if limited.May(Manage) != nil || fault.CodeOf(limited.MayAll(Manage)) != fault.CodeForbidden {
		t.Error("a limited key")
	}
}

func TestLimits(t *testing.T) {
	both := Limits{Engines: []string{"redis", "mysql"}, Labels: map[string]string{"team": "a", "x": ""}}
	for name, test := range map[string]struct {
		limits Limits
		engine string
		labels map[string]string
		want   bool
	}{
		"none":            {Limits{}, "mysql", nil, true},
		"engine":          {Limits{Engines: []string{"redis"}}, "redis", nil, true},
		"another engine":  {Limits{Engines: []string{"redis"}}, "mysql", nil, false},
		"all":             {both, "mysql", map[string]string{"team": "a", "x": "", "y": "z"}, true},
		"a label missing": {both, "mysql", map[string]string{"team": "a"}, false},
		"another value":   {both, "mysql", map[string]string{"team": "b", "x": ""}, false},
	} {
		if got := test.limits.Allow(test.engine, test.labels); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := both.String(); got != "engines redis, mysql; label team=a; label x=" {
		t.Error(got)
	}
}
