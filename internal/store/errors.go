package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"
	"modernc.org/sqlite"

	"github.com/berth-project/berth/internal/fault"
)

// The numbers of MySQL's errors that mean something to us
// (https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html).
const (
	mysqlLockWait = 1205
	mysqlDeadlock = 1213
)

// mysqlFull are those of a server whose disk is full; mysqlFile those of a file that could
// not be written, which name the system's error in words only.
var (
	mysqlFull = []uint16{1021, 1114, 20}
	mysqlFile = []uint16{3, 1026, 1030}
	noSpace   = regexp.MustCompile(`(?i)\b(errno|errcode|error):? 28\b`)
)

// mysqlAway are the errors of a server that is there but takes no work: too many
// connections, shutting down, killed query, read-only.
var mysqlAway = []uint16{1040, 1053, 1317, 1290, 1836, 3024}

// SQLite's primary result codes (https://sqlite.org/rescode.html).
const (
	sqliteBusy     = 5
	sqliteLocked   = 6
	sqliteReadOnly = 8
	sqliteIOErr    = 10
	sqliteFull     = 13
	sqliteCantOpen = 14
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
	var s *sqlite.Error
	if errors.As(err, &s) {
		return s.Code() & 0xff
	}
	return 0
}

// translate turns the errors of GORM and the drivers into the domain's. Errors of
// the domain pass as they are.
func translate(err error) error {
	var known *fault.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, gorm.ErrRecordNotFound):
		return fault.Errorf(fault.CodeNotFound, err, "not found")
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return fault.Errorf(fault.CodeConflict, err, "it already exists")
	case full(err):
		return &fault.Error{
			Code: fault.CodeUnavailable, Err: err, RetryAfter: 10 * time.Second,
			Message: "the disk of Berth's database is full, so nothing can be written; free space there, and try again",
		}
	case unwritable(err):
		return &fault.Error{
			Code: fault.CodeUnavailable, Err: err, RetryAfter: 10 * time.Second,
			Message: "the file of Berth's database cannot be read or written; check that its disk works and is writable",
		}
	case away(err):
		return &fault.Error{
			Code: fault.CodeUnavailable, Err: err, RetryAfter: 2 * time.Second,
			Message: "the database does not answer; try again in a moment",
		}
	default:
		return err
	}
}

// full reports whether the database's disk is full.
func full(err error) bool {
	var m *mysql.MySQLError
	if errors.As(err, &m) {
		return slices.Contains(mysqlFull, m.Number) || slices.Contains(mysqlFile, m.Number) && noSpace.MatchString(m.Message)
	}
	return sqliteCode(err) == sqliteFull
}

// unwritable reports whether the database's disk takes nothing, for whatever reason.
func unwritable(err error) bool {
	code := sqliteCode(err)
	return full(err) || code == sqliteIOErr || code == sqliteReadOnly || code == sqliteCantOpen
}

// away reports whether the database could not be used.
func away(err error) bool {
	var m *mysql.MySQLError
	if errors.As(err, &m) {
		return slices.Contains(mysqlAway, m.Number) || lostToAnother(err)
	}
	if sqliteCode(err) != 0 {
		return lostToAnother(err)
	}
	var n net.Error
	return errors.As(err, &n) && !errors.Is(err, context.Canceled) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, sql.ErrConnDone)
}

// duplicate gives the error for a row that is there already.
func duplicate(err error, as *fault.Error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return as
	}
	return err
}
