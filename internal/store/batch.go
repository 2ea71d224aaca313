package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"
)

// batch is the connection of a transaction on MySQL. It keeps new rows back, and sends them
// in front of the next statement, in one round trip with it: an accept writes five rows, and
// each would cost as much time on the way as on the server.
//
// What the server says of several statements does not say which one it means. So a batch that
// it refuses is rolled back, and the transaction runs once more with each row sent alone.
type batch struct {
	conn    gorm.ConnPool
	sql     []string
	args    []any
	size    int   // of what is kept back, in bytes
	refused error // what the server said of a batch
}

// Bounds of what is kept back: far below what the server takes at once
// (max_allowed_packet, 64 MiB by default).
const (
	maxBatch     = 64
	maxBatchSize = 1 << 20
)

// errRefused marks the error of a batch.
var errRefused = errors.New("the database refused one of several statements")

// batched gives a view of a transaction whose new rows are kept back.
func batched(ctx context.Context, db *gorm.DB) (*gorm.DB, *batch) {
	b := &batch{conn: db.Statement.ConnPool}
	db = db.Session(&gorm.Session{NewDB: true, Context: ctx})
	db.Statement.ConnPool = b
	return db, b
}

// later keeps a statement for the next round trip.
func (b *batch) later(ctx context.Context, query string, args []any) error {
	size := len(query)
	for _, a := range args {
		switch a := a.(type) {
		case string:
			size += len(a)
		case []byte:
			size += len(a)
		}
	}
	if len(b.sql) == maxBatch || b.size+size > maxBatchSize {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.sql, b.args, b.size = append(b.sql, query), append(b.args, args...), b.size+size
	return nil
}

// flush sends what was kept back, and says whether all of it was taken.
func (b *batch) flush(ctx context.Context) error {
	if b.refused != nil || len(b.sql) == 0 {
		return b.refused
	}
	all, args := b.take("")
	_, err := b.conn.ExecContext(ctx, all, args...)
	return b.judge(err)
}

// ExecContext implements gorm.ConnPool. The result is that of the statement itself.
func (b *batch) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if len(b.sql) == 0 {
		return b.conn.ExecContext(ctx, query, args...)
	}
	all, args := b.take(query, args...)
	result, err := b.conn.ExecContext(ctx, all, args...)
	return result, b.judge(err)
}

// QueryContext implements gorm.ConnPool. The first rows are those of the statement itself,
// since the ones in front of it give none.
func (b *batch) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if len(b.sql) == 0 {
		return b.conn.QueryContext(ctx, query, args...)
	}
	all, args := b.take(query, args...)
	rows, err := b.conn.QueryContext(ctx, all, args...)
	return rows, b.judge(err) //nolint:sqlclosecheck // the caller's
}

// QueryRowContext implements gorm.ConnPool.
func (b *batch) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := b.flush(ctx); err != nil {
		over, cancel := context.WithCancelCause(ctx)
		cancel(err) // a row has no other way to say it
		ctx = over
	}
	return b.conn.QueryRowContext(ctx, query, args...)
}

// PrepareContext implements gorm.ConnPool.
func (b *batch) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := b.flush(ctx); err != nil {
		return nil, err
	}
	return b.conn.PrepareContext(ctx, query)
}

// take returns what was kept back, as one, with what follows on it.
func (b *batch) take(then string, args ...any) (string, []any) {
	all, before := b.sql, b.args
	b.sql, b.args, b.size = nil, nil, 0
	if then != "" {
		all = append(all, then)
	}
	return strings.Join(all, ";"), append(before, args...)
}

// judge notes what the server has refused, other than because of another transaction or of
// itself.
func (b *batch) judge(err error) error {
	var m *mysql.MySQLError
	if errors.As(err, &m) && !away(err) && !full(err) {
		b.refused = errors.Join(errRefused, err)
		return b.refused
	}
	return err
}
