package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/store"
)

const (
	idleBefore = 10 * time.Second // until what is made at a start is done
	idleFor    = 30 * time.Second
	// ticks of a second that the kernel counts CPU time in (USER_HZ, 100 on every Linux that
	// Go runs on).
	ticks = 100
)

// measureIdle looks at processes that have nothing to do, and at how soon they can work.
func measureIdle(ctx context.Context, b *bench) (err error) {
	if err := b.measureStart(ctx); err != nil {
		return err
	}
	redisURL, err := b.redisServer(ctx)
	if err != nil {
		return err
	}
	settings := []string{
		"BERTH_DATABASE_URL=sqlite://" + filepath.Join(b.dir, "idle.db"), "BERTH_REDIS_URL=" + redisURL, b.masterKey,
	}
	if err := b.migrate(ctx, settings); err != nil {
		return err
	}
	d, err := b.startDev(ctx, "idle", "26000-26299")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close(ctx)) }()
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
	return b.watchIdle(ctx, []*server{d.server, api, worker})
}

func (b *bench) watchIdle(ctx context.Context, list []*server) error {
	names := []string{"berth dev", "berth api", "berth worker"}
	if err := rest(ctx, idleBefore); err != nil {
		return err
	}
	before := make([]usage, len(list))
	for i, s := range list {
		var err error
		if before[i], err = usageOf(s.cmd.Process.Pid); err != nil {
			return err
		}
	}
	if err := rest(ctx, idleFor); err != nil {
		return err
	}
	for i, s := range list {
		after, err := usageOf(s.cmd.Process.Pid)
		if err != nil {
			return err
		}
		memory := one("idle "+names[i]+": memory (RSS)", "MB", after.rss/1e6)
		cpu := one("idle "+names[i]+": CPU", "% of a core", 100*(after.cpu-before[i].cpu)/idleFor.Seconds())
		if i == 0 {
			memory, cpu = memory.aim("median", 60), cpu.aim("median", 1)
		}
		b.add(memory, cpu)
	}
	return nil
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// usage is what a process has used.
type usage struct {
	rss float64 // bytes
	cpu float64 // seconds
}

// usageOf reads proc(5).
func usageOf(pid int) (usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat")) //nolint:gosec // of a process that we started
	if err != nil {
		return usage{}, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return usage{}, errors.New("cannot read " + dir + "/stat")
	}
	number := func(i int) float64 {
		n, _ := strconv.ParseFloat(string(fields[i]), 64)
		return n
	}
	return usage{rss: number(21) * float64(os.Getpagesize()), cpu: (number(11) + number(12)) / ticks}, nil
}

// measureStart times a process from its start until it can work: until /readyz says so,
// a worker until its host is known.
func (b *bench) measureStart(ctx context.Context) error {
	redisURL, err := b.redisServer(ctx)
	if err != nil {
		return err
	}
	took := map[string][]time.Duration{}
	for range b.runs {
		dir := filepath.Join(b.dir, "start-"+runID())
		for _, verb := range []string{"dev, first start", "dev", "api"} {
			settings := []string{"BERTH_DATA_DIR=" + dir, b.masterKey}
			if verb == "api" {
				settings = []string{"BERTH_DATABASE_URL=sqlite://" + filepath.Join(dir, "berth.db"), "BERTH_REDIS_URL=" + redisURL, b.masterKey}
			}
			name, _, _ := strings.Cut(verb, ",")
			s, err := b.startServer(ctx, settings, name)
			if err != nil {
				return err
			}
			took[verb] = append(took[verb], s.readyTook)
			s.stop()
		}
		one, err := b.startOfWorker(ctx, dir, redisURL)
		if err != nil {
			return err
		}
		took["worker"] = append(took["worker"], one)
	}
	for _, verb := range []string{"dev, first start", "dev", "api", "worker"} {
		b.add(times("start to ready: berth "+verb, took[verb]))
	}
	return nil
}

func (b *bench) startOfWorker(ctx context.Context, dir, redisURL string) (took time.Duration, err error) {
	url := "sqlite://" + filepath.Join(dir, "worker.db")
	settings := []string{"BERTH_DATABASE_URL=" + url, "BERTH_REDIS_URL=" + redisURL, b.masterKey}
	if err := b.migrate(ctx, settings); err != nil {
		return 0, err
	}
	s, err := store.Open(url)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	begun := time.Now()
	worker, err := b.startWorker(ctx, settings)
	if err != nil {
		return 0, err
	}
	defer worker.stop()
	err = until(ctx, time.Minute, 2*time.Millisecond, func() error {
		hosts, err := s.Hosts(ctx)
		if err == nil && len(hosts) == 0 {
			err = fmt.Errorf("no host yet\n%s", worker.said())
		}
		return err
	})
	return time.Since(begun), err
}
