package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/webhook"
)

type receiverRow struct {
	Name         string `gorm:"primaryKey"`
	Failures     int
	FailingSince int64
	Took         int64
	RestUntil    int64
	UpdatedAt    int64 `gorm:"autoUpdateTime:false"`
}

func (receiverRow) TableName() string { return "receivers" }

// headsQuery gives, in order of their names, the receivers that have deliveries
// pending, each with the one that has been due for longest, unless it rests. It takes
// a time that depends on how many receivers there are, and not on how much waits for
// them: MySQL jumps from group to group of the index, if it is named and all its first
// columns are grouped by; SQLite has to be led.
var headsQuery = map[string]string{
	dialectMySQL: fmt.Sprintf(headsOf, pendingIndex, `SELECT receiver AS name, MIN(due_at) AS due FROM deliveries `+pendingIndex+`
		WHERE state = 'pending' AND receiver > @after GROUP BY state, receiver ORDER BY state, receiver LIMIT @limit`),
	dialectSQLite: fmt.Sprintf(headsOf, "", `WITH RECURSIVE step(name) AS (
		SELECT MIN(receiver) FROM deliveries WHERE state = 'pending' AND receiver > @after
		UNION ALL SELECT (SELECT MIN(receiver) FROM deliveries WHERE state = 'pending' AND receiver > step.name) FROM step WHERE step.name IS NOT NULL
		LIMIT @limit) SELECT name FROM step WHERE name IS NOT NULL`),
}

const (
	pendingIndex = `FORCE INDEX (deliveries_pending)`
	headsOf      = `SELECT n.name, CASE WHEN r.rest_until > @now THEN NULL ELSE (
	SELECT d.id FROM deliveries d %s WHERE d.state = 'pending' AND d.receiver = n.name AND d.due_at <= @now ORDER BY d.due_at, d.id LIMIT 1) END AS head
	FROM (%s) n LEFT JOIN receivers r ON r.name = n.name ORDER BY n.name`
)

// DueDeliveries implements webhook.Reader.
func (r reader) DueDeliveries(ctx context.Context, now time.Time, after string, limit int) (due []webhook.Delivery, last string, err error) {
	var heads []struct {
		Name string
		Head *string
	}
	err = r.db.WithContext(ctx).Raw(headsQuery[r.db.Name()], map[string]any{"now": millis(now), "after": after, "limit": limit}).Scan(&heads).Error
	if err != nil {
		return nil, "", translate(err)
	}
	if len(heads) == limit {
		last = heads[limit-1].Name
	}
	var ids []string
	for _, h := range heads {
		if h.Head != nil {
			ids = append(ids, *h.Head)
		}
	}
	if len(ids) == 0 {
		return nil, last, nil
	}
	var rows []deliveryRow
	if err := r.db.WithContext(ctx).Where("id IN ? AND wake_at <= ?", ids, millis(now)).Order("receiver").Find(&rows).Error; err != nil {
		return nil, "", translate(err)
	}
	due, err = entities(rows, deliveryRow.entity)
	return due, last, err
}

// ExpiredDeliveries implements webhook.Reader.
func (r reader) ExpiredDeliveries(ctx context.Context, before, now time.Time, limit int) ([]webhook.Delivery, error) {
	var rows []deliveryRow
	err := r.db.WithContext(ctx).Where("state = ? AND expires_at > 0 AND expires_at <= ? AND due_at <= ?", string(webhook.DeliveryPending), millis(before), millis(now)).
		Order("expires_at").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, translate(err)
	}
	return entities(rows, deliveryRow.entity)
}

// Standing implements webhook.Reader.
func (r reader) Standing(ctx context.Context, receiver string) (webhook.Standing, error) {
	row, err := one[receiverRow](r.db.WithContext(ctx).Where("name = ?", receiver))
	return webhook.Standing{
		Receiver: row.Name, Failures: row.Failures, FailingSince: moment(row.FailingSince), Took: time.Duration(row.Took) * time.Millisecond,
		RestUntil: moment(row.RestUntil), UpdatedAt: moment(row.UpdatedAt),
	}, err
}

func (t *tx) Standing(receiver string) (webhook.Standing, error) {
	return t.reader.Standing(t.ctx, receiver)
}

func (t *tx) PutStanding(s webhook.Standing) error {
	return t.db.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "name"}},
		DoUpdates: clause.AssignmentColumns([]string{"failures", "failing_since", "took", "rest_until", "updated_at"}),
	}).Create(&receiverRow{
		Name: s.Receiver, Failures: s.Failures, FailingSince: millis(s.FailingSince), Took: s.Took.Milliseconds(), RestUntil: millis(s.RestUntil),
		UpdatedAt: millis(s.UpdatedAt),
	}).Error
}

func (t *tx) DeleteStanding(receiver string) error {
	return t.db.Where("name = ?", receiver).Delete(&receiverRow{}).Error
}

func (t *tx) DeleteStandings(before time.Time, limit int) (int, error) {
	return t.purge(&receiverRow{}, "name", limit, "updated_at < ?", millis(before))
}
