package engine

import "strings"

// maxIdentifier is the longest name of a MySQL user, in characters.
const maxIdentifier = 32

// reservedIdentifiers are MySQL's own schemas and accounts.
var reservedIdentifiers = map[string]bool{
	"mysql": true, "sys": true, "information_schema": true, "performance_schema": true, "root": true,
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
	out = strings.Trim(out, "_")
	if out == "" || out[0] >= '0' && out[0] <= '9' || reservedIdentifiers[out] {
		out = "db_" + out
	}
	return strings.TrimRight(out[:min(len(out), maxIdentifier)], "_")
}

// grantPattern escapes the characters of a database's name that are wildcards in a
// GRANT statement.
func grantPattern(database string) string {
	return strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(database)
}
