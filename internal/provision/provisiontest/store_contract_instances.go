package provisiontest

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/provision"
	"github.com/berth-project/berth/internal/testenv"
)

func instanceRoundTrip(s shelf) {
	elsewhere := time.FixedZone("+05:45", (5*60+45)*60)
	full := provision.Instance{
		ID: provision.InstanceID(s.newID(provision.PrefixInstance)), Tenant: owner, Engine: "mysql", Version: "9.7", Name: "full", Plan: "custom",
		Resources: host.Resources{CPUMillis: 1500, MemoryBytes: 8 << 30, DiskBytes: 1 << 40},
		Parameters: provision.Parameters{
			"charset": "latin1", "binlog_format": "ROW", "max_connections": int64(50), "flag": true, "off": false, "empty": "",
			"big": int64(1<<62 + 1), "negative": int64(-1), "text": "schön ☃ \"quoted\" \\ \n", "digits": "42",
		},
		Labels: map[string]string{"team": "a", "empty": ""}, State: provision.StateFailed, Reason: "ready: 🙁 'it' \\failed\x01", Host: "hst_1", Address: "db.example", Port: 65535,
		Fence: 1 << 40, CreatedAt: at, UpdatedAt: at.Add(time.Millisecond), DeletedAt: at.Add(time.Hour), KeptUntil: at.Add(2 * time.Hour), DataLost: true, Rev: 7,
	}
	bare := s.newInstance("bare")
	bare.Parameters = nil
	for _, want := range []provision.Instance{full, bare} {
		given := want
		given.CreatedAt = want.CreatedAt.Add(999 * time.Microsecond).In(elsewhere) // only the moment counts, in whole milliseconds
		s.commit("InsertInstance", func(tx provision.Tx) error {
			if err := tx.InsertInstance(given); err != nil {
				return err
			}
			got, err := tx.Instance(want.ID)
			s.same(got, want, err)
			return nil
		})
		s.same(s.storedInstance(want.ID), want, nil)
	}
	// The same by an update, down to the zero values.
	empty := s.storedInstance(full.ID)
	empty.Reason, empty.Host, empty.Address, empty.Port, empty.Fence, empty.DeletedAt, empty.KeptUntil = "", "", "", 0, 0, time.Time{}, time.Time{}
	empty.Parameters = provision.Parameters{"flag": false}
	s.commit("UpdateInstance", func(tx provision.Tx) error { return tx.UpdateInstance(empty) })
	empty.Rev++
	s.same(s.storedInstance(full.ID), empty, nil)
}

func (s shelf) same(got, want any, err error) {
	s.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		s.Fatalf("got  %#v, %v\nwant %#v", got, err, want)
	}
}

func instanceRevision(s shelf) {
	seen := s.instance("rev")
	s.commit("UpdateInstance", func(tx provision.Tx) error { return tx.UpdateInstance(seen) }) // changes nothing but the revision
	if now := s.storedInstance(seen.ID); now.Rev != seen.Rev+1 {
		s.Fatalf("its revision went from %d to %d", seen.Rev, now.Rev)
	}
	s.code(s.tx(func(tx provision.Tx) error { return tx.UpdateInstance(seen) }), fault.CodeConflict, "UpdateInstance of an old revision")
	s.code(s.tx(func(tx provision.Tx) error { return tx.UpdateInstance(s.newInstance("none")) }), fault.CodeConflict, "UpdateInstance of none")

	latest := s.storedInstance(seen.ID)
	errs := testenv.Together(8, func(n int) error {
		mine := latest
		mine.Reason = fmt.Sprint(n)
		return s.tx(func(tx provision.Tx) error { return tx.UpdateInstance(mine) })
	})
	s.oneWinner(errs, fault.CodeConflict)
	if winner := slices.Index(errs, nil); s.storedInstance(seen.ID).Reason != fmt.Sprint(winner) {
		s.Fatalf("%d has won, but another one's is there", winner)
	}
}

func nameUnique(s shelf) {
	held := s.instance("name")
	insert := func(change func(*provision.Instance)) error {
		i := s.newInstance("name")
		change(&i)
		return s.tx(func(tx provision.Tx) error { return tx.InsertInstance(i) })
	}
	s.code(insert(func(*provision.Instance) {}), fault.CodeNameHeld, "the name of a living one")
	s.code(insert(func(i *provision.Instance) { i.Engine = "mysql" }), fault.CodeNameHeld, "in another engine")
	s.ok(insert(func(i *provision.Instance) { i.Tenant = "other" }), "of another tenant")
	s.ok(insert(func(i *provision.Instance) { i.Name = "Name" }), "in other letters")
	for _, state := range []provision.InstanceState{provision.StateFailed, provision.StateDeleting} {
		held = s.moved(held, state)
		s.code(insert(func(*provision.Instance) {}), fault.CodeNameHeld, "the name of one that is "+string(state))
	}
	s.moved(held, provision.StateDeleted)
	s.ok(insert(func(*provision.Instance) {}), "the name of a deleted one")
	s.code(insert(func(*provision.Instance) {}), fault.CodeNameHeld, "again")
}

