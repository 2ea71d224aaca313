package job

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

// Store keeps jobs. Reads outside a transaction see what is committed. A missing row is
// CodeNotFound, a database that does not answer CodeUnavailable.
type Store interface {
	duty.Store
	// Tx runs the function in one transaction: all of its writes are there afterwards, or
	// none. A deadlock or a busy database is tried again a few times, so the function may
	// run more than once and must have no other effects: they are for Tx.OnCommit.
	Tx(context.Context, func(Tx) error) error
	Job(context.Context, id.Job) (Job, error)
	Jobs(context.Context, Filter, page.Page) ([]Job, error)
	// EndedJobs returns which of the jobs have ended, or are not there any more.
	EndedJobs(context.Context, []id.Job) ([]id.Job, error)
	// ActiveJob returns the job of the subject that has not ended.
	ActiveJob(context.Context, id.Subject) (Job, error)
	// DueJobs returns jobs that have not ended and whose WakeAt has come, the longest
	// overdue first.
	DueJobs(ctx context.Context, now time.Time, limit int) ([]Job, error)
	// Turns returns, of each tenant and kind, how many jobs nobody has begun and how many are
	// under way; none of both is left out.
	Turns(context.Context) ([]Turn, error)
	// WaitingJobs returns the tenant's jobs that nobody has begun, the oldest first.
	WaitingJobs(ctx context.Context, of tenant.ID, limit int) ([]Job, error)
}

// Tx writes, within one transaction.
//
// Lock order, which keeps transactions from blocking one another: the job's row first, then
// its subject's, then everything else.
type Tx interface {
	event.Tx
	tenant.Trail
	Job(id.Job) (Job, error)
	// ActiveJob returns the job of the subject that has not ended.
	ActiveJob(id.Subject) (Job, error)
	// ChildJobs returns the jobs that the job has started, in the order in which it did.
	ChildJobs(parent id.Job) ([]Job, error)
	// LiveJobs counts the jobs that have not ended, of the tenant or, where that is empty,
	// of all; it counts no further than the limit.
	LiveJobs(owner tenant.ID, limit int) (int, error)
	// InsertJob fails with CodeBusy where the subject has a job that has not ended.
	InsertJob(Job) error
	// UpdateJob writes the job and its steps, and fails with CodeFenced unless the row still
	// has that fence and has not ended.
	UpdateJob(job Job, fence int64) error
	// RescheduleJob sets when the job is woken and the generation of its task, and fails
	// with CodeConflict unless the row still has the WakeAt, generation and fence of the job
	// given.
	RescheduleJob(job Job, generation int64, wakeAt time.Time) error
	// DeleteOldJobs removes jobs that have ended before.
	DeleteOldJobs(before time.Time, limit int) (int, error)
}

// Filter narrows a list of jobs; empty fields do not.
type Filter struct {
	Tenant  tenant.ID
	Subject id.Subject
	Parent  id.Job
	Kind    Kind
	State   State
}
