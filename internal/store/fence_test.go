package store

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// TestEveryTableHasItsPlace reads the schema: a table that a migration adds must say whether it
// has a fence.
func TestEveryTableHasItsPlace(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		openMigrated(t, databaseURL)
		err := look(t.Context(), databaseURL, func(l *looker) error {
			for _, table := range l.tables {
				if tables[table] == unknown && !strings.HasPrefix(table, "sqlite_") {
					t.Errorf("%s is not in the list of tables", table)
				}
			}
			for table := range tables {
				if !l.has(table) && (table != "goose_lock" || l.dialect == dialectMySQL) {
					t.Errorf("there is no table %s", table)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// fenced is a call of a method that touches a table with a fence, for what the tenant mine
// has. It gives how many of its things it has found or changed.
type fenced struct {
	method string // of rooms.Reader, or of rooms.Tx
	call   func(context.Context, reader, rooms.Tx) (int, error)
	// quiet: it does nothing where there is nothing, and says no more.
	quiet bool
	// beyond: it answers alike within any fence.
	beyond bool
	// unfit: it is refused within any fence, the tenant's own as well.
	unfit bool
}

// found gives how many of the things are of mine.
func found[T any](list []T, ids func(T) string, err error) (int, error) {
	n := 0
	for _, thing := range list {
		if strings.HasSuffix(ids(thing), "a") {
			n++
		}
	}
	return n, err
}

func one1(err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func idOfInstance(i instance.Instance) string { return string(i.ID) }
func idOfJob(j job.Job) string                { return string(j.ID) }
func idOfDelivery(d webhook.Delivery) string  { return string(d.ID) }
func idOfHook(h webhook.Webhook) string       { return string(h.ID) }
func itself[T ~string](v T) string            { return string(v) }

var firstPage = page.Page{Limit: 50}

// fencedReads are the methods of rooms.Reader that touch a table with a fence.
func fencedReads() []fenced {
	e := estateOf(mine)
	return []fenced{
		{method: "Instance", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			_, err := r.Instance(ctx, e.inst.ID)
			return one1(err)
		}},
		{method: "Instances", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.Instances(ctx, instance.Filter{Tenant: mine}, firstPage)
			return found(list, idOfInstance, err)
		}},
		{method: "Instances", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.Instances(ctx, instance.Filter{Tenant: mine, Labels: e.inst.Labels}, firstPage)
			return found(list, idOfInstance, err)
		}},
		{method: "Instances", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.Instances(ctx, instance.Filter{Tenant: mine, Name: e.inst.Name, Labels: e.inst.Labels}, firstPage)
			return found(list, idOfInstance, err)
		}},
		{method: "InstancesOn", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.InstancesOn(ctx, "hst_1", "", 50)
			return found(list, idOfInstance, err)
		}},
		{method: "InstancesByID", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.InstancesByID(ctx, []instance.ID{e.inst.ID, "ins_b"})
			return found(list, idOfInstance, err)
		}},
		{method: "KeptInstances", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.KeptInstances(ctx, fenceNow, 50)
			return found(list, itself, err)
		}},
		{method: "CertificatesDue", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.CertificatesDue(ctx, fenceNow, 50)
			return found(list, itself, err)
		}},
		{method: "Credentials", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			_, err := r.Credentials(ctx, e.inst.ID)
			return one1(err)
		}},
		{method: "Occupied", beyond: true, call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			some, err := r.Occupied(ctx, "hst_1")
			return map[bool]int{true: 1}[some], err
		}},
		{method: "Stranded", unfit: true, call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.Stranded(ctx, "hst_1", "", 50)
			return found(list, itself, err)
		}},
		{method: "WatchesDue", quiet: true, call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			some, err := r.WatchesDue(ctx, fenceNow)
			if within, is := tenant.Fence(ctx); is && within != mine {
				some = false // the other has one, too
			}
			return map[bool]int{true: 1}[some], err
		}},
		{method: "Job", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			_, err := r.Job(ctx, e.job.ID)
			return one1(err)
		}},
		{method: "Jobs", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.Jobs(ctx, job.Filter{Tenant: mine}, firstPage)
			return found(list, idOfJob, err)
		}},
		{method: "EndedJobs", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			ended, err := r.EndedJobs(ctx, []id.Job{e.job.ID})
			return 1 - len(ended), err // one that is not found has ended
		}},
		{method: "ActiveJob", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			_, err := r.ActiveJob(ctx, e.job.Subject)
			return one1(err)
		}},
		{method: "DueJobs", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.DueJobs(ctx, fenceNow, 50)
			return found(list, idOfJob, err)
		}},
		{method: "Turns", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.Turns(ctx)
			return found(list, func(t job.Turn) string { return string(t.Tenant) }, err)
		}},
		{method: "WaitingJobs", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.WaitingJobs(ctx, mine, 50)
			return found(list, idOfJob, err)
		}},
		{method: "Events", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.Events(ctx, event.Filter{Tenant: mine}, 0, 50)
			return found(list, func(e event.Event) string { return string(e.ID) }, err)
		}},
		{method: "LastNumbers", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			last, err := r.LastNumbers(ctx, []tenant.ID{mine, theirs})
			return int(last[mine]), err
		}},
		{method: "UnnumberedEvents", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.UnnumberedEvents(ctx, 50)
			return found(list, func(e event.Unnumbered) string { return string(e.Tenant) }, err)
		}},
		{method: "Delivery", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			_, err := r.Delivery(ctx, e.delivery.ID)
			return one1(err)
		}},
		{method: "Deliveries", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.Deliveries(ctx, webhook.DeliveryFilter{Tenant: mine}, firstPage)
			return found(list, idOfDelivery, err)
		}},
		{method: "NextDelivery", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			_, err := r.NextDelivery(ctx, string(e.hook.ID), fenceNow)
			return one1(err)
		}},
		{method: "DueDeliveries", unfit: true, call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, _, err := r.DueDeliveries(ctx, fenceNow, "", 50)
			return found(list, idOfDelivery, err)
		}},
		{method: "ExpiredDeliveries", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.ExpiredDeliveries(ctx, fenceNow, fenceNow, 50)
			return found(list, idOfDelivery, err)
		}},
		{method: "Webhook", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			_, err := r.Webhook(ctx, e.hook.ID)
			return one1(err)
		}},
		{method: "Webhooks", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.Webhooks(ctx, mine, firstPage)
			return found(list, idOfHook, err)
		}},
		{method: "ListenersAhead", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			list, err := r.listeners(ctx, mine)
			return found(list, idOfHook, err)
		}},
		{method: "Idempotent", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			_, err := r.Idempotent(ctx, mine, e.record.Key)
			return one1(err)
		}},
		{method: "Held", call: func(ctx context.Context, r reader, _ rooms.Tx) (int, error) {
			held, err := r.Held(ctx, mine, nil, longAgo)
			return int(held[tenant.Instances]), err
		}},
	}
}

