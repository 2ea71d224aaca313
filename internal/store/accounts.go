package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

type userRow struct {
	ID           string `gorm:"primaryKey"`
	Login        string
	Name         string
	PasswordHash string
	Operator     bool
	HomeID       string
	Epoch        int64
	DisabledAt   int64
	Rev          int64
	CreatedAt    int64 `gorm:"autoCreateTime:false"`
	UpdatedAt    int64 `gorm:"autoUpdateTime:false"`
}

func (userRow) TableName() string { return "users" }

func toUserRow(u tenant.User) userRow {
	return userRow{
		ID: string(u.ID), Login: u.Login, Name: u.Name, PasswordHash: u.PasswordHash, Operator: u.Operator, HomeID: string(u.Home), Epoch: u.Epoch,
		DisabledAt: millis(u.DisabledAt), Rev: u.Rev, CreatedAt: millis(u.CreatedAt), UpdatedAt: millis(u.UpdatedAt),
	}
}

func (r userRow) entity() (tenant.User, error) {
	return tenant.User{
		ID: tenant.UserID(r.ID), Login: r.Login, Name: r.Name, PasswordHash: r.PasswordHash, Operator: r.Operator, Home: tenant.ID(r.HomeID), Epoch: r.Epoch,
		DisabledAt: moment(r.DisabledAt), Rev: r.Rev, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}, nil
}

type memberRow struct {
	TenantID  string `gorm:"primaryKey"`
	UserID    string `gorm:"primaryKey"`
	Role      string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

func (memberRow) TableName() string { return "members" }

// joinedMember is a membership with what lists show of the user.
type joinedMember struct {
	Member     memberRow `gorm:"embedded"`
	Login      string
	Name       string
	DisabledAt int64
}

func (r joinedMember) entity() (tenant.Membership, error) {
	return tenant.Membership{
		Tenant: tenant.ID(r.Member.TenantID), User: tenant.UserID(r.Member.UserID), Role: tenant.Role(r.Member.Role), CreatedAt: moment(r.Member.CreatedAt),
		Login: r.Login, Name: r.Name, Disabled: r.DisabledAt != 0,
	}, nil
}

func oneUser(q *gorm.DB) (tenant.User, error) {
	row, err := one[userRow](q)
	if err != nil {
		return tenant.User{}, err
	}
	return row.entity()
}

// User implements tenant.AccountReader.
func (r reader) User(ctx context.Context, id tenant.UserID) (tenant.User, error) {
	return oneUser(r.db.WithContext(ctx).Where("id = ?", key(id)))
}

// UserByLogin implements tenant.AccountReader.
func (r reader) UserByLogin(ctx context.Context, login string) (tenant.User, error) {
	return oneUser(r.db.WithContext(ctx).Where("login = ?", key(login)))
}

// Users implements tenant.AccountReader.
func (r reader) Users(ctx context.Context, page page.Page) ([]tenant.User, error) {
	var rows []userRow
	if err := keyset(r.db.WithContext(ctx), page).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, userRow.entity)
}

// members begins a question for memberships.
func (r reader) members(ctx context.Context) *gorm.DB {
	return r.db.WithContext(ctx).Table("members m").Joins("JOIN users u ON u.id = m.user_id").
		Select("m.tenant_id, m.user_id, m.role, m.created_at, u.login, u.name, u.disabled_at")
}

// Membership implements tenant.AccountReader.
func (r reader) Membership(ctx context.Context, of tenant.ID, who tenant.UserID) (tenant.Membership, error) {
	row, err := one[joinedMember](r.members(ctx).Where("m.tenant_id = ? AND m.user_id = ?", key(of), key(who)))
	if err != nil {
		return tenant.Membership{}, err
	}
	return row.entity()
}

// Members implements tenant.AccountReader.
func (r reader) Members(ctx context.Context, of tenant.ID, page page.Page) ([]tenant.Membership, error) {
	var rows []joinedMember
	if err := keysetBy(r.members(ctx).Where("m.tenant_id = ?", key(of)), page, "m.user_id").Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, joinedMember.entity)
}

