package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/redisserver"
	"github.com/berth-project/berth/internal/secret"
)

// notices is how many jobs are given to an idle worker, one after the other.
const notices = 100

// measureNotice times how long a worker, a process of its own, takes from the accept
// of a job by the API to the begin of its first step, and how long the API takes to
// answer a long poll once the job has ended. Both by what the processes wrote, on one
// machine's clock, in whole milliseconds.
func measureNotice(ctx context.Context, o options, dir string) (rows []row, err error) {
	redis, err := redisserver.Start("bench")
	if err != nil {
		return nil, err
	}
	redisCtx, stopRedis := context.WithCancel(ctx)
	redisDone := make(chan error, 1)
	go func() { redisDone <- redis.Run(redisCtx) }()
	defer func() {
		stopRedis()
		err = errors.Join(err, <-redisDone)
	}()
	settings := []string{
		"BERTH_DATABASE_URL=sqlite://" + filepath.Join(dir, "notice.db"), "BERTH_REDIS_URL=" + redis.URL(), "BERTH_LOG_LEVEL=error",
		"BERTH_PORT_RANGE=25000-25999", "BERTH_MASTER_KEY=" + secret.MasterKey(),
	}
	if err := runOnce(ctx, o.binary, settings, "migrate"); err != nil {
		return nil, err
	}
	api, err := startServer(ctx, o.binary, settings, "api")
	if err != nil {
		return nil, err
	}
	defer api.stop()
	worker := &server{cmd: command(ctx, o.binary, settings, "worker")}
	if err := worker.cmd.Start(); err != nil {
		return nil, err
	}
	defer worker.stop()

	var begun, answered []time.Duration
	for turn := range notices + 1 {
		first, last, err := noticeTurn(ctx, api.client)
		if err != nil {
			return nil, err
		}
		if turn > 0 { // the first waits for the worker to start
			begun, answered = append(begun, first), append(answered, last)
		}
	}
	first := summary("notice: accepted to first step, idle worker", begun, true)
	first.Comment = "api and worker are processes of their own"
	last := summary("notice: job ended to answer of ?wait=", answered, true)
	return []row{first, last}, nil
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
