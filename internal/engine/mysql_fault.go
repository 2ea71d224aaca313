package engine

import (
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// MySQL's own numbers of errors
// (https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html).
const (
	mysqlWrongPassword = 1045
	mysqlNoDatabase    = 1049
	mysqlNoAccess      = 1044
	mysqlNoTable       = 1142 // the user may not use the table
	mysqlNoPrivilege   = 1227 // the user lacks a global privilege
	mysqlLockWait      = 1205 // another transaction holds the lock
	mysqlNoThread      = 1094 // there is no such session
)

// mysqlReasons are the faults that users can do something about.
var mysqlReasons = map[uint16]string{
	mysqlWrongPassword: "the user name or the password is refused",
	3118:               "the user's account is locked",
	1820:               "the user's password has expired",
	1862:               "the user's password has expired",

	1040: "all connections are taken (max_connections); close some, or take a larger max_connections",
	1203: "all connections of this user are taken; close some",
	1226: "the account has reached its hourly limit; wait, or raise that limit",

	mysqlNoDatabase: "the database does not exist: it was dropped; recreate it with CREATE DATABASE",
	mysqlNoAccess:   "the user has no access to the database",

	1021: "the disk is full; delete something",
	1114: "the table is full, because the disk is full; delete something",
	3:    "the server cannot write to its disk",
	1026: "the server cannot write to its disk",
	1030: "the storage engine failed, perhaps because the disk is full",

	1037: "the server is out of memory; use fewer connections or less memory in each, or take a larger plan",
	1038: "the server is out of sort memory; take a larger plan",
	1041: "the server is out of memory; use fewer connections or less memory in each, or take a larger plan",
	1135: "the server cannot start a thread for a connection; use fewer connections, or take a larger plan",

	1290:          "the server runs read-only",
	1792:          "the server runs read-only",
	1836:          "the server runs read-only",
	3032:          "the server is in offline mode",
	1053:          "the server is shutting down",
	mysqlLockWait: "timed out waiting for a lock that another transaction holds",
	1317:          "the statement was interrupted",
}

// mysqlReason gives the fault that the server's number says.
func mysqlReason(err error) string {
	var fault *mysql.MySQLError
	if !errors.As(err, &fault) {
		return ""
	}
	if strings.Contains(fault.Message, "errno: 28") || strings.Contains(fault.Message, "No space left") {
		return mysqlReasons[1021]
	}
	return mysqlReasons[fault.Number]
}

// mysqlRefuses reports whether the server gave one of these numbers.
func mysqlRefuses(err error, numbers ...uint16) bool {
	var fault *mysql.MySQLError
	if !errors.As(err, &fault) {
		return false
	}
	for _, n := range numbers {
		if fault.Number == n {
			return true
		}
	}
	return false
}
