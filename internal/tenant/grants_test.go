package tenant_test

import (
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// TestGrantEnds: a grant ends by itself, and is one person's, in one tenant.
func TestGrantEnds(t *testing.T) {
	o := newOffice(t)
	one := o.tenant("one")
	boss := tenant.Principal{Tenant: one, Operator: true, User: "usr_1", Name: "user boss"}
	may := func(p tenant.Principal, want bool) {
		t.Helper()
		_, err := o.grants.MayCredentials(t.Context(), p)
		if want {
			o.ok(err)
		} else {
			o.code(err, fault.CodeForbidden)
		}
	}
	may(boss, false)
	_, err := o.grants.Grant(t.Context(), boss, one, "ticket 7", 10*time.Minute)
	o.ok(err)
	may(boss, true)
	for _, other := range []tenant.Principal{
		{Tenant: one, Operator: true, User: "usr_2"}, {Tenant: one, Operator: true}, {Tenant: one, Operator: true, Key: "key_1"}, {Tenant: "default", Operator: true, User: "usr_1"},
		{Tenant: one, User: "usr_1"}, {Tenant: one, Role: tenant.Viewer, User: "usr_1"},
	} {
		may(other, false)
	}
	o.now = o.now.Add(10*time.Minute - time.Millisecond)
	may(boss, true)
	o.now = o.now.Add(time.Millisecond)
	may(boss, false)
	may(tenant.Principal{Tenant: one, Role: tenant.Member}, true)
}
