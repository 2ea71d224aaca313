package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/tenant"
)

const (
	fewRows   = 1000
	pageTurns = 25 // for each of the runs
	fillBatch = 50_000
)

// measurePages reads pages of instances through the API, the first and one that is
// nearly the last, of more and more rows, in turns with the first page of a database of
// a thousand.
func measurePages(ctx context.Context, b *bench) error {
	redisURL, err := b.redisServer(ctx)
	if err != nil {
		return err
	}
	fewDSN, fewSetting, err := b.mysqlServer(ctx)
	if err != nil {
		return err
	}
	manyDSN, manySetting, err := b.mysqlServer(ctx)
	if err != nil {
		return err
	}
	few, many := filepath.Join(b.dir, "few.db"), filepath.Join(b.dir, "many.db")
	for _, two := range [][2]database{
		{{"SQLite", "sqlite://" + few, "sqlite", sqliteDSN(few)}, {"SQLite", "sqlite://" + many, "sqlite", sqliteDSN(many)}},
		{{"MySQL", fewSetting, "mysql", fewDSN}, {"MySQL", manySetting, "mysql", manyDSN}},
	} {
		if err := b.pagesOn(ctx, two[0], two[1], redisURL); err != nil {
			return fmt.Errorf("%s: %w", two[0].name, err)
		}
	}
	return nil
}

// filled is a database with so many instances, and an API on it.
type filled struct {
	db   *sql.DB
	api  *server
	kind string
	rows int
}

func (b *bench) openFilled(ctx context.Context, d database, redisURL string) (*filled, error) {
	settings := []string{"BERTH_DATABASE_URL=" + d.setting, "BERTH_REDIS_URL=" + redisURL, b.masterKey}
	if err := b.migrate(ctx, settings); err != nil {
		return nil, err
	}
	f := &filled{kind: d.driver}
	var err error
	if f.db, err = sql.Open(d.driver, d.dsn); err != nil {
		return nil, err
	}
	f.db.SetMaxOpenConns(1) // the session's settings
	if f.api, err = b.startServer(ctx, settings, "api"); err != nil {
		return nil, errors.Join(err, f.db.Close())
	}
	return f, f.grow(ctx, fewRows)
}

func (f *filled) close() error {
	f.api.stop()
	return f.db.Close()
}

// grow makes instances until there are so many: most run, some are deleted or failed.
func (f *filled) grow(ctx context.Context, rows int) error {
	id := "printf('ins_%026d', i)"
	if f.kind == "mysql" {
		id = "CONCAT('ins_', LPAD(i, 26, '0'))"
		if _, err := f.db.ExecContext(ctx, fmt.Sprintf("SET SESSION cte_max_recursion_depth = %d", 2*fillBatch)); err != nil {
			return err
		}
	}
	now := time.Now().UnixMilli()
	for f.rows < rows {
		to := min(rows, f.rows+fillBatch)
		_, err := f.db.ExecContext(ctx, fmt.Sprintf(`INSERT INTO instances (id, tenant_id, engine, version, name, live_name, plan, cpu_millis, memory_bytes, disk_bytes,
			parameters, labels, state, reason, host_id, address, port, fence, rev, created_at, updated_at, deleted_at)
			WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			SELECT %s, '%s', CASE WHEN i %% 10 = 0 THEN 'mysql' ELSE 'redis' END, '8', %s, CASE WHEN i %% 20 = 7 THEN NULL ELSE %s END, 'small', 500, 134217728, 1073741824,
			'{"appendfsync":"everysec","maxclients":50,"maxmemory":100663296,"maxmemory_policy":"noeviction"}', '{}',
			CASE WHEN i %% 20 = 7 THEN 'deleted' WHEN i %% 50 = 0 THEN 'failed' ELSE 'running' END, '', 'hst_1', '10.0.0.1', 20000 + i %% 10000, 1, 1, %d, %d,
			CASE WHEN i %% 20 = 7 THEN %d ELSE 0 END FROM n`, f.rows+1, to, id, tenant.Default, id, id, now, now, now))
		if err != nil {
			return err
		}
		f.rows = to
	}
	return nil
}

// first and deep read a page of fifty.
func (f *filled) first(ctx context.Context) error {
	return f.page(ctx, client.InstanceFilter{Limit: 50})
}

func (f *filled) deep(ctx context.Context) error {
	return f.page(ctx, client.InstanceFilter{Limit: 50, Cursor: fmt.Sprintf("ins_%026d", max(f.rows/100, 100))})
}

func (f *filled) failed(ctx context.Context) error {
	return f.page(ctx, client.InstanceFilter{Limit: 50, State: "failed", Cursor: fmt.Sprintf("ins_%026d", f.rows)})
}

func (f *filled) page(ctx context.Context, filter client.InstanceFilter) error {
	page, err := f.api.client.Instances(ctx, filter)
	if err == nil && len(page.Items) == 0 {
		err = errors.New("an empty page")
	}
	return err
}

func (b *bench) pagesOn(ctx context.Context, fewAt, manyAt database, redisURL string) (err error) {
	few, err := b.openFilled(ctx, fewAt, redisURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, few.close()) }()
	many, err := b.openFilled(ctx, manyAt, redisURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, many.close()) }()
	for rows := fewRows; rows <= b.mostRows; rows *= 10 {
		if err := many.grow(ctx, rows); err != nil {
			return err
		}
		took := [4][]time.Duration{}
		for turn := range pageTurns*b.runs + 5 {
			for i, do := range []func(context.Context) error{few.first, many.first, many.deep, many.failed} {
				begun := time.Now()
				if err := do(ctx); err != nil {
					return err
				}
				if turn >= 5 {
					took[i] = append(took[i], time.Since(begun))
				}
			}
		}
		base := times("first page of 1000", took[0]).inTurns()
		title := func(page string) string { return fmt.Sprintf("page of 50 of %d on %s: %s", rows, fewAt.name, page) }
		deep := times(title("deep"), took[2]).inTurns().beside(base)
		if rows == b.mostRows {
			deep = deep.aim("ratio", 1.5)
		}
		b.add(times(title("first"), took[1]).inTurns().beside(base), deep, times(title("of a state"), took[3]).inTurns().beside(base))
	}
	return nil
}
