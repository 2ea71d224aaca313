package roomstest

import (
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/testenv"
)

func instancesOfHost(s shelf) {
	var want []instance.ID
	for i := range 5 {
		inst := s.instance(fmt.Sprintf("here-%d", i), func(inst *instance.Instance) { inst.Status.Host = "hst_a" })
		want = append(want, inst.ID)
	}
	s.instance("elsewhere", func(inst *instance.Instance) { inst.Status.Host = "hst_b" })
	gone := s.instance("gone", func(inst *instance.Instance) {
		inst.Status.Host, inst.State, inst.DeletedAt = "hst_a", instance.StateDeleted, at
	})
	slices.Sort(want)
	var got []instance.ID
	for after := instance.ID(""); ; {
		page, err := s.store.InstancesOn(s.ctx, "hst_a", after, 2)
		s.ok(err, "InstancesOn")
		got = append(got, ids(page, instanceID)...)
		if len(page) < 2 {
			break
		}
		after = page[len(page)-1].ID
	}
	if !slices.Equal(got, want) {
		s.Fatalf("on the host are %v, want %v", got, want)
	}
	found, err := s.store.InstancesByID(s.ctx, []instance.ID{want[0], gone.ID, "ins_nobody", "ins_\xff"})
	s.ok(err, "InstancesByID")
	if len(found) != 2 {
		s.Fatalf("of three ids there are %+v", found)
	}
	if found, err = s.store.InstancesByID(s.ctx, nil); err != nil || len(found) != 0 {
		s.Fatalf("of no ids there are %+v, %v", found, err)
	}
}

func strandedPorts(s shelf) {
	h := host.Host{ID: "hst_a", Name: "a", PortLow: 100, PortHigh: 199}
	s.commit("PutHost", func(tx rooms.Tx) error { _, err := tx.PutHost(h); return err })
	hold := func(id instance.ID) {
		s.commit("TakePort", func(tx rooms.Tx) error {
			_, err := tx.TakePort(h, host.UnitID(id), "redis", at)
			return err
		})
	}
	state := func(name string, state instance.State) host.UnitID {
		inst := s.instance(name, func(inst *instance.Instance) {
			if inst.State = state; state == instance.StateDeleted {
				inst.DeletedAt = at
			}
		})
		hold(inst.ID)
		return host.UnitID(inst.ID)
	}
	state("alive", instance.StateRunning)
	want := []host.UnitID{state("dead", instance.StateDeleted), state("failed", instance.StateFailed), "ins_unknown"}
	hold("ins_unknown")
	slices.Sort(want)
	first, err := s.store.Stranded(s.ctx, h.ID, "", 2)
	s.ok(err, "Stranded")
	rest, err := s.store.Stranded(s.ctx, h.ID, want[1], 2)
	s.ok(err, "Stranded")
	if got := append(first, rest...); !slices.Equal(got, want) {
		s.Fatalf("stranded are %v, want %v", got, want)
	}
	// A deleted row is there for as long as it holds a port.
	purge := func() {
		s.commit("DeleteOld", func(tx rooms.Tx) error { _, err := rooms.DeleteOld(tx, at.Add(time.Hour), 100); return err })
	}
	dead := host.UnitID("")
	for _, id := range want {
		if i, err := s.store.Instance(s.ctx, instance.ID(id)); err == nil && i.State == instance.StateDeleted {
			dead = id
		}
	}
	purge()
	s.storedInstance(instance.ID(dead))
	s.commit("RestPorts", func(tx rooms.Tx) error { return tx.RestPorts(host.UnitID(dead), at) })
	purge()
	_, err = s.store.Instance(s.ctx, instance.ID(dead))
	s.code(err, fault.CodeNotFound, "a deleted instance without ports")
}

func (s shelf) watch(id instance.ID) (w instance.Watch) {
	s.Helper()
	s.commit("Watch", func(tx rooms.Tx) error {
		var err error
		w, err = tx.Watch(id)
		return err
	})
	return w
}

func watches(s shelf) {
	s.code(s.tx(func(tx rooms.Tx) error { _, err := tx.Watch("ins_x"); return err }), fault.CodeNotFound, "a watch that is not there")
	s.commit("EndWatch of none", func(tx rooms.Tx) error { return tx.EndWatch("ins_x") })
	s.commit("StartWatch", func(tx rooms.Tx) error { return tx.StartWatch("ins_x", at) })
	w := s.watch("ins_x")
	if w.Instance != "ins_x" || !w.ProbeAt.Equal(at) || w.Misses != 0 || w.Repairs != 0 || !w.RepairedAt.IsZero() {
		s.Fatalf("it is %+v", w)
	}
	w.ProbeAt, w.Misses, w.Repairs, w.RepairedAt = at.Add(time.Second), 2, 3, at
	w.EndedAt = at.Add(time.Minute)
	s.commit("UpdateWatch", func(tx rooms.Tx) error { return tx.UpdateWatch(w) })
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateWatch(w) }), fault.CodeConflict, "UpdateWatch of an old one")
	w.Rev++
	if got := s.watch("ins_x"); got != w {
		s.Fatalf("it is %+v, want %+v", got, w)
	}
	s.commit("StartWatch again", func(tx rooms.Tx) error { return tx.StartWatch("ins_x", at) })
	if got := s.watch("ins_x"); got.Misses != 0 || got.Repairs != 3 || !got.ProbeAt.Equal(at) || got.Rev == w.Rev {
		s.Fatalf("started again, it is %+v", got)
	}
	s.commit("EndWatch", func(tx rooms.Tx) error { return tx.EndWatch("ins_x") })
	s.code(s.tx(func(tx rooms.Tx) error { _, err := tx.Watch("ins_x"); return err }), fault.CodeNotFound, "an ended watch")
}

// claimedWatches has many workers claim at once: each watch goes to one of them.
func claimedWatches(s shelf) {
	const all, late = 60, 10
	s.commit("StartWatch", func(tx rooms.Tx) error {
		for i := range all + late {
			probeAt := at.Add(-time.Duration(i) * time.Millisecond)
			if i >= all {
				probeAt = at.Add(time.Minute)
			}
			if err := tx.StartWatch(instance.ID(fmt.Sprintf("ins_%02d", i)), probeAt); err != nil {
				return err
			}
		}
		return nil
	})
	const workers = 8
	claims := make([][]instance.Watch, workers)
	until, spread := at.Add(time.Hour), time.Second
	for _, err := range testenv.Together(workers, func(i int) error {
		for n := 0; ; n++ {
			var batch []instance.Watch
			err := s.tx(func(tx rooms.Tx) error {
				var err error
				batch, err = tx.ClaimWatches(s.newID("clm"), at, until, spread, 7)
				return err
			})
			due, dueErr := s.store.WatchesDue(s.ctx, at)
			if claims[i] = append(claims[i], batch...); err != nil || dueErr != nil || !due {
				return err
			}
		}
	}) {
		s.ok(err, "ClaimWatches")
	}
	seen, moments := map[instance.ID]bool{}, map[time.Time]bool{}
	for _, w := range slices.Concat(claims...) {
		if seen[w.Instance] {
			s.Errorf("%s was claimed twice", w.Instance)
		}
		if w.ProbeAt.Before(until) || w.ProbeAt.After(until.Add(spread)) {
			s.Errorf("%s is probed next at %s", w.Instance, w.ProbeAt)
		}
		seen[w.Instance], moments[w.ProbeAt] = true, true
	}
	if len(seen) != all || len(moments) < all/2 {
		s.Errorf("%d of %d were claimed, to be probed at %d moments", len(seen), all, len(moments))
	}
}
