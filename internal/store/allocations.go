package store

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

type allocationRow struct {
	InstanceID  string `gorm:"primaryKey"`
	TenantID    string
	HostID      string
	DiskID      string
	CPUMillis   int64 `gorm:"column:cpu_millis"`
	MemoryBytes int64
	DiskBytes   int64
	Ports       int
	Holder      string
	JobID       string
	CreatedAt   int64 `gorm:"autoCreateTime:false"`
}

func (allocationRow) TableName() string { return "allocations" }

func (r allocationRow) entity() (host.Allocation, error) {
	return host.Allocation{
		Unit: host.UnitID(r.InstanceID), Tenant: tenant.ID(r.TenantID), Host: host.ID(r.HostID), Disk: host.DiskID(r.DiskID),
		Resources: host.Resources{CPUMillis: r.CPUMillis, MemoryBytes: r.MemoryBytes, DiskBytes: r.DiskBytes},
		Ports:     r.Ports, Holder: r.Holder, Job: id.Job(r.JobID), CreatedAt: moment(r.CreatedAt),
	}, nil
}

// Allocation implements host.AllocationRows.
func (t *tx) Allocation(unit host.UnitID) (host.Allocation, error) {
	row, err := one[allocationRow](t.db.Where("instance_id = ?", key(unit)))
	if err != nil {
		return host.Allocation{}, err
	}
	return row.entity()
}

// situationRow is a disk of a host beside a port of a unit; either may be lacking.
type situationRow struct {
	Disk           diskRow `gorm:"embedded"`
	OnHost, OnDisk string  // what the unit is booked on
	Port           int
	PortName       string
}

// Situation implements host.Rows.
func (t *tx) Situation(of host.ID, unit host.UnitID) (host.Situation, error) {
	var rows []situationRow
	err := t.db.Table("hosts AS h").
		Select("d.*, a.host_id AS on_host, a.disk_id AS on_disk, p.port AS port, p.name AS port_name").
		Joins("LEFT JOIN disks AS d ON d.host_id = h.id").
		Joins("LEFT JOIN allocations AS a ON a.instance_id = ?", key(unit)).
		Joins("LEFT JOIN ports AS p ON p.instance_id = ? AND p.host_id = h.id", key(unit)).
		Where("h.id = ?", key(of)).Scan(&rows).Error
	if err != nil {
		return host.Situation{}, err
	}
	s, disks := host.Situation{Ports: map[string]int{}}, map[string]diskRow{}
	for _, r := range rows {
		s.Host, s.Disk = host.ID(r.OnHost), host.DiskID(r.OnDisk)
		if r.Port > 0 {
			s.Ports[r.PortName] = r.Port
		}
		if r.Disk.ID != "" {
			disks[r.Disk.ID] = r.Disk
		}
	}
	s.Disks, err = entities(slices.SortedFunc(maps.Values(disks), func(a, b diskRow) int { return cmp.Compare(a.ID, b.ID) }), diskRow.entity)
	return s, err
}

// Allocate implements host.AllocationRows.
func (t *tx) Allocate(a host.Allocation) error {
	return t.book(t.db.Where("state = ?", string(host.StateOnline)), a)
}

// Book implements host.BooksRows.
func (t *tx) Book(a host.Allocation) error { return t.book(t.db, a) }

func (t *tx) book(on *gorm.DB, a host.Allocation) error {
	r := allocationRow{
		InstanceID: string(a.Unit), TenantID: string(a.Tenant), HostID: string(a.Host), DiskID: string(a.Disk), CPUMillis: a.Resources.CPUMillis,
		MemoryBytes: a.Resources.MemoryBytes, DiskBytes: a.Resources.DiskBytes, Ports: a.Ports, Holder: a.Holder, JobID: string(a.Job),
		CreatedAt: millis(a.CreatedAt),
	}
	if err := duplicate(insert(t.db, r), fault.ErrConflict); err != nil {
		return err
	}
	return t.use(on, r, a.Enforcement)
}

// use adds the allocation to what is used of its host and disk, as long as that is no more than
// there is, and the disk is of the enforcement, if any is given.
func (t *tx) use(on *gorm.DB, r allocationRow, e host.Enforcement) error {
	if err := t.useMore(on, r, 1); err != nil || r.DiskID == "" {
		return err
	}
	return changed(t.db.Model(&diskRow{}).
		Where("id = ? AND (capacity = 0 OR used + ? <= capacity) AND (? = '' OR enforcement = ?)", r.DiskID, r.DiskBytes, string(e), string(e)).
		UpdateColumns(map[string]any{"used": gorm.Expr("used + ?", r.DiskBytes), "units": gorm.Expr("units + 1")}), host.ErrNoShare)
}

