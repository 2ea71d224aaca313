package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/ports"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/tenant"
)

const (
	portRange   = 10_000
	allocations = 40 // for each of the runs
)

// measurePorts times the allocation of one port of a host's 10,000, which have all been
// used before, while so many workers do so at once and so many ports are taken.
func measurePorts(ctx context.Context, b *bench) error {
	redisURL, err := b.redisServer(ctx)
	if err != nil {
		return err
	}
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(options)
	defer rdb.Close() //nolint:errcheck // the server goes, too
	dsn, setting, err := b.mysqlServer(ctx)
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "ports.db")
	for _, d := range []database{{"SQLite", "sqlite://" + file, "sqlite", sqliteDSN(file)}, {"MySQL", setting, "mysql", dsn}} {
		if err := b.portsOn(ctx, d, rdb); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

func (b *bench) portsOn(ctx context.Context, d database, rdb redis.UniversalClient) (err error) {
	s, err := store.Open(d.setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	log := slog.New(slog.DiscardHandler)
	if err := s.Migrate(ctx, log); err != nil {
		return err
	}
	allocator := ports.New(rooms.Hosts(s), rdb, clock.System, log)
	for _, workers := range []int{1, 4, 16} {
		var least row
		for _, full := range []int{10, 90, 99} {
			host := host.Host{ID: host.ID(fmt.Sprintf("hst_%d_%d", workers, full)), Name: "bench", PortLow: 20000, PortHigh: 20000 + portRange - 1}
			if err := fillPorts(ctx, d, host, full); err != nil {
				return err
			}
			took, err := allocate(ctx, s, allocator, host, workers, allocations*b.runs)
			if err != nil {
				return err
			}
			r := times(fmt.Sprintf("allocate a port on %s: %d %% taken, %d workers", d.name, full, workers), took)
			switch full {
			case 10:
				least = r
				least.What = "10 % taken"
			default:
				if r = r.beside(least); full == 99 {
					r = r.aim("ratio", 2)
				}
			}
			b.add(r)
		}
	}
	return nil
}

// fillPorts writes a row for every port of the host: taken, or given back long ago.
func fillPorts(ctx context.Context, d database, host host.Host, full int) error {
	db, err := sql.Open(d.driver, d.dsn)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // what it had to do is done
	db.SetMaxOpenConns(1)
	concat := "'ins_' || i"
	if d.driver == "mysql" {
		concat = "CONCAT('ins_', i)"
		if _, err := db.ExecContext(ctx, fmt.Sprintf("SET SESSION cte_max_recursion_depth = %d", 2*portRange)); err != nil {
			return err
		}
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(`INSERT INTO ports (host_id, port, instance_id, name, rest_until)
		WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT '%s', %d + i, CASE WHEN i %% 100 < %d THEN %s END, '', CASE WHEN i %% 100 < %d THEN 0 ELSE i + 1 END FROM n`,
		portRange-1, host.ID, host.PortLow, full, concat, full))
	return err
}

// allocate has each worker take a port for a claim of its own and give it back, again
// and again.
func allocate(ctx context.Context, s *store.Store, allocator *ports.Allocator, h host.Host, workers, count int) ([]time.Duration, error) {
	claims := make([]job.Claim, workers)
	for i := range claims {
		var err error
		if claims[i], err = claimed(ctx, s); err != nil {
			return nil, err
		}
	}
	var (
		mu   sync.Mutex
		took []time.Duration
		errs = make([]error, workers)
		all  sync.WaitGroup
	)
	for i, claim := range claims {
		all.Go(func() {
			for range max(1, count/workers) {
				begun := time.Now()
				held, err := allocator.Allocate(ctx, claim, h, host.Ask{Ports: []string{"redis"}})
				length := time.Since(begun)
				if err == nil {
					err = s.Tx(ctx, func(tx rooms.Tx) error {
						return tx.RestPort(h.ID, held.Ports[0], host.UnitID(instance.ID(claim.Subject)), begun)
					})
				}
				if errs[i] = err; err != nil {
					return
				}
				mu.Lock()
				took = append(took, length)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return took, errors.Join(errs...)
}

var newID = id.NewSource().New

// claimed makes a job that somebody has.
func claimed(ctx context.Context, s *store.Store) (job.Claim, error) {
	now := clock.System()
	inst := instance.Instance{
		ID: instance.ID(newID(instance.Prefix)), Tenant: tenant.Default, Spec: instance.Spec{Engine: "redis"}, State: instance.StateProvisioning, CreatedAt: now, UpdatedAt: now,
	}
	inst.Name = string(inst.ID)
	j := job.Job{
		ID: id.Job(newID(job.Prefix)), Tenant: inst.Tenant, Subject: id.Subject(inst.ID), Class: inst.Spec.Engine, Kind: instance.JobCreate, State: job.Running,
		Fence: 1, CreatedAt: now, UpdatedAt: now, WakeAt: now.Add(time.Hour), Deadline: now.Add(time.Hour), LeaseUntil: now.Add(time.Hour),
	}
	err := s.Tx(ctx, func(tx rooms.Tx) error { return errors.Join(tx.InsertInstance(inst), tx.InsertJob(j)) })
	return job.Claim{Job: j.ID, Subject: id.Subject(inst.ID), Fence: 1}, err
}
