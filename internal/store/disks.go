package store

import (
	"context"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

type diskRow struct {
	ID          string `gorm:"primaryKey"`
	HostID      string
	Path        string
	Type        string
	Capacity    int64
	State       string
	Enforcement string
	Total       int64
	Free        int64
	SeenAt      int64
	// What is used is written by Allocate and Release only.
	Used  int64
	Units int64
	Rev   int64
}

func (diskRow) TableName() string { return "disks" }

func (r diskRow) entity() (host.Disk, error) {
	return host.Disk{
		ID: host.DiskID(r.ID), Host: host.ID(r.HostID), Path: r.Path, Type: host.DiskType(r.Type), CapacityBytes: r.Capacity, UsedBytes: r.Used,
		Units: r.Units, State: host.DiskState(r.State), Enforcement: host.Enforcement(r.Enforcement), TotalBytes: r.Total, FreeBytes: r.Free,
		SeenAt: moment(r.SeenAt), Rev: r.Rev,
	}, nil
}

// Disks implements host.DiskReader.
func (r reader) Disks(ctx context.Context, of host.ID) ([]host.Disk, error) {
	q := r.db.WithContext(ctx).Order("host_id, id")
	if of != "" {
		q = q.Where("host_id = ?", key(of))
	}
	var rows []diskRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, diskRow.entity)
}

// HostDisks implements host.DiskRows.
func (t *tx) HostDisks(of host.ID) ([]host.Disk, error) {
	var rows []diskRow
	if err := t.db.Where("host_id = ?", key(of)).Order("id").Find(&rows).Error; err != nil {
		return nil, err
	}
	return entities(rows, diskRow.entity)
}

// Disk implements host.DiskRows.
func (t *tx) Disk(id host.DiskID) (host.Disk, error) {
	row, err := one[diskRow](t.db.Where("id = ?", key(id)))
	if err != nil {
		return host.Disk{}, err
	}
	return row.entity()
}

// InsertDisk implements host.DiskRows.
func (t *tx) InsertDisk(d host.Disk) error {
	return duplicate(insert(t.db, diskRow{
		ID: string(d.ID), HostID: string(d.Host), Path: d.Path, Type: string(d.Type), Capacity: d.CapacityBytes, State: string(d.State),
		Enforcement: string(d.Enforcement), Total: d.TotalBytes, Free: d.FreeBytes, SeenAt: millis(d.SeenAt), Rev: max(d.Rev, 1),
	}), fault.ErrConflict)
}

// UpdateHostDisk implements host.DiskRows.
func (t *tx) UpdateHostDisk(d host.Disk) error {
	return changed(t.db.Model(&diskRow{}).
		Where("id = ? AND rev = ? AND (? = 0 OR used <= ?) AND (units = 0 OR enforcement = ? OR path = '')",
			string(d.ID), d.Rev, d.CapacityBytes, d.CapacityBytes, string(d.Enforcement)).
		Updates(map[string]any{
			"type": string(d.Type), "capacity": d.CapacityBytes, "state": string(d.State), "enforcement": string(d.Enforcement),
			"total": d.TotalBytes, "free": d.FreeBytes, "seen_at": millis(d.SeenAt), "rev": oneMore,
		}), fault.ErrConflict)
}

// DeleteDisk implements host.DiskRows.
func (t *tx) DeleteDisk(id host.DiskID) error {
	return changed(t.db.Where("id = ? AND units = 0", string(id)).Delete(&diskRow{}), fault.ErrConflict)
}
