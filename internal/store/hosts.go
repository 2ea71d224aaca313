package store

import (
	"context"
	"errors"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

type hostRow struct {
	ID        string `gorm:"primaryKey"`
	Name      string
	Endpoint  string
	Advertise string
	Bind      string
	PortLow   int
	PortHigh  int
	EngineID  string
	// MissingSince is written by MarkHost only.
	MissingSince int64

	Source  string
	State   string
	Reason  string
	Region  string
	Zone    string
	Rack    string
	Arch    string
	Purpose string
	Labels  string

	Reserved    bool
	Health      string
	HealthNote  string
	HealthSince int64

	CPUFound      int64 `gorm:"column:cpu_found"`
	MemoryFound   int64
	OS            string `gorm:"column:os"`
	Kernel        string
	EngineVersion string
	StorageDriver string
	FoundAt       int64

	CPUPercent    int   `gorm:"column:cpu_percent"`
	CPUKept       int64 `gorm:"column:cpu_kept"`
	MemoryPercent int
	MemoryKept    int64
	CPUCap        int64 `gorm:"column:cpu_cap"`
	MemoryCap     int64
	// What is used is written by Allocate and Release only.
	CPUUsed    int64 `gorm:"column:cpu_used"`
	MemoryUsed int64
	Units      int64

	// Of a host of the pool, as no other of them has it.
	LiveAddress *string
	LiveEngine  *string

	HostKey       string
	BeforeState   string
	TakenOver     bool
	Checks        *string
	ImportOptions *string

	Fence     int64
	Rev       int64
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	UpdatedAt int64 `gorm:"autoUpdateTime:false"`
}

func (hostRow) TableName() string { return "hosts" }

func (r hostRow) entity() (host.Host, error) {
	h := host.Host{
		ID: host.ID(r.ID), Name: r.Name, Endpoint: r.Endpoint, Advertise: r.Advertise, Bind: r.Bind, PortLow: r.PortLow, PortHigh: r.PortHigh,
		Engine: r.EngineID, MissingSince: moment(r.MissingSince),
		Source: host.Source(r.Source), State: host.State(r.State), Reason: r.Reason, Region: r.Region, Zone: r.Zone, Rack: r.Rack, Arch: r.Arch,
		Purpose: r.Purpose, Reserved: r.Reserved, Health: host.Health(r.Health), HealthNote: r.HealthNote, HealthSince: moment(r.HealthSince),
		Found: host.Found{
			CPUMillis: r.CPUFound, MemoryBytes: r.MemoryFound, OS: r.OS, Kernel: r.Kernel, EngineVersion: r.EngineVersion,
			StorageDriver: r.StorageDriver, At: moment(r.FoundAt),
		},
		Capacity: host.Capacity{
			Overcommit: host.Overcommit{CPUPercent: r.CPUPercent, MemoryPercent: r.MemoryPercent, CPUMillis: r.CPUKept, MemoryBytes: r.MemoryKept},
			CPUMillis:  r.CPUCap, MemoryBytes: r.MemoryCap,
		},
		Used:  host.Used{CPUMillis: r.CPUUsed, MemoryBytes: r.MemoryUsed, Units: r.Units},
		Fence: r.Fence, Rev: r.Rev, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	h.HostKey, h.BeforeState, h.TakenOver = r.HostKey, host.State(r.BeforeState), r.TakenOver
	if r.Checks != nil {
		if err := fromJSON(*r.Checks, &h.Checks); err != nil {
			return h, err
		}
	}
	if r.ImportOptions != nil {
		if err := fromJSON(*r.ImportOptions, &h.Import); err != nil {
			return h, err
		}
	}
	if r.Labels == "" {
		return h, nil
	}
	return h, fromJSON(r.Labels, &h.Labels)
}

func toHostRow(h host.Host) (hostRow, error) {
	r := hostRow{
		ID: string(h.ID), Name: h.Name, Endpoint: h.Endpoint, Advertise: h.Advertise, Bind: h.Bind, PortLow: h.PortLow, PortHigh: h.PortHigh,
		EngineID: h.Engine, MissingSince: millis(h.MissingSince),
		Source: string(h.Source), State: string(h.State), Reason: h.Reason, Region: h.Region, Zone: h.Zone, Rack: h.Rack, Arch: h.Arch,
		Purpose: h.Purpose, Reserved: h.Reserved, Health: string(h.Health), HealthNote: h.HealthNote, HealthSince: millis(h.HealthSince),
		CPUFound: h.Found.CPUMillis, MemoryFound: h.Found.MemoryBytes, OS: h.Found.OS, Kernel: h.Found.Kernel, EngineVersion: h.Found.EngineVersion,
		StorageDriver: h.Found.StorageDriver, FoundAt: millis(h.Found.At),
		CPUPercent: h.Capacity.Overcommit.CPUPercent, MemoryPercent: h.Capacity.Overcommit.MemoryPercent,
		CPUKept: h.Capacity.Overcommit.CPUMillis, MemoryKept: h.Capacity.Overcommit.MemoryBytes,
		CPUCap: h.Capacity.CPUMillis, MemoryCap: h.Capacity.MemoryBytes,
		Fence: h.Fence, Rev: h.Rev, CreatedAt: millis(h.CreatedAt), UpdatedAt: millis(h.UpdatedAt),
	}
	if h.Source == host.FromPool {
		r.LiveAddress, r.LiveEngine = nullable(h.Advertise), nullable(h.Engine)
	}
	r.HostKey, r.BeforeState, r.TakenOver = h.HostKey, string(h.BeforeState), h.TakenOver
	if len(h.Checks) > 0 {
		checks, err := toJSON(h.Checks)
		if err != nil {
			return r, err
		}
		r.Checks = &checks
	}
	if h.Source == host.FromPool {
		options, err := toJSON(h.Import)
		if err != nil {
			return r, err
		}
		r.ImportOptions = &options
	}
	if len(h.Labels) == 0 {
		return r, nil
	}
	var err error
	r.Labels, err = toJSON(h.Labels)
	return r, err
}

// Hosts implements host.Reader.
func (r reader) Hosts(ctx context.Context) ([]host.Host, error) {
	var rows []hostRow
	if err := r.db.WithContext(ctx).Order("id").Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, hostRow.entity)
}

// HostsInShort implements host.Reader.
func (r reader) HostsInShort(ctx context.Context) ([]host.Host, error) {
	var rows []hostRow
	if err := r.db.WithContext(ctx).Omit("checks", "import_options").Order("id").Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, hostRow.entity)
}

