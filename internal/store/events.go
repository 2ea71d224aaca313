package store

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
)

// eventCounterRow has the highest number that a tenant's events have. It moves in
// the transaction that numbers them, so whoever sees it sees them.
type eventCounterRow struct {
	TenantID string `gorm:"primaryKey"`
	Last     int64
}

func (eventCounterRow) TableName() string { return "event_counters" }

func (r eventRow) entity() (event.Event, error) {
	return event.Event{
		Number: value(r.Seq), ID: event.ID(r.ID), Tenant: tenant.ID(r.TenantID), Type: r.Type,
		Subject: id.Subject(instance.ID(r.InstanceID)), Job: id.Job(r.JobID), Message: r.Message, At: moment(r.At),
	}, nil
}

// Events implements event.Store.
func (r reader) Events(ctx context.Context, f event.Filter, after int64, limit int) ([]event.Event, error) {
	if !legible(f.Types...) {
		return nil, nil
	}
	q := r.db.WithContext(ctx).Where("tenant_id = ? AND seq > ?", key(f.Tenant), after)
	if f.Subject != "" {
		q = q.Where("instance_id = ?", key(f.Subject))
	}
	if len(f.Types) > 0 {
		q = q.Where("type IN ?", f.Types)
	}
	var rows []eventRow
	if err := q.Order("seq").Limit(limit).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, eventRow.entity)
}

// LastNumbers implements event.Store.
func (r reader) LastNumbers(ctx context.Context, tenants []tenant.ID) (map[tenant.ID]int64, error) {
	keys := make([]string, len(tenants))
	for i, t := range tenants {
		keys[i] = key(t)
	}
	var rows []eventCounterRow
	if err := r.db.WithContext(ctx).Where("tenant_id IN ?", keys).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	out := make(map[tenant.ID]int64, len(rows))
	for _, row := range rows {
		out[tenant.ID(row.TenantID)] = row.Last
	}
	return out, nil
}

// UnnumberedEvents implements event.Store.
func (r reader) UnnumberedEvents(ctx context.Context, limit int) ([]event.Unnumbered, error) {
	var rows []eventRow
	err := r.db.WithContext(ctx).Select("number", "tenant_id").Where("seq IS NULL").Order("number").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, translate(err)
	}
	return entities(rows, func(row eventRow) (event.Unnumbered, error) {
		return event.Unnumbered{Row: row.Number, Tenant: tenant.ID(row.TenantID)}, nil
	})
}

// run is a part of a tenant's events whose rows and whose numbers both follow one on
// the other, so that one statement can number them all.
type run struct{ row, seq, length int64 }

// NumberEvents implements instance.Tx.
func (t *tx) NumberEvents(list []event.Unnumbered) error {
	var tenants []tenant.ID // in a steady order
	rows := map[tenant.ID][]int64{}
	for _, e := range list {
		if rows[e.Tenant] == nil {
			tenants = append(tenants, e.Tenant)
		}
		rows[e.Tenant] = append(rows[e.Tenant], e.Row)
	}
	for _, tenant := range tenants {
		first, err := t.moveCounter(tenant, int64(len(rows[tenant])))
		if err != nil {
			return err
		}
		for _, r := range runs(rows[tenant], first) {
			done := t.db.Model(&eventRow{}).Where("number BETWEEN ? AND ? AND tenant_id = ? AND seq IS NULL", r.row, r.row+r.length-1, string(tenant)).
				UpdateColumn("seq", gorm.Expr("number + ?", r.seq-r.row))
			if done.Error != nil {
				return duplicate(done.Error, fault.ErrConflict)
			}
			if done.RowsAffected != r.length {
				return fault.ErrConflict
			}
		}
	}
	return nil
}

// moveCounter takes the next n numbers of a tenant and gives the first of them. The
// counter moves only from where it was seen, so no number is given twice.
func (t *tx) moveCounter(tenant tenant.ID, n int64) (first int64, err error) {
	where := t.db.Where("tenant_id = ?", string(tenant))
	row := eventCounterRow{TenantID: string(tenant)}
	if err := t.db.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
		return 0, err
	}
	if row, err = one[eventCounterRow](where); err != nil {
		return 0, err
	}
	err = changed(t.db.Model(&eventCounterRow{}).Where("tenant_id = ? AND last = ?", string(tenant), row.Last).
		Update("last", gorm.Expr("last + ?", n)), fault.ErrConflict)
	return row.Last + 1, err
}

func runs(rows []int64, seq int64) []run {
	var out []run
	for i, row := range rows {
		if i > 0 && row == rows[i-1]+1 {
			out[len(out)-1].length++
			continue
		}
		out = append(out, run{row, seq + int64(i), 1})
	}
	return out
}

// DeleteEvents implements instance.Tx.
func (t *tx) DeleteEvents(before time.Time, limit int) (int, error) {
	var numbers []int64
	err := t.db.Model(&eventRow{}).Where("at < ? AND seq IS NOT NULL", millis(before)).Order("at").Limit(limit).Pluck("number", &numbers).Error
	if err != nil || len(numbers) == 0 {
		return 0, err
	}
	done := t.db.Where("number IN ?", numbers).Delete(&eventRow{})
	return int(done.RowsAffected), done.Error
}
