package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const (
	// poolAs is how long the calls of a host of the pool take. None fails: what is compared
	// afterwards is to agree.
	poolAs      = "latency=20ms&jitter=10ms&ready=30ms&seed=1"
	poolWorkers = 2
	// poolPorts are those that a host of a pool has where nobody says other ones, and widePorts
	// are enough for one host that takes everything.
	poolPorts = "BERTH_PORT_RANGE=20000-29999"
	widePorts = "BERTH_PORT_RANGE=20000-64999"
	// mostOnOne is how many instances one host takes: each has two ports.
	mostOnOne = 20_000
	poolRows  = 100_000
	// poolAim is how many creates per second the pool is to reach of those with one host.
	poolAim = 0.95
)

// measureHosts compares creates over a pool with creates on one host and with those of an
// earlier release, and measures what looks at the whole pool.
func measureHosts(ctx context.Context, b *bench) (err error) {
	if b.made < b.runs || b.made > poolRows {
		return fmt.Errorf("-instances %d: want %d (-runs) to %d", b.made, b.runs, poolRows)
	}
	redisURL, err := b.redisServer(ctx)
	if err != nil {
		return err
	}
	worlds := []*world{
		{bench: b, name: "pool", hosts: simulatedHosts, ports: poolPorts},
		{bench: b, name: "one", hosts: 1, ports: widePorts},
	}
	if b.before != "" {
		earlier := *b
		earlier.binary = b.before
		worlds = append(worlds, &world{bench: &earlier, name: "before", hosts: simulatedHosts, ports: poolPorts})
	}
	defer func() {
		for _, w := range worlds {
			err = errors.Join(err, w.close())
		}
	}()
	for i, w := range worlds {
		if err := w.open(ctx, redisURL[:len(redisURL)-1]+fmt.Sprint(i)); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	if err := worlds[0].limit(ctx); err != nil {
		return err
	}
	if err := b.creates(ctx, worlds); err != nil {
		return err
	}
	for _, w := range worlds[1:] {
		err = errors.Join(err, w.close())
	}
	return errors.Join(err, b.lookAtPool(ctx, worlds[0]))
}

// world is a Berth with hosts of its own.
type world struct {
	*bench
	name     string
	hosts    int
	ports    string // the setting
	setting  string // of its database
	redisURL string
	db       *sql.DB
	api      *server
	crew     []*server
}

// open starts it, and waits until every host was swept once and every worker is at work.
func (w *world) open(ctx context.Context, redisURL string) (err error) {
	w.redisURL = redisURL
	dsn := ""
	// Without these the disk is measured.
	if dsn, w.setting, err = w.mysqlServer(ctx, "--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"); err != nil {
		return err
	}
	if w.db, err = sql.Open("mysql", dsn); err != nil {
		return err
	}
	settings := append(w.simulated(w.folder(), w.hosts, poolAs),
		"BERTH_DATABASE_URL="+w.setting, "BERTH_REDIS_URL="+redisURL, w.masterKey, w.ports,
		"BERTH_WORKER_CONCURRENCY=64", "BERTH_RECONCILE_EVERY=1h", "BERTH_PROBE_EVERY=1h")
	if err := w.migrate(ctx, settings); err != nil {
		return err
	}
	if w.api, err = w.startServer(ctx, settings, "api"); err != nil {
		return err
	}
	for range poolWorkers {
		one, err := w.startWorker(ctx, settings)
		if err != nil {
			return err
		}
		w.crew = append(w.crew, one)
	}
	err = until(ctx, 3*time.Minute, 100*time.Millisecond, func() error {
		swept := 0
		err := w.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM duties WHERE name LIKE 'reconcile/%'").Scan(&swept)
		if err == nil && swept < w.hosts {
			err = fmt.Errorf("%d of %d hosts were swept: %s", swept, w.hosts, w.crew[0].said())
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = flood(ctx, w.db, w.api.client, 50)
	return err
}

func (w *world) folder() string { return "pool-" + w.name }

// stopWorkers ends the workers, so that nobody but who is measured looks at the hosts.
func (w *world) stopWorkers() {
	for _, one := range w.crew {
		one.stop()
	}
	w.crew = nil
}

// close ends its processes; the database goes with the run.
func (w *world) close() (err error) {
	w.stopWorkers()
	if w.api != nil {
		w.api.stop()
	}
	if w.db != nil {
		err = w.db.Close()
	}
	w.api, w.db = nil, nil
	return err
}

// checked is what was checked of a host: one thing of about twenty.
const checked = `'{"Name":"transparent_hugepages","Verdict":"pass","Found":"madvise","Wanted":"madvise or never"}'`

// limit places the hosts in 4 regions of 5 zones of 10 racks, and limits what they give away as
// that of imported ones is. It writes rows: workers register simulated hosts, nobody imports them.
func (w *world) limit(ctx context.Context) error {
	w.say("  the hosts are put in regions, zones and racks, and limited, by rows in the database")
	for _, statement := range []string{
		`UPDATE hosts AS h JOIN (SELECT id, ROW_NUMBER() OVER (ORDER BY id) - 1 AS n FROM hosts) AS o ON o.id = h.id SET
			h.region = CONCAT('region-', n MOD 4), h.zone = CONCAT('zone-', n DIV 4 MOD 5), h.rack = CONCAT('rack-', n DIV 20 MOD 10),
			h.arch = 'amd64', h.cpu_found = 64000, h.memory_found = 256 << 30,
			h.cpu_percent = 400, h.memory_percent = 100, h.cpu_kept = 250, h.memory_kept = 512 << 20,
			h.cpu_cap = 64000 * 4 - 250, h.memory_cap = (256 << 30) - (512 << 20)`,
		"UPDATE disks SET capacity = 4 << 40",
		"UPDATE hosts SET import_options = '{}', checks = CONCAT('[', " + checked + ", REPEAT(CONCAT(',', " + checked + "), 19), ']')",
		`INSERT INTO places (region, zone, name, created_at)
			SELECT DISTINCT region, '', '', 1 FROM hosts UNION SELECT DISTINCT region, zone, '', 1 FROM hosts`,
	} {
		if _, err := w.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// creates has the worlds make instances in turns, from the first POST until the last job has
// ended; and then the pool the rest, if there are more than one host takes.
func (b *bench) creates(ctx context.Context, worlds []*world) error {
	each := min(b.made, mostOnOne) / b.runs
	rates := make([][]float64, len(worlds))
	for turn := range b.runs + 1 {
		for i := range worlds {
			which := (turn + i) % len(worlds) // nobody always goes first
			w := worlds[which]
			took, err := flood(ctx, w.db, w.api.client, each)
			if err != nil {
				return errors.Join(err, errors.New(w.crew[0].said()))
			}
			if turn > 0 { // the first warms up
				rates[which] = append(rates[which], float64(each)/took.Seconds())
			}
		}
	}
	row := func(i int, what string) row { return series(what, "per s", rates[i]).inTurns() }
	pool := row(0, fmt.Sprintf("creates over %d simulated hosts, %d workers", simulatedHosts, poolWorkers))
	b.add(pool.beside(row(1, "on one host")).aimAtLeast(poolAim))
	if len(worlds) > 2 {
		b.add(pool.beside(row(2, fmt.Sprintf("over %d hosts, earlier release", simulatedHosts))).aimAtLeast(poolAim))
	}
	if left := b.made - each*(b.runs+1); left > 0 && b.made > mostOnOne {
		took, err := flood(ctx, worlds[0].db, worlds[0].api.client, left)
		if err != nil {
			return err
		}
		title := fmt.Sprintf("%d more creates over %d simulated hosts", left, simulatedHosts)
		b.add(one(title, "per s", float64(left)/took.Seconds()))
	}
	return worlds[0].checkCreated(ctx)
}

// checkCreated fails unless everything that was accepted runs, and the books are right.
func (w *world) checkCreated(ctx context.Context) error {
	var accepted, running, booked, hosts int
	err := w.db.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM jobs),
		(SELECT COUNT(*) FROM instances WHERE state = 'running'),
		(SELECT SUM(units) FROM hosts), (SELECT COUNT(*) FROM hosts WHERE units > 0)`).Scan(&accepted, &running, &booked, &hosts)
	if err != nil {
		return err
	}
	w.say("  %d jobs, %d instances run, %d are in the books of %d hosts", accepted, running, booked, hosts)
	if accepted != running || running != booked {
		return errors.New("jobs, instances and books do not agree")
	}
	return nil
}