// fencedInTx are the methods of rooms.Tx that touch a table with a fence.
func fencedInTx() []fenced {
	e, fresh := estateOf(mine), "fresha"
	newInstance, newJob, newDelivery, newHook := e.inst, e.job, e.delivery, e.hook
	newInstance.ID, newInstance.Name, newJob.ID, newJob.Subject = "ins_"+instance.ID(fresh), fresh, "job_"+id.Job(fresh), "ins_"+id.Subject(fresh)
	newEvent := e.event
	newEvent.ID = "evt_" + event.ID(fresh)
	newDelivery.ID, newHook.ID = "dlv_"+webhook.DeliveryID(fresh), "whk_"+webhook.ID(fresh)
	claimed := warmOne()
	claimed.Tenant, claimed.Name, claimed.State, claimed.Labels = mine, "claimed", instance.StatePending, e.inst.Labels
	swapped := e.inst
	swapped.Name = "swapped"
	in := func(method string, quiet bool, call func(rooms.Tx) (int, error)) fenced {
		return fenced{method: method, quiet: quiet, call: func(_ context.Context, _ reader, tx rooms.Tx) (int, error) { return call(tx) }}
	}
	write := func(method string, call func(rooms.Tx) error) fenced {
		return in(method, false, func(tx rooms.Tx) (int, error) { return one1(call(tx)) })
	}
	quiet := func(method string, call func(rooms.Tx) error) fenced {
		return in(method, true, func(tx rooms.Tx) (int, error) { return one1(call(tx)) })
	}
	return []fenced{
		write("Instance", func(tx rooms.Tx) error { _, err := tx.Instance(e.inst.ID); return err }),
		write("Job", func(tx rooms.Tx) error { _, err := tx.Job(e.job.ID); return err }),
		write("ActiveJob", func(tx rooms.Tx) error { _, err := tx.ActiveJob(e.job.Subject); return err }),
		write("Delivery", func(tx rooms.Tx) error { _, err := tx.Delivery(e.delivery.ID); return err }),
		write("Credentials", func(tx rooms.Tx) error { _, err := tx.Credentials(e.inst.ID); return err }),
		write("Webhook", func(tx rooms.Tx) error { _, err := tx.Webhook(e.hook.ID); return err }),
		write("Watch", func(tx rooms.Tx) error { _, err := tx.Watch(e.inst.ID); return err }),
		in("Listeners", false, func(tx rooms.Tx) (int, error) {
			list, err := tx.Listeners(mine)
			return found(list, idOfHook, err)
		}),
		in("ChildJobs", false, func(tx rooms.Tx) (int, error) {
			list, err := tx.ChildJobs(e.job.ID)
			return found(list, idOfJob, err)
		}),
		in("LiveJobs", false, func(tx rooms.Tx) (int, error) { return tx.LiveJobs(mine, 50) }),
		{method: "LiveJobs", beyond: true, call: func(_ context.Context, _ reader, tx rooms.Tx) (int, error) { return tx.LiveJobs("", 50) }},
		in("Owns", false, func(tx rooms.Tx) (int, error) { n, err := tx.Owns(mine); return int(n), err }),
		in("Held", false, func(tx rooms.Tx) (int, error) {
			held, err := tx.Held(mine, nil, longAgo)
			return int(held[tenant.Instances]), err
		}),

		write("InsertInstance", func(tx rooms.Tx) error { return tx.InsertInstance(newInstance) }),
		write("UpdateInstance", func(tx rooms.Tx) error { return tx.UpdateInstance(e.inst) }),
		write("ReplaceInstance", func(tx rooms.Tx) error {
			return errors.Join(tx.ReplaceInstance(claimed), tx.PutCredentials(claimed.ID, sealedBy), tx.StartWatch(claimed.ID, fenceNow))
		}),
		write("UpdateDisk", func(tx rooms.Tx) error { return tx.UpdateDisk(e.inst.ID, instance.Disk{}, instance.Disk{UsedBytes: 1}) }),
		write("InsertJob", func(tx rooms.Tx) error { return tx.InsertJob(newJob) }),
		write("UpdateJob", func(tx rooms.Tx) error { return tx.UpdateJob(e.job, 0) }),
		write("RescheduleJob", func(tx rooms.Tx) error { return tx.RescheduleJob(e.job, 2, fenceNow) }),
		write("CheckClaim", func(tx rooms.Tx) error { return tx.CheckClaim(job.Claim{Job: e.job.ID}) }),
		write("PutCredentials", func(tx rooms.Tx) error { return tx.PutCredentials(e.inst.ID, sealedBy) }),
		write("PutCredentials", func(tx rooms.Tx) error { return tx.PutCredentials(e.kept.ID, sealedBy) }), // it has none
		quiet("DeleteCredentials", func(tx rooms.Tx) error { return tx.DeleteCredentials(e.inst.ID) }),
		write("AppendEvent", func(tx rooms.Tx) error { return tx.AppendEvent(newEvent) }),
		write("InsertDelivery", func(tx rooms.Tx) error { return tx.InsertDelivery(newDelivery) }),
		write("UpdateDelivery", func(tx rooms.Tx) error { return tx.UpdateDelivery(e.delivery, e.delivery) }),
		quiet("EndDeliveries", func(tx rooms.Tx) error { return tx.EndDeliveries(e.hook.ID, "why", fenceNow) }),
		write("PutIdempotent", func(tx rooms.Tx) error {
			return tx.PutIdempotent(idempotency.Record{Tenant: mine, Key: "fresh", Answer: sealedBy})
		}),
		write("InsertWebhook", func(tx rooms.Tx) error { return tx.InsertWebhook(newHook) }),
		write("UpdateWebhook", func(tx rooms.Tx) error { return tx.UpdateWebhook(e.hook) }),
		write("DeleteWebhook", func(tx rooms.Tx) error { return tx.DeleteWebhook(e.hook.ID) }),
		write("StartWatch", func(tx rooms.Tx) error { return tx.StartWatch(e.inst.ID, fenceNow) }),
		write("UpdateWatch", func(tx rooms.Tx) error { return tx.UpdateWatch(instance.Watch{Instance: e.inst.ID}) }),
		quiet("EndWatch", func(tx rooms.Tx) error { return tx.EndWatch(e.inst.ID) }),
		in("ClaimWatches", true, func(tx rooms.Tx) (int, error) {
			list, err := tx.ClaimWatches("claim", fenceNow, fenceNow.Add(time.Hour), time.Second, 50)
			return found(list, func(w instance.Watch) string { return string(w.Instance) }, err)
		}),
		write("NumberEvents", func(tx rooms.Tx) error { return tx.NumberEvents([]event.Unnumbered{{Row: 2, Tenant: mine}}) }),
		quiet("DeleteEvents", func(tx rooms.Tx) error { _, err := tx.DeleteEvents(fenceNow, 50); return err }),
		quiet("DeleteOldInstances", func(tx rooms.Tx) error { _, err := tx.DeleteOldInstances(fenceNow, 50); return err }),
		quiet("DeleteOldJobs", func(tx rooms.Tx) error { _, err := tx.DeleteOldJobs(fenceNow, 50); return err }),
		quiet("DeleteOldDeliveries", func(tx rooms.Tx) error { _, err := tx.DeleteOldDeliveries(fenceNow, 50); return err }),
		quiet("DeleteOldRecords", func(tx rooms.Tx) error { _, err := tx.DeleteOldRecords(fenceNow, 50); return err }),
	}
}

