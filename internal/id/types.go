package id

import "strings"

// Job names a job ("job_…"). It is here because errors and events name jobs, too.
type Job string

// Tenant names a tenant ("ten_…", or "default"). It is here because what tenants have is
// known below the room of tenants, too.
type Tenant string

// maxIDLength is more than any id has.
const maxIDLength = 64

// WellFormed reports whether a text that a client sent can be an id at all. What
// cannot is not asked for: a database may refuse the very question.
func WellFormed[ID ~string](id ID) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return len(id) <= maxIDLength
}

// Maker makes a fresh id with the given prefix; ids made later sort later.
type Maker func(prefix string) string

// Subject names what a job or an event is about: the id of an instance, a host, a service.
// Its prefix tells which.
type Subject string

// Prefix returns what kind of thing it is, for example "ins".
func (s Subject) Prefix() string {
	prefix, _, _ := strings.Cut(string(s), "_")
	return prefix
}
