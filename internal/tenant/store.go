package tenant

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/page"
)

// Store keeps tenants and keys. Reads outside a transaction see what is committed. A missing
// row is CodeNotFound, a database that does not answer CodeUnavailable.
type Store interface {
	idempotency.Store
	Reader
	AccountReader
	// Tx runs the function in one transaction, as job.Store does.
	Tx(context.Context, func(Tx) error) error
}

// Reader reads tenants and keys.
type Reader interface {
	// Tenant returns a tenant, also a deleted one.
	Tenant(context.Context, ID) (Tenant, error)
	// Tenants returns tenants that are not deleted.
	Tenants(context.Context, page.Page) ([]Tenant, error)
	// KeyByHash returns the key of any tenant that has the hash, also one that is revoked.
	KeyByHash(ctx context.Context, hash string) (Key, error)
	// Keys returns the tenant's keys that are not revoked.
	Keys(context.Context, ID, page.Page) ([]Key, error)
	// Quota returns the limits that the tenant has of its own.
	Quota(context.Context, ID) (Amounts, error)
	Grants(context.Context, ID, page.Page) ([]Grant, error)
	// ActiveGrant returns the grant of the user or the key, or of neither, that opens the tenant
	// at the time.
	ActiveGrant(ctx context.Context, of ID, user UserID, key KeyID, now time.Time) (Grant, error)
	// Held returns what the tenant holds, counted from the rows: what is, may be or is to be
	// on a host, and as JobsPerHour the jobs of these kinds since the time.
	Held(ctx context.Context, of ID, kinds []string, since time.Time) (Amounts, error)
}

// AccountReader reads users, and what they are and have in tenants.
type AccountReader interface {
	User(context.Context, UserID) (User, error)
	// UserByLogin returns the user with the login name in its normal form.
	UserByLogin(ctx context.Context, login string) (User, error)
	Users(context.Context, page.Page) ([]User, error)
	Membership(context.Context, ID, UserID) (Membership, error)
	// Members returns the members of the tenant, by their users' ids.
	Members(context.Context, ID, page.Page) ([]Membership, error)
	// Workplaces returns the tenants that the user is a member of and that are not deleted,
	// those of the oldest memberships first, and no more than a thousand.
	Workplaces(context.Context, UserID) ([]Workplace, error)
	// LoginByHash returns the session that has the hash, also one that is over.
	LoginByHash(ctx context.Context, hash string) (Login, error)
	// Invitations returns the tenant's invitations that are open at the time.
	Invitations(context.Context, ID, time.Time, page.Page) ([]Invitation, error)
}

// Tx writes tenants, keys and accounts within a transaction.
type Tx interface {
	idempotency.Tx
	Rows
	QuotaRows
	// PutQuota writes the limits that the tenant has of its own. LockQuota, alone, precedes it.
	PutQuota(ID, Amounts) error
}

// QuotaRows are the rows of quotas, as a transaction sees them that adds to what a tenant
// holds.
type QuotaRows interface {
	// LockQuota returns the limits that the tenant has of its own, and keeps others from
	// changing them until the transaction ends; alone, also from having them locked.
	LockQuota(of ID, alone bool) (Amounts, error)
	// Held is Reader's, with what the transaction has written. After LockQuota, alone, it
	// sees what all who had the lock before have committed.
	Held(of ID, kinds []string, since time.Time) (Amounts, error)
}

// Rows are the rows of this room in a transaction.
type Rows interface {
	Trail
	KeyRows
	UserRows
	MemberRows
	SessionRows
	TokenRows
	GrantRows
	// DeleteOldAccess removes sessions, invitations, resets and attempts that were over before.
	DeleteOldAccess(before time.Time, limit int) (int, error)
}