// moved changes the state of the instance.
func (s shelf) moved(i provision.Instance, state provision.InstanceState) provision.Instance {
	s.Helper()
	s.ok(i.Move(state, "", at), "Move")
	s.commit("UpdateInstance", func(tx provision.Tx) error { return tx.UpdateInstance(i) })
	return s.storedInstance(i.ID)
}

func nameRace(s shelf) {
	s.oneWinner(testenv.Together(8, func(int) error {
		i := s.newInstance("wanted")
		return s.tx(func(tx provision.Tx) error {
			if err := tx.InsertInstance(i); err != nil {
				return err
			}
			return tx.InsertJob(s.newJob(i))
		})
	}), fault.CodeNameHeld)
}

// pagesStable inserts and deletes between the pages: of what was there all the
// time, nothing comes twice and nothing is left out.
func pagesStable(s shelf) {
	const count, limit = 23, 5
	var want []provision.InstanceID
	for n := range count {
		want = append(want, s.instance(fmt.Sprintf("i-%02d", n)).ID)
	}
	slices.Reverse(want)
	var got []provision.InstanceID
	page := page.Page{Limit: limit}
	for n := 0; ; n++ {
		list, err := s.store.Instances(s.ctx, provision.InstanceFilter{Tenant: owner}, page)
		s.ok(err, "Instances")
		got = append(got, ids(list, instanceID)...)
		if len(list) < limit {
			break
		}
		page.Before = string(list[limit-1].ID)
		s.instance(fmt.Sprintf("new-%02d", n))
		s.moved(s.moved(list[0], provision.StateDeleting), provision.StateDeleted)
	}
	if !slices.Equal(got, want) {
		s.Fatalf("got  %v\nwant %v", got, want)
	}
}

func instanceFilters(s shelf) {
	make1 := func(name string, change func(*provision.Instance)) provision.InstanceID {
		return s.instance(name, change).ID
	}
	a := make1("a", func(i *provision.Instance) { i.Labels = map[string]string{"team": "x", "env": "prod"} })
	b := make1("b", func(i *provision.Instance) {
		i.Engine, i.Labels, i.State = "mysql", map[string]string{"team": "x"}, provision.StateRunning
	})
	c := make1("c", func(i *provision.Instance) { i.State, i.DeletedAt = provision.StateDeleted, at })
	d := make1("c", func(i *provision.Instance) { i.Labels = map[string]string{"team": "X"} })
	other := make1("a", func(i *provision.Instance) { i.Tenant, i.Labels = "other", map[string]string{"team": "x"} })

	for _, test := range []struct {
		filter provision.InstanceFilter
		want   []provision.InstanceID
	}{
		{provision.InstanceFilter{}, []provision.InstanceID{d, b, a}},
		{provision.InstanceFilter{Tenant: "other"}, []provision.InstanceID{other}},
		{provision.InstanceFilter{Tenant: "nobody"}, nil},
		{provision.InstanceFilter{Deleted: true}, []provision.InstanceID{d, c, b, a}},
		{provision.InstanceFilter{Engine: "mysql"}, []provision.InstanceID{b}},
		{provision.InstanceFilter{State: provision.StateRunning}, []provision.InstanceID{b}},
		{provision.InstanceFilter{State: provision.StateDeleted}, []provision.InstanceID{c}},
		{provision.InstanceFilter{Name: "c"}, []provision.InstanceID{d}},
		{provision.InstanceFilter{Name: "c", Deleted: true}, []provision.InstanceID{d, c}},
		{provision.InstanceFilter{Name: "c", State: provision.StateDeleted}, []provision.InstanceID{c}},
		{provision.InstanceFilter{Name: "none"}, nil},
		{provision.InstanceFilter{Labels: map[string]string{"team": "x"}}, []provision.InstanceID{b, a}},
		{provision.InstanceFilter{Labels: map[string]string{"team": "x", "env": "prod"}}, []provision.InstanceID{a}},
		{provision.InstanceFilter{Labels: map[string]string{"team": "x", "env": "test"}}, nil},
		{provision.InstanceFilter{Engine: "redis", Labels: map[string]string{"team": "x"}}, []provision.InstanceID{a}},
	} {
		if test.filter.Tenant == "" {
			test.filter.Tenant = owner
		}
		list, err := s.store.Instances(s.ctx, test.filter, page.Page{Limit: 10})
		s.ok(err, "Instances")
		if got := ids(list, instanceID); !slices.Equal(got, test.want) {
			s.Errorf("%+v: got %v, want %v", test.filter, got, test.want)
		}
	}
	// A page of a filtered list is as full as the list allows.
	list, err := s.store.Instances(s.ctx, provision.InstanceFilter{Tenant: owner, Labels: map[string]string{"team": "x"}}, page.Page{Before: string(d), Limit: 1})
	if err != nil || !slices.Equal(ids(list, instanceID), []provision.InstanceID{b}) {
		s.Errorf("a filtered page: %v, %v", list, err)
	}
}
