package engine

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
)

// The parameters of MySQL, named as MySQL names them but for the first four.
const (
	paramUsername        = "username"
	paramDatabase        = "database"
	paramCharset         = "charset"
	paramCollation       = "collation"
	paramBinlogFormat    = "binlog_format"
	paramMaxConnections  = "max_connections"
	paramLockWaitTimeout = "innodb_lock_wait_timeout"
	paramWaitTimeout     = "wait_timeout"
)

// Bounds of max_connections whatever the size.
const (
	minConnections = 5
	maxConnections = 10000
)

// Connections by memory: an idle connection takes about a quarter of a MiB, one that
// works several.
const (
	memoryPerConnection = miB     // most connections that are accepted: memory by this
	memoryPerDefault    = 5 * miB // connections without a wish: memory by this
)

// charset is a character set with its collations, the default first.
type charset struct {
	Name       string
	Collations []string
}

// charsets lists them as MySQL 9.7 has them (SHOW COLLATION): a line for each pair of
// charset and collation, the default collation before the others.
//
//go:embed mysql/charsets.txt
var charsetLines string

var charsets = parseCharsets(charsetLines)

func parseCharsets(lines string) []charset {
	var list []charset
	for line := range strings.Lines(lines) {
		name, collation, _ := strings.Cut(strings.TrimSpace(line), " ")
		if len(list) == 0 || list[len(list)-1].Name != name {
			list = append(list, charset{Name: name})
		}
		last := &list[len(list)-1]
		last.Collations = append(last.Collations, collation)
	}
	return list
}

func charsetNamed(name string) (charset, bool) {
	for _, c := range charsets {
		if c.Name == name {
			return c, true
		}
	}
	return charset{}, false
}

// charsetOf gives the charset that a collation belongs to; its name begins with it.
func charsetOf(collation string) string {
	name, _, _ := strings.Cut(collation, "_")
	return name
}

func mysqlParameters() []instance.Parameter {
	names, collations := []string{}, []string{}
	for _, c := range charsets {
		names = append(names, c.Name)
		collations = append(collations, c.Collations...)
	}
	return []instance.Parameter{
		{
			Name: paramUsername, Type: instance.TypeName, Max: maxIdentifier,
			Description: "Name of the user, for dumps whose views, triggers and routines have a DEFINER. Default: derived from the instance's name.",
		},
		{
			Name: paramDatabase, Type: instance.TypeName, Max: maxDatabaseName,
			Description: "Name of the database. Default: derived from the instance's name.",
		},
		{
			Name: paramCharset, Type: instance.TypeString, Enum: names,
			Description: "Character set of the server and of the database. Default: the one the collation belongs to.",
		},
		{
			Name: paramCollation, Type: instance.TypeString, Enum: collations,
			Description: "Collation of the server and of the database; must belong to the charset. Default: the charset's.",
		},
		{
			Name: paramBinlogFormat, Type: instance.TypeString, Enum: []string{"ROW", "STATEMENT", "MIXED"},
			Description: "How changes are written to the binary log.",
		},
		{
			Name: paramMaxConnections, Type: instance.TypeInteger, Min: minConnections, Max: maxConnections,
			Description: "Maximum number of connections; at most one per MiB of the instance's memory.",
		},
		{
			Name: paramLockWaitTimeout, Type: instance.TypeInteger, Min: 1, Max: 3600,
			Description: "Seconds a transaction waits for a row lock.",
		},
		{
			Name: paramWaitTimeout, Type: instance.TypeInteger, Min: 30, Max: 31536000,
			Description: "Seconds after which an idle connection is closed.",
		},
	}
}

// Complete gives every parameter a value. The collation follows the charset and the
// charset the collation, where only one of them is given.
func (mysqlEngine) Complete(given instance.Parameters, size host.Resources) instance.Parameters {
	cs := charsets[0]
	if wanted, ok := charsetNamed(given.String(paramCharset)); ok {
		cs = wanted
	} else if wanted, ok := charsetNamed(charsetOf(given.String(paramCollation))); ok {
		cs = wanted
	}
	return overlay(instance.Parameters{
		paramUsername: "", paramDatabase: "",
		paramCharset:         cs.Name,
		paramCollation:       cs.Collations[0],
		paramBinlogFormat:    "ROW",
		paramMaxConnections:  clamp(size.MemoryBytes/memoryPerDefault, minConnections, 2000),
		paramLockWaitTimeout: int64(50),
		paramWaitTimeout:     int64(28800),
	}, given)
}

// Check finds a collation of another charset, and more connections than the memory is
// good for.
func (mysqlEngine) Check(p instance.Parameters, size host.Resources) []fault.FieldError {
	var wrong []fault.FieldError
	for _, param := range []string{paramUsername, paramDatabase} {
		if chosen := p.String(param); reserved(chosen) {
			wrong = append(wrong, fault.FieldError{
				Field: "parameters." + param, Message: fmt.Sprintf("%s is reserved by the server or by Berth; choose another name", chosen),
			})
		}
	}
	name, collation := p.String(paramCharset), p.String(paramCollation)
	if charsetOf(collation) != name {
		wrong = append(wrong, fault.FieldError{
			Field: "parameters." + paramCollation,
			Message: fmt.Sprintf("%s does not belong to charset %s, whose collations begin with %s_; omit it for the default",
				collation, name, name),
		})
	}
	most := clamp(size.MemoryBytes/memoryPerConnection, minConnections, maxConnections)
	if size.MemoryBytes > 0 && p.Int(paramMaxConnections) > most {
		wrong = append(wrong, fault.FieldError{
			Field:   "parameters." + paramMaxConnections,
			Message: fmt.Sprintf("must be at most %d with %s of memory; choose fewer, or a bigger plan", most, memory(size.MemoryBytes)),
		})
	}
	return wrong
}
