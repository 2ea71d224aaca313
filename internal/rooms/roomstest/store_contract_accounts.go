package roomstest

import (
	"errors"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

func (s shelf) user(login string, change ...func(*tenant.User)) tenant.User {
	s.Helper()
	u := tenant.User{
		ID: tenant.UserID(s.newID(tenant.UserPrefix)), Login: login, Name: "Ünal ☃", PasswordHash: "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA", Home: owner, Epoch: 3,
		CreatedAt: at, UpdatedAt: at,
	}
	for _, c := range change {
		c(&u)
	}
	s.commit("InsertUser", func(tx rooms.Tx) error { return tx.InsertUser(u) })
	u.Rev = 1
	return u
}

func users(s shelf) {
	_, err := s.store.User(s.ctx, "usr_none")
	s.code(err, fault.CodeNotFound, "User that never was")
	_, err = s.store.UserByLogin(s.ctx, "nobody")
	s.code(err, fault.CodeNotFound, "UserByLogin that never was")
	_, err = s.store.UserByLogin(s.ctx, "nöbody")
	s.code(err, fault.CodeNotFound, "UserByLogin that cannot be")
	first := s.user("alice")
	second := s.user("bob@example.com", func(u *tenant.User) { u.Name, u.PasswordHash, u.Operator, u.Home, u.DisabledAt = "", "", true, "", at })
	s.code(s.tx(func(tx rooms.Tx) error {
		return tx.InsertUser(tenant.User{ID: "usr_x", Login: first.Login, CreatedAt: at, UpdatedAt: at})
	}), fault.CodeNameHeld, "a login name that is taken")
	got, err := s.store.UserByLogin(s.ctx, "alice")
	s.same(got, first, err)
	got, err = s.store.User(s.ctx, second.ID)
	s.same(got, second, err)

	changed := first
	changed.Name, changed.PasswordHash, changed.Operator, changed.Home, changed.Epoch = "x", "y", true, "", 4
	changed.DisabledAt, changed.UpdatedAt = at.Add(time.Second), at.Add(time.Second)
	changed.Login = "mallory" // which no update writes
	s.oneWinner(testenv.Together(4, func(int) error { return s.tx(func(tx rooms.Tx) error { return tx.UpdateUser(changed) }) }), fault.CodeConflict)
	changed.Login, changed.Rev = "alice", 2
	s.commit("User", func(tx rooms.Tx) (err error) { got, err = tx.User(first.ID); return err })
	s.same(got, changed, nil)

	list, err := s.store.Users(s.ctx, page.Page{Limit: 10})
	s.same(list, []tenant.User{second, changed}, err)
	list, err = s.store.Users(s.ctx, page.Page{Limit: 10, Before: string(second.ID)})
	s.same(list, []tenant.User{changed}, err)
}

func (s shelf) member(of tenant.ID, u tenant.User, role tenant.Role, at time.Time) tenant.Membership {
	s.Helper()
	m := tenant.Membership{Tenant: of, User: u.ID, Role: role, CreatedAt: at}
	s.commit("InsertMember", func(tx rooms.Tx) error { return tx.InsertMember(m) })
	m.Login, m.Name, m.Disabled = u.Login, u.Name, u.Disabled()
	return m
}

func members(s shelf) {
	one, other := s.tenant("one"), s.tenant("other")
	alice, bob := s.user("alice"), s.user("bob", func(u *tenant.User) { u.DisabledAt = at })
	_, err := s.store.Membership(s.ctx, one.ID, alice.ID)
	s.code(err, fault.CodeNotFound, "Membership that never was")
	later := s.member(one.ID, alice, tenant.Owner, at.Add(time.Second))
	first := s.member(other.ID, alice, tenant.Viewer, at)
	disabled := s.member(one.ID, bob, tenant.Owner, at)
	s.code(s.tx(func(tx rooms.Tx) error { return tx.InsertMember(later) }), fault.CodeConflict, "a member already")
	got, err := s.store.Membership(s.ctx, one.ID, alice.ID)
	s.same(got, later, err)
	s.commit("Member", func(tx rooms.Tx) (err error) { got, err = tx.Member(one.ID, bob.ID); return err })
	s.same(got, disabled, nil)
	list, err := s.store.Members(s.ctx, one.ID, page.Page{Limit: 10})
	s.same(list, []tenant.Membership{disabled, later}, err)
	list, err = s.store.Members(s.ctx, one.ID, page.Page{Limit: 10, Before: string(bob.ID)})
	s.same(list, []tenant.Membership{later}, err)
	places, err := s.store.Workplaces(s.ctx, alice.ID)
	s.same(places, []tenant.Workplace{{Tenant: other, Role: tenant.Viewer, Since: first.CreatedAt}, {Tenant: one, Role: tenant.Owner, Since: later.CreatedAt}}, err)

	owners := func(of tenant.ID, who tenant.UserID, want int) {
		s.Helper()
		var n int
		s.commit("OtherOwners", func(tx rooms.Tx) (err error) { n, err = tx.OtherOwners(of, who); return err })
		if n != want {
			s.Errorf("%d other owners, want %d", n, want)
		}
	}
	owners(one.ID, alice.ID, 0) // the other one is disabled
	owners(one.ID, bob.ID, 1)
	owners(other.ID, bob.ID, 0) // a viewer is none
	s.commit("SetRole", func(tx rooms.Tx) error { return tx.SetRole(other.ID, alice.ID, tenant.Owner) })
	owners(other.ID, bob.ID, 1)
	s.commit("DeleteMember", func(tx rooms.Tx) error { return tx.DeleteMember(one.ID, alice.ID) })
	owners(one.ID, bob.ID, 0)
	s.code(second(s.store.Membership(s.ctx, one.ID, alice.ID)), fault.CodeNotFound, "a member no more")
	first.Role = tenant.Owner
	got, err = s.store.Membership(s.ctx, other.ID, alice.ID)
	s.same(got, first, err)

	gone := other
	gone.DeletedAt = at
	s.commit("UpdateTenant", func(tx rooms.Tx) error { return tx.UpdateTenant(gone) })
	places, err = s.store.Workplaces(s.ctx, alice.ID)
	s.same(places, []tenant.Workplace{}, err)
}

func (s shelf) session(u tenant.User, change ...func(*tenant.Session)) tenant.Session {
	s.Helper()
	which := tenant.SessionID(s.newID(tenant.SessionPrefix))
	x := tenant.Session{
		ID: which, User: u.ID, Tenant: owner, Hash: tenant.HashToken(string(which)), Epoch: u.Epoch, CreatedAt: at, UsedAt: at, ExpiresAt: at.Add(time.Hour),
	}
	for _, c := range change {
		c(&x)
	}
	s.commit("InsertSession", func(tx rooms.Tx) error { return tx.InsertSession(x) })
	return x
}

func sessions(s shelf) {
	login := func(x tenant.Session) (tenant.Login, error) { return s.store.LoginByHash(s.ctx, x.Hash) }
	_, err := s.store.LoginByHash(s.ctx, tenant.HashToken("no"))
	s.code(err, fault.CodeNotFound, "LoginByHash that never was")
	alice := s.user("alice", func(u *tenant.User) { u.Operator = true })
	bob := s.user("bob", func(u *tenant.User) { u.DisabledAt = at })
	s.member(owner, alice, tenant.Member, at)
	first, nowhere := s.session(alice), s.session(bob, func(x *tenant.Session) { x.Tenant, x.Epoch = "", 1 })
	got, err := login(first)
	s.same(got, tenant.Login{Session: first, Name: "alice", Operator: true, UserEpoch: alice.Epoch, Role: tenant.Member}, err)
	got, err = login(nowhere)
	s.same(got, tenant.Login{Session: nowhere, Name: "bob", Disabled: true, UserEpoch: bob.Epoch}, err)

	s.commit("UseSession", func(tx rooms.Tx) error {
		return errors.Join(tx.UseSession(first.ID, at.Add(time.Minute)), tx.UseSession(first.ID, at))
	})
	for range 2 { // the second time nothing changes
		s.commit("SwitchSession", func(tx rooms.Tx) error { return tx.SwitchSession(first.ID, "other") })
	}
	first.UsedAt, first.Tenant = at.Add(time.Minute), "other"
	var inside tenant.Session
	s.commit("Session", func(tx rooms.Tx) (err error) { inside, err = tx.Session(first.ID); return err })
	s.same(inside, first, nil)
	got, err = login(first)
	s.same(got.Role, tenant.Role(""), err)
	s.code(s.tx(func(tx rooms.Tx) error { return tx.SwitchSession("ses_none", owner) }), fault.CodeNotFound, "SwitchSession that never was")

	all := []tenant.Session{first}
	for range 4 {
		all = append(all, s.session(alice))
	}
	s.commit("DeleteSession", func(tx rooms.Tx) error { return tx.DeleteSession(all[4].ID) })
	for range 2 {
		s.commit("DeleteOldestSessions", func(tx rooms.Tx) error { return tx.DeleteOldestSessions(alice.ID, 2) })
	}
	for i, want := range []bool{false, false, true, true, false} {
		if _, err := login(all[i]); (err == nil) != want {
			s.Errorf("session %d: %v", i, err)
		}
	}
	s.commit("DeleteSessions", func(tx rooms.Tx) error { return tx.DeleteSessions(alice.ID) })
	s.code(second(login(all[3])), fault.CodeNotFound, "all of one user")
	s.ok(second(login(nowhere)), "another user's")
}

func (s shelf) invitation(change ...func(*tenant.Invitation)) tenant.Invitation {
	s.Helper()
	which := tenant.InvitationID(s.newID(tenant.InvitationPrefix))
	i := tenant.Invitation{
		ID: which, Tenant: owner, Role: tenant.Member, Hash: tenant.HashToken(string(which)), CreatedBy: "user ☃", ByUser: "usr_1", CreatedAt: at, ExpiresAt: at.Add(time.Hour),
	}
	for _, c := range change {
		c(&i)
	}
	s.commit("InsertInvitation", func(tx rooms.Tx) error { return tx.InsertInvitation(i) })
	return i
}

func invitations(s shelf) {
	byHash := func(hash string) (i tenant.Invitation, err error) {
		err = s.tx(func(tx rooms.Tx) error { i, err = tx.InvitationByHash(hash); return err })
		return i, err
	}
	s.code(second(byHash(tenant.HashToken("no"))), fault.CodeNotFound, "InvitationByHash that never was")
	first, later := s.invitation(), s.invitation()
	old := s.invitation(func(i *tenant.Invitation) { i.ExpiresAt = at })
	foreign := s.invitation(func(i *tenant.Invitation) { i.Tenant = "other" })
	got, err := byHash(first.Hash)
	s.same(got, first, err)
	s.commit("Invitation", func(tx rooms.Tx) (err error) { got, err = tx.Invitation(owner, old.ID); return err })
	s.same(got, old, nil)
	s.code(s.tx(func(tx rooms.Tx) error { _, err := tx.Invitation(owner, foreign.ID); return err }), fault.CodeNotFound, "another tenant's")
	list, err := s.store.Invitations(s.ctx, owner, at, page.Page{Limit: 10})
	s.same(list, []tenant.Invitation{later, first}, err)
	list, err = s.store.Invitations(s.ctx, owner, at, page.Page{Limit: 10, Before: string(later.ID)})
	s.same(list, []tenant.Invitation{first}, err)
	for limit, want := range map[int]int{10: 2, 1: 1} {
		var n int
		s.commit("OpenInvitations", func(tx rooms.Tx) (err error) { n, err = tx.OpenInvitations(owner, at, limit); return err })
		if n != want {
			s.Errorf("%d open up to %d, want %d", n, limit, want)
		}
	}
	s.commit("UseInvitation", func(tx rooms.Tx) error { return tx.UseInvitation(first.ID, "", at.Add(time.Second)) })
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UseInvitation(first.ID, "usr_1", at) }), fault.CodeConflict, "one that was withdrawn")
	first.UsedAt = at.Add(time.Second)
	got, err = byHash(first.Hash)
	s.same(got, first, err)
	list, err = s.store.Invitations(s.ctx, owner, at, page.Page{Limit: 10})
	s.same(list, []tenant.Invitation{later}, err)
}

