package engine

import "strings"

// The longest names of a MySQL user and of a database, in characters.
const (
	maxIdentifier   = 32
	maxDatabaseName = 64
)

// reservedIdentifiers are MySQL's own schemas and accounts, and what it has in the folder
// where a database is a folder, too.
var reservedIdentifiers = map[string]bool{
	"mysql": true, "sys": true, "information_schema": true, "performance_schema": true, "ndbinfo": true,
	"root": true, "event_scheduler": true, "public": true,
	"ibdata1": true, "ibtmp1": true, "undo_001": true, "undo_002": true,
}

// reserved reports whether a tenant may not have the name, in whatever case.
func reserved(name string) bool {
	name = strings.ToLower(name)
	return reservedIdentifiers[name] || strings.HasPrefix(name, "berth")
}

// identifier makes a name for a MySQL database or user from the name of an
// instance: [a-z0-9_], starting with a letter, at most 32 characters.
func identifier(name string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '_'
		}
	}, name)
	out = shortened(strings.TrimLeft(out, "_"))
	if out == "" || out[0] >= '0' && out[0] <= '9' || reserved(out) { // "mysql" may be what is left of a longer name
		out = shortened("db_" + out)
	}
	return out
}

// shortened cuts a name to the length of an identifier. It does not end with _.
func shortened(name string) string {
	return strings.TrimRight(name[:min(len(name), maxIdentifier)], "_")
}

// grantPattern escapes the characters of a database's name that are wildcards in a
// GRANT statement.
func grantPattern(database string) string {
	return strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(database)
}
