package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/secret"
)

const (
	stormClients = 16
	stormLength  = 4 * time.Second
	acceptTurns  = 60 // for each of the runs
	// acceptRest is for what Berth does behind its answer, so that nobody else waits for it.
	acceptRest = 3 * time.Millisecond
)

// database is where Berth keeps its rows, and another one of the same schema for bare
// statements.
type database struct {
	name    string
	setting string // of Berth's
	driver  string
	dsn     string // of the other one
}

// databases gives a fresh SQLite file and a fresh MySQL. The bare statements have a file
// of their own, and on MySQL the same server.
func (b *bench) databases(ctx context.Context, name string) ([]database, error) {
	dsn, setting, err := b.mysqlServer(ctx)
	if err != nil {
		return nil, err
	}
	bare := filepath.Join(b.dir, name+"-bare.db")
	if err := b.migrate(ctx, []string{"BERTH_DATABASE_URL=sqlite://" + bare}); err != nil {
		return nil, err
	}
	return []database{
		{"SQLite", "sqlite://" + filepath.Join(b.dir, name+".db"), "sqlite", sqliteDSN(bare)},
		{"MySQL", setting, "mysql", dsn},
	}, nil
}

// sqliteDSN opens a file as Berth does.
func sqliteDSN(file string) string {
	return "file:" + file + "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
}

