package roomstest

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/testenv"
)

func instanceRoundTrip(s shelf) {
	elsewhere := time.FixedZone("+05:45", (5*60+45)*60)
	full := instance.Instance{
		ID: instance.ID(s.newID(instance.Prefix)), Tenant: owner, Spec: instance.Spec{Engine: "mysql", Version: "9.7", Plan: "custom", Resources: host.Resources{CPUMillis: 1500, MemoryBytes: 8 << 30, DiskBytes: 1 << 40}, Parameters: instance.Parameters{
			"charset": "latin1", "binlog_format": "ROW", "max_connections": int64(50), "flag": true, "off": false, "empty": "",
			"big": int64(1<<62 + 1), "negative": int64(-1), "text": "schön ☃ \"quoted\" \\ \n", "digits": "42",
		}, Ports: 2, RequireTLS: true}, Name: "full",

		Labels: map[string]string{"team": "a", "empty": ""}, State: instance.StateFailed, Reason: "ready: 🙁 'it' \\failed\x01", Status: instance.Status{Host: "hst_1", Address: "db.example", Port: 65535, TLSPort: 65534, CertifiedUntil: at.AddDate(1, 0, 0), DataLost: true},
		Fence: 1 << 40, CreatedAt: at, UpdatedAt: at.Add(time.Millisecond), DeletedAt: at.Add(time.Hour), KeptUntil: at.Add(2 * time.Hour), Rev: 7,
	}
	bare := s.newInstance("bare")
	bare.Spec.Parameters = nil
	for _, want := range []instance.Instance{full, bare} {
		given := want
		given.CreatedAt = want.CreatedAt.Add(999 * time.Microsecond).In(elsewhere) // only the moment counts, in whole milliseconds
		s.commit("InsertInstance", func(tx rooms.Tx) error {
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
	empty.Reason, empty.Status.Host, empty.Status.Address, empty.Status.Port, empty.Fence, empty.DeletedAt, empty.KeptUntil = "", "", "", 0, 0, time.Time{}, time.Time{}
	empty.Spec.Parameters, empty.Spec.Ports, empty.Spec.RequireTLS = instance.Parameters{"flag": false}, 1, false
	empty.Status.TLSPort, empty.Status.CertifiedUntil = 0, time.Time{}
	s.commit("UpdateInstance", func(tx rooms.Tx) error { return tx.UpdateInstance(empty) })
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
	s.commit("UpdateInstance", func(tx rooms.Tx) error { return tx.UpdateInstance(seen) }) // changes nothing but the revision
	if now := s.storedInstance(seen.ID); now.Rev != seen.Rev+1 {
		s.Fatalf("its revision went from %d to %d", seen.Rev, now.Rev)
	}
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateInstance(seen) }), fault.CodeConflict, "UpdateInstance of an old revision")
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateInstance(s.newInstance("none")) }), fault.CodeConflict, "UpdateInstance of none")

	latest := s.storedInstance(seen.ID)
	errs := testenv.Together(8, func(n int) error {
		mine := latest
		mine.Reason = fmt.Sprint(n)
		return s.tx(func(tx rooms.Tx) error { return tx.UpdateInstance(mine) })
	})
	s.oneWinner(errs, fault.CodeConflict)
	if winner := slices.Index(errs, nil); s.storedInstance(seen.ID).Reason != fmt.Sprint(winner) {
		s.Fatalf("%d has won, but another one's is there", winner)
	}
}

// diskMeasured has a measurement change nothing else, and nothing else change a measurement.
func diskMeasured(s shelf) {
	seen := s.instance("disk")
	none := instance.Disk{}
	full := instance.Disk{State: instance.DiskFull, UsedBytes: 1 << 50, Bound: instance.DiskBoundDriver, SeenAt: at}
	s.commit("UpdateDisk", func(tx rooms.Tx) error { return tx.UpdateDisk(seen.ID, none, full) })
	want := seen
	want.Status.Disk = full
	s.same(s.storedInstance(seen.ID), want, nil)
	s.commit("UpdateInstance", func(tx rooms.Tx) error { return tx.UpdateInstance(seen) }) // as it was read before
	want.Rev++
	s.same(s.storedInstance(seen.ID), want, nil)
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateDisk(seen.ID, none, full) }), fault.CodeConflict, "UpdateDisk of an old state")

	errs := testenv.Together(8, func(n int) error {
		mine := full
		mine.State, mine.SeenAt = instance.DiskOK, at.Add(time.Duration(n+1)*time.Second)
		return s.tx(func(tx rooms.Tx) error { return tx.UpdateDisk(seen.ID, full, mine) })
	})
	s.oneWinner(errs, fault.CodeConflict)
	now := s.storedInstance(seen.ID)
	s.commit("ReplaceInstance", func(tx rooms.Tx) error { return tx.ReplaceInstance(now) }) // it is another's from here on
	if got := s.storedInstance(seen.ID).Status.Disk; got != none {
		s.Fatalf("of one that was replaced the disk is %+v", got)
	}
	gone := s.moved(s.moved(s.storedInstance(seen.ID), instance.StateDeleting), instance.StateDeleted)
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateDisk(gone.ID, none, full) }), fault.CodeConflict, "UpdateDisk of a deleted one")
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateDisk("ins_none", none, full) }), fault.CodeConflict, "UpdateDisk of none")
}

