package store

import (
	"database/sql"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// A host has a row for every port that was ever used: held by an instance, or
// nobody's and resting until a time. Fresh ports are handed out in ascending order,
// then those that have rested longest, so both questions are one step into an index
// however full the range is, and a port comes back as late as possible. The primary
// key (host, port) is what keeps a port from having two holders.

// freshPort gives the lowest port above all that were ever used; beyond
// host.PortHigh there is none.
func freshPort(db *gorm.DB, host host.Host) (int, error) {
	var highest sql.NullInt64
	err := db.Model(&portRow{}).Select("MAX(port)").
		Where("host_id = ? AND port BETWEEN ? AND ?", string(host.ID), host.PortLow, host.PortHigh).Scan(&highest).Error
	if err != nil {
		return 0, translate(err)
	}
	if !highest.Valid {
		return host.PortLow, nil
	}
	return int(highest.Int64) + 1, nil
}

// restedPort gives the port that nobody has held for the longest time.
func restedPort(db *gorm.DB, host host.Host, now time.Time) (int, error) {
	row, err := one[portRow](db.Where("host_id = ? AND instance_id IS NULL AND rest_until <= ? AND port BETWEEN ? AND ?",
		string(host.ID), millis(now), host.PortLow, host.PortHigh).Order("rest_until"))
	return row.Port, err
}

// gapPort gives the lowest port that was never used although a higher one was: there
// are such ports only where the host's range was changed. Looking for one takes
// longer the wider the range is, so it comes last.
func gapPort(db *gorm.DB, host host.Host) (int, error) {
	within := func() *gorm.DB {
		return db.Table("ports AS p").Where("p.host_id = ? AND p.port BETWEEN ? AND ?", string(host.ID), host.PortLow, host.PortHigh)
	}
	var used struct{ Count, Lowest int }
	if err := within().Select("COUNT(*) AS count, COALESCE(MIN(p.port), 0) AS lowest").Scan(&used).Error; err != nil {
		return 0, translate(err)
	}
	switch {
	case used.Count == host.PortHigh-host.PortLow+1:
		return 0, fault.ErrNotFound
	case used.Lowest > host.PortLow:
		return host.PortLow, nil
	}
	var gap int
	err := within().Select("MIN(p.port) + 1").
		Where("NOT EXISTS (SELECT 1 FROM ports AS q WHERE q.host_id = p.host_id AND q.port = p.port + 1)").Scan(&gap).Error
	return gap, translate(err)
}

// nextPort gives the port that TakePort would take, and whether it is a new one.
// ErrNotFound when there is none.
func nextPort(db *gorm.DB, host host.Host, now time.Time) (port int, fresh bool, err error) {
	port, err = freshPort(db, host)
	if err != nil || port <= host.PortHigh {
		return port, true, err
	}
	port, err = restedPort(db, host, now)
	if !errors.Is(err, fault.ErrNotFound) {
		return port, false, err
	}
	port, err = gapPort(db, host)
	return port, true, err
}

// TakePort implements host.Rows.
func (t *tx) TakePort(host host.Host, holder host.UnitID, name string, now time.Time) (int, error) {
	port, fresh, err := nextPort(t.db, host, now)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return 0, fault.Errorf(fault.CodePortsExhausted, nil,
			"every port from %d to %d of host %s is in use or in quarantine; delete an instance or widen BERTH_PORT_RANGE", host.PortLow, host.PortHigh, host.Name)
	case err != nil:
		return 0, err
	case fresh:
		err := insert(t.db, portRow{HostID: string(host.ID), Port: port, InstanceID: nullable(string(holder)), Name: name})
		return port, duplicate(err, fault.ErrConflict)
	}
	return port, changed(t.db.Model(&portRow{}).
		Where("host_id = ? AND port = ? AND instance_id IS NULL", string(host.ID), port).
		Updates(map[string]any{"instance_id": string(holder), "name": name, "rest_until": 0}), fault.ErrConflict)
}

// RestPort implements host.Rows.
func (t *tx) RestPort(host host.ID, port int, holder host.UnitID, until time.Time) error {
	return t.rest(t.db.Where("host_id = ? AND port = ? AND instance_id = ?", string(host), port, string(holder)), until)
}

// RestPorts implements host.Rows.
func (t *tx) RestPorts(holder host.UnitID, until time.Time) error {
	return t.rest(t.db.Where("instance_id = ?", string(holder)), until)
}

// RestPortsElsewhere implements host.Rows.
func (t *tx) RestPortsElsewhere(holder host.UnitID, host host.ID, until time.Time) error {
	return t.rest(t.db.Where("instance_id = ? AND host_id <> ?", string(holder), string(host)), until)
}

// HoldPort implements host.PortRows.
func (t *tx) HoldPort(host host.ID, port int, holder host.UnitID, name string) error {
	held := t.db.Model(&portRow{}).Where("host_id = ? AND port = ? AND (instance_id IS NULL OR instance_id = ?)", string(host), port, string(holder)).
		Updates(map[string]any{"instance_id": string(holder), "name": name, "rest_until": 0})
	if held.Error != nil || held.RowsAffected > 0 {
		return held.Error
	}
	return duplicate(insert(t.db, portRow{HostID: string(host), Port: port, InstanceID: nullable(string(holder)), Name: name}), fault.ErrConflict)
}

func (t *tx) rest(which *gorm.DB, until time.Time) error {
	return which.Model(&portRow{}).Updates(map[string]any{"instance_id": nil, "name": "", "rest_until": millis(until)}).Error
}