// useMore adds the cores and the memory of the row, which may be less than nothing, to what is used
// of its host, and the units. What is not more than before is never refused: a machine may have become
// smaller than what is on it.
func (t *tx) useMore(on *gorm.DB, r allocationRow, units int) error {
	return changed(on.Model(&hostRow{}).
		Where("id = ? AND (cpu_cap = 0 OR ? <= 0 OR cpu_used + ? <= cpu_cap) AND (memory_cap = 0 OR ? <= 0 OR memory_used + ? <= memory_cap)",
			r.HostID, r.CPUMillis, r.CPUMillis, r.MemoryBytes, r.MemoryBytes).
		UpdateColumns(map[string]any{
			"cpu_used": gorm.Expr("cpu_used + ?", r.CPUMillis), "memory_used": gorm.Expr("memory_used + ?", r.MemoryBytes), "units": gorm.Expr("units + ?", units),
		}), host.ErrNoShare)
}

// Resize implements host.AllocationRows. Who changes the row changes what is used, so that it is
// done once.
func (t *tx) Resize(unit host.UnitID, cpuMillis, memoryBytes int64) error {
	was, err := one[allocationRow](t.db.Where("instance_id = ?", key(unit)))
	if err != nil {
		return err
	}
	more := was
	more.CPUMillis, more.MemoryBytes = cpuMillis-was.CPUMillis, memoryBytes-was.MemoryBytes
	if more.CPUMillis == 0 && more.MemoryBytes == 0 {
		return nil
	}
	err = changed(t.db.Model(&allocationRow{}).
		Where("instance_id = ? AND host_id = ? AND cpu_millis = ? AND memory_bytes = ?", was.InstanceID, was.HostID, was.CPUMillis, was.MemoryBytes).
		UpdateColumns(map[string]any{"cpu_millis": cpuMillis, "memory_bytes": memoryBytes}), fault.ErrConflict)
	if err != nil {
		return err
	}
	return t.useMore(t.db, more, 0)
}

// Release implements host.AllocationRows. Who deletes the row takes it off, so that it is done
// once.
func (t *tx) Release(unit host.UnitID) error {
	r, err := one[allocationRow](t.db.Where("instance_id = ?", key(unit)))
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	gone := changed(t.db.Where("instance_id = ? AND host_id = ?", r.InstanceID, r.HostID).Delete(&allocationRow{}), fault.ErrConflict)
	if errors.Is(gone, fault.ErrConflict) {
		return nil
	}
	if gone != nil {
		return gone
	}
	err = t.db.Model(&hostRow{}).Where("id = ?", r.HostID).UpdateColumns(map[string]any{
		"cpu_used": gorm.Expr("cpu_used - ?", r.CPUMillis), "memory_used": gorm.Expr("memory_used - ?", r.MemoryBytes), "units": gorm.Expr("units - 1"),
	}).Error
	if err != nil || r.DiskID == "" {
		return err
	}
	return t.db.Model(&diskRow{}).Where("id = ?", r.DiskID).
		UpdateColumns(map[string]any{"used": gorm.Expr("used - ?", r.DiskBytes), "units": gorm.Expr("units - 1")}).Error
}

// groupsDuty and the tenant name the row that LockGroups takes.
const groupsDuty = "groups/"

// LockGroups implements host.AllocationRows.
func (t *tx) LockGroups(of tenant.ID) error {
	_, err := t.TakeDuty(groupsDuty+string(of), "placement", time.UnixMilli(0), time.UnixMilli(0))
	return err
}

func allocations(q *gorm.DB, f host.AllocationFilter) *gorm.DB {
	q = q.Model(&allocationRow{})
	if f.Unit != "" {
		q = q.Where("instance_id = ?", key(f.Unit))
	}
	if f.Host != "" {
		q = q.Where("host_id = ?", key(f.Host))
	}
	if f.Holder != "" {
		q = q.Where("tenant_id = ? AND holder = ?", key(f.Tenant), f.Holder)
	}
	if f.Job != "" {
		q = q.Where("job_id = ?", key(f.Job))
	}
	return q
}

