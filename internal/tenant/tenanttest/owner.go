// Package tenanttest has what tests need of tenants.
package tenanttest

import "github.com/berth-project/berth/internal/tenant"

// Owner returns a principal that owns the tenant.
func Owner(of tenant.ID) tenant.Principal {
	return tenant.Principal{Tenant: of, Role: tenant.Owner, Name: "the owner of " + string(of)}
}
