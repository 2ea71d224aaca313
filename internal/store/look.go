package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
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

// LookAtSealed reads samples of all that is sealed in the database at a URL, of every key
// that has sealed any of it, and changes nothing.
func LookAtSealed(ctx context.Context, databaseURL string) ([]instance.SealedSample, error) {
	var samples []instance.SealedSample
	err := look(ctx, databaseURL, func(l *looker) error {
		for _, column := range sealedColumns {
			found, err := l.samples(column)
			if err != nil {
				return fmt.Errorf("read what is sealed in %s: %w", column.table, err)
			}
			samples = append(samples, found...)
		}
		check, err := l.keyCheck()
		samples = append(samples, check...)
		return err
	})
	return samples, err
}

// sealedColumn is where values of a kind are.
type sealedColumn struct {
	kind              instance.SealedKind
	table             string
	keyID, ciphertext string
	tenant, id        string // expressions
	where             string // empty: every row; a ? in it is the time
}

var sealedColumns = []sealedColumn{
	{instance.SealedCredentials, "credentials", "key_id", "ciphertext", "''", "instance_id", ""},
	{instance.SealedWebhook, "webhooks", "key_id", "ciphertext", "''", "id", ""},
	{instance.SealedWebhook, "webhooks", "previous_key_id", "previous_ciphertext", "''", "id", "previous_until > ?"},
	{instance.SealedDelivery, "deliveries", "key_id", "ciphertext", "''", "id", "state IN ('pending', 'exhausted', 'canceled')"},
	{instance.SealedAnswer, "idempotency", "key_id", "ciphertext", "tenant_id", "idem_key", ""},
}

// samplesOfEach is how many values of each key are read: one that was damaged says nothing
// of the key.
const samplesOfEach = 2

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

func (l *looker) samples(c sealedColumn) ([]instance.SealedSample, error) {
	if !l.has(c.table) {
		return nil, nil
	}
	where := c.keyID + " <> ''"
	var args []any
	if c.where != "" {
		where += " AND " + c.where
		for range strings.Count(c.where, "?") {
			args = append(args, time.Now().UnixMilli())
		}
	}
	keys, err := texts(l, "SELECT DISTINCT "+c.keyID+" FROM "+c.table+" WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	var all []instance.SealedSample
	for _, key := range keys {
		found, err := l.samplesOf(c, key, where, args)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (l *looker) samplesOf(c sealedColumn, key, where string, args []any) ([]instance.SealedSample, error) {
	//nolint:gosec // the names are this file's
	query := fmt.Sprintf("SELECT %s, %s, %s FROM %s WHERE %s = ? AND %s LIMIT %d", c.tenant, c.id, c.ciphertext, c.table, c.keyID, where, samplesOfEach)
	rows, err := l.db.QueryContext(l.ctx, query, append([]any{key}, args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	var found []instance.SealedSample
	for rows.Next() {
		s := instance.SealedSample{Kind: c.kind, Sealed: secret.Sealed{KeyID: key}}
		if err := rows.Scan(&s.Tenant, &s.ID, &s.Sealed.Ciphertext); err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	return found, rows.Err()
}

func (l *looker) keyCheck() ([]instance.SealedSample, error) {
	text, found, err := l.setting(keyCheckSetting)
	if err != nil || !found {
		return nil, err
	}
	deployment, _, err := l.setting(deploymentSetting)
	if err != nil {
		return nil, err
	}
	s := instance.SealedSample{Kind: instance.SealedKeyCheck, ID: deployment}
	if err := json.Unmarshal([]byte(text), &s.Sealed); err != nil {
		return nil, fmt.Errorf("read the check value of the master key: %w", err)
	}
	return []instance.SealedSample{s}, nil
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