func invitationRace(s shelf) {
	i := s.invitation()
	s.oneWinner(testenv.Together(4, func(n int) error {
		return s.tx(func(tx rooms.Tx) error { return tx.UseInvitation(i.ID, tenant.UserID("usr_"+string(rune('a'+n))), at) })
	}), fault.CodeConflict)
}

func resets(s shelf) {
	byHash := func(hash string) (r tenant.Reset, err error) {
		err = s.tx(func(tx rooms.Tx) error { r, err = tx.ResetByHash(hash); return err })
		return r, err
	}
	s.code(second(byHash(tenant.HashToken("no"))), fault.CodeNotFound, "ResetByHash that never was")
	make := func(of tenant.UserID, text string) tenant.Reset {
		r := tenant.Reset{Hash: tenant.HashToken(text), User: of, Tenant: owner, ByUser: "usr_9", CreatedAt: at, ExpiresAt: at.Add(time.Hour)}
		s.commit("InsertReset", func(tx rooms.Tx) error { return tx.InsertReset(r) })
		return r
	}
	first, second1, other := make("usr_1", "a"), make("usr_1", "b"), make("usr_2", "c")
	got, err := byHash(first.Hash)
	s.same(got, first, err)
	s.commit("DeleteResets", func(tx rooms.Tx) error { return tx.DeleteResets("usr_1") })
	s.code(second(byHash(first.Hash)), fault.CodeNotFound, "the first")
	s.code(second(byHash(second1.Hash)), fault.CodeNotFound, "the second")
	got, err = byHash(other.Hash)
	s.same(got, other, err)
	s.oneWinner(testenv.Together(4, func(int) error { return s.tx(func(tx rooms.Tx) error { return tx.UseReset(other.Hash) }) }), fault.CodeConflict)
	s.code(second(byHash(other.Hash)), fault.CodeNotFound, "one that was used")
}

