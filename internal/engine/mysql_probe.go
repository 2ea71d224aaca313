package engine

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/instance"
)

const (
	// probeTable belongs to Berth in every database; what is in it is of no value.
	probeTable = "`_berth_probe`"
	// probeCleanup bounds the removal of the table after the probe's own time is up.
	probeCleanup = 2 * time.Second
)

// Probe makes a table, writes, reads back and drops it, in one connection. Probes of
// the same instance wait for each other by a lock that ends with the connection, so
// that one that died leaves nothing in the way and its table goes with the next.
func (mysqlEngine) Probe(ctx context.Context, inst instance.Instance, cred instance.Credentials) (err error) {
	db, err := mysqlDatabase(inst, cred.Username, cred.Password, cred.Database, verifying(inst, cred))
	if err != nil {
		return err
	}
	defer func() {
		if closed := db.Close(); err == nil && closed != nil {
			err = notUsable("MySQL", "closing the connection", closed)
		}
	}()
	conn, err := db.Conn(ctx)
	if err != nil {
		return notUsable("MySQL", "logging in", err)
	}
	defer func() { _ = conn.Close() }() // its end is db's

	var locked sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK('berth.probe', 5)").Scan(&locked); err != nil {
		return notUsable("MySQL", "a query", err)
	}
	if locked.Int64 != 1 {
		return notUsable("MySQL", "waiting for another probe", errors.New("it did not end"))
	}
	if err := useTable(ctx, conn); err != nil {
		dropTable(context.WithoutCancel(ctx), conn)
		return err
	}
	return nil
}

// useTable leaves the table behind where it fails.
func useTable(ctx context.Context, conn *sql.Conn) error {
	const wanted = "Berth was here: åß∂"
	for _, s := range []struct{ what, statement string }{
		{"dropping an old table", "DROP TABLE IF EXISTS " + probeTable},
		{"creating a table", "CREATE TABLE " + probeTable + " (id INT PRIMARY KEY, word VARBINARY(64) NOT NULL) ENGINE=InnoDB"},
	} {
		if _, err := conn.ExecContext(ctx, s.statement); err != nil {
			return notUsable("MySQL", s.what, err)
		}
	}
	if _, err := conn.ExecContext(ctx, "INSERT INTO "+probeTable+" VALUES (1, ?)", []byte(wanted)); err != nil {
		return notUsable("MySQL", "writing", err)
	}
	var got []byte
	if err := conn.QueryRowContext(ctx, "SELECT word FROM "+probeTable+" WHERE id = 1").Scan(&got); err != nil {
		return notUsable("MySQL", "reading", err)
	}
	if string(got) != wanted {
		return notUsable("MySQL", "reading back what was written", errors.New("the value read differs from the value written"))
	}
	if _, err := conn.ExecContext(ctx, "DROP TABLE "+probeTable); err != nil {
		return notUsable("MySQL", "dropping the table", err)
	}
	return nil
}

// dropTable does what it still can; the next probe drops what it could not.
func dropTable(ctx context.Context, conn *sql.Conn) {
	ctx, cancel := context.WithTimeout(ctx, probeCleanup)
	defer cancel()
	_, _ = conn.ExecContext(ctx, "DROP TABLE IF EXISTS "+probeTable)
}
