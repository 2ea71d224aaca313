package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// sealedColumn is where values of a kind are.
type sealedColumn struct {
	kind              sealing.Kind
	table             string
	keyID, ciphertext string
	tenant            string // the first column of the primary key, where that has two
	id                string
	needed            string // a condition; empty: every row; a ? in it is the time
	revised           bool   // whether a row has a revision, by which others change it
}

// sealedColumns has a row for each of sealing.Kinds.
var sealedColumns = []sealedColumn{
	{kind: sealing.Credentials, table: "credentials", keyID: "key_id", ciphertext: "ciphertext", id: "instance_id"},
	{kind: sealing.Webhook, table: "webhooks", keyID: "key_id", ciphertext: "ciphertext", id: "id", revised: true},
	{kind: sealing.OldWebhook, table: "webhooks", keyID: "previous_key_id", ciphertext: "previous_ciphertext", id: "id", needed: "previous_until > ?", revised: true},
	{kind: sealing.Callback, table: "deliveries", keyID: "key_id", ciphertext: "ciphertext", id: "id", needed: "state IN ('pending', 'exhausted', 'canceled')", revised: true},
	{kind: sealing.Authority, table: "authorities", keyID: "key_id", ciphertext: "ciphertext", id: "id"},
	{kind: sealing.HostSecret, table: "host_secrets", keyID: "key_id", ciphertext: "ciphertext", id: "id"},
	{kind: sealing.Answer, table: "idempotency", keyID: "key_id", ciphertext: "ciphertext", tenant: "tenant_id", id: "idem_key"},
}

func columnOf(kind sealing.Kind) (sealedColumn, error) {
	for _, c := range sealedColumns {
		if c.kind == kind {
			return c, nil
		}
	}
	return sealedColumn{}, fmt.Errorf("no column has %s", kind)
}

// owner gives the tenant's column as an expression.
func (c sealedColumn) owner() string {
	if c.tenant == "" {
		return "''"
	}
	return c.tenant
}

// whereNeeded gives the condition of rows whose value is sealed and needed.
func (c sealedColumn) whereNeeded(now time.Time) (where string, args []any) {
	where = c.keyID + " <> ''"
	if c.needed == "" {
		return where, nil
	}
	for range strings.Count(c.needed, "?") {
		args = append(args, now.UnixMilli())
	}
	return where + " AND " + c.needed, args
}

// KeyCheck implements sealing.Store.
func (s *Store) KeyCheck(ctx context.Context) (secret.Sealed, error) {
	check, _, err := keyCheck(s.db.WithContext(ctx))
	return check, err
}

// keyCheck gives the check value, and the text that it is stored as.
func keyCheck(db *gorm.DB) (check secret.Sealed, text string, err error) {
	row, err := one[settingRow](db.Where("name = ?", keyCheckSetting))
	if err != nil {
		return secret.Sealed{}, "", err
	}
	if err := json.Unmarshal([]byte(row.Value), &check); err != nil {
		return secret.Sealed{}, "", fmt.Errorf("read the check value of the master key: %w", err)
	}
	return check, row.Value, nil
}

// InsertKeyCheck implements sealing.Store.
func (s *Store) InsertKeyCheck(ctx context.Context, check secret.Sealed) error {
	text, err := json.Marshal(check)
	if err != nil {
		return err
	}
	return s.inTx(ctx, func(db *gorm.DB) error { return insert(db, settingRow{Name: keyCheckSetting, Value: string(text)}) })
}

// ReplaceKeyCheck implements sealing.Store.
func (s *Store) ReplaceKeyCheck(ctx context.Context, before, after secret.Sealed) error {
	fresh, err := json.Marshal(after)
	if err != nil {
		return err
	}
	return s.inTx(ctx, func(db *gorm.DB) error {
		is, text, err := keyCheck(db)
		if err != nil {
			return err
		}
		if is.KeyID != before.KeyID || string(is.Ciphertext) != string(before.Ciphertext) {
			return fault.ErrConflict
		}
		return changed(db.Model(&settingRow{}).Where("name = ? AND value = ?", keyCheckSetting, text).Update("value", string(fresh)), fault.ErrConflict)
	})
}

