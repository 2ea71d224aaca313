package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

type tenantRow struct {
	ID        string `gorm:"primaryKey"`
	Name      string
	LiveName  *string
	Rev       int64
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	UpdatedAt int64 `gorm:"autoUpdateTime:false"`
	DeletedAt int64
}

func (tenantRow) TableName() string { return "tenants" }

func toTenantRow(t tenant.Tenant) tenantRow {
	row := tenantRow{
		ID: string(t.ID), Name: t.Name, Rev: t.Rev, CreatedAt: millis(t.CreatedAt), UpdatedAt: millis(t.UpdatedAt), DeletedAt: millis(t.DeletedAt),
	}
	if !t.Deleted() {
		row.LiveName = &row.Name
	}
	return row
}

func (r tenantRow) entity() (tenant.Tenant, error) {
	return tenant.Tenant{
		ID: tenant.ID(r.ID), Name: r.Name, Rev: r.Rev, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt), DeletedAt: moment(r.DeletedAt),
	}, nil
}

type keyRow struct {
	ID        string `gorm:"primaryKey"`
	TenantID  string
	Name      string
	Role      string
	Limits    string
	Hash      string
	Hint      string
	CreatedBy string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ExpiresAt int64
	UsedAt    int64
	RevokedAt int64
}

func (keyRow) TableName() string { return "api_keys" }

func toKeyRow(k tenant.Key) (keyRow, error) {
	limits, err := toJSON(k.Limits)
	return keyRow{
		ID: string(k.ID), TenantID: string(k.Tenant), Name: k.Name, Role: string(k.Role), Limits: limits, Hash: k.Hash, Hint: k.Hint, CreatedBy: k.CreatedBy,
		CreatedAt: millis(k.CreatedAt), ExpiresAt: millis(k.ExpiresAt), UsedAt: millis(k.UsedAt), RevokedAt: millis(k.RevokedAt),
	}, err
}

func (r keyRow) entity() (tenant.Key, error) {
	k := tenant.Key{
		ID: tenant.KeyID(r.ID), Tenant: tenant.ID(r.TenantID), Name: r.Name, Role: tenant.Role(r.Role), Hash: r.Hash, Hint: r.Hint, CreatedBy: r.CreatedBy,
		CreatedAt: moment(r.CreatedAt), ExpiresAt: moment(r.ExpiresAt), UsedAt: moment(r.UsedAt), RevokedAt: moment(r.RevokedAt),
	}
	return k, fromJSON(r.Limits, &k.Limits)
}

// Tenant implements tenant.Reader.
func (r reader) Tenant(ctx context.Context, id tenant.ID) (tenant.Tenant, error) {
	row, err := one[tenantRow](r.db.WithContext(ctx).Where("id = ?", key(id)))
	if err != nil {
		return tenant.Tenant{}, err
	}
	return row.entity()
}

// Tenants implements tenant.Reader.
func (r reader) Tenants(ctx context.Context, page page.Page) ([]tenant.Tenant, error) {
	var rows []tenantRow
	if err := keyset(r.db.WithContext(ctx).Where("deleted_at = 0"), page).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, tenantRow.entity)
}

func oneKey(q *gorm.DB) (tenant.Key, error) {
	row, err := one[keyRow](q)
	if err != nil {
		return tenant.Key{}, err
	}
	return row.entity()
}

// KeyByHash implements tenant.Reader.
func (r reader) KeyByHash(ctx context.Context, hash string) (tenant.Key, error) {
	return oneKey(r.db.WithContext(ctx).Where("hash = ?", key(hash)))
}

// Keys implements tenant.Reader.
func (r reader) Keys(ctx context.Context, owner tenant.ID, page page.Page) ([]tenant.Key, error) {
	var rows []keyRow
	if err := keyset(r.db.WithContext(ctx).Where("tenant_id = ? AND revoked_at = 0", key(owner)), page).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, keyRow.entity)
}

func (t *tx) Tenant(id tenant.ID) (tenant.Tenant, error) { return t.reader.Tenant(t.ctx, id) }

func (t *tx) InsertTenant(n tenant.Tenant) error {
	row := toTenantRow(n)
	row.Rev = 1
	return duplicate(insert(t.db, row), fault.ErrNameHeld)
}

func (t *tx) UpdateTenant(n tenant.Tenant) error {
	row := toTenantRow(n)
	return duplicate(changed(t.db.Model(&tenantRow{}).Where("id = ? AND rev = ?", row.ID, row.Rev).Updates(map[string]any{
		"name": row.Name, "live_name": row.LiveName, "updated_at": row.UpdatedAt, "deleted_at": row.DeletedAt, "rev": oneMore,
	}), fault.ErrConflict), fault.ErrNameHeld)
}

func (t *tx) InsertKey(k tenant.Key) error {
	row, err := toKeyRow(k)
	if err != nil {
		return err
	}
	return insert(t.db, row)
}

func (t *tx) Key(owner tenant.ID, id tenant.KeyID) (tenant.Key, error) {
	return oneKey(t.db.Where("tenant_id = ? AND id = ?", key(owner), key(id)))
}

func (t *tx) LiveKeys(owner tenant.ID, limit int) (int, error) {
	var ids []string
	err := t.db.Model(&keyRow{}).Where("tenant_id = ? AND revoked_at = 0", key(owner)).Limit(limit).Pluck("id", &ids).Error
	return len(ids), err
}

func (t *tx) RevokeKey(owner tenant.ID, id tenant.KeyID, at time.Time) error {
	return t.db.Model(&keyRow{}).Where("tenant_id = ? AND id = ? AND revoked_at = 0", key(owner), key(id)).
		Update("revoked_at", millis(at)).Error
}

func (t *tx) UseKey(id tenant.KeyID, at time.Time) error {
	return t.db.Model(&keyRow{}).Where("id = ? AND used_at < ?", key(id), millis(at)).Update("used_at", millis(at)).Error
}

// EndAccess implements tenant.KeyRows.
func (t *tx) EndAccess(of tenant.ID, at time.Time) error {
	for _, end := range []func(*gorm.DB) *gorm.DB{
		func(q *gorm.DB) *gorm.DB {
			return q.Model(&keyRow{}).Where("revoked_at = 0").Update("revoked_at", millis(at))
		},
		func(q *gorm.DB) *gorm.DB { return q.Delete(&memberRow{}) },
		func(q *gorm.DB) *gorm.DB { return q.Where("used_at = 0").Delete(&invitationRow{}) },
		func(q *gorm.DB) *gorm.DB { return q.Delete(&resetRow{}) },
		func(q *gorm.DB) *gorm.DB {
			return q.Model(&grantRow{}).Where("ended_at = 0").Update("ended_at", millis(at))
		},
	} {
		if err := end(t.db.Where("tenant_id = ?", key(of))).Error; err != nil {
			return err
		}
	}
	return nil
}

// Owns implements tenant.KeyRows.
func (t *tx) Owns(of tenant.ID) (n int64, err error) {
	if err := mayCount(t.ctx, of); err != nil {
		return 0, err
	}
	err = t.db.Model(&instanceRow{}).Where("tenant_id = ? AND deleted_at = 0", key(of)).Count(&n).Error
	return n, err
}
