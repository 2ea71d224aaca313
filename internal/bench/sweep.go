package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/simulated"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/tenant"
)

const sweptInstances = 10_000

// counted counts the lists that it gives.
type counted struct {
	host.Runtimes
	lists atomic.Int64
}

// Runtime implements host.Runtimes.
func (c *counted) Runtime(h host.Host) (host.Runtime, error) {
	r, err := c.Runtimes.Runtime(h)
	return countedRuntime{r, c}, err
}

type countedRuntime struct {
	host.Runtime
	of *counted
}

func (c countedRuntime) List(ctx context.Context) ([]host.Unit, error) {
	c.of.lists.Add(1)
	return c.Runtime.List(ctx)
}

// measureSweep compares 10,000 instances that run with 10,000 things of one simulated
// host, which has a file for each.
func measureSweep(ctx context.Context, b *bench) error {
	_, setting, err := b.mysqlServer(ctx)
	if err != nil {
		return err
	}
	for name, url := range map[string]string{"SQLite": "sqlite://" + filepath.Join(b.dir, "sweep.db"), "MySQL": setting} {
		if err := b.sweepOn(ctx, name, url); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (b *bench) sweepOn(ctx context.Context, name, url string) (err error) {
	s, err := store.Open(url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	log := slog.New(slog.DiscardHandler)
	if err := s.Migrate(ctx, log); err != nil {
		return err
	}
	h := host.Host{ID: "hst_sweep", Name: "sweep", Endpoint: "simulated://" + filepath.Join(b.dir, "sweep-"+name), PortLow: 20000, PortHigh: 39999}
	hosts, err := simulated.New(h.Endpoint, "sweep")
	if err != nil {
		return err
	}
	if err := settle(ctx, s, hosts, h); err != nil {
		return err
	}
	runtimes := &counted{Runtimes: hosts}
	jobs := rooms.NewEngine(rooms.EngineConfig{Store: s, Queue: idleQueue{}, NewID: newID, Log: log})
	mender := &instance.Mender{Store: rooms.Instances(s), Hosts: s, Runtimes: runtimes, Jobs: jobs, Now: clock.System, Log: log}
	r := host.Reconciler{
		Store: rooms.Hosts(s), Runtimes: runtimes, Residents: mender, Now: clock.System, Log: log, Owner: "bench", Every: time.Second, Grace: time.Minute,
	}
	took := make([]time.Duration, b.runs+1)
	for i := range took {
		begun := time.Now()
		if n, err := r.RunOnce(ctx); err != nil || n != 0 {
			return fmt.Errorf("a sweep that should find nothing mended %d: %w", n, err)
		}
		took[i] = time.Since(begun)
	}
	b.add(times(fmt.Sprintf("a pass over %d instances on %s", sweptInstances, name), took[1:]).aim("median", 2000))
	b.add(one("lists of the host in a pass, on "+name, "", float64(runtimes.lists.Load())/float64(len(took))).aim("median", 1))
	return nil
}

// settle writes rows and things that agree.
func settle(ctx context.Context, s *store.Store, hosts *simulated.Hosts, h host.Host) error {
	runtime, err := hosts.Runtime(h)
	if err != nil {
		return err
	}
	old := clock.System().Add(-time.Hour)
	return s.Tx(ctx, func(tx rooms.Tx) error {
		if h, err = tx.PutHost(h); err != nil {
			return err
		}
		for i := range sweptInstances {
			inst := instance.Instance{
				ID: instance.ID(newID(instance.Prefix)), Tenant: tenant.Default, Spec: instance.Spec{Engine: "redis"}, Name: fmt.Sprint("i", i),
				Status: instance.Status{Host: h.ID}, State: instance.StateRunning, CreatedAt: old, UpdatedAt: old,
			}
			if err := tx.InsertInstance(inst); err != nil {
				return err
			}
			port, err := tx.TakePort(h, host.UnitID(inst.ID), "redis", old)
			if err != nil {
				return err
			}
			load := host.Workload{Unit: host.UnitID(inst.ID), Tenant: inst.Tenant, Fence: 1, Ports: []host.PortBinding{{Name: "redis", Container: 6379, Host: port}}}
			if err := runtime.Create(ctx, load); err != nil {
				return err
			}
			if _, err := runtime.Start(ctx, load); err != nil {
				return err
			}
		}
		return nil
	})
}

// idleQueue takes no tasks: nobody works here.
type idleQueue struct{}

func (idleQueue) Enqueue(context.Context, bell.Task) error { return nil }
