package rooms

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// Janitor removes what nobody needs any more, and gives up what has waited too long.
type Janitor struct {
	Store Store
	Now   clock.Clock
	Owner string
	// Retention is how long deleted instances, ended jobs and stored answers stay
	// readable.
	Retention time.Duration
	// EventRetention is how long events are; zero: as long as there is a database.
	EventRetention time.Duration
	// AuditRetention is how long entries of the audit log are; zero: as long as there is a
	// database.
	AuditRetention time.Duration
	NewID          id.Maker
	// Service deletes the failed instances that were kept for inspection; nil: nobody
	// does.
	Service *instance.Service
}

const (
	// JanitorEvery is how often the janitor looks.
	JanitorEvery = time.Minute
	janitorDuty  = "janitor"
	janitorBatch = 500
)

// RunOnce removes one batch, and reports how many rows it was.
func (j *Janitor) RunOnce(ctx context.Context) (int, error) {
	mine, err := (&duty.Duty{Store: dutyStore{j.Store}, Now: j.Now, Name: janitorDuty, Owner: j.Owner, Hold: JanitorEvery}).Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	now, removed := j.Now(), 0
	err = j.Store.Tx(ctx, func(tx Tx) error {
		removed, err = DeleteOld(tx, now.Add(-j.Retention), janitorBatch)
		return err
	})
	if err != nil {
		return removed, err
	}
	expired, err := webhook.Clean(ctx, Webhooks(j.Store), now)
	if removed += expired; err != nil {
		return removed, err
	}
	if j.EventRetention > 0 {
		events, err := event.Clean(ctx, Events(j.Store), now.Add(-j.EventRetention))
		if removed += events; err != nil {
			return removed, err
		}
	}
	if j.AuditRetention > 0 {
		entries, err := audit.Clean(ctx, Audit(j.Store), tenant.Auditor{NewID: j.NewID, Now: j.Now}, j.AuditRetention)
		if removed += entries; err != nil {
			return removed, err
		}
	}
	if j.Service == nil {
		return removed, nil
	}
	kept, err := j.Service.RemoveKept(ctx)
	return removed + kept, err
}

// DeleteOld removes, of each room, what ended before and nobody needs any more.
func DeleteOld(tx Tx, before time.Time, limit int) (removed int, err error) {
	for _, remove := range []func(time.Time, int) (int, error){
		tx.DeleteOldInstances, tx.DeleteOldJobs, tx.DeleteOldDeliveries, tx.DeleteOldRecords, tx.DeleteOldAccess,
	} {
		n, err := remove(before, limit)
		if removed += n; err != nil {
			return removed, err
		}
	}
	return removed, nil
}
