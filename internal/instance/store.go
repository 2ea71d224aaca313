package instance

import (
	"context"
	"maps"
	"time"

	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Store keeps instances. Reads outside a transaction see what is committed. A missing row
// is CodeNotFound, a database that does not answer CodeUnavailable.
type Store interface {
	duty.Store
	Reader
	// ActiveJob gives the job of the instance that has not ended.
	ActiveJob(context.Context, id.Subject) (job.Job, error)
	// Tx runs the function in one transaction, as job.Store does.
	Tx(context.Context, func(Tx) error) error
}

// Reader reads instances.
type Reader interface {
	Instance(context.Context, ID) (Instance, error)
	Instances(context.Context, Filter, page.Page) ([]Instance, error)
	// InstancesOn gives instances of the host that are not deleted, in the order of
	// their ids, after the one given: what they are, not what was asked for (Spec, but Engine; Labels).
	InstancesOn(ctx context.Context, host host.ID, after ID, limit int) ([]Instance, error)
	// InstancesByID gives those of the instances that there are, deleted ones too.
	InstancesByID(context.Context, []ID) ([]Instance, error)
	// KeptInstances gives failed instances whose KeptUntil has come.
	KeptInstances(ctx context.Context, now time.Time, limit int) ([]ID, error)
	Credentials(context.Context, ID) (secret.Sealed, error)
	// CertificatesDue gives running instances whose certificates end before, the first first.
	CertificatesDue(ctx context.Context, before time.Time, limit int) ([]ID, error)
	// WatchesDue reports whether ClaimWatches would find something.
	WatchesDue(ctx context.Context, now time.Time) (bool, error)
}

// Tx writes, within one transaction: instances, and what changes with them.
//
// Lock order, which keeps transactions from blocking one another: the job's row
// first, then the instance's, then everything else.
type Tx interface {
	job.Tx
	idempotency.Tx
	host.HolderRows
	tenant.QuotaRows
	Rows
	Watches
}

// Rows are the rows of instances in a transaction.
type Rows interface {
	Instance(ID) (Instance, error)
	// InsertInstance fails with CodeNameHeld where the tenant has a live instance of
	// that name.
	InsertInstance(Instance) error
	// ReplaceInstance writes all of an instance, its tenant, its name and its labels as
	// well, and fails like UpdateInstance and like InsertInstance. Within the fence of a
	// tenant it takes over what is tenant.Nobody's, and fails with CodeConflict for what is not.
	ReplaceInstance(Instance) error
	// UpdateInstance fails with CodeConflict unless the row is as it was read (Rev).
	UpdateInstance(Instance) error
	// UpdateDisk writes what was measured of an instance that is not deleted, and nothing
	// else of it. It fails with CodeConflict unless the state of its disk, and when that was
	// seen, are as they were before.
	UpdateDisk(id ID, before, next Disk) error
	Credentials(ID) (secret.Sealed, error)
	PutCredentials(ID, secret.Sealed) error
	DeleteCredentials(ID) error
	// DeleteOldInstances removes rows of instances that were deleted before. One that
	// still holds a port stays.
	DeleteOldInstances(before time.Time, limit int) (int, error)
}

// Watches are the rows of what is known of the instances' health, in a transaction.
type Watches interface {
	Watch(ID) (Watch, error)
	// ClaimWatches takes due watches, the longest overdue first, by putting their next
	// probe off until then, or up to the spread later, each by another time. However
	// many workers ask at once, each gets other ones; the claim must be unique.
	ClaimWatches(claim string, now, until time.Time, spread time.Duration, limit int) ([]Watch, error)
	// StartWatch has the instance probed from then on, without misses.
	StartWatch(id ID, probeAt time.Time) error
	// UpdateWatch fails with CodeConflict unless the row is as it was read (Rev).
	UpdateWatch(Watch) error
	// EndWatch has the instance not probed any more. None is success.
	EndWatch(ID) error
}

// Filter narrows a list of instances; empty fields do not.
type Filter struct {
	Tenant tenant.ID
	Engine string
	// Engines narrows it to any of these.
	Engines []string `json:",omitempty"`
	State   State
	Name    string
	Labels  map[string]string
	// Deleted also lists deleted instances; State "deleted" implies it.
	Deleted bool
}

// within narrows the filter to what the limits of a key allow, and reports whether that can
// be anything.
func (f Filter) within(limits tenant.Limits) (Filter, bool) {
	if f.Engine != "" && !limits.Engine(f.Engine) {
		return f, false
	}
	f.Engines = limits.Engines
	labels := maps.Clone(f.Labels)
	for name, value := range limits.Labels {
		if asked, ok := labels[name]; ok && asked != value {
			return f, false
		}
		if labels == nil {
			labels = map[string]string{}
		}
		labels[name] = value
	}
	f.Labels = labels
	return f, true
}
