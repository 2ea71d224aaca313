package roomstest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// warm inserts an instance that waits for its tenant.
func (s shelf) warm(name string) instance.Instance {
	s.Helper()
	return s.instance(name, func(i *instance.Instance) {
		i.Tenant, i.State, i.Status.Host, i.Status.Address, i.Status.Port, i.Fence = tenant.Nobody, instance.StateWarm, "hst_1", "127.0.0.1", 20000, 3
		i.Labels = map[string]string{"left": "over", "both": "old"}
	})
}

// claimOf gives what a create makes of the warm instance.
func (s shelf) claimOf(warm instance.Instance, owner tenant.ID, name string) instance.Instance {
	i := s.newInstance(name)
	i.ID, i.Tenant, i.Status.Host, i.Status.Address, i.Status.Port, i.Fence, i.Rev = warm.ID, owner, warm.Status.Host, warm.Status.Address, warm.Status.Port, warm.Fence, warm.Rev
	i.CreatedAt, i.UpdatedAt = at.Add(time.Hour), at.Add(time.Hour)
	i.Labels = map[string]string{"both": "new", "mine": string(owner)}
	return i
}

// adopt does what the acceptance of a create does with a warm instance.
func (s shelf) adopt(i instance.Instance) (job.Job, error) {
	job := s.newJob(i)
	return job, s.tx(func(tx rooms.Tx) error {
		if err := tx.ReplaceInstance(i); err != nil {
			return err
		}
		if err := tx.InsertJob(job); err != nil {
			return err
		}
		return tx.PutCredentials(i.ID, secret.Sealed{KeyID: "k", Ciphertext: []byte(i.Tenant)})
	})
}

func replaced(s shelf) {
	warm := s.warm("waits")
	want := s.claimOf(warm, owner, "mine")
	want.Spec.Engine, want.Spec.Version, want.Spec.Plan, want.Spec.Resources = "mysql", "9.7", "large", host.Resources{CPUMillis: 2000, MemoryBytes: 1 << 30, DiskBytes: 2 << 30}
	want.Spec.Parameters, want.Reason = instance.Parameters{"charset": "latin1"}, "because"
	_, err := s.adopt(want)
	s.ok(err, "claim")
	want.Rev++
	s.same(s.storedInstance(warm.ID), want, nil)

	for _, test := range []struct {
		filter instance.Filter
		found  bool
	}{
		{instance.Filter{Tenant: owner}, true},
		{instance.Filter{Tenant: owner, Name: "mine"}, true},
		{instance.Filter{Tenant: owner, Name: "waits"}, false},
		{instance.Filter{Tenant: owner, Labels: want.Labels}, true},
		{instance.Filter{Tenant: owner, Labels: map[string]string{"left": "over"}}, false},
		{instance.Filter{Tenant: owner, Labels: map[string]string{"both": "old"}}, false},
		{instance.Filter{Tenant: tenant.Nobody}, false},
	} {
		list, err := s.store.Instances(s.ctx, test.filter, page.Page{Limit: 10})
		s.ok(err, "Instances")
		if found := slices.Equal(ids(list, instanceID), []instance.ID{warm.ID}); found != test.found {
			s.Errorf("%+v gives %v", test.filter, ids(list, instanceID))
		}
	}
	// Its name is its tenant's now, and the old one is free.
	s.code(s.tx(func(tx rooms.Tx) error { return tx.InsertInstance(s.newInstance("mine")) }), fault.CodeNameHeld, "its new name")
	s.warm("waits")
	// It is written with the revision that a claim leaves, and not with the one before.
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateInstance(warm) }), fault.CodeConflict, "UpdateInstance of what it was")
	s.commit("UpdateInstance", func(tx rooms.Tx) error { return tx.UpdateInstance(want) })
}

// replaceRefused has claims that fail. They leave all as it was.
func replaceRefused(s shelf) {
	s.instance("held")
	warm := s.warm("waits")
	stale := warm
	stale.Rev++
	gone := s.warm("goes")
	deleted := s.moved(s.moved(gone, instance.StateDeleting), instance.StateDeleted)
	busy := s.warm("busy")
	s.commit("InsertJob", func(tx rooms.Tx) error { return tx.InsertJob(s.newJob(busy)) })
	purged := s.warm("purged")
	s.moved(s.moved(purged, instance.StateDeleting), instance.StateDeleted)
	for _, test := range []struct {
		what  string
		claim instance.Instance
		code  fault.Code
	}{
		{"a name that is held", s.claimOf(warm, owner, "held"), fault.CodeNameHeld},
		{"another revision", s.claimOf(stale, owner, "mine"), fault.CodeConflict},
		{"one that was deleted meanwhile", s.claimOf(gone, owner, "mine"), fault.CodeConflict},
		{"one that has a job", s.claimOf(busy, owner, "mine"), fault.CodeBusy},
		{"one that never was", s.claimOf(instance.Instance{ID: "ins_none"}, owner, "mine"), fault.CodeConflict},
	} {
		_, err := s.adopt(test.claim)
		s.code(err, test.code, test.what)
	}
	s.commit("DeleteOld", func(tx rooms.Tx) error {
		n, err := rooms.DeleteOld(tx, at.Add(time.Hour), 10)
		if n != 2 {
			s.Errorf("%d rows are gone, want 2", n)
		}
		return err
	})
	_, err := s.adopt(s.claimOf(purged, owner, "mine"))
	s.code(err, fault.CodeConflict, "one whose row is gone")
	if _, err := s.store.Instance(s.ctx, deleted.ID); !errors.Is(err, fault.ErrNotFound) {
		s.Errorf("a claim has brought %s back: %v", deleted.ID, err)
	}

	s.same(s.storedInstance(warm.ID), warm, nil)
	s.same(s.storedInstance(busy.ID), busy, nil)
	if _, err := s.store.ActiveJob(s.ctx, id.Subject(warm.ID)); !errors.Is(err, fault.ErrNotFound) {
		s.Errorf("a job is left: %v", err)
	}
	if _, err := s.store.Credentials(s.ctx, warm.ID); !errors.Is(err, fault.ErrNotFound) {
		s.Errorf("credentials are left: %v", err)
	}
	// The labels are rows of their own.
	list, err := s.store.Instances(s.ctx, instance.Filter{Tenant: tenant.Nobody, Labels: warm.Labels}, page.Page{Limit: 10})
	if err != nil || len(list) != 2 {
		s.Errorf("by its labels: %v, %v", ids(list, instanceID), err)
	}
}

