package tenant_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// TestLastOwner: of two owners who remove or demote each other at once, one stays.
func TestLastOwner(t *testing.T) { onBoth(t, lastOwner) }

func lastOwner(o *office) {
	t := o.T
	one := o.tenant("one")
	for round := range 6 {
		a, b := o.user(fmt.Sprint("a", round), one, tenant.Owner), o.user(fmt.Sprint("b", round), one, tenant.Owner)
		pa, _ := o.as(a.Login)
		pb, _ := o.as(b.Login)
		act := func(p tenant.Principal, other tenant.UserID) error {
			if round%2 == 0 {
				return o.members.RemoveMember(t.Context(), p, one, other)
			}
			_, err := o.members.ChangeRole(t.Context(), p, one, other, tenant.Viewer)
			return err
		}
		errs := testenv.Together(2, func(i int) error {
			if i == 0 {
				return act(pa, b.ID)
			}
			return act(pb, a.ID)
		})
		if errs[0] == nil && errs[1] == nil {
			t.Errorf("round %d: both have gone", round)
		}
		for _, u := range []tenant.User{a, b} {
			m, err := o.store.Membership(t.Context(), one, u.ID)
			if err != nil || m.Role != tenant.Owner {
				continue
			}
			p, _ := o.as(u.Login)
			if errs[0] != nil && errs[1] != nil {
				t.Errorf("round %d: %v", round, errs)
			}
			o.code(o.members.RemoveMember(t.Context(), p, one, u.ID), fault.CodeInvalid)
			_, err = o.members.ChangeRole(t.Context(), p, one, u.ID, tenant.Member)
			o.code(err, fault.CodeInvalid)
			o.ok(o.members.RemoveMember(t.Context(), admin, one, u.ID)) // operators may
		}
	}
	// An owner who is disabled does not count.
	a, b := o.user("a", one, tenant.Owner), o.user("b", one, tenant.Owner)
	yes := true
	_, err := o.accounts.ChangeUser(t.Context(), admin, b.ID, tenant.UserChange{Disabled: &yes})
	o.ok(err)
	p, _ := o.as("a")
	o.code(o.members.RemoveMember(t.Context(), p, one, a.ID), fault.CodeInvalid)
}

// TestInvitationEnds: by time, and with the role of whoever made it.
func TestInvitationEnds(t *testing.T) {
	o := newOffice(t)
	one := o.tenant("one")
	o.user("owner", one, tenant.Owner)
	o.user("guest", "", "")
	owner, _ := o.as("owner")
	invite := func() string {
		t.Helper()
		_, token, _, err := o.members.Invite(t.Context(), owner, one, tenant.Owner, nil)
		o.ok(err)
		return token.Reveal()
	}
	token := invite()
	begun := o.now
	for _, after := range []time.Duration{7 * 24 * time.Hour, 8 * 24 * time.Hour} {
		o.now = begun.Add(after)
		guest, _ := o.as("guest")
		_, err := o.members.Join(t.Context(), guest, token)
		o.code(err, fault.CodeInvalid)
	}
	o.now = begun
	guest, _ := o.as("guest")
	o.ok(o.members.RemoveMember(t.Context(), admin, one, owner.User))
	for _, bad := range []string{token, "", "x", strings.Repeat("x", 5000)} { // nobody comes back by an invitation of their own
		_, err := o.members.Join(t.Context(), guest, bad)
		o.code(err, fault.CodeInvalid)
	}
	_, err := o.members.Join(t.Context(), admin, token)
	o.code(err, fault.CodeForbidden)
	_, err = o.members.AddMember(t.Context(), admin, one, tenant.MemberRequest{Login: "owner", Role: tenant.Owner})
	o.ok(err)
	m, err := o.members.Join(t.Context(), guest, invite())
	if o.ok(err); m.Role != tenant.Owner || m.Login != "guest" {
		t.Errorf("%+v", m)
	}
	_, err = o.members.Join(t.Context(), guest, invite())
	o.code(err, fault.CodeInvalid) // a member already
	_, err = o.members.AddMember(t.Context(), owner, one, tenant.MemberRequest{Login: "guest", Role: tenant.Viewer})
	o.code(err, fault.CodeInvalid) // or owners could ask who has an account
}
