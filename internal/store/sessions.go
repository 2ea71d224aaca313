package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

type sessionRow struct {
	ID        string `gorm:"primaryKey"`
	UserID    string
	TenantID  string
	Hash      string
	Epoch     int64
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	UsedAt    int64
	ExpiresAt int64
}

func (sessionRow) TableName() string { return "sessions" }

func (r sessionRow) entity() tenant.Session {
	return tenant.Session{
		ID: tenant.SessionID(r.ID), User: tenant.UserID(r.UserID), Tenant: tenant.ID(r.TenantID), Hash: r.Hash, Epoch: r.Epoch,
		CreatedAt: moment(r.CreatedAt), UsedAt: moment(r.UsedAt), ExpiresAt: moment(r.ExpiresAt),
	}
}

type invitationRow struct {
	ID        string `gorm:"primaryKey"`
	TenantID  string
	Role      string
	Hash      string
	CreatedBy string
	ByUser    string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ExpiresAt int64
	UsedAt    int64
	UsedBy    string
}

func (invitationRow) TableName() string { return "invitations" }

func (r invitationRow) entity() (tenant.Invitation, error) {
	return tenant.Invitation{
		ID: tenant.InvitationID(r.ID), Tenant: tenant.ID(r.TenantID), Role: tenant.Role(r.Role), Hash: r.Hash, CreatedBy: r.CreatedBy, ByUser: tenant.UserID(r.ByUser),
		CreatedAt: moment(r.CreatedAt), ExpiresAt: moment(r.ExpiresAt), UsedAt: moment(r.UsedAt), UsedBy: tenant.UserID(r.UsedBy),
	}, nil
}

type resetRow struct {
	Hash      string `gorm:"primaryKey"`
	UserID    string
	TenantID  string
	ByUser    string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ExpiresAt int64
}

func (resetRow) TableName() string { return "password_resets" }

type attemptsRow struct {
	ID        string `gorm:"primaryKey"`
	Level     float64
	LastAt    int64
	ExpiresAt int64
	Rev       int64
}

func (attemptsRow) TableName() string { return "attempts" }

// LoginByHash implements tenant.AccountReader.
func (r reader) LoginByHash(ctx context.Context, hash string) (tenant.Login, error) {
	row, err := one[struct {
		Session    sessionRow `gorm:"embedded"`
		Login      string
		Operator   bool
		DisabledAt int64
		UserEpoch  int64
		Role       *string
	}](r.db.WithContext(ctx).Table("sessions s").Joins("JOIN users u ON u.id = s.user_id").
		Joins("LEFT JOIN members m ON m.tenant_id = s.tenant_id AND m.user_id = s.user_id").
		Select("s.*, u.login, u.operator, u.disabled_at, u.epoch AS user_epoch, m.role").Where("s.hash = ?", key(hash)))
	if err != nil {
		return tenant.Login{}, err
	}
	l := tenant.Login{Session: row.Session.entity(), Name: row.Login, Operator: row.Operator, Disabled: row.DisabledAt != 0, UserEpoch: row.UserEpoch}
	if row.Role != nil {
		l.Role = tenant.Role(*row.Role)
	}
	return l, nil
}

// open narrows a question to the tenant's invitations that are open.
func open(q *gorm.DB, of tenant.ID, at time.Time) *gorm.DB {
	return q.Where("tenant_id = ? AND used_at = 0 AND expires_at > ?", key(of), millis(at))
}

// Invitations implements tenant.AccountReader.
func (r reader) Invitations(ctx context.Context, of tenant.ID, at time.Time, page page.Page) ([]tenant.Invitation, error) {
	var rows []invitationRow
	if err := keyset(open(r.db.WithContext(ctx), of, at), page).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, invitationRow.entity)
}

func (t *tx) Session(id tenant.SessionID) (tenant.Session, error) {
	row, err := one[sessionRow](t.db.Where("id = ?", key(id)))
	return row.entity(), err
}

func (t *tx) InsertSession(s tenant.Session) error {
	return insert(t.db, sessionRow{
		ID: string(s.ID), UserID: string(s.User), TenantID: string(s.Tenant), Hash: s.Hash, Epoch: s.Epoch,
		CreatedAt: millis(s.CreatedAt), UsedAt: millis(s.UsedAt), ExpiresAt: millis(s.ExpiresAt),
	})
}

func (t *tx) SwitchSession(id tenant.SessionID, to tenant.ID) error {
	if _, err := t.Session(id); err != nil { // MySQL counts no row that stays as it is
		return err
	}
	return t.db.Model(&sessionRow{}).Where("id = ?", key(id)).Update("tenant_id", string(to)).Error
}

func (t *tx) UseSession(id tenant.SessionID, at time.Time) error {
	return t.db.Model(&sessionRow{}).Where("id = ? AND used_at < ?", key(id), millis(at)).Update("used_at", millis(at)).Error
}

