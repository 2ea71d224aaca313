package tenant

import (
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// Membership is what a user is in a tenant.
type Membership struct {
	Tenant    ID
	User      UserID
	Role      Role
	CreatedAt time.Time
	// Of the user, for lists; they are not the membership's to write.
	Login    string
	Name     string
	Disabled bool
}

// Workplace is a tenant that a user is a member of, as the user sees it.
type Workplace struct {
	Tenant Tenant
	Role   Role
	Since  time.Time
}

// memberRoles are the roles of members.
var memberRoles = []Role{Viewer, Member, Owner}

// touchTenant writes the tenant's row in a transaction that changes its members: of two that
// change them at once, one is made anew and sees what the other has done.
func touchTenant(tx Rows, which ID) error {
	t, err := tx.Tenant(which)
	if errors.Is(err, fault.ErrNotFound) || err == nil && t.Deleted() {
		return fault.Errorf(fault.CodeNotFound, err, "there is no tenant %s", which)
	}
	if err != nil {
		return err
	}
	return tx.UpdateTenant(t)
}

// join makes the user a member of the tenant, whose row the transaction writes as well.
func join(tx Rows, u User, which ID, role Role, now time.Time) error {
	if err := touchTenant(tx, which); err != nil {
		return err
	}
	_, err := tx.Member(which, u.ID)
	if err == nil {
		return fault.Invalid([]fault.FieldError{{Field: "user_id", Message: "is a member of the tenant already"}})
	}
	if !errors.Is(err, fault.ErrNotFound) {
		return err
	}
	if u.Home != which {
		u.Home = "" // the tenant that made the account is not the only one any more that it opens
	}
	u.UpdatedAt = now
	if err := tx.UpdateUser(u); err != nil {
		return err
	}
	return tx.InsertMember(Membership{Tenant: which, User: u.ID, Role: role, CreatedAt: now})
}

// keepOwner refuses to take the last owner from a tenant who is not disabled. Operators may.
func keepOwner(tx Rows, p Principal, m Membership, field string) error {
	if m.Role != Owner || p.Operator {
		return nil
	}
	others, err := tx.OtherOwners(m.Tenant, m.User)
	if err != nil || others > 0 {
		return err
	}
	return fault.Invalid([]fault.FieldError{{
		Field: field, Message: fmt.Sprintf("is the last owner of tenant %s; make another member its owner first, or ask an operator", m.Tenant),
	}})
}

// mayStill reports whether the user who made something for a tenant would still be allowed
// to: an owner of it, or an operator. Without a user it was a key, which is not asked again.
func mayStill(tx Rows, by UserID, which ID) (bool, error) {
	if by == "" {
		return true, nil
	}
	u, err := tx.User(by)
	if err != nil || u.Disabled() {
		return false, fault.IgnoreNotFound(err)
	}
	if u.Operator {
		return true, nil
	}
	m, err := tx.Member(which, by)
	return err == nil && m.Role == Owner, fault.IgnoreNotFound(err)
}