// replaceRace has many claim one warm instance, each for a tenant of its own: what is
// there then is one of them, whole.
func replaceRace(s shelf) {
	const claims = 8
	warm := s.warm("waits")
	jobs := make([]job.Job, claims)
	errs := testenv.Together(claims, func(n int) (err error) {
		jobs[n], err = s.adopt(s.claimOf(warm, tenant.ID(fmt.Sprint("t", n)), "mine"))
		return err
	})
	s.oneWinner(errs, fault.CodeConflict)
	winner := jobs[slices.Index(errs, nil)]
	got := s.storedInstance(warm.ID)
	active, err := s.store.ActiveJob(s.ctx, id.Subject(warm.ID))
	s.ok(err, "ActiveJob")
	sealed, err := s.store.Credentials(s.ctx, warm.ID)
	s.ok(err, "Credentials")
	if got.Tenant != winner.Tenant || got.Labels["mine"] != string(winner.Tenant) || active.ID != winner.ID || string(sealed.Ciphertext) != string(winner.Tenant) {
		s.Fatalf("%s has won; the instance is %s's, the job %s's, the credentials %s's", winner.Tenant, got.Tenant, active.Tenant, sealed.Ciphertext)
	}
}

// replaceNameRace has one tenant claim several warm instances under one name.
func replaceNameRace(s shelf) {
	pool := []instance.Instance{s.warm("w-0"), s.warm("w-1"), s.warm("w-2")}
	won := 0
	for _, err := range testenv.Together(9, func(n int) error {
		_, err := s.adopt(s.claimOf(pool[n%len(pool)], owner, "mine"))
		return err
	}) {
		switch code := fault.CodeOf(err); {
		case err == nil:
			won++
		case code != fault.CodeNameHeld && code != fault.CodeConflict:
			s.Errorf("one who was late: %v", err)
		}
	}
	left, err := s.store.Instances(s.ctx, instance.Filter{Tenant: tenant.Nobody, State: instance.StateWarm}, page.Page{Limit: 10})
	if err != nil || won != 1 || len(left) != len(pool)-1 {
		s.Fatalf("%d have won, %d are left, %v", won, len(left), err)
	}
}

// replaceOrRetire has a warm instance claimed and retired at once.
func replaceOrRetire(s shelf) {
	for round := range 5 {
		warm := s.warm(fmt.Sprint("waits-", round))
		errs := testenv.Together(4, func(n int) error {
			if n%2 == 0 {
				_, err := s.adopt(s.claimOf(warm, owner, fmt.Sprint("mine-", round)))
				return err
			}
			retired := warm
			s.ok(retired.Move(instance.StateDeleting, "", at), "Move")
			return s.tx(func(tx rooms.Tx) error {
				if err := tx.UpdateInstance(retired); err != nil {
					return err
				}
				return tx.InsertJob(s.newJob(retired))
			})
		})
		s.oneWinner(errs, fault.CodeConflict)
		got := s.storedInstance(warm.ID)
		if claimed := slices.Index(errs, nil)%2 == 0; claimed != (got.Tenant == owner) || claimed != (got.State == instance.StatePending) {
			s.Fatalf("claimed: %v, and it is %s's and %s", claimed, got.Tenant, got.State)
		}
	}
}

// replaceFence has the worker that made the warm instance come back late: its job has
// ended, so it writes nothing, and the tenant's job is claimed above its fence.
func replaceFence(s shelf) {
	warm := s.warm("waits")
	old := s.newJob(warm)
	old.State, old.Fence = job.Running, warm.Fence
	s.commit("InsertJob", func(tx rooms.Tx) error { return tx.InsertJob(old) })
	ended := old
	ended.State, ended.WakeAt, ended.FinishedAt = job.Succeeded, time.Time{}, at
	s.commit("UpdateJob", func(tx rooms.Tx) error { return tx.UpdateJob(ended, old.Fence) })

	j, err := s.adopt(s.claimOf(warm, owner, "mine"))
	s.ok(err, "claim")
	got := s.storedInstance(warm.ID)
	if got.Fence != warm.Fence {
		s.Errorf("its fence went from %d to %d", warm.Fence, got.Fence)
	}
	late := job.Claim{Job: old.ID, Subject: id.Subject(warm.ID), Fence: old.Fence}
	s.code(s.tx(func(tx rooms.Tx) error { return tx.CheckClaim(late) }), fault.CodeFenced, "CheckClaim of the one who made it")
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateJob(old, old.Fence) }), fault.CodeFenced, "UpdateJob of the one who made it")
	before := j.Fence
	j.State, j.Fence, got.Fence = job.Running, got.Fence+1, got.Fence+1
	s.commit("claim of the job", func(tx rooms.Tx) error {
		return errors.Join(tx.UpdateJob(j, before), tx.UpdateInstance(got))
	})
	s.commit("CheckClaim", func(tx rooms.Tx) error {
		return tx.CheckClaim(job.Claim{Job: j.ID, Subject: id.Subject(warm.ID), Fence: j.Fence})
	})
}
