// Package tenant owns who may do what to whose things: tenants, and the principals that act
// for them. It must not know what the things are.
package tenant

// ID names a tenant.
type ID string

// Default owns everything until there are more tenants.
const Default ID = "default"

// Nobody owns the warm instances: those that were started before a tenant wanted
// them. No client can be this tenant.
const Nobody ID = "-"

// Principal is the authenticated caller of a use case.
type Principal struct {
	Tenant ID
	// Name says for the record who it is, for example "the admin key".
	Name string
}

// String returns the principal as records show it.
func (p Principal) String() string { return p.Name + ", tenant " + string(p.Tenant) }