// Holding implements host.HolderRows.
func (t *tx) Holding(f host.AllocationFilter) (units []host.UnitID, err error) {
	err = allocations(t.db, f).Order("instance_id").Pluck("instance_id", &units).Error
	return units, err
}

// Allocations implements host.AllocationReader.
func (r reader) Allocations(ctx context.Context, f host.AllocationFilter, after host.UnitID, limit int) ([]host.Allocation, error) {
	var rows []allocationRow
	err := allocations(r.db.WithContext(ctx), f).Where("instance_id > ?", key(after)).Order("instance_id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, translate(err)
	}
	return entities(rows, allocationRow.entity)
}

// Spread implements host.AllocationReader.
func (r reader) Spread(ctx context.Context, of tenant.ID, holder string) (map[host.ID]int, error) {
	var counts []struct {
		HostID string
		Units  int
	}
	err := allocations(r.db.WithContext(ctx), host.AllocationFilter{Tenant: of, Holder: holder}).
		Select("host_id, COUNT(*) AS units").Group("host_id").Scan(&counts).Error
	all := make(map[host.ID]int, len(counts))
	for _, c := range counts {
		all[host.ID(c.HostID)] = c.Units
	}
	return all, translate(err)
}

// Recount implements host.BooksRows.
func (t *tx) Recount(of host.ID) (bool, error) {
	sum := func(what, where string) any {
		return gorm.Expr("(SELECT COALESCE(SUM("+what+"), 0) FROM allocations AS a WHERE a."+where+")", key(of))
	}
	wrong := t.db.Model(&hostRow{}).Where("id = ?", key(of)).
		Where("cpu_used <> ? OR memory_used <> ? OR units <> ?", sum("a.cpu_millis", "host_id = ?"), sum("a.memory_bytes", "host_id = ?"), sum("1", "host_id = ?")).
		UpdateColumns(map[string]any{
			"cpu_used": sum("a.cpu_millis", "host_id = ?"), "memory_used": sum("a.memory_bytes", "host_id = ?"), "units": sum("1", "host_id = ?"),
		})
	if wrong.Error != nil {
		return false, wrong.Error
	}
	onDisk := func(what string) any {
		return gorm.Expr("(SELECT COALESCE(SUM(" + what + "), 0) FROM allocations AS a WHERE a.disk_id = disks.id)")
	}
	disks := t.db.Model(&diskRow{}).Where("host_id = ?", key(of)).Where("used <> ? OR units <> ?", onDisk("a.disk_bytes"), onDisk("1")).
		UpdateColumns(map[string]any{"used": onDisk("a.disk_bytes"), "units": onDisk("1")})
	return wrong.RowsAffected+disks.RowsAffected > 0, disks.Error
}

// Unbooked implements host.BooksReader.
func (r reader) Unbooked(ctx context.Context, of host.ID, limit int) ([]host.Allocation, error) {
	var rows []instanceRow
	err := r.db.WithContext(ctx).Where("host_id = ? AND EXISTS (SELECT 1 FROM ports AS p WHERE p.instance_id = instances.id AND p.host_id = instances.host_id) "+
		"AND NOT EXISTS (SELECT 1 FROM allocations AS a WHERE a.instance_id = instances.id)", key(of)).
		Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, translate(err)
	}
	if len(rows) == 0 {
		return nil, nil // as nearly always
	}
	disks, err := r.Disks(ctx, of)
	if err != nil {
		return nil, err
	}
	return entities(rows, func(i instanceRow) (host.Allocation, error) {
		a := host.Allocation{
			Unit: host.UnitID(i.ID), Tenant: tenant.ID(i.TenantID), Host: of, Ports: i.Ports,
			Resources: host.Resources{CPUMillis: i.CPUMillis, MemoryBytes: i.MemoryBytes, DiskBytes: i.DiskBytes},
		}
		if len(disks) > 0 {
			a.Disk = disks[0].ID
		}
		return a, nil
	})
}

// Unheld implements host.BooksReader.
func (r reader) Unheld(ctx context.Context, of host.ID, before time.Time, limit int) (units []host.UnitID, err error) {
	err = r.db.WithContext(ctx).Model(&allocationRow{}).
		Where("host_id = ? AND created_at < ? AND NOT EXISTS (SELECT 1 FROM ports AS p WHERE p.instance_id = allocations.instance_id AND p.host_id = allocations.host_id)", key(of), millis(before)).
		Order("instance_id").Limit(limit).Pluck("instance_id", &units).Error
	return units, translate(err)
}
