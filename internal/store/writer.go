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
	kept map[string]*compiled
	open bool        // a transaction is under way
	read []*sql.Rows // of the transaction
}

// compiled is a statement that stays compiled. It has one place in what it reads: while rows
// of it are open, it cannot be run again, or be closed.
type compiled struct {
	*sql.Stmt
	rows *sql.Rows // the last ones; nil: there were none
}

func (c *compiled) reading() bool {
	if c.rows == nil {
		return false
	}
	_, closed := c.rows.Columns()
	return closed == nil
}

// beginImmediate has the transaction wait for the lock of the file before it reads: one that
// has read already could not wait for it (https://sqlite.org/lang_transaction.html).
const beginImmediate = "BEGIN IMMEDIATE"

// maxKept bounds the statements that stay compiled. Lists of several lengths make a statement
// each, and there are some dozens of others.
const maxKept = 256

// begin starts a transaction, and waits for those of other processes.
func (w *writer) begin(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.conn == nil {
		if w.conn, err = w.pool.Conn(ctx); err != nil {
			w.conn = nil
			return err
		}
		w.kept = map[string]*compiled{}
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
	for _, rows := range w.read {
		_ = rows.Close() // whoever panicked has left them open
	}
	w.read = nil
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
func (w *writer) statement(ctx context.Context, query string) (*compiled, error) {
	if c, ok := w.kept[query]; ok {
		return c, nil
	}
	s, err := w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if len(w.kept) >= maxKept {
		for old, c := range w.kept { // any: they come back if they are needed
			if !c.reading() {
				_ = c.Close()
				delete(w.kept, old)
				break
			}
		}
	}
	w.kept[query] = &compiled{Stmt: s}
	return w.kept[query], nil
}

// unwatched returns the statement, and the context that it runs under. It takes microseconds,
// so that the caller's is asked before it only: to watch it would take a goroutine for each.
func (w *writer) unwatched(ctx context.Context, query string) (*compiled, context.Context, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	ctx = context.WithoutCancel(ctx)
	c, err := w.statement(ctx, query)
	return c, ctx, err
}

// ExecContext implements gorm.ConnPool.
func (w *writer) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	c, ctx, err := w.unwatched(ctx, query)
	switch {
	case err != nil:
		return nil, err
	case c.reading():
		return w.conn.ExecContext(ctx, query, args...)
	default:
		return c.ExecContext(ctx, args...)
	}
}

// QueryContext implements gorm.ConnPool.
func (w *writer) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	c, ctx, err := w.unwatched(ctx, query)
	if err != nil {
		return nil, err
	}
	var rows *sql.Rows
	if c.reading() {
		rows, err = w.conn.QueryContext(ctx, query, args...) //nolint:rowserrcheck,sqlclosecheck // the caller's
	} else {
		rows, err = c.QueryContext(ctx, args...) //nolint:rowserrcheck,sqlclosecheck // the caller's
		c.rows = rows
	}
	if err == nil {
		w.read = append(w.read, rows)
	}
	return rows, err
}

// QueryRowContext implements gorm.ConnPool.
func (w *writer) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return w.conn.QueryRowContext(ctx, query, args...)
}

// PrepareContext implements gorm.ConnPool.
func (w *writer) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return w.conn.PrepareContext(ctx, query)
}