// unfencedMethods touch no table with a fence.
var unfencedMethods = strings.Fields(`
	OnCommit
	HostSecret InsertHostSecret DeleteHostSecrets Places PlaceKnown PutPlace Swarms Swarm InsertSwarm SeeSwarm DeleteSwarm PortsTaken HostsInShort Unbooked Unheld Book Recount HoldPort
	AllHosts HostRow InsertHost UpdateHost DeleteHost Disks HostDisks Disk InsertDisk UpdateHostDisk DeleteDisk Allocations Allocation Allocate Release Holding Spread LockGroups
	Host Hosts PortsLeft PortsFree PutHost MarkHost Situation Resize TakePort RestPort RestPorts RestPortsElsewhere TakeDuty
	Standing PutStanding DeleteStanding DeleteStandings
	Tenant Tenants InsertTenant UpdateTenant EndAccess Quota LockQuota PutQuota
	KeyByHash Keys InsertKey Key LiveKeys RevokeKey UseKey
	Grants ActiveGrant InsertGrant Grant EndGrant
	User Users UserByLogin InsertUser UpdateUser Membership Members Workplaces Member InsertMember SetRole DeleteMember OtherOwners
	LoginByHash Session InsertSession SwitchSession UseSession DeleteSession DeleteSessions DeleteOldestSessions
	Invitations Invitation InvitationByHash InsertInvitation UseInvitation OpenInvitations
	Entries OldestEntries Unchained ChainEntries DeleteEntries InsertEntry LockChain NewEntries DeleteOldAccess
	ResetByHash InsertReset UseReset DeleteResets Attempts PutAttempts DeleteAttempts`)

