package tenant

import (
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/fault"
)

// Role says what a member of a tenant, or an API key, may do with the tenant's things.
// Each may do what the one before may, and more.
type Role string

// The roles.
const (
	Viewer Role = "viewer" // reads everything but credentials
	Member Role = "member" // also creates, changes and deletes, and reads credentials
	Owner  Role = "owner"  // also manages members, keys and webhooks, and sees usage and the audit log
	// Operator runs the platform: hosts, queues, tenants and quotas. In a tenant of which
	// they are no member, operators read everything but credentials, and manage.
	Operator Role = "operator"
)

// Roles lists all roles, the weakest first.
func Roles() []Role { return []Role{Viewer, Member, Owner, Operator} }

// Known reports whether there is such a role.
func (r Role) Known() bool { return slices.Contains(Roles(), r) }

// Right is something that a use case asks whether its caller may do.
type Right string

// The rights. A use case asks for exactly one.
const (
	Anybody     Right = "anybody"     // nothing: callers need not be known
	Oneself     Right = "oneself"     // be a user: one's own sessions, password and memberships
	Identify    Right = "identify"    // be somebody: see oneself
	Read        Right = "read"        // see the tenant's things, without their secrets
	Change      Right = "change"      // create, change and delete things
	Credentials Right = "credentials" // see the secrets of things
	Manage      Right = "manage"      // members, keys, webhooks, usage
	Operate     Right = "operate"     // the platform
)

// grants is the table of who may do what: the one place where that is decided. No role has
// Anybody, which is asked of nobody, or Oneself, which users have and keys have not.
var grants = map[Role][]Right{
	Viewer:   {Identify, Read},
	Member:   {Identify, Read, Change, Credentials},
	Owner:    {Identify, Read, Change, Credentials, Manage},
	Operator: {Identify, Read, Manage, Operate},
}

// May reports whether the role has the right.
func (r Role) May(right Right) bool { return slices.Contains(grants[r], right) }

// WhoMay names the roles that have the right, for people.
func WhoMay(right Right) string {
	var names []string
	for _, role := range Roles() {
		if role.May(right) {
			names = append(names, string(role))
		}
	}
	return strings.Join(names, " or ")
}

// checkRole refuses a role that cannot be given.
func checkRole(role Role, allowed ...Role) []fault.FieldError {
	if slices.Contains(allowed, role) {
		return nil
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	return []fault.FieldError{{Field: "role", Message: "must be one of " + strings.Join(names, ", ")}}
}