// maxWorkplaces bounds what one user's list can cost.
const maxWorkplaces = 1000

// Workplaces implements tenant.AccountReader.
func (r reader) Workplaces(ctx context.Context, who tenant.UserID) ([]tenant.Workplace, error) {
	var rows []struct {
		Tenant tenantRow `gorm:"embedded"`
		Role   string
		Since  int64
	}
	err := r.db.WithContext(ctx).Table("members m").Joins("JOIN tenants t ON t.id = m.tenant_id").
		Select("t.*, m.role, m.created_at AS since").Where("m.user_id = ? AND t.deleted_at = 0", key(who)).
		Order("m.created_at, m.tenant_id").Limit(maxWorkplaces).Find(&rows).Error
	if err != nil {
		return nil, translate(err)
	}
	places := make([]tenant.Workplace, len(rows))
	for i, row := range rows {
		t, err := row.Tenant.entity()
		if err != nil {
			return nil, err
		}
		places[i] = tenant.Workplace{Tenant: t, Role: tenant.Role(row.Role), Since: moment(row.Since)}
	}
	return places, nil
}

func (t *tx) User(id tenant.UserID) (tenant.User, error) { return t.reader.User(t.ctx, id) }

func (t *tx) InsertUser(u tenant.User) error {
	row := toUserRow(u)
	row.Rev = 1
	return duplicate(insert(t.db, row), fault.ErrNameHeld)
}

func (t *tx) UpdateUser(u tenant.User) error {
	row := toUserRow(u)
	return changed(t.db.Model(&userRow{}).Where("id = ? AND rev = ?", row.ID, row.Rev).Updates(map[string]any{
		"name": row.Name, "password_hash": row.PasswordHash, "operator": row.Operator, "home_id": row.HomeID, "epoch": row.Epoch,
		"disabled_at": row.DisabledAt, "updated_at": row.UpdatedAt, "rev": oneMore,
	}), fault.ErrConflict)
}

func (t *tx) Member(of tenant.ID, who tenant.UserID) (tenant.Membership, error) {
	return t.Membership(t.ctx, of, who)
}

func (t *tx) InsertMember(m tenant.Membership) error {
	return insert(t.db, memberRow{TenantID: string(m.Tenant), UserID: string(m.User), Role: string(m.Role), CreatedAt: millis(m.CreatedAt)})
}

func (t *tx) SetRole(of tenant.ID, who tenant.UserID, role tenant.Role) error {
	return t.db.Model(&memberRow{}).Where("tenant_id = ? AND user_id = ?", key(of), key(who)).Update("role", string(role)).Error
}

func (t *tx) DeleteMember(of tenant.ID, who tenant.UserID) error {
	return t.db.Where("tenant_id = ? AND user_id = ?", key(of), key(who)).Delete(&memberRow{}).Error
}

func (t *tx) OtherOwners(of tenant.ID, who tenant.UserID) (int, error) {
	var n int64
	err := t.db.Table("members m").Joins("JOIN users u ON u.id = m.user_id").
		Where("m.tenant_id = ? AND m.role = ? AND m.user_id <> ? AND u.disabled_at = 0", key(of), string(tenant.Owner), key(who)).Count(&n).Error
	return int(n), err
}

// DeleteOldAccess implements tenant.Rows.
func (t *tx) DeleteOldAccess(before time.Time, limit int) (removed int, err error) {
	for _, old := range []struct {
		row    any
		column string
	}{{&sessionRow{}, "id"}, {&invitationRow{}, "id"}, {&resetRow{}, "hash"}, {&attemptsRow{}, "id"}} {
		n, err := t.purge(old.row, old.column, limit-removed, "expires_at < ?", millis(before))
		if removed += n; err != nil || removed >= limit {
			return removed, err
		}
	}
	return removed, nil
}