// TestFenceKnowsEveryMethod fails for a method that is added and not tried within a fence.
func TestFenceKnowsEveryMethod(t *testing.T) {
	for of, calls := range map[reflect.Type][]fenced{reflect.TypeFor[rooms.Reader](): fencedReads(), reflect.TypeFor[rooms.Tx](): fencedInTx()} {
		for n := range of.NumMethod() {
			name := of.Method(n).Name
			tried := slices.ContainsFunc(calls, func(c fenced) bool { return c.method == name })
			if tried == slices.Contains(unfencedMethods, name) {
				t.Errorf("%s.%s: tried within a fence, or said to touch no table that has one (%v)", of, name, tried)
			}
		}
	}
}

var errBack = errors.New("take it back")

// ask makes a call in a transaction, which is kept where that is asked for.
func (c fenced) ask(ctx context.Context, s *Store, keep bool) (n int, err error) {
	_ = s.Tx(ctx, func(t rooms.Tx) error {
		n, err = c.call(ctx, t.(*tx).reader, t)
		if err == nil && !keep {
			return errBack
		}
		return err
	})
	return n, err
}

// TestFence makes every call that touches what a tenant has: within its fence, without one and
// beyond it works, and within another tenant's it finds nothing and changes nothing.
func TestFence(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		estates(t, s)
		before := s.rowsOf(t, mine)
		stock := s.rowsOf(t, tenant.Nobody)
		for _, c := range slices.Concat(fencedReads(), fencedInTx()) {
			within := tenant.Within(t.Context(), mine)
			for name, ctx := range map[string]context.Context{"without a fence": t.Context(), "beyond": tenant.Beyond(within), "within its own": within} {
				if c.unfit && name == "within its own" {
					continue
				}
				if n, err := c.ask(ctx, s, false); n == 0 || err != nil {
					t.Errorf("%s, %s: %d, %v", c.method, name, n, err)
				}
			}
			for _, other := range []tenant.ID{theirs, tenant.Nobody, "", "ten_none"} {
				n, err := c.ask(tenant.Within(t.Context(), other), s, true)
				c.judge(t, other, n, err)
				if after := s.rowsOf(t, mine); !slices.Equal(after, before) {
					t.Fatalf("%s, within the fence of %q, has changed\n%s\nto\n%s", c.method, other, strings.Join(before, "\n"), strings.Join(after, "\n"))
				}
			}
		}
		if after := s.rowsOf(t, tenant.Nobody); !slices.Equal(after, stock) {
			t.Errorf("the stock is\n%s\nand was\n%s", after, stock)
		}
	})
}

