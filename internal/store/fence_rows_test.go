package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// The two tenants whose fence is tried. Their ids, and those of their things, end in a letter.
const (
	mine   tenant.ID = "ten_a"
	theirs tenant.ID = "ten_b"
)

var (
	fenceNow = planNow
	longAgo  = planNow.Add(-48 * time.Hour)
	sealedBy = secret.Sealed{KeyID: "k", Ciphertext: []byte{1}}
)

// estate is what a tenant has: a row in each table with a fence.
type estate struct {
	of       tenant.ID
	inst     instance.Instance // it runs, has a label, credentials, a watch and a job
	deleted  instance.Instance // long ago
	kept     instance.Instance // failed, and holds a port
	job      job.Job           // queued
	child    job.Job           // of the job
	ended    job.Job           // long ago
	delivery webhook.Delivery  // pending
	sent     webhook.Delivery  // long ago
	hook     webhook.Webhook
	record   idempotency.Record
	event    event.Event // without a number; there is one with a number, of long ago
}

func estateOf(of tenant.ID) estate {
	_, letter, _ := strings.Cut(string(of), "_")
	made := func(kind string) instance.Instance {
		return instance.Instance{
			ID: instance.ID("ins_" + kind + letter), Tenant: of, Name: "name-" + kind, Spec: instance.Spec{Engine: "redis", Ports: 1},
			State: instance.StateRunning, Status: instance.Status{Host: "hst_1"}, Rev: 1, CreatedAt: longAgo, UpdatedAt: longAgo,
		}
	}
	e := estate{of: of, inst: made(""), deleted: made("deleted"), kept: made("kept")}
	e.inst.Status.CertifiedUntil = longAgo
	e.inst.Labels = map[string]string{"team": letter}
	e.deleted.State, e.deleted.DeletedAt, e.deleted.Labels = instance.StateDeleted, longAgo, map[string]string{"team": letter}
	e.kept.State, e.kept.KeptUntil = instance.StateFailed, longAgo
	work := func(kind string, on instance.ID) job.Job {
		return job.Job{
			ID: id.Job("job_" + kind + letter), Tenant: of, Subject: id.Subject(on), Class: "redis", Kind: instance.JobCreate, State: job.Queued,
			Steps: []job.Step{}, Generation: 1, WakeAt: longAgo, Deadline: fenceNow, CreatedAt: longAgo, UpdatedAt: longAgo,
		}
	}
	e.job, e.child, e.ended = work("", e.inst.ID), work("child", e.kept.ID), work("ended", e.deleted.ID)
	e.child.Parent = e.job.ID
	e.ended.State, e.ended.FinishedAt, e.ended.WakeAt = job.Succeeded, longAgo, time.Time{}
	e.hook = webhook.Webhook{ID: webhook.ID("whk_" + letter), Tenant: of, URL: "https://example.com", Enabled: true, Secret: sealedBy, Rev: 0, CreatedAt: longAgo, UpdatedAt: longAgo}
	e.delivery = webhook.Delivery{
		ID: webhook.DeliveryID("dlv_" + letter), Tenant: of, Subject: id.Subject(e.inst.ID), Webhook: e.hook.ID, URL: e.hook.URL, Body: []byte("{}"),
		State: webhook.DeliveryPending, DueAt: longAgo, Generation: 1, WakeAt: longAgo, ExpiresAt: longAgo, CreatedAt: longAgo, UpdatedAt: longAgo,
	}
	e.sent = e.delivery
	e.sent.ID, e.sent.State, e.sent.WakeAt = webhook.DeliveryID("dlv_sent"+letter), webhook.DeliveryDelivered, time.Time{}
	e.record = idempotency.Record{Tenant: of, Key: "key-" + letter, Fingerprint: "f", Answer: sealedBy, CreatedAt: longAgo}
	e.event = event.Event{ID: event.ID("evt_" + letter), Tenant: of, Type: "instance.running", Subject: id.Subject(e.inst.ID), At: longAgo}
	return e
}

func (e estate) insert(tx rooms.Tx) error {
	first := e.event
	first.ID = "evt_first" + first.ID[len("evt_"):]
	return errors.Join(tx.AppendEvent(first), tx.AppendEvent(e.event),
		tx.InsertInstance(e.inst), tx.InsertInstance(e.deleted), tx.InsertInstance(e.kept),
		tx.PutCredentials(e.inst.ID, sealedBy), tx.StartWatch(e.inst.ID, longAgo),
		tx.InsertJob(e.job), tx.InsertJob(e.child), tx.InsertJob(e.ended),
		tx.InsertWebhook(e.hook), tx.InsertDelivery(e.delivery), tx.InsertDelivery(e.sent), tx.PutIdempotent(e.record))
}

// warmOne is nobody's.
func warmOne() instance.Instance {
	i := estateOf(theirs).inst
	i.ID, i.Name, i.Tenant, i.State, i.Labels = "ins_warm", "warm", tenant.Nobody, instance.StateWarm, map[string]string{"of": "warm"}
	return i
}

// estates fills a store with what two tenants have, and with what is no tenant's.
func estates(t *testing.T, s *Store) {
	t.Helper()
	a, b := estateOf(mine), estateOf(theirs)
	h := host.Host{ID: "hst_1", Name: "one", PortLow: 20000, PortHigh: 20009}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Tx(t.Context(), func(tx rooms.Tx) error {
		_, err := tx.PutHost(h)
		for _, e := range []estate{a, b} {
			_, taken := tx.TakePort(h, host.UnitID(e.kept.ID), "redis", fenceNow)
			err = errors.Join(err, taken, e.insert(tx))
		}
		return errors.Join(err, tx.InsertInstance(warmOne()), tx.PutCredentials("ins_warm", sealedBy))
	}))
	list, err := s.UnnumberedEvents(t.Context(), 100)
	must(err)
	firsts := []event.Unnumbered{{Row: list[0].Row, Tenant: mine}, {Row: list[2].Row, Tenant: theirs}}
	must(s.Tx(t.Context(), func(tx rooms.Tx) error { return tx.NumberEvents(firsts) }))
}

// fencedTables gives the tables that have a fence.
func fencedTables() (all []string) {
	for name, is := range tables {
		if is == ofTenant || is == ofInstance {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// rowsOf gives all that is in the tables with a fence and is a tenant's, by the end of its ids.
func (s *Store) rowsOf(t *testing.T, of tenant.ID) (all []string) {
	t.Helper()
	for _, table := range fencedTables() {
		var rows []map[string]any
		if err := s.db.WithContext(t.Context()).Table(table).Find(&rows).Error; err != nil {
			t.Fatal(err)
		}
		n := len(all)
		for _, row := range rows {
			owner := fmt.Sprint(row["tenant_id"])
			if tables[table] == ofInstance {
				owner = "ten_" + fmt.Sprint(row["instance_id"])[len(fmt.Sprint(row["instance_id"]))-1:]
			}
			if owner == string(of) {
				all = append(all, table+" "+fmt.Sprint(row))
			}
		}
		if of == mine && len(all) == n {
			t.Errorf("%s has no row of %s to begin with", table, of)
		}
	}
	return all
}
