package roomstest

import (
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

func (s shelf) setQuota(own tenant.Amounts) {
	s.Helper()
	s.commit("PutQuota", func(tx rooms.Tx) error {
		if _, err := tx.LockQuota(owner, true); err != nil {
			return err
		}
		return tx.PutQuota(owner, own)
	})
}

func quotaRoundTrip(s shelf) {
	got, err := s.store.Quota(s.ctx, owner)
	s.ok(err, "the quota of a tenant that has none")
	if len(got) > 0 {
		s.Errorf("%v", got)
	}
	for _, own := range []tenant.Amounts{{tenant.Instances: 0, tenant.Disk: 1<<53 - 1}, {tenant.CPU: tenant.Unlimited}, {}} {
		s.setQuota(own)
		got, err := s.store.Quota(s.ctx, owner)
		s.same(got, own, err)
		for _, alone := range []bool{false, true} {
			s.commit("LockQuota", func(tx rooms.Tx) (err error) { got, err = tx.LockQuota(owner, alone); return err })
			s.same(got, own, nil)
		}
	}
	got, err = s.store.Quota(s.ctx, "other")
	if err != nil || len(got) > 0 {
		s.Errorf("another tenant's: %v, %v", got, err)
	}
	if _, err := s.store.Quota(s.ctx, "käse"); err != nil {
		s.Errorf("a tenant that cannot be: %v", err)
	}
}

// held asserts what the tenant holds; the jobs are those of the kind since the time.
func (s shelf) held(since time.Time, instances, jobs int64) {
	s.Helper()
	kinds := []string{string(instance.JobCreate)}
	servers := max(instances-1, 0) // one of them is stopped
	want := tenant.Amounts{
		tenant.Instances: instances, tenant.CPU: 500 * servers, tenant.Memory: servers * 256 << 20, tenant.Disk: instances << 30, tenant.Ports: 2 * instances,
		tenant.JobsPerHour: jobs,
	}
	got, err := s.store.Held(s.ctx, owner, kinds, since)
	s.same(got, want, err)
	s.commit("Held", func(tx rooms.Tx) (err error) { got, err = tx.Held(owner, kinds, since); return err })
	s.same(got, want, nil)
}

func quotaHeld(s shelf) {
	before := time.Now().Add(-time.Minute) // ids are made by the real clock
	s.held(before, 0, 0)
	s.instance("another's", func(i *instance.Instance) { i.Tenant = "other" })
	live := map[instance.State]instance.Instance{}
	for _, state := range instance.States() {
		if state != instance.StateDeleted && state != instance.StateFailed {
			live[state] = s.instance("in-"+string(state), func(i *instance.Instance) { i.State = state })
		}
	}
	count := int64(len(live))
	s.instance("gone", func(i *instance.Instance) { i.State, i.DeletedAt = instance.StateDeleted, at })
	failed := s.instance("failed", func(i *instance.Instance) { i.State = instance.StateFailed })
	s.held(before, count, 0)

	h := s.portHost(20000, 20009)
	s.commit("TakePort", func(tx rooms.Tx) error {
		for _, name := range []string{"api", "web"} {
			if _, err := tx.TakePort(h, host.UnitID(failed.ID), name, at); err != nil {
				return err
			}
		}
		return nil
	})
	s.held(before, count+1, 0) // it may still be on its host
	s.commit("RestPorts", func(tx rooms.Tx) error { return tx.RestPorts(host.UnitID(failed.ID), at.Add(time.Hour)) })
	s.held(before, count, 0)

	for _, i := range live {
		j := s.newJob(i)
		s.commit("InsertJob", func(tx rooms.Tx) error { return tx.InsertJob(j) })
	}
	s.job("deleting", func(j *job.Job) { j.Kind = instance.JobDelete })
	s.held(before, count+1, count)
	s.held(time.Now().Add(time.Minute), count+1, 0)
	got, err := s.store.Held(s.ctx, owner, nil, before)
	if err != nil || got[tenant.JobsPerHour] != 0 {
		s.Errorf("jobs of no kind: %v, %v", got, err)
	}
}

// Of many who want the last places, as many get one as there are, on any number of
// processes; the others leave nothing. The limits come while they are at it.
func quotaRace(s shelf) {
	const wanted, limit = 40, 7
	processes := []*tenant.Quotas{rooms.NewQuotas(s.store, s.newID, clock.System, nil), rooms.NewQuotas(s.store, s.newID, clock.System, nil)}
	take := func(n int) error {
		i := s.newInstance(fmt.Sprintf("wanted-%d", n))
		quotas := processes[n%len(processes)]
		return quotas.Attempt(func() error {
			return s.tx(func(tx rooms.Tx) error {
				if err := tx.InsertInstance(i); err != nil {
					return err
				}
				return quotas.Reserve(tx, owner, tenant.Amounts{tenant.Instances: 1})
			})
		})
	}
	s.ok(take(wanted), "the first, of a tenant without limits")
	errs := testenv.Together(wanted+1, func(n int) error {
		if n == wanted {
			s.setQuota(tenant.Amounts{tenant.Instances: limit})
			return nil
		}
		return take(n)
	})
	s.refused(errs)
	// Those who were accepted before the limit came may be more than it allows.
	holds, err := s.store.Held(s.ctx, owner, nil, at)
	s.ok(err, "Held")
	s.ok(s.tx(func(tx rooms.Tx) error {
		if _, err := tx.LockQuota(owner, true); err != nil {
			return err
		}
		return tx.PutQuota(owner, tenant.Amounts{tenant.Instances: holds[tenant.Instances] + limit})
	}), "PutQuota")
	got := s.refused(testenv.Together(wanted, func(n int) error { return take(1000 + n) }))
	if got != limit {
		s.Errorf("%d got one of the last %d places", got, limit)
	}
	after, err := s.store.Held(s.ctx, owner, nil, at)
	if err != nil || after[tenant.Instances] != holds[tenant.Instances]+limit {
		s.Errorf("%v, %v; before them %v", after, err, holds)
	}
}

// refused asserts that all who failed were refused for the quota, and returns how many did
// not.
func (s shelf) refused(errs []error) (accepted int64) {
	s.Helper()
	for _, err := range errs {
		if err == nil {
			accepted++
			continue
		}
		s.code(err, fault.CodeQuota, "one who was late")
	}
	return accepted
}
