package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// authorityRow is the only one of its table.
type authorityRow struct {
	ID          string `gorm:"primaryKey"`
	Certificate string
	KeyID       string
	Ciphertext  []byte
	CreatedAt   int64 `gorm:"autoCreateTime:false"`
}

func (authorityRow) TableName() string { return "authorities" }

// Authority implements authority.Store. The row's id is the deployment's.
func (s *Store) Authority(ctx context.Context) (authority.Record, error) {
	row, err := one[authorityRow](s.db.WithContext(ctx))
	return authority.Record{
		Deployment: row.ID, Certificate: row.Certificate, Key: secret.Sealed{KeyID: row.KeyID, Ciphertext: row.Ciphertext}, CreatedAt: moment(row.CreatedAt),
	}, err
}

// InsertAuthority implements authority.Store.
func (s *Store) InsertAuthority(ctx context.Context, r authority.Record) error {
	return s.inTx(ctx, func(db *gorm.DB) error {
		return insert(db, authorityRow{ID: r.Deployment, Certificate: r.Certificate, KeyID: r.Key.KeyID, Ciphertext: r.Key.Ciphertext, CreatedAt: millis(r.CreatedAt)})
	})
}

// ReplaceAuthority implements authority.Store.
func (s *Store) ReplaceAuthority(ctx context.Context, before, after authority.Record) error {
	return s.inTx(ctx, func(db *gorm.DB) error {
		return changed(db.Model(&authorityRow{}).Where("id = ? AND ciphertext = ?", before.Deployment, before.Key.Ciphertext).Updates(map[string]any{
			"certificate": after.Certificate, "key_id": after.Key.KeyID, "ciphertext": after.Key.Ciphertext, "created_at": millis(after.CreatedAt),
		}), fault.ErrConflict)
	})
}

// CertificatesDue implements instance.Reader.
func (r reader) CertificatesDue(ctx context.Context, before time.Time, limit int) ([]instance.ID, error) {
	var ids []instance.ID
	err := r.db.WithContext(ctx).Model(&instanceRow{}).
		Where("cert_until > 0 AND cert_until < ? AND state IN ?", millis(before), []string{string(instance.StateRunning), string(instance.StateUnhealthy)}).
		Order("cert_until").Limit(limit).Pluck("id", &ids).Error
	return ids, translate(err)
}