// Host implements host.Reader.
func (r reader) Host(ctx context.Context, id host.ID) (host.Host, error) {
	return oneHost(r.db.WithContext(ctx).Where("id = ?", key(id)))
}

func oneHost(q *gorm.DB) (host.Host, error) {
	row, err := one[hostRow](q)
	if err != nil {
		return host.Host{}, err
	}
	return row.entity()
}

// HostRow implements host.Rows.
func (t *tx) HostRow(id host.ID) (host.Host, error) { return oneHost(t.db.Where("id = ?", key(id))) }

// AllHosts implements host.Rows.
func (t *tx) AllHosts() ([]host.Host, error) { return t.Hosts(t.ctx) }

// PutHost implements host.Rows.
func (t *tx) PutHost(h host.Host) (host.Host, error) {
	row, err := toHostRow(h)
	if err != nil {
		return host.Host{}, err
	}
	row.Source, row.State, row.Health = string(host.FromEnvironment), string(host.StateOnline), string(host.Healthy)
	row.Rev = max(row.Rev, 1)
	err = t.db.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "name"}},
		DoUpdates: clause.AssignmentColumns([]string{"endpoint", "advertise", "bind", "port_low", "port_high"}),
	}).Create(&row).Error
	if err != nil {
		return host.Host{}, err
	}
	return oneHost(t.db.Where("name = ?", h.Name))
}

