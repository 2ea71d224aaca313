package store

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// LiveJobs implements job.Tx. Both questions are answered from an index alone,
// and end with the limit.
func (t *tx) LiveJobs(of tenant.ID, limit int) (int, error) {
	ctx := t.ctx
	if of == "" {
		ctx = tenant.Beyond(ctx) // asked within a request, this counts all tenants' all the same
	} else if err := mayCount(ctx, of); err != nil {
		return 0, err
	}
	db := t.db.WithContext(ctx)
	live := db.Model(&jobRow{}).Select("live_instance_id").Where("live_instance_id > ''").Limit(limit)
	if of != "" {
		live = live.Where("tenant_id = ?", key(of))
	}
	var n int64
	err := db.Table("(?) AS live", live).Count(&n).Error
	return int(n), err
}

// Turns implements job.Store.
func (r reader) Turns(ctx context.Context) ([]job.Turn, error) {
	var rows []struct {
		TenantID, Kind   string
		Waiting, Running int
	}
	err := r.db.WithContext(ctx).Model(&jobRow{}).
		Select("tenant_id, kind, SUM(CASE WHEN state = ? AND started_at = 0 THEN 1 ELSE 0 END) AS waiting, SUM(CASE WHEN state = ? THEN 1 ELSE 0 END) AS running",
			string(job.Queued), string(job.Running)).
		Where("live_instance_id > ''").Group("tenant_id, kind").Find(&rows).Error
	if err != nil {
		return nil, translate(err)
	}
	var all []job.Turn
	for _, row := range rows {
		if row.Waiting > 0 || row.Running > 0 {
			all = append(all, job.Turn{Tenant: tenant.ID(row.TenantID), Kind: job.Kind(row.Kind), Waiting: row.Waiting, Running: row.Running})
		}
	}
	return all, nil
}

// WaitingJobs implements job.Store.
func (r reader) WaitingJobs(ctx context.Context, of tenant.ID, limit int) ([]job.Job, error) {
	var rows []jobRow
	err := r.db.WithContext(ctx).Where("tenant_id = ? AND state = ? AND started_at = 0", key(of), string(job.Queued)).Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, translate(err)
	}
	return entities(rows, jobRow.entity)
}

// KeptInstances implements instance.Reader.
func (r reader) KeptInstances(ctx context.Context, now time.Time, limit int) ([]instance.ID, error) {
	var list []instance.ID
	err := r.db.WithContext(ctx).Model(&instanceRow{}).Where("kept_until > 0 AND kept_until <= ? AND state = ?", millis(now), string(instance.StateFailed)).
		Order("kept_until").Limit(limit).Pluck("id", &list).Error
	return list, translate(err)
}