// judge looks at how a call has ended within another tenant's fence.
func (c fenced) judge(t *testing.T, other tenant.ID, n int, err error) {
	t.Helper()
	code := fault.CodeOf(err)
	switch {
	case c.beyond:
		if n == 0 || err != nil {
			t.Errorf("%s, within the fence of %q: %d, %v", c.method, other, n, err)
		}
	case err != nil:
		if !errors.Is(err, errFenced) && code != fault.CodeNotFound && code != fault.CodeConflict && code != fault.CodeFenced {
			t.Errorf("%s, within the fence of %q: %v", c.method, other, err)
		}
	case n != 0 && !c.quiet:
		t.Errorf("%s, within the fence of %q: %d and no error", c.method, other, n)
	}
}

// What the fence cannot see through is refused.
func TestFenceRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		estates(t, s)
		e := estateOf(mine)
		row, err := toInstanceRow(e.inst)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for name, do := range map[string]func(*gorm.DB) error{
			"a query spelled out":     func(db *gorm.DB) error { return db.Raw("SELECT id FROM instances").Scan(&ids).Error },
			"the same for its rows":   func(db *gorm.DB) error { return db.Raw("SELECT id FROM instances").Find(&ids).Error },
			"a statement spelled out": func(db *gorm.DB) error { return db.Exec("DELETE FROM jobs").Error },
			"an unknown table":        func(db *gorm.DB) error { return db.Table("things").Pluck("id", &ids).Error },
			"a fenced one by another's name": func(db *gorm.DB) error {
				return db.Model(&hostRow{}).Table("instances AS hosts").Pluck("id", &ids).Error
			},
			"a join with a fenced one": func(db *gorm.DB) error {
				return db.Model(&portRow{}).Joins("JOIN instances ON instances.id = ports.instance_id").Pluck("instances.name", &ids).Error
			},
			"two fenced ones": func(db *gorm.DB) error {
				return db.Model(&jobRow{}).Joins("JOIN `events` ON events.job_id = jobs.id").Pluck("events.id", &ids).Error
			},
			"a subquery spelled out": func(db *gorm.DB) error {
				return db.Table("(?) AS all_of_them", db.Raw("SELECT id FROM instances")).Pluck("id", &ids).Error
			},
			"a subquery with another table": func(db *gorm.DB) error {
				return db.Table("(?) AS some, instances", db.Model(&hostRow{}).Select("id")).Pluck("instances.id", &ids).Error
			},
			"a delete of all":          func(db *gorm.DB) error { return db.Delete(&jobRow{}).Error },
			"an update of all":         func(db *gorm.DB) error { return db.Model(&jobRow{}).Update("state", "x").Error },
			"an update to whole a row": func(db *gorm.DB) error { return db.Model(&instanceRow{}).Where("id = ?", row.ID).Updates(row).Error },
			"handing a row to another": func(db *gorm.DB) error {
				return db.Model(&instanceRow{}).Where("id = ?", row.ID).Update("tenant_id", "ten_b").Error
			},
			"handing a watch to another": func(db *gorm.DB) error {
				return db.Model(&watchRow{}).Where("instance_id = ?", row.ID).Update("instance_id", "ins_b").Error
			},
			"saving a row":       func(db *gorm.DB) error { return db.Save(&row).Error },
			"replacing a row":    func(db *gorm.DB) error { return replace(db, row) },
			"an upsert of a row": func(db *gorm.DB) error { return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error },
			"rows as maps": func(db *gorm.DB) error {
				return db.Model(&jobRow{}).Create(map[string]any{"id": "x", "tenant_id": "ten_b"}).Error
			},
			"some of another":     func(db *gorm.DB) error { return db.Create(&[]eventCounterRow{{"ten_a", 1}, {"ten_b", 1}}).Error },
			"labels of another's": func(db *gorm.DB) error { return db.Create(&[]labelRow{{"ins_a", "x", "y"}, {"ins_b", "x", "y"}}).Error },
			"one that is no row": func(db *gorm.DB) error {
				type thing struct{ ID string }
				return insert(db, thing{"x"})
			},
		} {
			err := s.Tx(tenant.Within(t.Context(), mine), func(t rooms.Tx) error { return do(t.(*tx).db) })
			if !errors.Is(err, errFenced) && !errors.Is(err, gorm.ErrMissingWhereClause) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(ids) > 0 {
			t.Errorf("%v were read", ids)
		}
	})
}

// A condition with an OR does not lead around the fence.
func TestFenceStandsBesideOr(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		estates(t, s)
		db := s.db.WithContext(tenant.Within(t.Context(), mine))
		for name, q := range map[string]*gorm.DB{
			"in one condition": db.Where("id = 'x' OR id = id"),
			"as two":           db.Where("id = ?", "x").Or("id = id"),
			"as three":         db.Where("id = ?", "x").Or("id = id").Where("rev >= 0"),
		} {
			var rows []jobRow
			if err := q.Find(&rows).Error; err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, row := range rows {
				if row.TenantID != string(mine) {
					t.Errorf("%s: %s of %s", name, row.ID, row.TenantID)
				}
			}
		}
	})
}