func nameUnique(s shelf) {
	held := s.instance("name")
	insert := func(change func(*instance.Instance)) error {
		i := s.newInstance("name")
		change(&i)
		return s.tx(func(tx rooms.Tx) error { return tx.InsertInstance(i) })
	}
	s.code(insert(func(*instance.Instance) {}), fault.CodeNameHeld, "the name of a living one")
	s.code(insert(func(i *instance.Instance) { i.Spec.Engine = "mysql" }), fault.CodeNameHeld, "in another engine")
	s.ok(insert(func(i *instance.Instance) { i.Tenant = "other" }), "of another tenant")
	s.ok(insert(func(i *instance.Instance) { i.Name = "Name" }), "in other letters")
	for _, state := range []instance.State{instance.StateFailed, instance.StateDeleting} {
		held = s.moved(held, state)
		s.code(insert(func(*instance.Instance) {}), fault.CodeNameHeld, "the name of one that is "+string(state))
	}
	s.moved(held, instance.StateDeleted)
	s.ok(insert(func(*instance.Instance) {}), "the name of a deleted one")
	s.code(insert(func(*instance.Instance) {}), fault.CodeNameHeld, "again")
}

// moved changes the state of the instance.
func (s shelf) moved(i instance.Instance, state instance.State) instance.Instance {
	s.Helper()
	s.ok(i.Move(state, "", at), "Move")
	s.commit("UpdateInstance", func(tx rooms.Tx) error { return tx.UpdateInstance(i) })
	return s.storedInstance(i.ID)
}

func nameRace(s shelf) {
	s.oneWinner(testenv.Together(8, func(int) error {
		i := s.newInstance("wanted")
		return s.tx(func(tx rooms.Tx) error {
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
	var want []instance.ID
	for n := range count {
		want = append(want, s.instance(fmt.Sprintf("i-%02d", n)).ID)
	}
	slices.Reverse(want)
	var got []instance.ID
	page := page.Page{Limit: limit}
	for n := 0; ; n++ {
		list, err := s.store.Instances(s.ctx, instance.Filter{Tenant: owner}, page)
		s.ok(err, "Instances")
		got = append(got, ids(list, instanceID)...)
		if len(list) < limit {
			break
		}
		page.Before = string(list[limit-1].ID)
		s.instance(fmt.Sprintf("new-%02d", n))
		s.moved(s.moved(list[0], instance.StateDeleting), instance.StateDeleted)
	}
	if !slices.Equal(got, want) {
		s.Fatalf("got  %v\nwant %v", got, want)
	}
}

func instanceFilters(s shelf) {
	make1 := func(name string, change func(*instance.Instance)) instance.ID {
		return s.instance(name, change).ID
	}
	a := make1("a", func(i *instance.Instance) { i.Labels = map[string]string{"team": "x", "env": "prod"} })
	b := make1("b", func(i *instance.Instance) {
		i.Spec.Engine, i.Labels, i.State = "mysql", map[string]string{"team": "x"}, instance.StateRunning
	})
	c := make1("c", func(i *instance.Instance) { i.State, i.DeletedAt = instance.StateDeleted, at })
	d := make1("c", func(i *instance.Instance) { i.Labels = map[string]string{"team": "X"} })
	other := make1("a", func(i *instance.Instance) { i.Tenant, i.Labels = "other", map[string]string{"team": "x"} })

	for _, test := range []struct {
		filter instance.Filter
		want   []instance.ID
	}{
		{instance.Filter{}, []instance.ID{d, b, a}},
		{instance.Filter{Tenant: "other"}, []instance.ID{other}},
		{instance.Filter{Tenant: "nobody"}, nil},
		{instance.Filter{Deleted: true}, []instance.ID{d, c, b, a}},
		{instance.Filter{Engine: "mysql"}, []instance.ID{b}},
		{instance.Filter{State: instance.StateRunning}, []instance.ID{b}},
		{instance.Filter{State: instance.StateDeleted}, []instance.ID{c}},
		{instance.Filter{Name: "c"}, []instance.ID{d}},
		{instance.Filter{Name: "c", Deleted: true}, []instance.ID{d, c}},
		{instance.Filter{Name: "c", State: instance.StateDeleted}, []instance.ID{c}},
		{instance.Filter{Name: "none"}, nil},
		{instance.Filter{Labels: map[string]string{"team": "x"}}, []instance.ID{b, a}},
		{instance.Filter{Labels: map[string]string{"team": "x", "env": "prod"}}, []instance.ID{a}},
		{instance.Filter{Labels: map[string]string{"team": "x", "env": "test"}}, nil},
		{instance.Filter{Engine: "redis", Labels: map[string]string{"team": "x"}}, []instance.ID{a}},
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
	list, err := s.store.Instances(s.ctx, instance.Filter{Tenant: owner, Labels: map[string]string{"team": "x"}}, page.Page{Before: string(d), Limit: 1})
	if err != nil || !slices.Equal(ids(list, instanceID), []instance.ID{b}) {
		s.Errorf("a filtered page: %v, %v", list, err)
	}
}
