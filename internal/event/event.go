// Package event owns the facts that tenants are told: a feed per tenant, numbered without
// gaps, written in the transactions that make the facts true. It must not know what the
// facts are about: an event names its subject by id, and whoever announces it brings a
// snapshot of the subject's data. Nor does it know who else is told: that is a Sink's.
package event

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// ID names an event ("evt_…").
type ID string

// Prefix begins the ids of events.
const Prefix = "evt"

// Event is an immutable fact. Events are written in the transaction that makes them true,
// numbered soon afterwards, and never edited.
type Event struct {
	Number  int64 // in the tenant's feed, from 1, without gaps; the Sequencer gives it
	ID      ID
	Tenant  tenant.ID
	Type    string // for example "instance.running", "job.failed"
	Subject id.Subject
	Job     id.Job // empty where no job was involved
	Message string // for people; no secrets
	At      time.Time
}

// Announcement is an event with what those who are told of it learn besides.
type Announcement struct {
	Event
	// Snapshot returns the data of what the event is about, as it is when the writes before
	// the announcement are done. It is called only if there is somebody to tell. Nil: there
	// is no data.
	Snapshot func() ([]Part, error)
	// Callback is an address that is told of this one event, besides those that listen to
	// the tenant's events. Nil: there is none.
	Callback *Callback
	// Listeners is what Sink.Listeners returned before the transaction, or nil.
	Listeners any
}

// Part is one member of an event's data.
type Part struct {
	Name  string // "instance"
	Value any    // is encoded as JSON
}

// Callback is an address that one event is sent to.
type Callback struct {
	URL    string
	Secret secret.Secret // signs it
	// Err is why the secret is not known. The event is announced all the same, and so is
	// that its callback was dropped; where the database did not answer, nothing is.
	Err error
}

// Sink tells those who want to know of events.
type Sink interface {
	// Listeners reads ahead of a transaction who listens to the tenant's events, for
	// Announcement.Listeners, so that the transaction need not. Nil: it was not to be read.
	Listeners(context.Context, tenant.ID) any
	// Tell notes, in the transaction that writes the event, who is to be told of it.
	Tell(Tx, Announcement) error
}

// The kinds of rings.
const (
	RingWritten  bell.Kind = "written"  // events were written that have no number yet
	RingNumbered bell.Kind = "numbered" // events can be read
)

// Log is where events are announced.
type Log struct {
	NewID id.Maker
	Bell  bell.Bell
	Sink  Sink // nil: nobody but the feed's readers
}

// Listeners reads ahead who listens to the tenant's events, for an Announcement.
func (l *Log) Listeners(ctx context.Context, owner tenant.ID) any {
	if l.Sink == nil {
		return nil
	}
	return l.Sink.Listeners(ctx, owner)
}

// Announce appends the event to its tenant's feed and has it told to whoever listens. It is
// called after the writes that make the event true. What belongs to nobody is not announced.
func (l *Log) Announce(tx Tx, a Announcement) error {
	if a.Tenant == tenant.Nobody {
		return nil
	}
	a.ID = ID(l.NewID(Prefix))
	tx.OnCommit(func(context.Context) { l.Bell.Ring(bell.Ring{Kind: RingWritten}) })
	if err := tx.AppendEvent(a.Event); err != nil || l.Sink == nil {
		return err
	}
	return l.Sink.Tell(tx, a)
}
