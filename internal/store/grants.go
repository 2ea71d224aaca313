package store

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

type grantRow struct {
	ID        string `gorm:"primaryKey"`
	TenantID  string
	UserID    string
	KeyID     string
	GivenBy   string
	Reason    string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ExpiresAt int64
	EndedAt   int64
}

func (grantRow) TableName() string { return "grants_given" }

func (r grantRow) entity() (tenant.Grant, error) {
	return tenant.Grant{
		ID: tenant.GrantID(r.ID), Tenant: tenant.ID(r.TenantID), User: tenant.UserID(r.UserID), Key: tenant.KeyID(r.KeyID), By: r.GivenBy, Reason: r.Reason,
		CreatedAt: moment(r.CreatedAt), ExpiresAt: moment(r.ExpiresAt), EndedAt: moment(r.EndedAt),
	}, nil
}

// Grants implements tenant.Reader.
func (r reader) Grants(ctx context.Context, of tenant.ID, list page.Page) ([]tenant.Grant, error) {
	var rows []grantRow
	if err := keyset(r.db.WithContext(ctx).Where("tenant_id = ?", key(of)), list).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, grantRow.entity)
}

// ActiveGrant implements tenant.Reader.
func (r reader) ActiveGrant(ctx context.Context, of tenant.ID, user tenant.UserID, with tenant.KeyID, now time.Time) (tenant.Grant, error) {
	row, err := one[grantRow](r.db.WithContext(ctx).
		Where("tenant_id = ? AND user_id = ? AND key_id = ? AND ended_at = 0 AND expires_at > ?", key(of), key(user), key(with), millis(now)).Order("id DESC"))
	if err != nil {
		return tenant.Grant{}, err
	}
	return row.entity()
}

func (t *tx) InsertGrant(g tenant.Grant) error {
	return insert(t.db, grantRow{
		ID: string(g.ID), TenantID: string(g.Tenant), UserID: string(g.User), KeyID: string(g.Key), GivenBy: g.By, Reason: g.Reason,
		CreatedAt: millis(g.CreatedAt), ExpiresAt: millis(g.ExpiresAt), EndedAt: millis(g.EndedAt),
	})
}

func (t *tx) Grant(of tenant.ID, id tenant.GrantID) (tenant.Grant, error) {
	row, err := one[grantRow](t.db.Where("tenant_id = ? AND id = ?", key(of), key(id)))
	if err != nil {
		return tenant.Grant{}, err
	}
	return row.entity()
}

func (t *tx) EndGrant(id tenant.GrantID, at time.Time) error {
	return t.db.Model(&grantRow{}).Where("id = ? AND ended_at = 0", key(id)).Update("ended_at", millis(at)).Error
}
