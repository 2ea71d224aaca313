package provision

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
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
	EventReader
	Instance(context.Context, InstanceID) (Instance, error)
	Instances(context.Context, InstanceFilter, page.Page) ([]Instance, error)
	// KeptInstances gives failed instances whose KeptUntil has come.
	KeptInstances(ctx context.Context, now time.Time, limit int) ([]InstanceID, error)
	Job(context.Context, id.Job) (Job, error)
	Jobs(context.Context, JobFilter, page.Page) ([]Job, error)
	// EndedJobs gives which of the jobs have ended, or are not there any more.
	EndedJobs(context.Context, []id.Job) ([]id.Job, error)
	// ActiveJob gives the job of the instance that has not ended.
	ActiveJob(context.Context, InstanceID) (Job, error)
	Credentials(context.Context, InstanceID) (secret.Sealed, error)
	Delivery(context.Context, DeliveryID) (Delivery, error)
	WebhookReader
	// Idempotent gives what was answered to a request with this key.
	Idempotent(ctx context.Context, tenant tenant.ID, key string) (IdempotencyRecord, error)
	// DueJobs gives jobs that have not ended and whose WakeAt has come, the longest
	// overdue first.
	DueJobs(ctx context.Context, now time.Time, limit int) ([]Job, error)
	Hosts(context.Context) ([]Host, error)
	Host(context.Context, HostID) (Host, error)
	// PortLeft reports whether TakePort could succeed.
	PortLeft(ctx context.Context, host Host, now time.Time) (bool, error)
	// PortsFree counts the ports that TakePort could give.
	PortsFree(ctx context.Context, host Host, now time.Time) (int, error)
}

// Tx writes, within one transaction.
//
// Lock order, which keeps transactions from blocking one another: the job's row
// first, then the instance's, then everything else.
type Tx interface {
	// OnCommit has the function called after the commit, in the order of the calls. It is
	// called, too, where the answer to the commit was lost, and dropped where the
	// transaction was rolled back, also by a try after which another one succeeds. All
	// functions of a transaction share a context of half a second.
	OnCommit(do func(context.Context))
	ReconcileTx
	EventTx
	// Job and Instance read inside the transaction.
	Job(id.Job) (Job, error)
	Instance(InstanceID) (Instance, error)
	Delivery(DeliveryID) (Delivery, error)
	WebhookTx
	// ActiveJob gives the job of the instance that has not ended.
	ActiveJob(InstanceID) (Job, error)
	// LiveJobs counts the jobs that have not ended, of the tenant or, where that is
	// empty, of all; it counts no further than the limit.
	LiveJobs(tenant tenant.ID, limit int) (int, error)

	// InsertInstance fails with CodeNameHeld where the tenant has a live instance of
	// that name.
	InsertInstance(Instance) error
	// ReplaceInstance writes all of an instance, its tenant, its name and its labels as
	// well, and fails like UpdateInstance and like InsertInstance.
	ReplaceInstance(Instance) error
	// UpdateInstance fails with CodeConflict unless the row is as it was read (Rev).
	UpdateInstance(Instance) error
	// InsertJob fails with CodeBusy where the instance has a job that has not ended.
	InsertJob(Job) error
	// UpdateJob writes the job and its steps, and fails with CodeFenced unless the row
	// still has that fence and has not ended.
	UpdateJob(job Job, fence int64) error
	// RescheduleJob sets when the job is woken and the generation of its task, and
	// fails with CodeConflict unless the row still has the WakeAt, generation and fence
	// of the job given.
	RescheduleJob(job Job, generation int64, wakeAt time.Time) error
	// CheckClaim takes the job's row for the rest of the transaction, and fails with
	// CodeFenced unless it still has the claim's fence and has not ended.
	CheckClaim(Claim) error

	Credentials(InstanceID) (secret.Sealed, error)
	PutCredentials(InstanceID, secret.Sealed) error
	DeleteCredentials(InstanceID) error
	AppendEvent(Event) error
	InsertDelivery(Delivery) error
	// UpdateDelivery writes what changes of a delivery, and fails with CodeConflict
	// unless the row still has the attempt and generation of the one before.
	UpdateDelivery(after, before Delivery) error
	// PutIdempotent fails with CodeConflict where the key is there already.
	PutIdempotent(IdempotencyRecord) error

	// HeldPort gives the port that the instance holds on the host under the name.
	HeldPort(host HostID, instance InstanceID, name string) (int, error)
	// TakePort gives the instance the port of the host that nobody has held for the
	// longest time, in a time that does not depend on how many are taken.
	// CodePortsExhausted when there is none; CodeConflict when somebody else was
	// faster: try again.
	TakePort(host Host, instance InstanceID, name string, now time.Time) (int, error)
	// RestPort takes one port from the instance and keeps it out of use until then.
	RestPort(host HostID, port int, instance InstanceID, until time.Time) error
	// RestPorts does so with all ports of the instance.
	RestPorts(instance InstanceID, until time.Time) error
	// RestPortsElsewhere does so with those that it holds on other hosts than the one given.
	RestPortsElsewhere(instance InstanceID, host HostID, until time.Time) error

	// PutHost inserts the host, or changes the one of the same name, and gives it with
	// its id.
	PutHost(Host) (Host, error)
	// MarkHost writes Engine and MissingSince, one of which must change, and fails with
	// CodeConflict unless the row has those of the host before. PutHost leaves them.
	MarkHost(after, before Host) error
	// TakeDuty gives the named periodic duty to the owner until then, unless somebody
	// else has it now.
	TakeDuty(name, owner string, now, until time.Time) (bool, error)
	// DeleteExpired removes what nobody needs any more: deleted instances and ended
	// jobs, deliveries and idempotency records that are older than given. An instance
	// that still holds a port stays.
	DeleteExpired(before time.Time, limit int) (int, error)
}

// IdempotencyRecord remembers the answer to a request (draft-ietf-httpapi-
// idempotency-key-header).
type IdempotencyRecord struct {
	Tenant      tenant.ID
	Key         string
	Fingerprint string        // of the request: same key with another one is refused
	Answer      secret.Sealed // it may hold a secret
	CreatedAt   time.Time
}

// InstanceFilter narrows a list of instances; empty fields do not.
type InstanceFilter struct {
	Tenant tenant.ID
	Engine string
	State  InstanceState
	Name   string
	Labels map[string]string
	// Deleted also lists deleted instances; State "deleted" implies it.
	Deleted bool
}

// JobFilter narrows a list of jobs; empty fields do not.
type JobFilter struct {
	Tenant   tenant.ID
	Instance InstanceID
	State    JobState
	Kind     JobKind
}
