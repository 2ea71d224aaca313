package provision_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/provision"
	"github.com/berth-project/berth/internal/provision/provisiontest"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/tenant"
)

// listed is a host with a fixed list.
type listed struct {
	*provisiontest.Runtime
	units []provision.Unit
}

func (l listed) List(context.Context) ([]provision.Unit, error) { return l.units, nil }

// BenchmarkSweep compares 10,000 healthy instances; it should take less than 2 s.
func BenchmarkSweep(b *testing.B) {
	const instances = 10_000
	s, newID := storetest.SQLite(b), id.NewSource().New
	host, units := provision.Host{}, make([]provision.Unit, 0, instances)
	old := time.Now().UTC().Add(-time.Hour)
	err := s.Tx(b.Context(), func(tx provision.Tx) (err error) {
		if host, err = tx.PutHost(provision.Host{ID: "hst_bench", Name: "bench", PortLow: 20000, PortHigh: 40000}); err != nil {
			return err
		}
		for i := range instances {
			inst := provision.Instance{
				ID: provision.InstanceID(newID(provision.PrefixInstance)), Tenant: tenant.Default, Engine: provisiontest.EngineName, Name: fmt.Sprint("i", i),
				Parameters: provision.Parameters{"clients": int64(10)}, Host: host.ID, State: provision.StateRunning, CreatedAt: old, UpdatedAt: old,
			}
			if err := tx.InsertInstance(inst); err != nil {
				return err
			}
			if _, err := tx.TakePort(host, provision.UnitID(inst.ID), provisiontest.EngineName, old); err != nil {
				return err
			}
			units = append(units, provision.Unit{ID: provision.UnitID(inst.ID), Running: true, Container: true, Volume: true, Created: old})
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	jobs := provision.NewEngine(provision.EngineConfig{Store: s, Queue: provisiontest.NewQueue(), NewID: newID, Log: slog.New(slog.DiscardHandler)})
	runtimes := provisiontest.NewRuntimes(listed{provisiontest.NewRuntime("bench"), units})
	mender := &provision.Mender{Store: s, Runtimes: runtimes, Jobs: jobs, Now: clock.System, Log: slog.New(slog.DiscardHandler)}
	r := provision.Reconciler{
		Store: provision.Hosts(s), Runtimes: runtimes, Residents: mender, Now: clock.System,
		Log: slog.New(slog.DiscardHandler), Owner: "bench", Every: time.Second, Grace: time.Minute,
	}
	for b.Loop() {
		if n, err := r.RunOnce(b.Context()); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}
