// Package tenant owns who may do what to whose things: tenants, users, their memberships and
// sessions, API keys, roles, the principals that act for them and the entries of the audit log
// that tell what they did, and the quotas of what a tenant may have. It must not know what the things are: rooms above ask a Principal whether it may do
// something, and Quotas whether there is room for what they add.
package tenant

import (
	"time"

	"github.com/berth-project/berth/internal/id"
)

// ID names a tenant.
type ID = id.Tenant

// Default owns everything that was made before there were more tenants, and is the admin
// key's own.
const Default ID = "default"

// Nobody owns the warm instances: those that were started before a tenant wanted
// them. No client can be this tenant.
const Nobody ID = "-"

// Pool is whose the jobs and events of hosts are. It is no tenant that anybody is a member of:
// operators act in it.
const Pool ID = "platform"

// The prefixes of ids.
const (
	Prefix    = "ten"
	KeyPrefix = "key"
)

// Tenant is a team that has things of its own.
type Tenant struct {
	ID ID
	// Name is unique among the tenants that are not deleted.
	Name      string
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt time.Time // zero: it is not
	Rev       int64
}

// Deleted reports whether the tenant was deleted.
func (t Tenant) Deleted() bool { return !t.DeletedAt.IsZero() }
