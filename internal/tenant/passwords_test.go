package tenant_test

import (
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// TestRehash: a hash of other parameters is made anew at the next log-in, once.
func TestRehash(t *testing.T) {
	o := newOffice(t)
	u := o.user("alice", "", "")
	o.passwords.made = "v2:"
	for range 2 {
		_, err := o.login("alice", pass)
		o.ok(err)
	}
	u, err := o.store.User(t.Context(), u.ID)
	o.ok(err)
	if u.PasswordHash != "v2:"+pass || o.passwords.hashes != 2 {
		t.Errorf("%q after %d hashes", u.PasswordHash, o.passwords.hashes)
	}
}

// TestResetByAnOwner: an owner takes over no account that opens more than their tenant, also
// where it comes to do so after the token was made.
func TestResetByAnOwner(t *testing.T) { onBoth(t, resetByAnOwner) }

func resetByAnOwner(o *office) {
	t := o.T
	one, other := o.tenant("one"), o.tenant("other")
	o.user("owner", one, tenant.Owner)
	owner, _ := o.as("owner")
	reset := func(p tenant.Principal, who tenant.UserID) (string, error) {
		_, token, _, err := o.accounts.MakeReset(t.Context(), p, tenant.ResetRequest{User: who}, nil)
		return token.Reveal(), err
	}
	makes := func(who tenant.UserID) string {
		t.Helper()
		token, err := reset(owner, who)
		o.ok(err)
		return token
	}
	use := func(token string) error {
		return o.accounts.UseReset(t.Context(), visitor(home), token, "a fresh password")
	}
	join := func(u tenant.User, of tenant.ID) {
		t.Helper()
		_, err := o.members.AddMember(t.Context(), admin, of, tenant.MemberRequest{User: u.ID, Role: tenant.Viewer})
		o.ok(err)
	}
	yes := true

	plain := o.user("plain", one, tenant.Viewer)
	_, session := o.as("plain")
	token := makes(plain.ID)
	errs := testenv.Together(3, func(int) error { return use(token) })
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			o.code(err, fault.CodeInvalid)
		}
	}
	if won != 1 {
		t.Errorf("used %d times: %v", won, errs)
	}
	_, err := o.callers.BySession(t.Context(), session)
	o.code(err, fault.CodeUnauthorized)
	_, err = o.login("plain", "a fresh password")
	o.ok(err)

	elsewhere := o.user("elsewhere", other, tenant.Viewer)
	_, err = reset(owner, elsewhere.ID)
	o.code(err, fault.CodeNotFound)
	_, err = reset(owner, "usr_none")
	o.code(err, fault.CodeNotFound)
	join(elsewhere, one)
	_, err = reset(owner, elsewhere.ID)
	o.code(err, fault.CodeForbidden)
	o.ok(o.members.RemoveMember(t.Context(), admin, other, elsewhere.ID))
	_, err = reset(owner, elsewhere.ID) // the account is not this tenant's
	o.code(err, fault.CodeForbidden)

	joins := o.user("joins", one, tenant.Viewer)
	token = makes(joins.ID)
	join(joins, other)
	o.code(use(token), fault.CodeInvalid)
	o.ok(o.members.RemoveMember(t.Context(), admin, other, joins.ID))
	o.code(use(token), fault.CodeInvalid) // nor ever again

	rises := o.user("rises", one, tenant.Viewer)
	token = makes(rises.ID)
	_, err = o.accounts.ChangeUser(t.Context(), admin, rises.ID, tenant.UserChange{Operator: &yes})
	o.ok(err)
	o.code(use(token), fault.CodeInvalid)
	_, err = reset(owner, rises.ID)
	o.code(err, fault.CodeForbidden)

	leaves := o.user("leaves", one, tenant.Viewer)
	token = makes(leaves.ID)
	o.ok(o.members.RemoveMember(t.Context(), admin, one, leaves.ID))
	o.code(use(token), fault.CodeInvalid)

	late := o.user("late", one, tenant.Viewer)
	token = makes(late.ID)
	fresh := makes(late.ID)
	o.code(use(token), fault.CodeInvalid) // the newest is the one that is good
	o.now = o.now.Add(24 * time.Hour)
	o.code(use(fresh), fault.CodeInvalid)
	owner, _ = o.as("owner")
	token = makes(late.ID)
	o.ok(o.members.RemoveMember(t.Context(), admin, one, owner.User))
	o.code(use(token), fault.CodeInvalid) // whoever made it is no owner any more

	token, err = reset(admin, rises.ID)
	o.ok(err)
	o.ok(use(token))
	viewer, err := o.callers.BySession(t.Context(), func() string { s, _ := o.login("plain", "a fresh password"); return s }())
	o.ok(err)
	_, err = reset(viewer, late.ID)
	o.code(err, fault.CodeForbidden)
}
