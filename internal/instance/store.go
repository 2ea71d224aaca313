package instance

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// Store keeps what must not be lost. Reads outside a transaction see what is
// committed. A missing row is CodeNotFound, a database that does not answer
// CodeUnavailable.
type Store interface {
	Reader
	// Tx runs the function in one transaction: all of its writes are there
	// afterwards, or none. A deadlock or a busy database is tried again a few times, so
	// the function may run more than once and must have no other effects: they are for
	// Tx.OnCommit.
	Tx(context.Context, func(Tx) error) error
}

// Reader reads.
type Reader interface {
	ReconcileReader
	Events(ctx context.Context, f event.Filter, after int64, limit int) ([]event.Event, error)
	LastNumbers(context.Context, []tenant.ID) (map[tenant.ID]int64, error)
	UnnumberedEvents(ctx context.Context, limit int) ([]event.Unnumbered, error)
	idempotency.Store
	Instance(context.Context, ID) (Instance, error)
	Instances(context.Context, Filter, page.Page) ([]Instance, error)
	// KeptInstances gives failed instances whose KeptUntil has come.
	KeptInstances(ctx context.Context, now time.Time, limit int) ([]ID, error)
	Job(context.Context, id.Job) (job.Job, error)
	Jobs(context.Context, job.Filter, page.Page) ([]job.Job, error)
	// EndedJobs gives which of the jobs have ended, or are not there any more.
	EndedJobs(context.Context, []id.Job) ([]id.Job, error)
	// ActiveJob gives the job of the instance that has not ended.
	ActiveJob(context.Context, id.Subject) (job.Job, error)
	Credentials(context.Context, ID) (secret.Sealed, error)
	webhook.Reader
	// DueJobs gives jobs that have not ended and whose WakeAt has come, the longest
	// overdue first.
	DueJobs(ctx context.Context, now time.Time, limit int) ([]job.Job, error)
	host.Reader
}

// Tx writes, within one transaction.
//
// Lock order, which keeps transactions from blocking one another: the job's row
// first, then the instance's, then everything else.
type Tx interface {
	job.Tx
	idempotency.Tx
	ReconcileTx
	// NumberEvents gives the events, in the order given, the next numbers of their
	// tenants, and fails with CodeConflict where somebody else has numbered one of them.
	NumberEvents([]event.Unnumbered) error
	// DeleteEvents removes numbered events that are older than given.
	DeleteEvents(before time.Time, limit int) (int, error)
	Instance(ID) (Instance, error)
	webhook.Rows
	// InsertInstance fails with CodeNameHeld where the tenant has a live instance of
	// that name.
	InsertInstance(Instance) error
	// ReplaceInstance writes all of an instance, its tenant, its name and its labels as
	// well, and fails like UpdateInstance and like InsertInstance.
	ReplaceInstance(Instance) error
	// UpdateInstance fails with CodeConflict unless the row is as it was read (Rev).
	UpdateInstance(Instance) error
	Credentials(ID) (secret.Sealed, error)
	PutCredentials(ID, secret.Sealed) error
	DeleteCredentials(ID) error
	host.Tx
	// TakeDuty gives the named periodic duty to the owner until then, unless somebody
	// else has it now.
	TakeDuty(name, owner string, now, until time.Time) (bool, error)
	// DeleteExpired removes what nobody needs any more: deleted instances and ended
	// jobs, deliveries and idempotency records that are older than given. An instance
	// that still holds a port stays.
	DeleteExpired(before time.Time, limit int) (int, error)
}

// Filter narrows a list of instances; empty fields do not.
type Filter struct {
	Tenant tenant.ID
	Engine string
	State  State
	Name   string
	Labels map[string]string
	// Deleted also lists deleted instances; State "deleted" implies it.
	Deleted bool
}