func (s shelf) attempts(id string) (a tenant.Attempts, err error) {
	err = s.tx(func(tx rooms.Tx) error { a, err = tx.Attempts(id); return err })
	return a, err
}

func attempts(s shelf) {
	s.code(second(s.attempts("a")), fault.CodeNotFound, "Attempts that never were")
	a := tenant.Attempts{ID: "a", Level: 1.25, LastAt: at, ExpiresAt: at.Add(time.Hour)}
	s.commit("PutAttempts", func(tx rooms.Tx) error { return tx.PutAttempts(a) })
	s.code(s.tx(func(tx rooms.Tx) error { return tx.PutAttempts(a) }), fault.CodeConflict, "a row that is there")
	a.Rev = 1
	got, err := s.attempts("a")
	s.same(got, a, err)
	a.Level, a.LastAt, a.ExpiresAt = 1.0/3, at.Add(time.Second), at.Add(time.Minute)
	s.commit("PutAttempts", func(tx rooms.Tx) error { return tx.PutAttempts(a) })
	s.code(s.tx(func(tx rooms.Tx) error { return tx.PutAttempts(a) }), fault.CodeConflict, "a row that was changed")
	a.Rev = 2
	got, err = s.attempts("a")
	s.same(got, a, err)
	s.commit("DeleteAttempts", func(tx rooms.Tx) error { return tx.DeleteAttempts("a") })
	s.code(second(s.attempts("a")), fault.CodeNotFound, "Attempts that were deleted")
}