// SealedValues implements sealing.Store.
func (s *Store) SealedValues(ctx context.Context, kind sealing.Kind, keyID string, after sealing.Value, limit int) ([]sealing.Value, error) {
	c, err := columnOf(kind)
	if err != nil {
		return nil, err
	}
	behind, order, args := c.id+" > ?", c.id, []any{keyID, after.ID}
	if c.tenant != "" { // spelled out, so that MySQL goes by the primary key
		behind = fmt.Sprintf("(%[1]s > ? OR %[1]s = ? AND %[2]s > ?)", c.tenant, c.id)
		order, args = c.tenant+", "+c.id, []any{keyID, after.Tenant, after.Tenant, after.ID}
	}
	var rows []struct {
		Tenant, ID, KeyID string
		Ciphertext        []byte
	}
	err = s.db.WithContext(ctx).Raw(fmt.Sprintf("SELECT %s AS tenant, %s AS id, %s AS key_id, %s AS ciphertext FROM %s WHERE %[3]s <> '' AND %[3]s <> ? AND %[6]s ORDER BY %[7]s LIMIT %[8]d",
		c.owner(), c.id, c.keyID, c.ciphertext, c.table, behind, order, limit), args...).Scan(&rows).Error
	values := make([]sealing.Value, len(rows))
	for i, r := range rows {
		values[i] = sealing.Value{Kind: kind, Tenant: tenant.ID(r.Tenant), ID: r.ID, Sealed: secret.Sealed{KeyID: r.KeyID, Ciphertext: r.Ciphertext}}
	}
	return values, translate(err)
}

// Reseal implements sealing.Store. The revision of a row is raised, so that who has read it
// before does not write the old value back.
func (s *Store) Reseal(ctx context.Context, changes []sealing.Change) (done int, err error) {
	if len(changes) == 0 {
		return 0, nil
	}
	err = s.inTx(ctx, func(db *gorm.DB) error {
		done = 0
		for _, change := range changes {
			c, err := columnOf(change.Before.Kind)
			if err != nil {
				return err
			}
			columns := map[string]any{c.keyID: change.After.KeyID, c.ciphertext: change.After.Ciphertext}
			if c.revised {
				columns["rev"] = oneMore
			}
			row := db.Table(c.table).Where(c.id+" = ? AND "+c.keyID+" = ? AND "+c.ciphertext+" = ?", change.Before.ID, change.Before.Sealed.KeyID, change.Before.Sealed.Ciphertext)
			if c.tenant != "" {
				row = row.Where(c.tenant+" = ?", string(change.Before.Tenant))
			}
			written := row.Updates(columns)
			if written.Error != nil {
				return written.Error
			}
			done += int(written.RowsAffected)
		}
		return nil
	})
	return done, err
}

// CountSealed implements sealing.Store.
func (s *Store) CountSealed(ctx context.Context) ([]sealing.Count, error) {
	var all []sealing.Count
	for _, c := range sealedColumns {
		where, args := c.whereNeeded(time.Now())
		var rows []struct {
			KeyID string
			N     int
		}
		err := s.db.WithContext(ctx).Raw(fmt.Sprintf("SELECT %[1]s AS key_id, COUNT(*) AS n FROM %[2]s WHERE %[3]s GROUP BY %[1]s ORDER BY %[1]s", c.keyID, c.table, where), args...).
			Scan(&rows).Error
		if err != nil {
			return nil, translate(err)
		}
		for _, r := range rows {
			all = append(all, sealing.Count{Kind: c.kind, KeyID: r.KeyID, Values: r.N})
		}
	}
	return all, nil
}

type keyHolderRow struct {
	Owner   string `gorm:"primaryKey"`
	KeyIDs  string
	Sealing string
	SeenAt  int64
}

func (keyHolderRow) TableName() string { return "key_holders" }

// PutHolder implements sealing.Store.
func (s *Store) PutHolder(ctx context.Context, h sealing.Holder) error {
	row := keyHolderRow{Owner: h.Owner, KeyIDs: strings.Join(h.Keys, ","), Sealing: h.Sealing, SeenAt: millis(h.SeenAt)}
	return s.inTx(ctx, func(db *gorm.DB) error { return replace(db, row) })
}

// Holders implements sealing.Store.
func (s *Store) Holders(ctx context.Context, since time.Time) ([]sealing.Holder, error) {
	var rows []keyHolderRow
	err := s.db.WithContext(ctx).Where("seen_at >= ?", millis(since)).Order("owner").Find(&rows).Error
	holders := make([]sealing.Holder, len(rows))
	for i, r := range rows {
		holders[i] = sealing.Holder{Owner: r.Owner, Keys: strings.Split(r.KeyIDs, ","), Sealing: r.Sealing, SeenAt: moment(r.SeenAt)}
	}
	return holders, translate(err)
}

// DeleteHolders implements sealing.Store.
func (s *Store) DeleteHolders(ctx context.Context, owner string, before time.Time) error {
	return s.inTx(ctx, func(db *gorm.DB) error {
		return db.Where("owner = ? OR seen_at < ?", owner, millis(before)).Delete(&keyHolderRow{}).Error
	})
}
