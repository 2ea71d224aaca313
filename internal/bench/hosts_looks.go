package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/ports"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/simulated"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/tenant"
)

// What looks at the pool is to take at most so many milliseconds.
const (
	placeAim  = 20
	lookAim   = 100
	sweepAim  = 10_000
	importAim = 1000

	placements = 50 // for each of the runs
	// placePause has the measure ask as often as a busy pool does, so that what is remembered of
	// the hosts grows old meanwhile.
	placePause = 20 * time.Millisecond
	// pastMemory is longer than what is read of the hosts is remembered for.
	pastMemory = 1100 * time.Millisecond
)

// lookAtPool measures what looks at all hosts, with as many instances as a pool has.
func (b *bench) lookAtPool(ctx context.Context, w *world) error {
	w.stopWorkers()
	if err := w.fill(ctx, poolRows); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	for _, measure := range []func(context.Context, *world) error{
		b.placementByAPI, b.placementInWorker, b.overviews, b.importSheets, b.sweepPool,
	} {
		if err := measure(ctx, w); err != nil {
			return errors.Join(err, errors.New(w.api.said()))
		}
	}
	return nil
}

// call sends a request of an operator, below /api/v1, and reads its answer.
func (s *server) call(ctx context.Context, method, path, kind string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.address+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // nothing depends on it
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %s: %.500s", method, path, answer.Status, text)
	}
	return err
}

// timed gives how long the call takes.
func timed(do func() error) (time.Duration, error) {
	begun := time.Now()
	err := do()
	return time.Since(begun), err
}

// paced calls again and again, with pauses.
func paced(count int, do func() error) (took []time.Duration, err error) {
	for turn := range count + 1 {
		length, err := timed(do)
		if err != nil {
			return nil, err
		}
		if turn > 0 { // the first warms up
			took = append(took, length)
		}
		<-time.After(placePause)
	}
	return took, nil
}

func (b *bench) placementByAPI(ctx context.Context, w *world) error {
	for name, body := range map[string]string{
		"":                     `{"engine":"redis"}`,
		", kept apart by rack": `{"engine":"redis","placement":{"region":"region-1","group":"g","spread":"rack"}}`,
	} {
		took, err := paced(placements*b.runs, func() error {
			return w.api.call(ctx, http.MethodPost, "/hosts/placement", "application/json", []byte(body))
		})
		if err != nil {
			return err
		}
		b.add(times("POST /hosts/placement"+name, took).aim("p99", placeAim))
	}
	return nil
}

// placementInWorker chooses hosts as a worker does before it takes a port.
func (b *bench) placementInWorker(ctx context.Context, w *world) (err error) {
	s, err := store.Open(w.setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	options, err := redis.ParseURL(w.redisURL)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(options)
	defer rdb.Close() //nolint:errcheck // nothing depends on it
	allocator := ports.New(rooms.Hosts(s), rdb, clock.System, slog.New(slog.DiscardHandler))
	placement := host.Placement{Store: rooms.Hosts(s), Ports: allocator, Now: clock.System}
	need := host.Need{
		Tenant: tenant.Default, Ports: 2, Resources: host.Resources{CPUMillis: 500, MemoryBytes: 128 << 20, DiskBytes: 1 << 30},
	}
	took, err := paced(placements*b.runs, func() error {
		_, err := placement.Choose(ctx, need)
		return err
	})
	b.add(times("choice of a host as in a worker", took).aim("p99", placeAim))
	return err
}

// overviews reads what shows the whole pool, each in its turn also first after what is
// remembered of the hosts has grown old.
func (b *bench) overviews(ctx context.Context, w *world) error {
	paths := []string{
		"/hosts/hierarchy", "/hosts/stocks?group_by=region", "/hosts/stocks?group_by=zone", "/hosts/stocks?group_by=rack",
		"/hosts/stocks?group_by=host", "/hosts?limit=50",
	}
	took := make([][]time.Duration, len(paths))
	for turn := range 3*b.runs + 1 {
		<-time.After(pastMemory)
		for i := range paths {
			which := (turn + i) % len(paths)
			length, err := timed(func() error { return w.api.call(ctx, http.MethodGet, paths[which], "", nil) })
			if err != nil {
				return err
			}
			if turn > 0 { // the first warms up
				took[which] = append(took[which], length)
			}
		}
	}
	for i, path := range paths {
		b.add(times("GET "+path, took[i]).aim("median", lookAim))
	}
	return nil
}

// importSheets checks a filled-in template of 2,000 rows and imports nothing.
func (b *bench) importSheets(ctx context.Context, w *world) error {
	for format, kind := range map[string]string{
		"csv": "text/csv", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	} {
		file, err := sheetOf(format, sheetRows)
		if err != nil {
			return err
		}
		took, err := paced(b.runs, func() error {
			return w.api.call(ctx, http.MethodPost, "/hosts/import?dry_run=true", kind, file)
		})
		if err != nil {
			return err
		}
		b.add(times(fmt.Sprintf("dry run of an import of %d rows, %s", sheetRows, format), took).aim("median", importAim))
	}
	return nil
}

// sweepPool has every host swept once. The first pass also asks each host what it is and how full
// its disks are.
func (b *bench) sweepPool(ctx context.Context, w *world) (err error) {
	// The workers that have ended keep the duty for a while.
	if _, err := w.db.ExecContext(ctx, "DELETE FROM duties WHERE name LIKE 'reconcile/%'"); err != nil {
		return err
	}
	if _, err := w.db.ExecContext(ctx, "UPDATE hosts SET found_at = 0"); err != nil {
		return err
	}
	s, err := store.Open(w.setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	deployment, err := s.Deployment(ctx, "")
	if err != nil {
		return err
	}
	hosts, err := simulated.New("simulated://"+filepath.Join(b.dir, w.folder()+"-hosts")+"?"+poolAs, deployment)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	runtimes := &counted{Runtimes: hosts}
	jobs := rooms.NewEngine(rooms.EngineConfig{Store: s, Queue: idleQueue{}, NewID: newID, Log: log})
	mender := &instance.Mender{Store: rooms.Instances(s), Hosts: s, Runtimes: runtimes, Jobs: jobs, Now: clock.System, Log: log}
	r := host.Reconciler{
		Store: rooms.Hosts(s), Runtimes: runtimes, Residents: mender, Now: clock.System, Log: log, Owner: "bench",
		Every: 10 * time.Second, Grace: time.Minute,
	}
	var took []time.Duration
	for range b.runs + 1 {
		runtimes.lists.Store(0)
		length, err := timed(func() error {
			n, err := r.RunOnce(ctx)
			if err == nil && n != 0 {
				err = fmt.Errorf("a sweep that should find nothing mended %d", n)
			}
			return err
		})
		if err != nil {
			return err
		}
		if lists := runtimes.lists.Load(); lists != int64(w.hosts) {
			return fmt.Errorf("%d of %d hosts were swept", lists, w.hosts)
		}
		took = append(took, length)
	}
	title := fmt.Sprintf("sweep of %d hosts with %d instances", w.hosts, poolRows)
	b.add(times(title+", first", took[:1]).aim("median", sweepAim), times(title, took[1:]).aim("median", sweepAim))
	return nil
}