// MarkHost implements host.Rows.
func (t *tx) MarkHost(after, before host.Host) error {
	columns := map[string]any{"engine_id": after.Engine, "missing_since": millis(after.MissingSince), "rev": oneMore}
	if before.Source == host.FromPool {
		columns["live_engine"] = nullable(after.Engine)
	}
	err := changed(t.db.Model(&hostRow{}).
		Where("id = ? AND engine_id = ? AND missing_since = ?", string(before.ID), before.Engine, millis(before.MissingSince)).
		Updates(columns), fault.ErrConflict)
	return t.explainHost(err, after)
}

// InsertHost implements host.Rows.
func (t *tx) InsertHost(h host.Host) error {
	row, err := toHostRow(h)
	if err != nil {
		return err
	}
	return t.explainHost(insert(t.db, row), h)
}

// UpdateHost implements host.Rows.
func (t *tx) UpdateHost(h host.Host) error {
	r, err := toHostRow(h)
	if err != nil {
		return err
	}
	columns := map[string]any{
		"name": r.Name, "endpoint": r.Endpoint, "advertise": r.Advertise, "bind": r.Bind, "port_low": r.PortLow, "port_high": r.PortHigh,
		"engine_id": r.EngineID, "state": r.State, "reason": r.Reason, "region": r.Region, "zone": r.Zone, "rack": r.Rack, "arch": r.Arch,
		"purpose": r.Purpose, "labels": r.Labels, "reserved": r.Reserved, "health": r.Health, "health_note": r.HealthNote, "health_since": r.HealthSince,
		"cpu_found": r.CPUFound, "memory_found": r.MemoryFound, "os": r.OS, "kernel": r.Kernel, "engine_version": r.EngineVersion,
		"storage_driver": r.StorageDriver, "found_at": r.FoundAt, "cpu_percent": r.CPUPercent, "cpu_kept": r.CPUKept,
		"memory_percent": r.MemoryPercent, "memory_kept": r.MemoryKept, "cpu_cap": r.CPUCap, "memory_cap": r.MemoryCap,
		"live_address": r.LiveAddress, "live_engine": r.LiveEngine, "host_key": r.HostKey, "before_state": r.BeforeState,
		"taken_over": r.TakenOver, "checks": r.Checks, "import_options": r.ImportOptions, "fence": r.Fence, "rev": oneMore, "updated_at": r.UpdatedAt,
	}
	err = changed(t.db.Model(&hostRow{}).
		Where("id = ? AND rev = ?", r.ID, r.Rev).
		Where("? = 0 OR cpu_used <= ? OR cpu_cap = ?", r.CPUCap, r.CPUCap, r.CPUCap). // what is overfull can still be closed
		Where("? = 0 OR memory_used <= ? OR memory_cap = ?", r.MemoryCap, r.MemoryCap, r.MemoryCap).
		Updates(columns), fault.ErrConflict)
	return t.explainHost(err, h)
}

// explainHost says which other host has what this one is to have.
func (t *tx) explainHost(err error, h host.Host) error {
	if !errors.Is(err, gorm.ErrDuplicatedKey) {
		return err
	}
	return fault.Errorf(fault.CodeHostExists, err, "another host has the name %s, the address %s or the engine %s", h.Name, h.Advertise, h.Engine)
}

// DeleteHost implements host.Rows.
func (t *tx) DeleteHost(h host.Host) error {
	err := changed(t.db.Where("id = ? AND rev = ? AND units = 0", string(h.ID), h.Rev).Delete(&hostRow{}), fault.ErrConflict)
	if err != nil {
		return err
	}
	return errors.Join(
		t.db.Where("host_id = ?", string(h.ID)).Delete(&diskRow{}).Error,
		t.db.Where("host_id = ?", string(h.ID)).Delete(&portRow{}).Error,
	)
}
