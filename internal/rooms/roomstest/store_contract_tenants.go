package roomstest

import (
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

func (s shelf) tenant(name string) tenant.Tenant {
	s.Helper()
	t := tenant.Tenant{ID: tenant.ID(s.newID(tenant.Prefix)), Name: name, CreatedAt: at, UpdatedAt: at}
	s.commit("InsertTenant", func(tx rooms.Tx) error { return tx.InsertTenant(t) })
	t.Rev = 1
	got, err := s.store.Tenant(s.ctx, t.ID)
	s.same(got, t, err)
	return t
}

// A tenant that was there before there were tenants owns what was there.
func defaultTenant(s shelf) {
	got, err := s.store.Tenant(s.ctx, tenant.Default)
	s.ok(err, "the tenant of old")
	if got.Name != "default" || got.Deleted() || got.CreatedAt.IsZero() {
		s.Errorf("%+v", got)
	}
	list, err := s.store.Tenants(s.ctx, page.Page{Limit: 10})
	s.same(list, []tenant.Tenant{got}, err)
}

func tenants(s shelf) {
	_, err := s.store.Tenant(s.ctx, "ten_none")
	s.code(err, fault.CodeNotFound, "Tenant that never was")
	first, second := s.tenant("Käse & Co"), s.tenant("käse & co") // names differ by case
	s.code(s.tx(func(tx rooms.Tx) error {
		return tx.InsertTenant(tenant.Tenant{ID: "ten_x", Name: first.Name, CreatedAt: at, UpdatedAt: at})
	}), fault.CodeNameHeld, "a name that is taken")
	renamed := second
	renamed.Name = first.Name
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateTenant(renamed) }), fault.CodeNameHeld, "another's name")

	gone := first
	gone.DeletedAt, gone.UpdatedAt = at.Add(time.Second), at.Add(time.Second)
	s.oneWinner(testenv.Together(4, func(int) error { return s.tx(func(tx rooms.Tx) error { return tx.UpdateTenant(gone) }) }), fault.CodeConflict)
	gone.Rev++
	got, err := s.store.Tenant(s.ctx, first.ID)
	s.same(got, gone, err)
	s.commit("the name of a deleted tenant", func(tx rooms.Tx) error { return tx.UpdateTenant(renamed) })
	renamed.Rev++

	list, err := s.store.Tenants(s.ctx, page.Page{Limit: 1})
	s.same(list, []tenant.Tenant{renamed}, err)
	list, err = s.store.Tenants(s.ctx, page.Page{Limit: 10, Before: string(renamed.ID)})
	if err != nil || len(list) != 1 || list[0].ID != tenant.Default {
		s.Errorf("%+v, %v", list, err)
	}
	var inside tenant.Tenant
	s.commit("Tenant", func(tx rooms.Tx) (err error) { inside, err = tx.Tenant(renamed.ID); return err })
	s.same(inside, renamed, nil)
}

func (s shelf) key(change ...func(*tenant.Key)) tenant.Key {
	s.Helper()
	which := tenant.KeyID(s.newID(tenant.KeyPrefix))
	k := tenant.Key{
		ID: which, Tenant: owner, Name: "ключ ☃", Role: tenant.Member, Hash: tenant.HashToken(string(which)), Hint: "Ab3x", CreatedBy: "the admin key",
		Limits: tenant.Limits{Engines: []string{"redis"}, Labels: map[string]string{"a": "ü"}}, CreatedAt: at, ExpiresAt: at.Add(time.Hour),
	}
	for _, c := range change {
		c(&k)
	}
	s.commit("InsertKey", func(tx rooms.Tx) error { return tx.InsertKey(k) })
	return k
}

func apiKeys(s shelf) {
	_, err := s.store.KeyByHash(s.ctx, tenant.HashToken("no"))
	s.code(err, fault.CodeNotFound, "KeyByHash that never was")
	first := s.key()
	second := s.key(func(k *tenant.Key) { k.Limits, k.ExpiresAt = tenant.Limits{}, time.Time{} })
	foreign := s.key(func(k *tenant.Key) { k.Tenant = "other" })
	got, err := s.store.KeyByHash(s.ctx, first.Hash)
	s.same(got, first, err)
	list, err := s.store.Keys(s.ctx, owner, page.Page{Limit: 10})
	s.same(list, []tenant.Key{second, first}, err)
	list, err = s.store.Keys(s.ctx, owner, page.Page{Limit: 10, Before: string(second.ID)})
	s.same(list, []tenant.Key{first}, err)
	s.code(s.tx(func(tx rooms.Tx) error { _, err := tx.Key(owner, foreign.ID); return err }), fault.CodeNotFound, "another tenant's key")
	s.code(s.tx(func(tx rooms.Tx) error {
		twin := first
		twin.ID = "key_twin"
		return tx.InsertKey(twin)
	}), fault.CodeConflict, "a hash that is there")

	s.commit("UseKey", func(tx rooms.Tx) error { return tx.UseKey(first.ID, at.Add(time.Minute)) })
	s.commit("UseKey, earlier", func(tx rooms.Tx) error { return tx.UseKey(first.ID, at) })
	first.UsedAt = at.Add(time.Minute)
	for _, try := range []struct {
		of    tenant.ID
		which tenant.KeyID
		at    time.Time
	}{{"other", first.ID, at}, {owner, foreign.ID, at}, {owner, first.ID, at.Add(2 * time.Minute)}, {owner, first.ID, at.Add(time.Hour)}} {
		s.commit("RevokeKey", func(tx rooms.Tx) error { return tx.RevokeKey(try.of, try.which, try.at) })
	}
	first.RevokedAt = at.Add(2 * time.Minute) // by its own tenant, and once
	got, err = s.store.KeyByHash(s.ctx, first.Hash)
	s.same(got, first, err)
	got, err = s.store.KeyByHash(s.ctx, foreign.Hash)
	s.same(got, foreign, err)
	s.commit("Key", func(tx rooms.Tx) (err error) { got, err = tx.Key(owner, first.ID); return err })
	s.same(got, first, nil)
	list, err = s.store.Keys(s.ctx, owner, page.Page{Limit: 10})
	s.same(list, []tenant.Key{second}, err)
	s.key()
	for limit, want := range map[int]int{10: 2, 1: 1} {
		var n int
		s.commit("LiveKeys", func(tx rooms.Tx) (err error) { n, err = tx.LiveKeys(owner, limit); return err })
		if n != want {
			s.Errorf("%d live keys up to %d, want %d", n, limit, want)
		}
	}
}
