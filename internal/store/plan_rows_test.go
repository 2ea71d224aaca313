package store

import (
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// planRows is how many instances there are for TestPlans: enough for a scan to stand
// out, and for the databases to prefer an index.
const (
	planRows  = 4000
	planPorts = 1000
	planLive  = 40 // jobs that have not ended
)

var planNow = time.UnixMilli(1_800_000_000_000).UTC()

// fillForPlans writes instances of which nearly all run, are of one engine and have one
// label; their ended jobs, sent deliveries, numbered events; and a host whose ports are
// all used. Nothing is old enough to be removed.
func fillForPlans(t *testing.T, s *Store) {
	t.Helper()
	now := planNow.UnixMilli()
	var (
		instances  []instanceRow
		labels     []labelRow
		jobs       []jobRow
		events     []eventRow
		deliveries []deliveryRow
		watches    []watchRow
		ports      []portRow
		users      []userRow
		members    []memberRow
		sessions   []sessionRow
		invited    []invitationRow
	)
	for i := range planRows {
		inst := planInstance(i, now)
		instances = append(instances, inst)
		labels = append(labels, labelRow{inst.ID, "team", "a"})
		if i%1000 == 500 {
			labels = append(labels, labelRow{inst.ID, "rare", "yes"})
		}
		jobs = append(jobs, planJob(i, inst, now))
		seq := int64(i + 1)
		event := eventRow{ID: fmt.Sprintf("evt_%07d", i), TenantID: "default", Type: "instance.running", InstanceID: inst.ID, At: now, Seq: &seq}
		if i >= planRows-planLive {
			event.Seq = nil
		}
		events = append(events, event)
		d := deliveryRow{ID: fmt.Sprintf("dlv_%07d", i), TenantID: "default", WebhookID: "whk_2", Receiver: "whk_2", State: "delivered", Body: []byte("{}"), Ciphertext: []byte{1}, UpdatedAt: now}
		if i%1000 == 500 {
			d.WebhookID, d.Receiver, d.State, d.WakeAt, d.DueAt = "whk_1", "whk_1", "pending", &now, now
		}
		deliveries = append(deliveries, d)
		watches = append(watches, watchRow{InstanceID: inst.ID, ProbeAt: now + int64(i) - 30})
		u := userRow{ID: fmt.Sprintf("usr_%07d", i), Login: fmt.Sprintf("user-%d", i)}
		users, members = append(users, u), append(members, planMember(i, u))
		sessions = append(sessions, sessionRow{ID: fmt.Sprintf("ses_%07d", i), UserID: u.ID, TenantID: "default", Hash: fmt.Sprintf("hash-%d", i), ExpiresAt: now + 1})
		inv := invitationRow{ID: fmt.Sprintf("inv_%07d", i), TenantID: "default", Hash: fmt.Sprintf("hash-%d", i), ExpiresAt: now + 1, UsedAt: now}
		if i%100 == 99 {
			inv.UsedAt = 0
		}
		invited = append(invited, inv)
	}
	for i := range planPorts {
		p := portRow{HostID: "hst_1", Port: 20000 + i, InstanceID: nullable(fmt.Sprintf("ins_%07d", i)), Name: "redis"}
		if i%100 == 99 {
			p.InstanceID, p.Name, p.RestUntil = nil, "", int64(i+1)
		}
		ports = append(ports, p)
	}
	err := s.db.Transaction(func(db *gorm.DB) error {
		for _, rows := range []any{instances, labels, jobs, events, deliveries, watches, ports, users, members, sessions, invited, []eventCounterRow{{"default", planRows - planLive}}} {
			if err := db.CreateInBatches(rows, 100).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.dialect == dialectMySQL { // which does so by itself in time; SQLite must choose well without
		err = s.db.Exec("ANALYZE TABLE instances, instance_labels, jobs, events, deliveries, watches, ports, users, members, sessions, invitations").Error
	}
	if err != nil {
		t.Fatal(err)
	}
}

func planMember(i int, u userRow) memberRow {
	m := memberRow{TenantID: "default", UserID: u.ID, Role: string(tenant.Viewer)}
	if i%1000 == 500 {
		m.Role = string(tenant.Owner)
	}
	return m
}

func planInstance(i int, now int64) instanceRow {
	row := instanceRow{
		ID: fmt.Sprintf("ins_%07d", i), TenantID: "default", Engine: "mysql", Name: fmt.Sprintf("name-%d", i), Parameters: "{}", Labels: "{}",
		State: string(instance.StateRunning), HostID: "hst_1", CreatedAt: now, UpdatedAt: now,
	}
	switch {
	case i%4 == 3:
		row.State, row.DeletedAt = string(instance.StateDeleted), now
	case i%1000 == 500:
		row.Engine = "redis"
	case i%1000 == 501:
		row.State, row.KeptUntil = string(instance.StateFailed), now
	case i%1000 == 502:
		row.TenantID, row.State = string(tenant.Nobody), string(instance.StateWarm)
	}
	if row.DeletedAt == 0 {
		row.LiveName = &row.Name
	}
	return row
}

func planJob(i int, inst instanceRow, now int64) jobRow {
	row := jobRow{
		ID: fmt.Sprintf("job_%07d", i), TenantID: "default", InstanceID: inst.ID, Kind: string(instance.JobCreate), State: string(job.Succeeded),
		Steps: "[]", FinishedAt: now, CreatedAt: now, UpdatedAt: now,
	}
	if i%1000 == 500 {
		row.Kind = string(instance.JobDelete)
	}
	if parent := "job_0000100"; i > 100 && i <= 200 {
		row.ParentID = &parent
	}
	if i >= planRows-planLive {
		row.State, row.FinishedAt, row.LiveInstanceID, row.WakeAt = string(job.Queued), 0, &inst.ID, &now
	}
	return row
}
