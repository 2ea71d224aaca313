package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// The rows of the table of settings.
const (
	deploymentSetting = "deployment" // this deployment's id
	releaseSetting    = "release"    // of Berth, that has migrated the schema last
	keyCheckSetting   = "key_check"  // sealed, to know the master key by
)

// Deployment gives the id of this deployment, which its containers are labelled
// with: the one that is stored, or the given one, if there is none yet.
func (s *Store) Deployment(ctx context.Context, fresh string) (string, error) {
	return s.settled(ctx, deploymentSetting, func() (string, error) { return fresh, nil })
}

// settled gives the value of a setting, and writes it first where there is none.
func (s *Store) settled(ctx context.Context, name string, fresh func() (string, error)) (value string, err error) {
	err = s.inTx(ctx, func(db *gorm.DB) error {
		var row settingRow
		found := db.Limit(1).Find(&row, "name = ?", name)
		if value = row.Value; found.Error != nil || found.RowsAffected > 0 {
			return found.Error
		}
		if value, err = fresh(); err != nil {
			return err
		}
		return insert(db, settingRow{Name: name, Value: value})
	})
	if fault.CodeOf(err) == fault.CodeConflict { // another process was faster
		var row settingRow
		err = translate(s.db.WithContext(ctx).First(&row, "name = ?", name).Error)
		value = row.Value
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

// ErrOtherKey says that another process of this deployment has another master key.
var ErrOtherKey = errors.New("another process of this deployment started with a different master key at the same time")

// KeepKeyCheck makes sure that there is a value, sealed with the active key, that later
// starts know the master key by. The keys that are lost need not open the one before.
func (s *Store) KeepKeyCheck(ctx context.Context, v secret.Vault, deployment string, lost []string) error {
	sealed, err := instance.SealKeyCheck(v, deployment)
	if err != nil {
		return fmt.Errorf("seal the check value of the master key: %w", err)
	}
	fresh, err := json.Marshal(sealed)
	if err != nil {
		return err
	}
	text, err := s.settled(ctx, keyCheckSetting, func() (string, error) { return string(fresh), nil })
	if err != nil {
		return err
	}
	var kept secret.Sealed
	if err := json.Unmarshal([]byte(text), &kept); err != nil {
		return fmt.Errorf("read the check value of the master key: %w", err)
	}
	if kept.KeyID == sealed.KeyID {
		return nil
	}
	before := []instance.SealedSample{{Kind: instance.SealedKeyCheck, ID: deployment, Sealed: kept}}
	if !slices.Contains(lost, kept.KeyID) && len(instance.MissingKeys(v, before)) > 0 {
		return ErrOtherKey
	}
	return s.putSetting(ctx, keyCheckSetting, string(fresh))
}
