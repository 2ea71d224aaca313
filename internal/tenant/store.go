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
	// Held returns what the tenant holds, counted from the rows: what is, may be or is to be
	// on a host, and as JobsPerHour the jobs of these kinds since the time.
	Held(ctx context.Context, of ID, kinds []string, since time.Time) (Amounts, error)
}

// Tx writes tenants and keys within a transaction.
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

// Rows are the rows of tenants and keys in a transaction.
type Rows interface {
	Tenant(ID) (Tenant, error)
	// InsertTenant fails with CodeNameHeld where a tenant that is not deleted has the name.
	InsertTenant(Tenant) error
	// UpdateTenant fails with CodeConflict unless the row is as it was read (Rev), and like
	// InsertTenant.
	UpdateTenant(Tenant) error
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
