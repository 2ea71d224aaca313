package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
)

// writer is the one connection of this process on which SQLite's transactions run. Its page
// cache stays good, since nobody else here writes, and the statements that come again stay
// compiled on it: database/sql forgets those of a transaction with it.
type writer struct {
	pool *sql.DB
	conn *sql.Conn // nil: the next transaction opens it
	kept map[string]*sql.Stmt
	open bool // a transaction is under way
}

// beginImmediate has the transaction wait for the lock of the file before it reads: one that
// has read already could not wait for it (https://sqlite.org/lang_transaction.html).
const beginImmediate = "BEGIN IMMEDIATE"

// maxKept bounds the statements that stay compiled. Lists of several lengths make a statement
// each, and there are some dozens of others.
const maxKept = 256

// begin starts a transaction, and waits for those of other processes.
func (w *writer) begin(ctx context.Context) (err error) {
	if w.conn == nil {
		if w.conn, err = w.pool.Conn(ctx); err != nil {
			w.conn = nil
			return err
		}
		w.kept = map[string]*sql.Stmt{}
	}
	start, err := w.statement(ctx, beginImmediate)
	if err == nil {
		_, err = start.ExecContext(ctx)
	}
	// Where the context ends at that moment, it may have begun nevertheless.
	w.open = sqliteCode(err) == 0
	if err != nil {
		w.end(ctx)
	}
	return err
}

// commit ends the transaction, unless its request has ended first.
func (w *writer) commit(ctx context.Context) error {
	_, err := w.ExecContext(ctx, commit)
	w.open = err != nil
	return err
}

// end takes back what was not committed. Where that does not work, the connection is ended,
// and the transaction with it. SQLite itself has taken it back after some errors, of the disk
// for one, and says then that there is none.
func (w *writer) end(ctx context.Context) {
	if !w.open {
		return
	}
	w.open = false
	if _, err := w.conn.ExecContext(context.WithoutCancel(ctx), rollback); err != nil {
		w.close()
	}
}

func (w *writer) close() {
	if w.conn == nil {
		return
	}
	for _, s := range w.kept {
		_ = s.Close()
	}
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = w.conn.Close()
	w.conn, w.kept = nil, nil
}

// statement compiles a statement, once for all transactions.
func (w *writer) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := w.kept[query]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if len(w.kept) >= maxKept {
		for old, s := range w.kept { // any: they come back if they are needed
			_ = s.Close()
			delete(w.kept, old)
			break
		}
	}
	w.kept[query] = s
	return s, nil
}

// unwatched returns the statement, and the context that it runs under. It takes microseconds,
// so that the caller's is asked before it only: to watch it would take a goroutine for each.
func (w *writer) unwatched(ctx context.Context, query string) (*sql.Stmt, context.Context, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	ctx = context.WithoutCancel(ctx)
	s, err := w.statement(ctx, query)
	return s, ctx, err
}

// ExecContext implements gorm.ConnPool.
func (w *writer) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, ctx, err := w.unwatched(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

// QueryContext implements gorm.ConnPool.
func (w *writer) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, ctx, err := w.unwatched(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// QueryRowContext implements gorm.ConnPool.
func (w *writer) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return w.conn.QueryRowContext(ctx, query, args...)
}

// PrepareContext implements gorm.ConnPool.
func (w *writer) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return w.conn.PrepareContext(ctx, query)
}
