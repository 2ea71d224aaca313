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
		if err = wait(ctx, lockRetry); err != nil {
			break
		}
	}
	return errors.Join(err, pool.Close())
}

// Unlock implements lock.Locker.
func (o *oneAtATime) Unlock(context.Context, *sql.DB) error { return o.lock.Close() }

func (s *Store) provider() (*goose.Provider, error) {
	pool, err := s.db.DB()
	if err != nil {
		return nil, err
	}
	folder, err := fs.Sub(migrations, "migrations/"+s.dialect)
	if err != nil {
		return nil, err
	}
	if s.dialect == dialectSQLite {
		return goose.NewProvider(goose.DialectSQLite3, pool, folder, goose.WithLogger(goose.NopLogger()), goose.WithLocker(&oneAtATime{file: s.migrating}))
	}
	locker, err := lock.NewMySQLTableLocker(lock.WithTableLockTimeout(lockRetry, lockTries), lock.WithTableUnlockTimeout(lockRetry, lockTries))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectMySQL, pool, folder, goose.WithLogger(goose.NopLogger()), goose.WithLocker(locker))
}

// Migrate brings the schema up to date. Several processes may do so at once.
func (s *Store) Migrate(ctx context.Context, log *slog.Logger) error {
	p, err := s.provider()
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	done, err := p.Up(ctx)
	for _, m := range done {
		log.InfoContext(ctx, "schema migrated", "version", m.Source.Version, "took", m.Duration.String())
	}
	if err != nil {
		return fmt.Errorf("migrate schema: %w", translate(err))
	}
	return nil
}

// Current reports whether the schema is what this binary needs.
func (s *Store) Current(ctx context.Context) (bool, error) {
	p, err := s.provider()
	if err != nil {
		return false, fmt.Errorf("read migrations: %w", err)
	}
	pending, err := p.HasPending(ctx)
	return !pending, translate(err)
}
