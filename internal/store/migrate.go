package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

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
		return goose.NewProvider(goose.DialectSQLite3, pool, folder, goose.WithLogger(goose.NopLogger()))
	}
	locker, err := lock.NewMySQLTableLocker()
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
