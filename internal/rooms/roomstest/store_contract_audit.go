package roomstest

import (
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// entry returns an entry of the audit log in which everything is there.
func (s shelf) entry(name string) tenant.Entry {
	return tenant.Entry{
		ID: tenant.EntryID(s.newID(tenant.EntryPrefix)), At: at, Tenant: owner, Actor: "user " + name + " Käse", User: "usr_1", Key: "key_1", Session: "ses_1",
		Origin: tenant.Origin{Address: "203.0.113.7", Request: "r-" + name}, Action: tenant.ActKeyCreate, On: "key_" + name, Job: "job_1", Result: tenant.Done, Detail: "naïve – " + name,
	}
}

func (s shelf) noted(list ...tenant.Entry) {
	s.Helper()
	for _, e := range list {
		s.commit("InsertEntry", func(tx rooms.Tx) error { return tx.InsertEntry(e) })
	}
}

// chained puts all entries into the chain.
func (s shelf) chained() {
	s.Helper()
	for n := 1; n > 0; {
		var err error
		n, err = audit.Chain(s.ctx, rooms.Audit(s.store))
		s.ok(err, "Chain")
	}
}

func (s shelf) entries(f audit.Filter) []audit.Entry {
	s.Helper()
	all, err := s.store.Entries(s.ctx, f, page.Page{Limit: 1000})
	s.ok(err, "Entries")
	return all
}

// intact asserts that the chain has so many entries, and is as it was written.
func (s shelf) intact(want int) []audit.Entry {
	s.Helper()
	all, v := s.entries(audit.Filter{All: true}), audit.Verifier{}
	for _, e := range all {
		v.Add(e)
	}
	if r := v.Report(); len(r.Problems) > 0 || r.Entries != int64(want) {
		s.Errorf("%d entries, want %d: %v", r.Entries, want, r.Problems)
	}
	return all
}

func auditRoundTrip(s shelf) {
	full := s.entry("one")
	bare := tenant.Entry{ID: tenant.EntryID(s.newID(tenant.EntryPrefix)), At: at, Action: tenant.ActUserChange, Result: tenant.Refused}
	s.noted(full, bare)
	if got := s.entries(audit.Filter{All: true}); len(got) > 0 {
		s.Errorf("in no chain, and read: %v", got)
	}
	fresh, err := s.store.Unchained(s.ctx)
	if err != nil || !fresh {
		s.Errorf("%v, %v", fresh, err)
	}
	s.chained()
	got := s.intact(2)
	s.same(got[1].Entry, full, nil)
	s.same(got[0].Entry, bare, nil)
	if got[1].Number != 1 || got[0].Number != 2 || got[1].Previous != "" || got[0].Previous != got[1].Hash {
		s.Errorf("%+v", got)
	}
	if fresh, err = s.store.Unchained(s.ctx); err != nil || fresh {
		s.Errorf("%v, %v", fresh, err)
	}
}

func auditFilters(s shelf) {
	mine, other, late := s.entry("mine"), s.entry("other"), s.entry("late")
	other.Tenant, other.User, other.Key, other.Action, other.Result = "other", "usr_2", "", tenant.ActKeyRevoke, tenant.Refused
	late.At, late.Tenant = at.Add(time.Hour), tenant.Platform
	s.noted(mine, other, late)
	s.chained()
	for i, c := range []struct {
		f    audit.Filter
		want []tenant.EntryID
	}{
		{audit.Filter{All: true}, []tenant.EntryID{late.ID, other.ID, mine.ID}},
		{audit.Filter{Tenant: owner}, []tenant.EntryID{mine.ID}},
		{audit.Filter{Tenant: "other"}, []tenant.EntryID{other.ID}},
		{audit.Filter{Tenant: "käse"}, nil},
		{audit.Filter{All: true, User: "usr_2"}, []tenant.EntryID{other.ID}},
		{audit.Filter{All: true, Key: "key_1"}, []tenant.EntryID{late.ID, mine.ID}},
		{audit.Filter{All: true, Key: "käse"}, nil},
		{audit.Filter{All: true, On: "key_mine"}, []tenant.EntryID{mine.ID}},
		{audit.Filter{All: true, Action: tenant.ActKeyRevoke}, []tenant.EntryID{other.ID}},
		{audit.Filter{All: true, Result: tenant.Refused}, []tenant.EntryID{other.ID}},
		{audit.Filter{All: true, Since: late.At}, []tenant.EntryID{late.ID}},
		{audit.Filter{All: true, Until: late.At}, []tenant.EntryID{other.ID, mine.ID}},
	} {
		var got []tenant.EntryID
		for _, e := range s.entries(c.f) {
			got = append(got, e.ID)
		}
		if !slices.Equal(got, c.want) {
			s.Errorf("%d: %v, want %v", i, got, c.want)
		}
	}
	second, err := s.store.Entries(s.ctx, audit.Filter{All: true}, page.Page{Limit: 1, Before: string(late.ID)})
	if err != nil || len(second) != 1 || second[0].ID != other.ID {
		s.Errorf("the page after the first: %v, %v", second, err)
	}
}

// However many write and make the chain at once, each entry has one place in it.
func auditRace(s shelf) {
	const writers, each, chainers = 6, 20, 4
	errs := testenv.Together(writers+chainers, func(n int) error {
		for i := range each {
			if n < writers {
				e := s.entry(fmt.Sprint(n, i))
				if err := s.tx(func(tx rooms.Tx) error { return tx.InsertEntry(e) }); err != nil {
					return err
				}
			} else if _, err := audit.Chain(s.ctx, rooms.Audit(s.store)); err != nil {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		s.ok(err, "one of many")
	}
	s.chained()
	s.intact(writers * each)
}

// An entry is there if, and only if, what it tells of is.
func auditRollback(s shelf) {
	s.noted(s.entry("one"))
	failed := s.tx(func(tx rooms.Tx) error {
		if err := tx.InsertEntry(s.entry("two")); err != nil {
			return err
		}
		return errOnPurpose
	})
	if failed == nil {
		s.Error("committed")
	}
	s.chained()
	s.intact(1)
}

// Old entries go, the oldest first and only from the chain, and the log says so itself.
func auditRetention(s shelf) {
	for i := range 5 {
		e := s.entry(fmt.Sprint(i))
		e.At = at.Add(time.Duration(i) * time.Hour)
		s.noted(e)
	}
	s.chained()
	clean := func(now time.Time) int {
		auditor := tenant.Auditor{NewID: s.newID, Now: func() time.Time { return now }}
		n, err := audit.Clean(s.ctx, rooms.Audit(s.store), auditor, 10*time.Hour)
		s.ok(err, "Clean")
		s.chained()
		return n
	}
	if n := clean(at.Add(10 * time.Hour)); n != 0 {
		s.Errorf("%d removed within the slack", n)
	}
	s.intact(5)
	if n := clean(at.Add(12*time.Hour + time.Minute)); n != 3 {
		s.Errorf("%d removed", n)
	}
	all := s.intact(3) // with the one that says so
	if all[0].Action != tenant.ActAuditClean || all[0].On != "3" || all[0].Tenant != tenant.Platform || all[2].Number != 4 {
		s.Errorf("%+v", all)
	}
}
