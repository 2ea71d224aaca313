package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/secret"
)

const (
	queued = 10_000 // jobs of one tenant
	// slowAs is how long the calls of a simulated host take: a create takes about a second, as
	// on a real one.
	slowAs = "latency=50ms&jitter=10ms&ready=500ms&seed=1"
	// fairAim is how long another tenant's first job may wait, in milliseconds.
	fairAim = 3000
)

// measureFair has one tenant queue ten thousand jobs before a worker starts, and then another
// one ask for one thing after the other: how long each waits for its first step.
func measureFair(ctx context.Context, b *bench) (err error) {
	redisURL, err := b.redisServer(ctx)
	if err != nil {
		return err
	}
	settings := append(b.simulated("fair", simulatedHosts, slowAs),
		"BERTH_DATABASE_URL=sqlite://"+filepath.Join(b.dir, "fair.db"), "BERTH_REDIS_URL="+redisURL, b.masterKey, "BERTH_PORT_RANGE=20000-20099",
		"BERTH_RECONCILE_EVERY=1m", "BERTH_PROBE_EVERY=1h")
	if err := b.migrate(ctx, settings); err != nil {
		return err
	}
	api, err := b.startServer(ctx, settings, "api")
	if err != nil {
		return err
	}
	defer api.stop()
	modest, err := tenantOf(ctx, api, "modest")
	if err != nil {
		return err
	}
	if err := post(ctx, api.client, queued); err != nil {
		return err
	}
	worker, err := b.startWorker(ctx, settings)
	if err != nil {
		return err
	}
	defer worker.stop()
	var waited []time.Duration
	for range b.runs {
		made, err := modest.Create(ctx, "redis", secret.APIKey(), client.CreateRequest{})
		if err != nil {
			return err
		}
		job, err := modest.Job(ctx, made.Job.ID, time.Minute)
		if err != nil || len(job.Steps) == 0 || job.Steps[0].StartedAt == nil {
			return errors.Join(err, fmt.Errorf("job %s has not begun: %s", job.ID, worker.said()))
		}
		waited = append(waited, job.Steps[0].StartedAt.Sub(job.CreatedAt))
	}
	b.add(times(fmt.Sprintf("accepted to first step, behind %d jobs of another tenant", queued), waited).aim("p99", fairAim))
	return nil
}

// tenantOf makes a tenant, and a client that acts in it.
func tenantOf(ctx context.Context, s *server, name string) (*client.Client, error) {
	t, err := s.client.AddTenant(ctx, secret.APIKey(), name)
	if err != nil {
		return nil, err
	}
	k, err := s.client.AddKey(ctx, secret.APIKey(), client.KeyRequest{Name: name, Role: "member", TenantID: t.ID})
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{URL: "http://" + s.address, APIKey: k.Key})
}
