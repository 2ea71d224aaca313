package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/engine"
	"github.com/berth-project/berth/internal/provision"
	"github.com/berth-project/berth/internal/secret"
)

// measureToRunning times each engine from the POST to the end of its job, turn by
// turn with the same server made by bare calls.
func measureToRunning(ctx context.Context, o options, dir string) (rows []row, err error) {
	server, err := startServer(ctx, o.binary, []string{
		"BERTH_DATA_DIR=" + filepath.Join(dir, "dev"), "BERTH_PORT_RANGE=26000-26999", "BERTH_LOG_LEVEL=error",
	}, "dev")
	if err != nil {
		return nil, err
	}
	defer server.stop()
	for _, e := range engine.Catalog(engine.Config{}) {
		name := e.Describe().Name
		var mine, bare, onData, deletes []time.Duration
		for turn := range o.pairs + 1 {
			created, deleted, err := berthTurn(ctx, server.client, name)
			if err != nil {
				return nil, fmt.Errorf("%s by Berth: %w", name, err)
			}
			alone, again, err := bareTurn(ctx, e)
			if err != nil {
				return nil, fmt.Errorf("%s by bare calls: %w", name, err)
			}
			if turn > 0 { // the first warms up
				mine, bare, deletes = append(mine, created), append(bare, alone), append(deletes, deleted)
				onData = append(onData, again)
			}
		}
		toRunning := summary(name+": POST to running", mine, false).paired(mine, bare)
		toRunning.Comment = "bare: volume, create, files, start, the same proof"
		onDirectory := summary(name+": POST to running", mine, false).paired(mine, onData)
		onDirectory.Comment = "bare: create, files, start, the same proof, on a directory that is initialised"
		rows = append(rows, toRunning, onDirectory, summary(name+": DELETE to deleted", deletes, false))
	}
	return rows, nil
}

// berthTurn makes an instance through the API and deletes it again.
func berthTurn(ctx context.Context, c *client.Client, name string) (created, deleted time.Duration, err error) {
	begun := time.Now()
	made, err := c.Create(ctx, name, secret.APIKey(), client.CreateRequest{})
	if err != nil {
		return 0, 0, err
	}
	if err := waitFor(ctx, c, made.Job.ID); err != nil {
		return 0, 0, err
	}
	created = time.Since(begun)
	begun = time.Now()
	gone, err := c.Delete(ctx, made.Instance)
	if err != nil {
		return 0, 0, err
	}
	err = waitFor(ctx, c, gone.Job.ID)
	return created, time.Since(begun), err
}

func waitFor(ctx context.Context, c *client.Client, id string) error {
	job, err := c.WaitJob(ctx, id, 30*time.Second, func(client.Job) {})
	if err == nil && job.State != client.JobSucceeded {
		err = fmt.Errorf("job %s %s: %+v", id, job.State, job.Error)
	}
	return err
}

// bareTurn makes the same server without Berth's queue, journal and fences, once on an
// empty volume and once more on what it has initialised there, and removes it again.
func bareTurn(ctx context.Context, e provision.Engine) (empty, initialised time.Duration, err error) {
	info := e.Describe()
	plan, _ := info.Plan("")
	version, _ := info.Version("")
	inst := provision.Instance{
		ID: "ins_BENCH", Tenant: provision.DefaultTenant, Engine: info.Name, Version: version.Name, Name: "bench", Plan: plan.Name,
		Resources: plan.Resources, Parameters: e.Complete(nil, plan.Resources), Address: "127.0.0.1", Port: barePort,
	}
	creds := e.NewCredentials(inst, secret.Generator{})
	load, err := e.Workload(inst, creds)
	if err != nil {
		return 0, 0, err
	}
	docker := newBareDocker()
	if load.Image, err = docker.present(ctx, version.Images); err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, docker.remove(context.WithoutCancel(ctx))) }()
	usable := func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return e.Probe(ctx, inst, creds)
	}
	begun := time.Now()
	if err := docker.createVolume(ctx); err != nil {
		return 0, 0, err
	}
	if empty, err = bareStart(ctx, docker, load, usable, begun); err != nil {
		return 0, 0, err
	}
	if err := docker.removeContainer(ctx); err != nil {
		return 0, 0, err
	}
	initialised, err = bareStart(ctx, docker, load, usable, time.Now())
	return empty, initialised, err
}

// bareStart gives the time from begun until the server is usable.
func bareStart(ctx context.Context, docker *bareDocker, load provision.Workload, usable func() error, begun time.Time) (time.Duration, error) {
	if err := docker.start(ctx, load); err != nil {
		return 0, err
	}
	for {
		err := usable()
		if err == nil {
			return time.Since(begun), nil
		}
		if time.Since(begun) > 2*time.Minute {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
