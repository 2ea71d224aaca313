package store

import (
	"context"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
)

// The rows of the table of settings.
const (
	deploymentSetting = "deployment" // this deployment's id
	releaseSetting    = "release"    // of Berth, that has migrated the schema last
	keyCheckSetting   = "key_check"  // sealed as all values are to be
)

// Deployment gives the id of this deployment, which its containers are labelled
// with: the one that is stored, or the given one, if there is none yet.
func (s *Store) Deployment(ctx context.Context, fresh string) (value string, err error) {
	err = s.inTx(ctx, func(db *gorm.DB) error {
		var row settingRow
		found := db.Limit(1).Find(&row, "name = ?", deploymentSetting)
		if value = row.Value; found.Error != nil || found.RowsAffected > 0 {
			return found.Error
		}
		value = fresh
		return insert(db, settingRow{Name: deploymentSetting, Value: value})
	})
	if fault.CodeOf(err) == fault.CodeConflict { // another process was faster
		row, err := one[settingRow](s.db.WithContext(ctx).Where("name = ?", deploymentSetting))
		return row.Value, err
	}
	return value, err
}

func (s *Store) putSetting(ctx context.Context, name, value string) error {
	return s.inTx(ctx, func(db *gorm.DB) error { return replace(db, settingRow{Name: name, Value: value}) })
}

// PutRelease notes the release of Berth that has brought the schema to where it is.
func (s *Store) PutRelease(ctx context.Context, release string) error {
	return s.putSetting(ctx, releaseSetting, release)
}
