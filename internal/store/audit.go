package store

import (
	"context"

	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

type entryRow struct {
	ID        string `gorm:"primaryKey"`
	Number    *int64 // NULL: it is not in the chain yet
	TenantID  string
	At        int64
	Actor     string
	UserID    string
	KeyID     string
	SessionID string
	Address   string
	Request   string
	Action    string
	Subject   string
	JobID     string
	Result    string
	Detail    string
	Previous  string
	Hash      string
}

func (entryRow) TableName() string { return "audit" }

func (r entryRow) entity() (audit.Entry, error) {
	return audit.Entry{
		Entry: tenant.Entry{
			ID: tenant.EntryID(r.ID), At: moment(r.At), Tenant: tenant.ID(r.TenantID), Actor: r.Actor, User: tenant.UserID(r.UserID), Key: tenant.KeyID(r.KeyID),
			Session: tenant.SessionID(r.SessionID), Origin: tenant.Origin{Address: r.Address, Request: r.Request}, Action: tenant.Action(r.Action), On: r.Subject,
			Job: id.Job(r.JobID), Result: tenant.Result(r.Result), Detail: r.Detail,
		},
		Number: value(r.Number), Previous: r.Previous, Hash: r.Hash,
	}, nil
}

type chainRow struct {
	ID     int64 `gorm:"primaryKey"` // there is one, 1
	Number int64
	Hash   string
}

func (chainRow) TableName() string { return "audit_chain" }

// InsertEntry implements tenant.Trail.
func (t *tx) InsertEntry(e tenant.Entry) error {
	return insert(t.db, entryRow{
		ID: string(e.ID), TenantID: string(e.Tenant), At: millis(e.At), Actor: e.Actor, UserID: string(e.User), KeyID: string(e.Key), SessionID: string(e.Session),
		Address: e.Address, Request: e.Request, Action: string(e.Action), Subject: e.On, JobID: string(e.Job), Result: string(e.Result), Detail: e.Detail,
	})
}

// Entries implements audit.Reader.
func (r reader) Entries(ctx context.Context, f audit.Filter, list page.Page) ([]audit.Entry, error) {
	q := r.db.WithContext(ctx).Where("number IS NOT NULL").Order("number DESC").Limit(list.Limit)
	if list.Before != "" {
		q = q.Where("number < (SELECT number FROM audit WHERE id = ?)", key(list.Before))
	}
	if !f.All && key(f.Tenant) == "" { // no tenant's, and the platform's are for All
		return nil, nil
	}
	if !f.All {
		q = q.Where("tenant_id = ?", string(f.Tenant))
	}
	for column, wanted := range map[string]string{
		"action": string(f.Action), "user_id": string(f.User), "key_id": string(f.Key), "subject": f.On, "result": string(f.Result),
	} {
		if wanted != "" && key(wanted) == "" { // no entry has it, but some have nothing there
			return nil, nil
		}
		if wanted != "" {
			q = q.Where(column+" = ?", wanted)
		}
	}
	if !f.Since.IsZero() {
		q = q.Where("at >= ?", millis(f.Since))
	}
	if !f.Until.IsZero() {
		q = q.Where("at < ?", millis(f.Until))
	}
	var rows []entryRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, entryRow.entity)
}

// Unchained implements audit.Reader.
func (r reader) Unchained(ctx context.Context) (bool, error) {
	var ids []string
	err := r.db.WithContext(ctx).Model(&entryRow{}).Where("number IS NULL").Limit(1).Pluck("id", &ids).Error
	return len(ids) > 0, translate(err)
}

// OldestEntries implements audit.Reader.
func (r reader) OldestEntries(ctx context.Context, limit int) ([]audit.Entry, error) {
	var rows []entryRow
	err := r.db.WithContext(ctx).Select("id", "number", "at").Where("number IS NOT NULL").Order("number").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, translate(err)
	}
	return entities(rows, entryRow.entity)
}

// LockChain implements audit.Rows. On SQLite a transaction has the whole database to itself.
func (t *tx) LockChain() (audit.Head, error) {
	q := t.db.Where("id = 1")
	if t.db.Name() == dialectMySQL {
		q = q.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
	}
	row, err := one[chainRow](q)
	return audit.Head{Number: row.Number, Hash: row.Hash}, err
}

// NewEntries implements audit.Rows.
func (t *tx) NewEntries(limit int) ([]audit.Entry, error) {
	var rows []entryRow
	if err := t.db.Where("number IS NULL").Order("id").Limit(limit).Find(&rows).Error; err != nil {
		return nil, err
	}
	return entities(rows, entryRow.entity)
}

// ChainEntries implements audit.Rows.
func (t *tx) ChainEntries(list []audit.Entry) error {
	for _, e := range list {
		done := t.db.Model(&entryRow{}).Where("id = ?", string(e.ID)).Updates(map[string]any{"number": e.Number, "previous": e.Previous, "hash": e.Hash})
		if done.Error != nil {
			return done.Error
		}
	}
	last := list[len(list)-1]
	return t.db.Model(&chainRow{}).Where("id = 1").Updates(map[string]any{"number": last.Number, "hash": last.Hash}).Error
}

// DeleteEntries implements audit.Rows.
func (t *tx) DeleteEntries(number int64) (int, error) {
	done := t.db.Where("number <= ?", number).Delete(&entryRow{})
	return int(done.RowsAffected), done.Error
}
