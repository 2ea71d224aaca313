package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	gosqlite "github.com/glebarez/go-sqlite"
	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/provision"
)

// The numbers of MySQL's errors that mean something to us
// (https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html).
const (
	mysqlLockWait = 1205
	mysqlDeadlock = 1213
)

// mysqlAway are the errors of a server that is there but takes no work: too many
// connections, shutting down, killed query, read-only.
var mysqlAway = []uint16{1040, 1053, 1317, 1290, 1836, 3024}

// SQLite's primary result codes (https://sqlite.org/rescode.html).
const (
	sqliteBusy   = 5
	sqliteLocked = 6
	sqliteFull   = 13
	sqliteIOErr  = 10
)

// lostToAnother reports whether the transaction failed only because of another
// one, so that trying it again can help.
func lostToAnother(err error) bool {
	var m *mysql.MySQLError
	if errors.As(err, &m) {
		return m.Number == mysqlDeadlock || m.Number == mysqlLockWait
	}
	code := sqliteCode(err)
	return code == sqliteBusy || code == sqliteLocked
}

func sqliteCode(err error) int {
	var s *gosqlite.Error
	if errors.As(err, &s) {
		return s.Code() & 0xff
	}
	return 0
}

// translate turns the errors of GORM and the drivers into the domain's. Errors of
// the domain pass as they are.
func translate(err error) error {
	var known *provision.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, gorm.ErrRecordNotFound):
		return provision.Errorf(provision.CodeNotFound, err, "not found")
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return provision.Errorf(provision.CodeConflict, err, "it is there already")
	case away(err):
		return &provision.Error{
			Code: provision.CodeUnavailable, Err: err, RetryAfter: 2 * time.Second,
			Message: "the database does not answer; try again in a moment",
		}
	default:
		return err
	}
}

// away reports whether the database could not be used.
func away(err error) bool {
	var m *mysql.MySQLError
	if errors.As(err, &m) {
		return slices.Contains(mysqlAway, m.Number) || lostToAnother(err)
	}
	if code := sqliteCode(err); code != 0 {
		return code == sqliteFull || code == sqliteIOErr || lostToAnother(err)
	}
	var n net.Error
	return errors.As(err, &n) && !errors.Is(err, context.Canceled) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, sql.ErrConnDone)
}

// duplicate gives the error for a row that is there already.
func duplicate(err error, as *provision.Error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return as
	}
	return err
}