// KeyRows are the rows of tenants and keys in a transaction.
type KeyRows interface {
	Tenant(ID) (Tenant, error)
	// InsertTenant fails with CodeNameHeld where a tenant that is not deleted has the name.
	InsertTenant(Tenant) error
	// UpdateTenant fails with CodeConflict unless the row is as it was read (Rev), and like
	// InsertTenant.
	UpdateTenant(Tenant) error
	// Owns counts the tenant's instances that are not deleted, failed ones as well.
	Owns(ID) (int64, error)
	// EndAccess revokes the tenant's keys and ends its memberships, invitations and grants.
	EndAccess(ID, time.Time) error
	InsertKey(Key) error
	// Key returns a key of the tenant, also one that is revoked.
	Key(ID, KeyID) (Key, error)
	// LiveKeys counts the tenant's keys that are not revoked, no further than the limit.
	LiveKeys(owner ID, limit int) (int, error)
	// RevokeKey revokes a key of the tenant. One that is revoked stays as it is.
	RevokeKey(ID, KeyID, time.Time) error
	// UseKey notes when the key was last used, unless somebody noted a later time.
	UseKey(KeyID, time.Time) error
}

// UserRows are the rows of users in a transaction.
type UserRows interface {
	User(UserID) (User, error)
	// InsertUser fails with CodeNameHeld where a user has the login name.
	InsertUser(User) error
	// UpdateUser fails with CodeConflict unless the row is as it was read (Rev). The login
	// name stays.
	UpdateUser(User) error
}

// MemberRows are the rows of members in a transaction. Whoever writes them writes the
// tenant's row, too, so that no two do so at once.
type MemberRows interface {
	Member(ID, UserID) (Membership, error)
	InsertMember(Membership) error
	SetRole(ID, UserID, Role) error
	DeleteMember(ID, UserID) error
	// OtherOwners counts the tenant's owners besides the user who are not disabled.
	OtherOwners(ID, UserID) (int, error)
}

// SessionRows are the rows of sessions in a transaction.
type SessionRows interface {
	Session(SessionID) (Session, error)
	InsertSession(Session) error
	// SwitchSession writes which tenant a session works in; CodeNotFound: it is over.
	SwitchSession(SessionID, ID) error
	// UseSession notes when the session was last used, unless somebody noted a later time.
	UseSession(SessionID, time.Time) error
	DeleteSession(SessionID) error
	// DeleteSessions removes all of the user's.
	DeleteSessions(UserID) error
	// DeleteOldestSessions removes all of the user's but the newest ones.
	DeleteOldestSessions(who UserID, keep int) error
}

// GrantRows are the rows of grants in a transaction.
type GrantRows interface {
	InsertGrant(Grant) error
	// Grant returns a grant of the tenant, also one that is over.
	Grant(ID, GrantID) (Grant, error)
	// EndGrant ends a grant. One that has ended stays as it is.
	EndGrant(GrantID, time.Time) error
}

// TokenRows are the rows of invitations, resets and attempts in a transaction.
type TokenRows interface {
	// Invitation returns an invitation of the tenant, also one that is used.
	Invitation(ID, InvitationID) (Invitation, error)
	// InvitationByHash returns the invitation of any tenant, also one that is used.
	InvitationByHash(hash string) (Invitation, error)
	InsertInvitation(Invitation) error
	// UseInvitation fails with CodeConflict where it was used before. Without a user it is
	// withdrawn.
	UseInvitation(InvitationID, UserID, time.Time) error
	// OpenInvitations counts those of the tenant that are open at the time, no further than
	// the limit.
	OpenInvitations(of ID, at time.Time, limit int) (int, error)
	ResetByHash(hash string) (Reset, error)
	InsertReset(Reset) error
	// UseReset removes one, and fails with CodeConflict where it is gone.
	UseReset(hash string) error
	// DeleteResets removes all of the user's.
	DeleteResets(UserID) error
	Attempts(attemptID string) (Attempts, error)
	// PutAttempts fails with CodeConflict unless the row is as it was read (Rev), or still
	// missing.
	PutAttempts(Attempts) error
	DeleteAttempts(attemptID string) error
}