// measureAccept times POSTs against an API without workers, so that nothing but
// accepting is measured, in turns with what the least that could be done is: an
// instance's row and a job's in one transaction, into the same tables with the same
// indices, and one task.
func measureAccept(ctx context.Context, b *bench) error {
	redisURL, err := b.redisServer(ctx)
	if err != nil {
		return err
	}
	list, err := b.databases(ctx, "accept")
	if err != nil {
		return err
	}
	for i, d := range list {
		if err := b.acceptOn(ctx, d, redisURL[:len(redisURL)-1]+fmt.Sprint(i)); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

func (b *bench) acceptOn(ctx context.Context, d database, redisURL string) (err error) {
	settings := []string{"BERTH_DATABASE_URL=" + d.setting, "BERTH_REDIS_URL=" + redisURL, b.masterKey}
	if err := b.migrate(ctx, settings); err != nil {
		return err
	}
	api, err := b.startServer(ctx, settings, "api")
	if err != nil {
		return err
	}
	defer api.stop()
	least, err := openLeast(ctx, d, redisURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, least.close()) }()
	post := func() error {
		_, err := api.client.Create(ctx, "redis", secret.APIKey(), client.CreateRequest{})
		return err
	}
	bare := func() error { return least.accept(ctx) }
	whole := func() error { return least.acceptWhole(ctx) }
	turns, warmUp := acceptTurns*b.runs, 30
	took := [3][]time.Duration{}
	for turn := range turns + warmUp {
		for i, do := range []func() error{post, bare, whole} {
			begun := time.Now()
			if err := do(); err != nil {
				return err
			}
			if turn >= warmUp {
				took[i] = append(took[i], time.Since(begun))
			}
			<-time.After(acceptRest)
		}
	}
	beside := times("bare inserts and enqueue", took[1]).inTurns()
	b.add(times("accept on "+d.name+": POST to answer", took[0]).inTurns().beside(beside).aim("ratio", 2))
	// What the bare inserts leave out is what an accept promises: this tells Berth's own
	// share from that of its rows.
	b.add(times("accept on "+d.name+": the same, beside its rows", took[0]).inTurns().beside(times("all rows bare, and enqueue", took[2]).inTurns()))
	mine, err := storm(post)
	if err != nil {
		return err
	}
	theirs, err := storm(bare)
	if err != nil {
		return err
	}
	rate := one(fmt.Sprintf("accept on %s: rate, %d clients", d.name, stormClients), "per s", mine)
	b.add(rate.beside(one("bare inserts and enqueue", "per s", theirs)))
	return nil
}

// storm gives the rate of what many do at once.
func storm(do func() error) (float64, error) {
	var (
		done   atomic.Int64
		failed atomic.Pointer[error]
		wg     sync.WaitGroup
	)
	begun := time.Now()
	for range stormClients {
		wg.Go(func() {
			for time.Since(begun) < stormLength && failed.Load() == nil {
				if err := do(); err != nil {
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

// least is the least that an accept could do.
type least struct {
	db            *sql.DB
	rdb           *redis.Client
	queue         *asynq.Client
	instance, job *sql.Stmt
	rest          []*sql.Stmt // of the rows that an accept writes besides
	n             atomic.Int64
}

const (
	leastInstance = `INSERT INTO instances (id, tenant_id, engine, version, name, live_name, plan, cpu_millis, memory_bytes, disk_bytes, parameters, labels,
		state, reason, host_id, address, port, fence, rev, created_at, updated_at, deleted_at) VALUES (?, 'default', 'redis', '8', ?, ?, 'small', 500, 134217728,
		1073741824, '{"appendfsync":"everysec","maxclients":50,"maxmemory":100663296,"maxmemory_policy":"noeviction"}', '{}', 'pending', '', '', '', 0, 0, 0, ?, ?, 0)`
	leastJob = `INSERT INTO jobs (id, tenant_id, instance_id, live_instance_id, engine, kind, state, steps, attempt, crashes, undoing, fence, owner, lease_until,
		generation, wake_at, callback_url, deadline, rev, created_at, started_at, finished_at, updated_at) VALUES (?, 'default', ?, ?, 'redis', 'instance.create',
		'queued', '[]', 0, 0, 0, 0, '', 0, 1, ?, '', ?, 0, ?, 0, 0, ?)`
)

// leastRest are the other rows of an accept, each with its id: the sealed credentials and the
// sealed answer to a repeated request, the event, and the entry of the audit log.
var leastRest = []string{
	`INSERT INTO credentials (instance_id, key_id, ciphertext) VALUES (?, 'v2:71b77046', '` + strings.Repeat("c", 320) + `')`,
	`INSERT INTO idempotency (tenant_id, idem_key, fingerprint, key_id, ciphertext, created_at) VALUES ('default', ?, '` + strings.Repeat("f", 64) + `',
		'v2:71b77046', '` + strings.Repeat("a", 900) + `', 1)`,
	`INSERT INTO events (seq, id, tenant_id, type, instance_id, job_id, message, at) VALUES (NULL, ?, 'default', 'instance.pending',
		'ins_01M8M1M1M7QZFDEXER1X9ZCJKT', 'job_01M8M1M1M7QZFDEXER1X9ZCJKT', 'accepted', 1)`,
	`INSERT INTO audit (id, number, tenant_id, at, actor, user_id, key_id, session_id, address, request, action, subject, job_id, result, detail, previous, hash)
		VALUES (?, NULL, 'default', 1, 'the admin key', '', '', '', '127.0.0.1', 'req_01M8M1M1M7QZFDEXER1X9ZCJKT', 'instance.create', 'ins_01M8M1M1M7QZFDEXER1X9ZCJKT',
		'job_01M8M1M1M7QZFDEXER1X9ZCJKT', 'done', 'redis 8, plan small, name redis-01m8m1m1', '', '')`,
}

func openLeast(ctx context.Context, d database, redisURL string) (*least, error) {
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return nil, err
	}
	options.DB += 8 // not the one that Berth has
	l := &least{rdb: redis.NewClient(options)}
	l.queue = asynq.NewClientFromRedisClient(l.rdb)
	if l.db, err = sql.Open(d.driver, d.dsn); err != nil {
		return nil, err
	}
	l.db.SetMaxOpenConns(stormClients)
	if d.driver == "sqlite" {
		l.db.SetMaxOpenConns(1) // it has one writer; waiting in line is quicker
	}
	l.db.SetMaxIdleConns(stormClients)
	if l.instance, err = l.db.PrepareContext(ctx, leastInstance); err != nil {
		return nil, err
	}
	if l.job, err = l.db.PrepareContext(ctx, leastJob); err != nil {
		return nil, err
	}
	for _, text := range leastRest {
		insert, err := l.db.PrepareContext(ctx, text)
		if err != nil {
			return nil, err
		}
		l.rest = append(l.rest, insert)
	}
	return l, nil
}

func (l *least) accept(ctx context.Context) error { return l.acceptWith(ctx) }

// acceptWhole writes all the rows that Berth does.
func (l *least) acceptWhole(ctx context.Context) error { return l.acceptWith(ctx, l.rest...) }

func (l *least) acceptWith(ctx context.Context, more ...*sql.Stmt) error {
	n := l.n.Add(1)
	instance, job, now := fmt.Sprintf("ins_B%d_%d", os.Getpid(), n), fmt.Sprintf("job_B%d_%d", os.Getpid(), n), time.Now().UnixMilli()
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it was committed, or the error is known
	if _, err := tx.StmtContext(ctx, l.instance).ExecContext(ctx, instance, instance, instance, now, now); err != nil {
		return err
	}
	if _, err := tx.StmtContext(ctx, l.job).ExecContext(ctx, job, instance, instance, now, now, now, now); err != nil {
		return err
	}
	for _, insert := range more {
		if _, err := tx.StmtContext(ctx, insert).ExecContext(ctx, instance); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = l.queue.EnqueueContext(ctx, asynq.NewTask("create", []byte(`{"id":"`+job+`"}`)), asynq.TaskID(job), asynq.Queue("bare"))
	return err
}

func (l *least) close() error { return errors.Join(l.db.Close(), l.rdb.Close()) }