func (t *tx) DeleteSession(id tenant.SessionID) error {
	return t.db.Where("id = ?", key(id)).Delete(&sessionRow{}).Error
}

func (t *tx) DeleteSessions(who tenant.UserID) error {
	return t.db.Where("user_id = ?", key(who)).Delete(&sessionRow{}).Error
}

func (t *tx) DeleteOldestSessions(who tenant.UserID, keep int) error {
	var first []string // of those that go
	err := t.db.Model(&sessionRow{}).Where("user_id = ?", key(who)).Order("id DESC").Offset(keep).Limit(1).Pluck("id", &first).Error
	if err != nil || len(first) == 0 {
		return err
	}
	return t.db.Where("user_id = ? AND id <= ?", key(who), first[0]).Delete(&sessionRow{}).Error
}

func oneInvitation(q *gorm.DB) (tenant.Invitation, error) {
	row, err := one[invitationRow](q)
	if err != nil {
		return tenant.Invitation{}, err
	}
	return row.entity()
}

func (t *tx) Invitation(of tenant.ID, id tenant.InvitationID) (tenant.Invitation, error) {
	return oneInvitation(t.db.Where("tenant_id = ? AND id = ?", key(of), key(id)))
}

func (t *tx) InvitationByHash(hash string) (tenant.Invitation, error) {
	return oneInvitation(t.db.Where("hash = ?", key(hash)))
}

func (t *tx) InsertInvitation(i tenant.Invitation) error {
	return insert(t.db, invitationRow{
		ID: string(i.ID), TenantID: string(i.Tenant), Role: string(i.Role), Hash: i.Hash, CreatedBy: i.CreatedBy, ByUser: string(i.ByUser),
		CreatedAt: millis(i.CreatedAt), ExpiresAt: millis(i.ExpiresAt), UsedAt: millis(i.UsedAt), UsedBy: string(i.UsedBy),
	})
}

func (t *tx) UseInvitation(id tenant.InvitationID, by tenant.UserID, at time.Time) error {
	return changed(t.db.Model(&invitationRow{}).Where("id = ? AND used_at = 0", key(id)).Updates(map[string]any{
		"used_at": millis(at), "used_by": string(by),
	}), fault.ErrConflict)
}

func (t *tx) OpenInvitations(of tenant.ID, at time.Time, limit int) (int, error) {
	var ids []string
	err := open(t.db.Model(&invitationRow{}), of, at).Limit(limit).Pluck("id", &ids).Error
	return len(ids), err
}

func (t *tx) ResetByHash(hash string) (tenant.Reset, error) {
	row, err := one[resetRow](t.db.Where("hash = ?", key(hash)))
	if err != nil {
		return tenant.Reset{}, err
	}
	return tenant.Reset{
		Hash: row.Hash, User: tenant.UserID(row.UserID), Tenant: tenant.ID(row.TenantID), ByUser: tenant.UserID(row.ByUser),
		CreatedAt: moment(row.CreatedAt), ExpiresAt: moment(row.ExpiresAt),
	}, nil
}

func (t *tx) InsertReset(r tenant.Reset) error {
	return insert(t.db, resetRow{
		Hash: r.Hash, UserID: string(r.User), TenantID: string(r.Tenant), ByUser: string(r.ByUser), CreatedAt: millis(r.CreatedAt), ExpiresAt: millis(r.ExpiresAt),
	})
}

func (t *tx) UseReset(hash string) error {
	return changed(t.db.Where("hash = ?", key(hash)).Delete(&resetRow{}), fault.ErrConflict)
}

func (t *tx) DeleteResets(who tenant.UserID) error {
	return t.db.Where("user_id = ?", key(who)).Delete(&resetRow{}).Error
}

func (t *tx) Attempts(attemptID string) (tenant.Attempts, error) {
	row, err := one[attemptsRow](t.db.Where("id = ?", key(attemptID)))
	if err != nil {
		return tenant.Attempts{}, err
	}
	return tenant.Attempts{ID: row.ID, Level: row.Level, LastAt: moment(row.LastAt), ExpiresAt: moment(row.ExpiresAt), Rev: row.Rev}, nil
}

func (t *tx) PutAttempts(a tenant.Attempts) error {
	row := attemptsRow{ID: a.ID, Level: a.Level, LastAt: millis(a.LastAt), ExpiresAt: millis(a.ExpiresAt), Rev: 1}
	if a.Rev == 0 {
		return duplicate(insert(t.db, row), fault.ErrConflict)
	}
	return changed(t.db.Model(&attemptsRow{}).Where("id = ? AND rev = ?", row.ID, a.Rev).Updates(map[string]any{
		"level": row.Level, "last_at": row.LastAt, "expires_at": row.ExpiresAt, "rev": oneMore,
	}), fault.ErrConflict)
}

func (t *tx) DeleteAttempts(attemptID string) error {
	return t.db.Where("id = ?", key(attemptID)).Delete(&attemptsRow{}).Error
}
