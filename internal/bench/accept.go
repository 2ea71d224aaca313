package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/redisserver"
)

const stormClients = 16

// measureAccept times POSTs against an API without workers, so that nothing but
// accepting is measured: the jobs stay in the queue.
func measureAccept(ctx context.Context, o options, dir string) (_ []row, err error) {
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
		"BERTH_DATABASE_URL=sqlite://" + filepath.Join(dir, "accept.db"), "BERTH_REDIS_URL=" + redis.URL(), "BERTH_LOG_LEVEL=error",
	}
	if err := runOnce(ctx, o.binary, settings, "migrate"); err != nil {
		return nil, err
	}
	api, err := startServer(ctx, o.binary, settings, "api")
	if err != nil {
		return nil, err
	}
	defer api.stop()

	post := func(i int) error {
		_, err := api.client.Create(ctx, "redis", fmt.Sprintf("bench-%d-%d", time.Now().UnixNano(), i), client.CreateRequest{})
		return err
	}
	for i := range 20 { // warm up
		if err := post(i); err != nil {
			return nil, err
		}
	}
	took := make([]time.Duration, o.accepts)
	for i := range took {
		begun := time.Now()
		if err := post(i); err != nil {
			return nil, err
		}
		took[i] = time.Since(begun)
	}
	latency := summary("accept: POST to answer, one client", took, true)
	latency.Comment = "SQLite, with Idempotency-Key"

	rate, err := storm(o.storm, post)
	if err != nil {
		return nil, err
	}
	return []row{latency, {
		What: fmt.Sprintf("accept: rate, %d clients", stormClients), N: stormClients, Median: rate, Min: rate, Max: rate, Unit: "per s", Comment: "SQLite",
	}}, nil
}

// storm gives the rate of POSTs from many clients at once.
func storm(length time.Duration, post func(int) error) (float64, error) {
	var (
		done   atomic.Int64
		failed atomic.Pointer[error]
		wg     sync.WaitGroup
	)
	begun := time.Now()
	for i := range stormClients {
		wg.Go(func() {
			for time.Since(begun) < length && failed.Load() == nil {
				if err := post(i); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / time.Since(begun).Seconds(), nil
}
