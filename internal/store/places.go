package store

import (
	"context"
	"time"

	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

type placeRow struct {
	Region    string `gorm:"primaryKey"`
	Zone      string `gorm:"primaryKey"`
	Name      string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

func (placeRow) TableName() string { return "places" }

type hostSecretRow struct {
	ID         string `gorm:"primaryKey"` // that of the host, and the name
	KeyID      string
	Ciphertext []byte
}

func (hostSecretRow) TableName() string { return "host_secrets" }

// Places implements host.PoolReader.
func (r reader) Places(ctx context.Context) ([]host.Place, error) {
	var rows []placeRow
	if err := r.db.WithContext(ctx).Order("region, zone").Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, func(r placeRow) (host.Place, error) {
		return host.Place{Region: r.Region, Zone: r.Zone, Name: r.Name, CreatedAt: moment(r.CreatedAt)}, nil
	})
}

// PlaceKnown implements host.PoolRows.
func (t *tx) PlaceKnown(region, zone string) (bool, error) {
	if !legible(region, zone) {
		return false, nil
	}
	var n int64
	err := t.db.Model(&placeRow{}).Where("region = ? AND zone = ?", region, zone).Count(&n).Error
	return n > 0, err
}

// PutPlace implements host.PoolRows.
func (t *tx) PutPlace(p host.Place) error {
	there := clause.OnConflict{DoNothing: true}
	if p.Name != "" {
		there = clause.OnConflict{Columns: []clause.Column{{Name: "region"}, {Name: "zone"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}
	}
	return t.db.Clauses(there).Create(&placeRow{Region: p.Region, Zone: p.Zone, Name: p.Name, CreatedAt: millis(p.CreatedAt)}).Error
}

func secretID(of host.ID, name host.SecretName) string { return key(of) + "/" + string(name) }

// HostSecret implements host.PoolReader.
func (r reader) HostSecret(ctx context.Context, of host.ID, name host.SecretName) (secret.Sealed, error) {
	row, err := one[hostSecretRow](r.db.WithContext(ctx).Where("id = ?", secretID(of, name)))
	return secret.Sealed{KeyID: row.KeyID, Ciphertext: row.Ciphertext}, err
}

// InsertHostSecret implements host.PoolRows.
func (t *tx) InsertHostSecret(of host.ID, name host.SecretName, s secret.Sealed) error {
	return duplicate(insert(t.db, hostSecretRow{ID: secretID(of, name), KeyID: s.KeyID, Ciphertext: s.Ciphertext}), fault.ErrConflict)
}

// DeleteHostSecrets implements host.PoolRows.
func (t *tx) DeleteHostSecrets(of host.ID, names ...host.SecretName) error {
	q := t.db.Where("id LIKE ?", key(of)+"/%")
	if len(names) > 0 {
		ids := make([]string, len(names))
		for i, name := range names {
			ids[i] = secretID(of, name)
		}
		q = t.db.Where("id IN ?", ids)
	}
	return q.Delete(&hostSecretRow{}).Error
}

// PortsTaken implements host.PoolReader.
func (r reader) PortsTaken(ctx context.Context, hosts []host.ID, now time.Time) (ports []int, err error) {
	keys := make([]string, len(hosts))
	for i, h := range hosts {
		keys[i] = key(h)
	}
	err = r.db.WithContext(ctx).Model(&portRow{}).Where("host_id IN ? AND (instance_id IS NOT NULL OR rest_until > ?)", keys, millis(now)).
		Distinct("port").Order("port").Pluck("port", &ports).Error
	return ports, translate(err)
}
