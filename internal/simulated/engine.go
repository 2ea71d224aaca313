package simulated

import (
	"context"
	"path/filepath"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
)

// engine is one whose servers are simulated: it describes, checks and renders as it
// does, and its proof is a look at the simulated host. It is no Adopter: nothing is
// there that could be given to a tenant.
type engine struct {
	instance.Engine
	hosts *Hosts
}

// Catalog gives the same engines with simulated servers.
func (h *Hosts) Catalog(real instance.Catalog) instance.Catalog {
	list := make(instance.Catalog, len(real))
	for i, e := range real {
		list[i] = engine{e, h}
	}
	return list
}

// Recertify has nothing to do: a simulated server has no connections.
func (e engine) Recertify(ctx context.Context, inst instance.Instance, cred instance.Credentials) error {
	return e.Probe(ctx, inst, cred)
}

// Golden gives none: there is no data to make.
func (engine) Golden(instance.Instance) (host.Golden, bool) { return host.Golden{}, false }

// Probe succeeds when the instance runs at its port, and has had the time to begin.
func (e engine) Probe(ctx context.Context, inst instance.Instance, _ instance.Credentials) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t, err := readFile(e.hosts.file(inst.Status.Address, host.UnitID(inst.ID)))
	if err == nil && t != nil && t.Container != nil && t.Container.Running && t.Container.has(inst.Status.Port) &&
		(inst.Status.TLSPort == 0 || t.Container.has(inst.Status.TLSPort)) &&
		time.Since(t.Container.Started) >= e.hosts.ready {
		return nil
	}
	return fault.Errorf(fault.CodeProbeFailed, err, "the simulated server cannot be used")
}

var _ instance.DiskKeeper = engine{}

// KeepDisk measures what the host's file says, and notes there whether writes are refused.
func (e engine) KeepDisk(ctx context.Context, inst instance.Instance, _ instance.Credentials, refuse func(int64) bool) (used int64, err error) {
	h := &machine{dir: filepath.Dir(e.hosts.file(inst.Status.Address, host.UnitID(inst.ID)))}
	t, err := h.read(host.UnitID(inst.ID))
	if err != nil || t == nil || t.Volume == nil {
		return 0, fault.Errorf(fault.CodeProbeFailed, err, "the simulated server cannot be used")
	}
	if refuse(t.Volume.Used) == t.Volume.Refuses {
		return t.Volume.Used, ctx.Err()
	}
	err = h.locked(func() error {
		t, err := h.read(host.UnitID(inst.ID))
		if err != nil || t == nil || t.Volume == nil {
			return err
		}
		used, t.Volume.Refuses = t.Volume.Used, refuse(t.Volume.Used)
		return h.write(t)
	})
	return used, err
}
