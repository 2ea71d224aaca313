package tenant

import (
	"errors"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// InvitationID names an invitation.
type InvitationID string

// Invitation lets whoever has its token become a member of a tenant, once.
type Invitation struct {
	ID     InvitationID
	Tenant ID
	Role   Role
	Hash   string // HashToken of the token
	// CreatedBy is for the record. ByUser is the user who made it, who must still be allowed
	// to when it is used; empty: a key.
	CreatedBy string
	ByUser    UserID
	CreatedAt time.Time
	ExpiresAt time.Time
	// UsedAt is when it was used or withdrawn; zero: it is open.
	UsedAt time.Time
	UsedBy UserID // empty: nobody
}

const (
	// invitationLasts is how long an invitation can be used.
	invitationLasts = 7 * 24 * time.Hour
	maxInvitations  = 1000 // open ones of a tenant
)

// errInvitation says nothing of why, and so nothing of other invitations.
var errInvitation = fault.Invalid([]fault.FieldError{{
	Field: "invitation", Message: "is unknown, used, withdrawn or expired; ask an owner of the tenant for another one",
}})

// openInvitation returns the invitation of a token, if it can be used.
func openInvitation(tx Rows, token string, now time.Time) (Invitation, error) {
	if !invitationForm.fits(token) {
		return Invitation{}, errInvitation
	}
	inv, err := tx.InvitationByHash(HashToken(token))
	if errors.Is(err, fault.ErrNotFound) || err == nil && (!inv.UsedAt.IsZero() || !now.Before(inv.ExpiresAt)) {
		return Invitation{}, errInvitation
	}
	if err != nil {
		return Invitation{}, err
	}
	allowed, err := mayStill(tx, inv.ByUser, inv.Tenant)
	if err == nil && !allowed {
		err = errInvitation
	}
	return inv, err
}

// accept makes the user a member by the invitation, which nobody else can use then.
func accept(tx Rows, inv Invitation, u User, now time.Time) error {
	err := tx.UseInvitation(inv.ID, u.ID, now)
	if errors.Is(err, fault.ErrConflict) {
		return errInvitation
	}
	if err != nil {
		return err
	}
	return join(tx, u, inv.Tenant, inv.Role, now)
}
