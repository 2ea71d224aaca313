package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

type quotaRow struct {
	TenantID string `gorm:"primaryKey"`
	Limits   string
}

func (quotaRow) TableName() string { return "quotas" }

func (r quotaRow) entity() (limits tenant.Amounts, err error) {
	return limits, fromJSON(r.Limits, &limits)
}

func quotaOf(q *gorm.DB, of tenant.ID) (tenant.Amounts, error) {
	row, err := one[quotaRow](q.Where("tenant_id = ?", key(of)))
	if err != nil {
		return nil, err
	}
	return row.entity()
}

// Quota implements tenant.Reader.
func (r reader) Quota(ctx context.Context, of tenant.ID) (tenant.Amounts, error) {
	limits, err := quotaOf(r.db.WithContext(ctx), of)
	return limits, fault.IgnoreNotFound(err)
}

// LockQuota implements tenant.QuotaRows. On SQLite a transaction has the whole database to
// itself.
func (t *tx) LockQuota(of tenant.ID, alone bool) (tenant.Amounts, error) {
	limits, err := t.lockedQuota(of, alone)
	if !errors.Is(err, fault.ErrNotFound) {
		return limits, err
	}
	if err := t.db.Clauses(clause.OnConflict{DoNothing: true}).Create(&quotaRow{TenantID: string(of), Limits: "{}"}).Error; err != nil {
		return nil, err
	}
	return t.lockedQuota(of, alone)
}

// lockedQuota is in the way of every accept: GORM would take longer over it than SQLite does.
func (t *tx) lockedQuota(of tenant.ID, alone bool) (tenant.Amounts, error) {
	query := "SELECT limits FROM quotas WHERE tenant_id = ?"
	switch {
	case t.db.Name() != dialectMySQL:
	case alone:
		query += " FOR UPDATE"
	default:
		query += " FOR SHARE"
	}
	rows, err := t.db.Statement.ConnPool.QueryContext(t.ctx, query, key(of))
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	if !rows.Next() {
		return nil, cmp.Or(rows.Err(), error(fault.ErrNotFound))
	}
	var row quotaRow
	if err := rows.Scan(&row.Limits); err != nil {
		return nil, err
	}
	return row.entity()
}

// PutQuota implements tenant.Tx.
func (t *tx) PutQuota(of tenant.ID, limits tenant.Amounts) error {
	text, err := toJSON(limits)
	if err != nil {
		return err
	}
	return t.db.Model(&quotaRow{}).Where("tenant_id = ?", key(of)).Update("limits", text).Error
}

// ofServers counts nothing of instances whose servers were stopped.
const ofServers = "CASE WHEN state = ? THEN 0 ELSE "

// Held implements tenant.Reader. A failed instance may still be on its host as long as it
// has a port: ports are given back when it is confirmed gone.
func (r reader) Held(ctx context.Context, of tenant.ID, kinds []string, since time.Time) (tenant.Amounts, error) {
	if err := mayCount(ctx, of); err != nil {
		return nil, err
	}
	var sum struct{ Instances, CPU, Memory, Disk, Ports int64 }
	err := r.db.WithContext(ctx).Model(&instanceRow{}).
		Select("COUNT(*) AS instances, COALESCE(SUM("+ofServers+"cpu_millis END), 0) AS cpu, COALESCE(SUM("+ofServers+"memory_bytes END), 0) AS memory, "+
			"COALESCE(SUM(disk_bytes), 0) AS disk, COALESCE(SUM(ports), 0) AS ports", string(instance.StateStopped), string(instance.StateStopped)).
		Where("tenant_id = ? AND deleted_at = 0", key(of)).
		Where("(state <> ? OR EXISTS (SELECT 1 FROM ports WHERE ports.instance_id = instances.id))", string(instance.StateFailed)).
		Scan(&sum).Error
	if err != nil {
		return nil, translate(err)
	}
	var jobs int64
	if len(kinds) > 0 {
		err = r.db.WithContext(ctx).Model(&jobRow{}).
			Where("tenant_id = ? AND kind IN ? AND id >= ?", key(of), kinds, id.From(job.Prefix, since)).Count(&jobs).Error
	}
	return tenant.Amounts{
		tenant.Instances: sum.Instances, tenant.CPU: sum.CPU, tenant.Memory: sum.Memory, tenant.Disk: sum.Disk,
		tenant.Ports: sum.Ports, tenant.JobsPerHour: jobs,
	}, translate(err)
}

// Held implements tenant.QuotaRows.
func (t *tx) Held(of tenant.ID, kinds []string, since time.Time) (tenant.Amounts, error) {
	return t.reader.Held(t.ctx, of, kinds, since)
}
