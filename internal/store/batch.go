package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"
)

// batch is a transaction on MySQL. It keeps its begin and new rows back, and sends them in
// front of the next statement, in one round trip with it, and the last ones with the commit:
// an accept writes six rows, and each would cost as much time on the way as on the server.
//
// What the server says of several statements does not say which one it means. So a batch that
// it refuses is rolled back, and the transaction runs once more with each row sent alone.
type batch struct {
	pool    *sql.DB
	conn    connection
	alone   bool // rows are sent one by one
	begun   bool // the server knows of the transaction, or may
	sql     []string
	args    []any
	rows    int   // of what is kept back
	size    int   // of it, in bytes
	refused error // what the server said of a batch
	lost    error // why what was kept back is not there, whatever the caller makes of it
}

// connection is what a batch needs of a *sql.Conn.
type connection interface {
	gorm.ConnPool
	Raw(func(driverConn any) error) error
	Close() error
}

// Bounds of what is kept back: far below what the server takes at once
// (max_allowed_packet, 64 MiB by default).
const (
	maxBatch     = 64
	maxBatchSize = 1 << 20
)

// errRefused marks the error of a batch.
var errRefused = errors.New("the database refused one of several statements")

const (
	begin    = "START TRANSACTION"
	commit   = "COMMIT"
	rollback = "ROLLBACK"
)

// maxConnections is how many connections are tried that have ended unnoticed, as database/sql
// does it.
const maxConnections = 3

// rollbackTimeout is how long the server may take to answer a rollback.
const rollbackTimeout = 3 * time.Second

func newBatch(ctx context.Context, pool *sql.DB, alone bool) (*batch, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &batch{pool: pool, conn: conn, alone: alone, sql: []string{begin}}, nil
}

// commit sends what is left, and ends the transaction. Without an answer it may have.
func (b *batch) commit(ctx context.Context) error {
	if err := cmp.Or(b.refused, b.lost); err != nil {
		return err
	}
	if !b.begun && b.rows == 0 { // nothing was asked of the server
		return nil
	}
	_, err := b.ExecContext(ctx, commit)
	if err == nil {
		b.begun = false
	}
	return err
}

// end gives the connection back. What was not committed is rolled back; where that does not
// work either, the connection is ended, and the server does so itself.
func (b *batch) end(ctx context.Context) {
	if b.begun {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		if _, err := b.conn.ExecContext(ctx, rollback); err != nil {
			_ = b.conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}
	_ = b.conn.Close()
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
	if b.rows == maxBatch || b.size+size > maxBatchSize {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.sql, b.args, b.rows, b.size = append(b.sql, query), append(b.args, args...), b.rows+1, b.size+size
	return nil
}

// flush sends what was kept back, and says whether all of it was taken.
func (b *batch) flush(ctx context.Context) error {
	if b.refused != nil || len(b.sql) == 0 {
		return b.refused
	}
	last, args := b.sql[len(b.sql)-1], b.args
	b.sql, b.args = b.sql[:len(b.sql)-1], nil
	_, err := b.ExecContext(ctx, last, args...)
	return err
}

// ExecContext implements gorm.ConnPool. The result is that of the statement itself.
func (b *batch) ExecContext(ctx context.Context, query string, args ...any) (result sql.Result, err error) {
	err = b.send(ctx, query, args, func(query string, args []any) error {
		result, err = b.conn.ExecContext(ctx, query, args...)
		return err
	})
	return result, err
}

// QueryContext implements gorm.ConnPool. The first rows are those of the statement itself,
// since the ones in front of it give none.
func (b *batch) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	err = b.send(ctx, query, args, func(query string, args []any) error {
		rows, err = b.conn.QueryContext(ctx, query, args...) //nolint:rowserrcheck,sqlclosecheck // the caller's
		return err
	})
	return rows, err
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

// send sends a statement behind what was kept back. A connection of the pool may have ended
// unnoticed, which its first statement shows: then another one is taken.
func (b *batch) send(ctx context.Context, query string, args []any, do func(query string, args []any) error) error {
	if b.lost != nil {
		return b.lost
	}
	batched, first := b.rows > 0, !b.begun
	query, args = strings.Join(append(b.sql, query), ";"), append(b.args, args...)
	b.sql, b.args, b.rows, b.size = nil, nil, 0, 0
	for try := 1; ; try++ {
		err := do(query, args)
		if b.begun || !errors.Is(err, driver.ErrBadConn) || try == maxConnections {
			b.begun = true
			return b.judge(err, batched, first)
		}
		_ = b.conn.Close()
		conn, taking := b.pool.Conn(ctx)
		if taking != nil {
			b.lost = taking
			return taking
		}
		b.conn = conn
	}
}

// judge notes what the server has refused of several statements, other than because of
// another transaction or of itself, and what else has kept rows or the begin from it.
func (b *batch) judge(err error, batched, first bool) error {
	var m *mysql.MySQLError
	answered := errors.As(err, &m)
	switch {
	case err == nil:
	case batched && answered && !away(err) && !full(err):
		b.refused = errors.Join(errRefused, err)
		return b.refused
	case batched || first && !answered:
		b.lost = err
	}
	return err
}
