package rooms

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// Store is the one store behind the stores of all rooms.
type Store interface {
	Reader
	// Tx runs the function in one transaction, as job.Store does. What it is given is the
	// transaction of every room.
	Tx(context.Context, func(Tx) error) error
}

// Reader reads what all rooms keep.
type Reader interface {
	idempotency.Store
	host.PlacementStore
	host.PoolReader
	host.SwarmReader
	host.BooksReader
	webhook.Reader
	instance.Reader
	tenant.Reader
	tenant.AccountReader
	audit.Reader
	Events(ctx context.Context, f event.Filter, after int64, limit int) ([]event.Event, error)
	LastNumbers(context.Context, []tenant.ID) (map[tenant.ID]int64, error)
	UnnumberedEvents(ctx context.Context, limit int) ([]event.Unnumbered, error)
	Job(context.Context, id.Job) (job.Job, error)
	Jobs(context.Context, job.Filter, page.Page) ([]job.Job, error)
	EndedJobs(context.Context, []id.Job) ([]id.Job, error)
	ActiveJob(context.Context, id.Subject) (job.Job, error)
	DueJobs(ctx context.Context, now time.Time, limit int) ([]job.Job, error)
	Turns(context.Context) ([]job.Turn, error)
	WaitingJobs(ctx context.Context, of tenant.ID, limit int) ([]job.Job, error)
}

// Tx is a transaction of every room.
type Tx interface {
	instance.Tx
	host.Tx
	webhook.Rows
	tenant.Rows
	audit.Rows
	PutQuota(tenant.ID, tenant.Amounts) error
	// NumberEvents and DeleteEvents are event.Store's.
	NumberEvents([]event.Unnumbered) error
	DeleteEvents(before time.Time, limit int) (int, error)
	// TakeDuty is duty.Store's.
	TakeDuty(name, owner string, now, until time.Time) (bool, error)
}
