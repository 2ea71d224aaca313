package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/secret"
)

const (
	simulatedHosts = 1000
	// simulatedAs is how long the calls of a simulated host take: about as long as those of
	// an engine on another machine. One in a thousand fails.
	simulatedAs = "latency=20ms&jitter=10ms&ready=30ms&failures=0.001&seed=1"
	posters     = 16
)

// measureJobs has creates go through the real API, queue, database and workers, over a
// thousand hosts that are simulated: from the first POST until the last job has ended.
func measureJobs(ctx context.Context, b *bench) error {
	for text := range strings.SplitSeq(cmp.Or(b.workers, "1,2,4"), ",") {
		workers, err := strconv.Atoi(text)
		if err != nil || workers < 1 {
			return fmt.Errorf("-workers %s: want numbers, as in 1,2,4", b.workers)
		}
		if err := b.jobsBy(ctx, workers); err != nil {
			return fmt.Errorf("%d workers: %w", workers, err)
		}
	}
	return nil
}

func (b *bench) jobsBy(ctx context.Context, workers int) (err error) {
	redisURL, err := b.redisServer(ctx)
	if err != nil {
		return err
	}
	dsn, setting, err := b.mysqlServer(ctx, "--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0") // or the disk is measured
	if err != nil {
		return err
	}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // the server goes, too
	ports := fmt.Sprintf("BERTH_PORT_RANGE=20000-%d", 20000+max(100, 2*b.jobs/simulatedHosts))
	settings := append(b.simulated(fmt.Sprintf("jobs-%d", workers), simulatedHosts, simulatedAs), "BERTH_DATABASE_URL="+setting, "BERTH_REDIS_URL="+redisURL, ports,
		b.masterKey, "BERTH_WORKER_CONCURRENCY=64", "BERTH_RECONCILE_EVERY=1m", "BERTH_PROBE_EVERY=1h")
	if err := b.migrate(ctx, settings); err != nil {
		return err
	}
	api, err := b.startServer(ctx, settings, "api")
	if err != nil {
		return err
	}
	defer api.stop()
	var crew []*server
	defer func() {
		for _, w := range crew {
			w.stop()
		}
	}()
	for range workers {
		w, err := b.startWorker(ctx, settings)
		if err != nil {
			return err
		}
		crew = append(crew, w)
	}
	if err := warmUp(ctx, db, api.client, 4*workers); err != nil {
		return errors.Join(err, errors.New(crew[0].said()))
	}
	took, err := flood(ctx, db, api.client, b.jobs)
	if err != nil {
		return errors.Join(err, errors.New(crew[0].said()))
	}
	b.add(one(fmt.Sprintf("%d jobs over %d simulated hosts: %d workers", b.jobs, simulatedHosts, workers), "per s", float64(b.jobs)/took.Seconds()))
	return b.checkJobs(ctx, db, workers, b.jobs+4*workers)
}

// warmUp waits until all workers are at work.
func warmUp(ctx context.Context, db *sql.DB, c *client.Client, jobs int) error {
	_, err := flood(ctx, db, c, jobs)
	return err
}

// flood asks for so many instances and waits until nothing is left to do.
func flood(ctx context.Context, db *sql.DB, c *client.Client, jobs int) (time.Duration, error) {
	begun := time.Now()
	if err := post(ctx, c, jobs); err != nil {
		return 0, err
	}
	err := until(ctx, time.Hour, 50*time.Millisecond, func() error {
		left := 0
		err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE live_instance_id > '' LIMIT 1) AS live").Scan(&left)
		if err == nil && left > 0 {
			err = errors.New("jobs are left")
		}
		return err
	})
	return time.Since(begun), err
}

// post asks for so many instances.
func post(ctx context.Context, c *client.Client, jobs int) error {
	var (
		next atomic.Int64
		errs = make([]error, posters)
		all  sync.WaitGroup
	)
	for i := range posters {
		all.Go(func() {
			for int(next.Add(1)) <= jobs && errs[i] == nil {
				_, errs[i] = c.Create(ctx, "redis", secret.APIKey(), client.CreateRequest{})
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// checkJobs compares what was accepted with what is there: rows, and things on the hosts.
func (b *bench) checkJobs(ctx context.Context, db *sql.DB, workers, want int) error {
	var succeeded, running, held, hosts int
	for _, q := range []struct {
		into  *int
		query string
	}{
		{&succeeded, "SELECT COUNT(*) FROM jobs WHERE state = 'succeeded'"}, {&running, "SELECT COUNT(*) FROM instances WHERE state = 'running'"},
		{&held, "SELECT COUNT(DISTINCT instance_id) FROM ports"}, {&hosts, "SELECT COUNT(DISTINCT host_id) FROM instances"},
	} {
		if err := db.QueryRowContext(ctx, q.query).Scan(q.into); err != nil {
			return err
		}
	}
	there, err := filepath.Glob(filepath.Join(b.dir, fmt.Sprintf("jobs-%d-hosts", workers), "*", "*.json"))
	if err != nil {
		return err
	}
	b.say("  of %d jobs %d succeeded; %d instances run on %d hosts, which have %d; %d hold ports", want, succeeded, running, hosts, len(there), held)
	if succeeded != running || running != len(there) || running != held {
		return errors.New("rows and hosts do not agree")
	}
	return nil
}
