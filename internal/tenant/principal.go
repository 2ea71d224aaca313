package tenant

import (
	"github.com/berth-project/berth/internal/fault"
)

// Principal is the authenticated caller of a use case.
type Principal struct {
	// Tenant is whose things the request is about.
	Tenant ID
	// Role is what the caller is in that tenant; empty: no member of it.
	Role Role
	// Operator says that the caller runs the platform, too.
	Operator bool
	// Key is the API key that the caller was recognized by; empty: a session or the admin key.
	Key KeyID
	// User is who has logged in, and Session where; empty: the caller is a key.
	User    UserID
	Session SessionID
	// Name says for the record who it is, for example "the admin key" or "user alice".
	Name string
	// Limits narrow what a key may do within its role.
	Limits Limits
	// From says where the request comes from.
	From Origin
}

// String returns the principal as records show it.
func (p Principal) String() string { return p.Name + ", tenant " + string(p.Tenant) }

// May returns nil if the principal has the right, and else the refusal that names who has.
// Every use case calls it first.
func (p Principal) May(right Right) error {
	if p.Role.May(right) || p.Operator && Operator.May(right) {
		return nil
	}
	switch {
	case p.User != "" && (right == Oneself || right == Identify): // whatever they are in the tenant
		return nil
	case right == Oneself:
		return fault.Errorf(fault.CodeForbidden, nil, "%s is no user; this takes a session: POST /api/v1/sessions, or berth login", p.Name)
	}
	who := p.Name
	if who == "" {
		who = "the caller"
	}
	role := "no role"
	if p.Role != "" {
		role = "the role " + string(p.Role)
	}
	return fault.Errorf(fault.CodeForbidden, nil, "%s has %s in tenant %s; this takes %s", who, role, p.Tenant, WhoMay(right))
}

// MayAll is May for what concerns all of the tenant's things alike, or what is not a thing:
// a key that is limited to some of them is refused.
func (p Principal) MayAll(right Right) error {
	if err := p.May(right); err != nil || p.Limits.Empty() {
		return err
	}
	return fault.Errorf(fault.CodeForbidden, nil, "%s is limited to %s; this takes a key without limits", p.Name, p.Limits)
}
