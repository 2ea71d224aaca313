package instance_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/bell/belltest"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/tenant"
)

// listed is a host with a fixed list.
type listed struct {
	*hosttest.Runtime
	units []host.Unit
}

func (l listed) List(context.Context) ([]host.Unit, error) { return l.units, nil }

// BenchmarkSweep compares 10,000 healthy instances; it should take less than 2 s.
func BenchmarkSweep(b *testing.B) {
	const instances = 10_000
	s, newID := storetest.SQLite(b), id.NewSource().New
	h, units := host.Host{}, make([]host.Unit, 0, instances)
	old := time.Now().UTC().Add(-time.Hour)
	err := s.Tx(b.Context(), func(tx rooms.Tx) (err error) {
		if h, err = tx.PutHost(host.Host{ID: "hst_bench", Name: "bench", PortLow: 20000, PortHigh: 40000}); err != nil {
			return err
		}
		for i := range instances {
			inst := instance.Instance{
				ID: instance.ID(newID(instance.Prefix)), Tenant: tenant.Default, Spec: instance.Spec{Engine: instancetest.EngineName, Parameters: instance.Parameters{"clients": int64(10)}}, Name: fmt.Sprint("i", i),
				Status: instance.Status{Host: h.ID}, State: instance.StateRunning, CreatedAt: old, UpdatedAt: old,
			}
			if err := tx.InsertInstance(inst); err != nil {
				return err
			}
			if _, err := tx.TakePort(h, host.UnitID(inst.ID), instancetest.EngineName, old); err != nil {
				return err
			}
			units = append(units, host.Unit{ID: host.UnitID(inst.ID), Running: true, Container: true, Volume: true, Created: old})
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	jobs := rooms.NewEngine(rooms.EngineConfig{Store: s, Queue: belltest.NewQueue(), NewID: newID, Log: slog.New(slog.DiscardHandler)})
	runtimes := hosttest.NewRuntimes(listed{hosttest.NewRuntime("bench"), units})
	mender := &instance.Mender{Store: rooms.Instances(s), Hosts: s, Runtimes: runtimes, Jobs: jobs, Now: clock.System, Log: slog.New(slog.DiscardHandler)}
	r := host.Reconciler{
		Store: rooms.Hosts(s), Runtimes: runtimes, Residents: mender, Now: clock.System,
		Log: slog.New(slog.DiscardHandler), Owner: "bench", Every: time.Second, Grace: time.Minute,
	}
	for b.Loop() {
		if n, err := r.RunOnce(b.Context()); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}
