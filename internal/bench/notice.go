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

// notices is how many jobs are given to an idle worker, one after the other, for each
// of the runs.
const notices = 15

// measureNotice times how long a worker, a process of its own, takes from the accept
// of a job by the API to the begin of its first step, and how long the API takes to
// answer a long poll once the job has ended. Both by what the processes wrote, on one
// machine's clock, in whole milliseconds. The host is a simulated one.
func measureNotice(ctx context.Context, b *bench) (err error) {
	redisURL, err := b.redisServer(ctx)
	if err != nil {
		return err
	}
	settings := append(b.simulated("notice", 1, "latency=1ms"),
		"BERTH_DATABASE_URL=sqlite://"+filepath.Join(b.dir, "notice.db"), "BERTH_REDIS_URL="+redisURL, b.masterKey)
	if err := b.migrate(ctx, settings); err != nil {
		return err
	}
	api, err := b.startServer(ctx, settings, "api")
	if err != nil {
		return err
	}
	defer api.stop()
	worker, err := b.startWorker(ctx, settings)
	if err != nil {
		return err
	}
	defer worker.stop()

	var begun, answered []time.Duration
	for turn := range notices*b.runs + 1 {
		first, last, err := noticeTurn(ctx, api.client)
		if err != nil {
			return errors.Join(err, errors.New(worker.said()))
		}
		if turn > 0 { // the first waits for the worker to start
			begun, answered = append(begun, first), append(answered, last)
		}
	}
	first := times("accepted to first step, idle worker", begun)
	b.add(first.aim("median", 25), first.aim("p99", 60), times("job ended to answer of ?wait=", answered))
	return nil
}

// simulated gives the settings of workers whose hosts are simulated.
func (b *bench) simulated(name string, hosts int, how string) []string {
	return []string{
		fmt.Sprintf("BERTH_SIMULATED_HOSTS=%d", hosts), "BERTH_HOST_NAME=sim", "BERTH_DOCKER_HOST=simulated://" + filepath.Join(b.dir, name+"-hosts") + "?" + how,
	}
}

// noticeTurn makes an instance and deletes it again.
func noticeTurn(ctx context.Context, c *client.Client) (begun, answered time.Duration, err error) {
	made, err := c.Create(ctx, "redis", secret.APIKey(), client.CreateRequest{})
	if err != nil {
		return 0, 0, err
	}
	job, err := c.Job(ctx, made.Job.ID, 30*time.Second)
	now := time.Now()
	if err != nil {
		return 0, 0, err
	}
	if job.State != client.JobSucceeded || job.FinishedAt == nil || len(job.Steps) == 0 || job.Steps[0].StartedAt == nil {
		return 0, 0, fmt.Errorf("job %s: %s: %+v", job.ID, job.State, job.Error)
	}
	gone, err := c.Delete(ctx, made.Instance)
	if err != nil {
		return 0, 0, err
	}
	return job.Steps[0].StartedAt.Sub(job.CreatedAt), now.Sub(*job.FinishedAt), waitFor(ctx, c, gone.Job.ID)
}
