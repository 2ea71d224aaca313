package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Schema is how far the schema of a database is.
type Schema struct {
	Version int64 // the newest migration that was applied; 0: none
	Want    int64 // the newest that this binary knows
	// Release is the newest release of Berth that has migrated it; "" where none has said so.
	Release string
	// Used says that a deployment has begun in it.
	Used bool
}

// Newer reports whether a newer release has migrated the database.
func (s Schema) Newer() bool { return s.Version > s.Want }

// Current reports whether the schema is what this binary needs.
func (s Schema) Current() bool { return s.Version == s.Want }

// LookAtSchema reads how far the schema of the database at a URL is, and changes nothing:
// where there is no file, none is made.
func LookAtSchema(ctx context.Context, databaseURL string) (Schema, error) {
	var s Schema
	err := look(ctx, databaseURL, func(l *looker) error {
		var err error
		if s.Want, err = newestMigration(l.dialect); err != nil {
			return err
		}
		if l.has("goose_db_version") {
			if err := l.one("SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied", &s.Version); err != nil {
				return err
			}
		}
		if _, s.Used, err = l.setting(deploymentSetting); err != nil {
			return err
		}
		s.Release, _, err = l.setting(releaseSetting)
		return err
	})
	return s, err
}

// looker reads a database that may have any schema, or none.
type looker struct {
	ctx     context.Context //nolint:containedctx // it lives for one call
	db      *sql.DB
	dialect string
	tables  []string
}

// look opens what is there, and closes it again. Where there is no database yet, no table
// is found.
func look(ctx context.Context, databaseURL string, read func(*looker) error) error {
	scheme, path, err := splitURL(databaseURL)
	if err != nil {
		return err
	}
	l := &looker{ctx: ctx, dialect: scheme}
	if scheme == dialectSQLite {
		l.db, err = lookSQLite(path)
	} else {
		l.db, err = lookMySQL(databaseURL)
	}
	if err != nil {
		return err
	}
	if l.db != nil {
		l.db.SetMaxOpenConns(1)
		defer l.db.Close() //nolint:errcheck // nothing was written
		if err := l.list(); err != nil {
			return translate(err)
		}
	}
	return translate(read(l))
}

// lookSQLite gives nil where there is no database. One that was not closed in order, or is
// in use, has a write-ahead log beside it, which a connection that may write would fold into
// the file as it closes; where there is none, one that may only read would leave one behind.
func lookSQLite(path string) (*sql.DB, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil, nil //nolint:nilnil // there is no database
	}
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	mode := "rw"
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		mode = "ro"
	}
	return sql.Open("sqlite", sqliteFile(path)+"?mode="+mode+"&_pragma=busy_timeout(5000)")
}

func lookMySQL(databaseURL string) (*sql.DB, error) {
	connector, err := mysqlConnector(databaseURL)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func (l *looker) list() error {
	query := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if l.dialect == dialectMySQL {
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
	}
	var err error
	l.tables, err = texts(l, query)
	return err
}

func (l *looker) has(table string) bool { return slices.Contains(l.tables, table) }

func (l *looker) one(query string, into any, args ...any) error {
	return l.db.QueryRowContext(l.ctx, query, args...).Scan(into)
}

// setting gives the value of a setting, and whether there is one.
func (l *looker) setting(name string) (value string, found bool, err error) {
	if !l.has("settings") {
		return "", false, nil
	}
	err = l.one("SELECT value FROM settings WHERE name = ?", &value, name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return value, err == nil, err
}

func texts(l *looker, query string, args ...any) ([]string, error) {
	rows, err := l.db.QueryContext(l.ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	var all []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}

// newestMigration gives the number of the newest migration in this binary.
func newestMigration(dialect string) (int64, error) {
	files, err := fs.ReadDir(migrations, "migrations/"+dialect)
	if err != nil {
		return 0, err
	}
	var newest int64
	for _, file := range files {
		number, _, _ := strings.Cut(file.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("migration %s has no number", file.Name())
		}
		newest = max(newest, version)
	}
	return newest, nil
}
