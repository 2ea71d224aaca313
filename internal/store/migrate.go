package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/berth-project/berth/internal/backoff"
)

//go:embed migrations
var migrations embed.FS

// How long a process waits while another one migrates: five minutes.
const (
	lockRetry = 200 * time.Millisecond
	lockTries = 1500
)

// oneAtATime implements goose's lock.Locker for SQLite with the lock of another,
// empty SQLite file, which the system takes from a process that dies.
type oneAtATime struct {
	file string
	lock *sql.DB
}

// Lock implements lock.Locker.
func (o *oneAtATime) Lock(ctx context.Context, _ *sql.DB) error {
	pool, err := sql.Open("sqlite", o.file)
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(1) // it is the connection that holds the lock
	for try := 1; ; try++ {
		if _, err = pool.ExecContext(ctx, "BEGIN EXCLUSIVE"); err == nil {
			o.lock = pool
			return nil
		}
		if !lostToAnother(err) || try == lockTries {
			break
		}
		if err = backoff.Wait(ctx, lockRetry); err != nil {
			break
		}
	}
	return errors.Join(err, pool.Close())
}

// Unlock implements lock.Locker.
func (o *oneAtATime) Unlock(context.Context, *sql.DB) error { return o.lock.Close() }

// untilTold waits for a lock until a context ends that goose does not know: the one that
// goose is given must not end within a migration, nor while the lock is held.
type untilTold struct {
	lock.Locker
	told    context.Context //nolint:containedctx // a signal, not goose's context
	release context.CancelFunc
}

// Lock implements lock.Locker.
func (u *untilTold) Lock(ctx context.Context, db *sql.DB) error {
	ctx, u.release = context.WithCancel(ctx)
	unwatch := context.AfterFunc(u.told, u.release) //nolint:contextcheck // it is the one that may end the wait
	if err := u.Locker.Lock(ctx, db); err != nil {
		return err
	}
	if unwatch() {
		return nil
	}
	return errors.Join(u.told.Err(), u.Unlock(context.WithoutCancel(ctx), db))
}

// Unlock implements lock.Locker.
func (u *untilTold) Unlock(ctx context.Context, db *sql.DB) error {
	defer u.release()
	return u.Locker.Unlock(ctx, db)
}

func (s *Store) provider(ctx context.Context) (*goose.Provider, error) {
	pool, err := s.db.DB()
	if err != nil {
		return nil, err
	}
	folder, err := fs.Sub(migrations, "migrations/"+s.dialect)
	if err != nil {
		return nil, err
	}
	if s.dialect == dialectSQLite {
		return goose.NewProvider(goose.DialectSQLite3, pool, folder, goose.WithLogger(goose.NopLogger()),
			goose.WithLocker(&untilTold{Locker: &oneAtATime{file: s.migrating}, told: ctx}))
	}
	locker, err := lock.NewMySQLTableLocker(lock.WithTableLockTimeout(lockRetry, lockTries), lock.WithTableUnlockTimeout(lockRetry, lockTries))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectMySQL, pool, folder, goose.WithLogger(goose.NopLogger()),
		goose.WithLocker(&untilTold{Locker: locker, told: ctx}))
}

// Migrate brings the schema up to date. Several processes may do so at once. When the
// context ends it gives up between two migrations, never within one: half a migration of
// MySQL's could not be taken back.
func (s *Store) Migrate(ctx context.Context, log *slog.Logger) error {
	p, err := s.provider(ctx)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("migrate schema: %w", err)
		}
		m, err := p.UpByOne(context.WithoutCancel(ctx))
		switch {
		case errors.Is(err, goose.ErrNoNextVersion):
			return nil
		case err != nil:
			return fmt.Errorf("migrate schema: %w", translate(err))
		}
		log.InfoContext(ctx, "schema migrated", "version", m.Source.Version, "took", m.Duration.String())
	}
}