func attemptsRace(s shelf) {
	put := func(a tenant.Attempts) {
		s.oneWinner(testenv.Together(4, func(int) error { return s.tx(func(tx rooms.Tx) error { return tx.PutAttempts(a) }) }), fault.CodeConflict)
	}
	put(tenant.Attempts{ID: "a", Level: 1, LastAt: at, ExpiresAt: at})
	put(tenant.Attempts{ID: "a", Level: 1, LastAt: at, ExpiresAt: at, Rev: 1}) // also where nothing else changes
}

func oldAccess(s shelf) {
	u := s.user("alice")
	old, fresh := at.Add(-time.Second), at
	gone := s.session(u, func(x *tenant.Session) { x.ExpiresAt = old })
	kept := s.session(u, func(x *tenant.Session) { x.ExpiresAt = fresh })
	s.invitation(func(i *tenant.Invitation) { i.ExpiresAt = old })
	s.invitation(func(i *tenant.Invitation) { i.ExpiresAt = fresh })
	for i, ends := range []time.Time{old, fresh} {
		id := string(rune('a' + i))
		s.commit("InsertReset", func(tx rooms.Tx) error {
			return errors.Join(tx.InsertReset(tenant.Reset{Hash: id, User: u.ID, CreatedAt: at, ExpiresAt: ends}), tx.PutAttempts(tenant.Attempts{ID: id, LastAt: at, ExpiresAt: ends}))
		})
	}
	var all []int
	for range 4 {
		s.commit("DeleteOldAccess", func(tx rooms.Tx) error {
			n, err := tx.DeleteOldAccess(at, 2)
			all = append(all, n)
			return err
		})
	}
	s.same(all, []int{2, 2, 0, 0}, nil)
	s.code(second(s.store.LoginByHash(s.ctx, gone.Hash)), fault.CodeNotFound, "an old session")
	s.ok(second(s.store.LoginByHash(s.ctx, kept.Hash)), "a session")
	s.ok(second(s.attempts("b")), "attempts")
}
