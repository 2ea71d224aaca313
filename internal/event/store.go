package event

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/tenant"
)

// Store keeps events. Those that are numbered are numbered per tenant, from 1, without
// gaps, in the order in which they were written. Once a number can be read, every lower one
// can, for as long as the events are kept.
type Store interface {
	duty.Store
	// Events returns the first events behind the number.
	Events(ctx context.Context, f Filter, after int64, limit int) ([]Event, error)
	// LastNumbers returns the highest number of each tenant; one without events is not in
	// the answer.
	LastNumbers(context.Context, []tenant.ID) (map[tenant.ID]int64, error)
	// UnnumberedEvents returns committed events that have no number yet, in the order in
	// which they were written.
	UnnumberedEvents(ctx context.Context, limit int) ([]Unnumbered, error)
	// NumberEvents gives the events, in the order given, the next numbers of their tenants,
	// and fails with CodeConflict where one of them has a number already.
	NumberEvents(context.Context, []Unnumbered) error
	// DeleteEvents removes numbered events that are older than given.
	DeleteEvents(ctx context.Context, before time.Time, limit int) (int, error)
}

// Tx is what Announce needs of a transaction.
type Tx interface {
	// OnCommit has the function called after the commit, in the order of the calls. It is
	// called, too, where the answer to the commit was lost, and dropped where the
	// transaction was rolled back, also by a try after which another one succeeds. All
	// functions of a transaction share a context of half a second.
	OnCommit(do func(context.Context))
	AppendEvent(Event) error
}

// Unnumbered names an event to the store.
type Unnumbered struct {
	Row    int64 // the store's own; grows in the order of writing
	Tenant tenant.ID
}
