package store

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
)

type watchRow struct {
	InstanceID string `gorm:"primaryKey"`
	ProbeAt    int64
	Misses     int
	Repairs    int
	RepairedAt int64
	EndedAt    int64
	Claim      string
	Rev        int64
}

func (watchRow) TableName() string { return "watches" }

func (r watchRow) entity() instance.Watch {
	return instance.Watch{
		Instance: instance.ID(r.InstanceID), ProbeAt: moment(r.ProbeAt), Misses: r.Misses, Repairs: r.Repairs,
		RepairedAt: moment(r.RepairedAt), EndedAt: moment(r.EndedAt), Rev: r.Rev,
	}
}

// residentColumns are what InstancesOn gives.
var residentColumns = []string{
	"id", "tenant_id", "engine", "name", "state", "host_id", "data_lost", "fence", "rev", "created_at", "updated_at", "deleted_at", "kept_until",
}

// InstancesOn implements instance.ReconcileReader. It leaves out what was asked for, most of
// which is JSON: a pass over the hosts reads every instance.
func (r reader) InstancesOn(ctx context.Context, host host.ID, after instance.ID, limit int) ([]instance.Instance, error) {
	var rows []instanceRow
	err := r.db.WithContext(ctx).Select(residentColumns).
		Where("host_id = ? AND deleted_at = 0 AND id > ?", key(host), key(after)).Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, translate(err)
	}
	return entities(rows, func(row instanceRow) (instance.Instance, error) {
		row.Labels, row.Parameters = "{}", "{}"
		return row.entity()
	})
}

// Occupied implements host.Reader.
func (r reader) Occupied(ctx context.Context, host host.ID) (bool, error) {
	ctx = tenant.Beyond(ctx) // a host is occupied by whomever, whoever asks
	var first []string
	err := r.db.WithContext(ctx).Model(&instanceRow{}).Where("host_id = ? AND deleted_at = 0", key(host)).Limit(1).Pluck("id", &first).Error
	return len(first) > 0, translate(err)
}

// InstancesByID implements instance.ReconcileReader.
func (r reader) InstancesByID(ctx context.Context, ids []instance.ID) ([]instance.Instance, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = key(id) // a host's labels may say anything
	}
	var rows []instanceRow
	if err := r.db.WithContext(ctx).Where("id IN ?", keys).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, instanceRow.entity)
}

// Stranded implements host.Reader.
func (r reader) Stranded(ctx context.Context, h host.ID, after host.UnitID, limit int) ([]host.UnitID, error) {
	var ids []host.UnitID
	err := r.db.WithContext(ctx).Table("ports AS p").Joins("LEFT JOIN instances AS i ON i.id = p.instance_id").
		Where("p.host_id = ? AND p.instance_id > ? AND (i.id IS NULL OR i.state IN ?)", key(h), key(after),
			[]string{string(instance.StateDeleted), string(instance.StateFailed)}).
		Distinct("p.instance_id").Order("p.instance_id").Limit(limit).Pluck("p.instance_id", &ids).Error
	return ids, translate(err)
}

// WatchesDue implements instance.ReconcileReader.
func (r reader) WatchesDue(ctx context.Context, now time.Time) (bool, error) {
	var first []string
	err := r.db.WithContext(ctx).Model(&watchRow{}).Where("probe_at <= ?", millis(now)).Limit(1).Pluck("instance_id", &first).Error
	return len(first) > 0, translate(err)
}

// Watch implements instance.ReconcileTx.
func (t *tx) Watch(id instance.ID) (instance.Watch, error) {
	row, err := one[watchRow](t.db.Where("instance_id = ?", key(id)))
	return row.entity(), err
}

// ClaimWatches implements instance.ReconcileTx. The condition is asked again by the update, so
// that of two who have found the same rows only one changes each.
func (t *tx) ClaimWatches(claim string, now, until time.Time, spread time.Duration, limit int) ([]instance.Watch, error) {
	var due []string
	err := t.db.Model(&watchRow{}).Where("probe_at <= ?", millis(now)).Order("probe_at").Limit(limit).Pluck("instance_id", &due).Error
	if err != nil || len(due) == 0 {
		return nil, err
	}
	err = t.db.Model(&watchRow{}).Where("instance_id IN ? AND probe_at <= ?", due, millis(now)).Updates(map[string]any{
		"claim": claim, "rev": oneMore,
		// Two primes shake the rows apart without a random function that both databases know.
		"probe_at": gorm.Expr("? + (probe_at + rev * 7919 + LENGTH(claim) * 104729) % ?", millis(until), max(spread.Milliseconds(), 1)),
	}).Error
	if err != nil {
		return nil, err
	}
	var rows []watchRow
	if err := t.db.Where("claim = ?", claim).Find(&rows).Error; err != nil {
		return nil, err
	}
	return entities(rows, func(row watchRow) (instance.Watch, error) { return row.entity(), nil })
}

// StartWatch implements instance.ReconcileTx.
func (t *tx) StartWatch(id instance.ID, probeAt time.Time) error {
	return t.db.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "instance_id"}},
		DoUpdates: clause.Assignments(map[string]any{"probe_at": millis(probeAt), "misses": 0, "rev": gorm.Expr("watches.rev + 1")}),
	}).Create(&watchRow{InstanceID: string(id), ProbeAt: millis(probeAt)}).Error
}

// UpdateWatch implements instance.ReconcileTx.
func (t *tx) UpdateWatch(w instance.Watch) error {
	return changed(t.db.Model(&watchRow{}).Where("instance_id = ? AND rev = ?", string(w.Instance), w.Rev).Updates(map[string]any{
		"probe_at": millis(w.ProbeAt), "misses": w.Misses, "repairs": w.Repairs, "repaired_at": millis(w.RepairedAt), "ended_at": millis(w.EndedAt), "rev": oneMore,
	}), fault.ErrConflict)
}

// EndWatch implements instance.ReconcileTx.
func (t *tx) EndWatch(id instance.ID) error {
	return t.db.Where("instance_id = ?", string(id)).Delete(&watchRow{}).Error
}
