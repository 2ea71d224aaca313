package store

import (
	"context"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

type swarmRow struct {
	Name      string `gorm:"primaryKey"`
	Endpoint  string
	Region    string
	Zone      string
	Reserved  bool
	Nodes     string
	SeenAt    int64
	Error     string
	Rev       int64
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

func (swarmRow) TableName() string { return "swarms" }

func (r swarmRow) entity() (host.Swarm, error) {
	sw := host.Swarm{
		Name: r.Name, Endpoint: r.Endpoint, Region: r.Region, Zone: r.Zone, Reserved: r.Reserved, SeenAt: moment(r.SeenAt), Error: r.Error,
		Rev: r.Rev, CreatedAt: moment(r.CreatedAt),
	}
	return sw, fromJSON(r.Nodes, &sw.Nodes)
}

// Swarms implements host.SwarmReader.
func (r reader) Swarms(ctx context.Context) ([]host.Swarm, error) {
	var rows []swarmRow
	if err := r.db.WithContext(ctx).Order("name").Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, swarmRow.entity)
}

// Swarm implements host.SwarmReader.
func (r reader) Swarm(ctx context.Context, name string) (host.Swarm, error) {
	row, err := one[swarmRow](r.db.WithContext(ctx).Where("name = ?", key(name)))
	if err != nil {
		return host.Swarm{}, err
	}
	return row.entity()
}

// InsertSwarm implements host.SwarmRows.
func (t *tx) InsertSwarm(sw host.Swarm) error {
	nodes, err := toJSON(sw.Nodes)
	if err != nil {
		return err
	}
	return duplicate(insert(t.db, swarmRow{
		Name: sw.Name, Endpoint: sw.Endpoint, Region: sw.Region, Zone: sw.Zone, Reserved: sw.Reserved, Nodes: nodes, SeenAt: millis(sw.SeenAt),
		Error: sw.Error, Rev: sw.Rev, CreatedAt: millis(sw.CreatedAt),
	}), fault.ErrConflict)
}

// SeeSwarm implements host.SwarmRows.
func (t *tx) SeeSwarm(sw host.Swarm) error {
	nodes, err := toJSON(sw.Nodes)
	if err != nil {
		return err
	}
	return changed(t.db.Model(&swarmRow{}).Where("name = ? AND rev = ?", sw.Name, sw.Rev).
		Updates(map[string]any{"nodes": nodes, "seen_at": millis(sw.SeenAt), "error": sw.Error, "rev": oneMore}), fault.ErrConflict)
}

// DeleteSwarm implements host.SwarmRows.
func (t *tx) DeleteSwarm(name string) error {
	return changed(t.db.Where("name = ?", key(name)).Delete(&swarmRow{}), fault.ErrNotFound)
}
