package rooms

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// dutyStore keeps duties by the transactions of a Store.
type dutyStore struct{ Store }

// TakeDuty implements duty.Store.
func (s dutyStore) TakeDuty(ctx context.Context, name, owner string, now, until time.Time) (mine bool, err error) {
	err = s.Tx(ctx, func(tx Tx) error {
		mine, err = tx.TakeDuty(name, owner, now, until)
		return err
	})
	return mine, err
}

// view is the store as a room sees it whose transactions are of the type T.
type view[T any] struct {
	dutyStore
	narrow func(Tx) T
}

// Tx implements the room's Store.
func (v view[T]) Tx(ctx context.Context, do func(T) error) error {
	return v.Store.Tx(ctx, func(tx Tx) error { return do(v.narrow(tx)) })
}

// Jobs returns the store as the job room sees it.
func Jobs(s Store) job.Store {
	return view[job.Tx]{dutyStore{s}, func(tx Tx) job.Tx { return tx }}
}

// Webhooks returns the store as the webhook room sees it.
func Webhooks(s Store) webhook.Store {
	return view[webhook.Tx]{dutyStore{s}, func(tx Tx) webhook.Tx { return tx }}
}

// Hosts returns the store as the host room sees it.
func Hosts(s Store) host.Store {
	return view[host.Tx]{dutyStore{s}, func(tx Tx) host.Tx { return tx }}
}

// Instances returns the store as the instance room sees it.
func Instances(s Store) instance.Store {
	return view[instance.Tx]{dutyStore{s}, func(tx Tx) instance.Tx { return tx }}
}

// Tenants returns the store as the tenant room sees it.
func Tenants(s Store) tenant.Store {
	return view[tenant.Tx]{dutyStore{s}, func(tx Tx) tenant.Tx { return tx }}
}

// Audit returns the store as the audit room sees it.
func Audit(s Store) audit.Store {
	return view[audit.Tx]{dutyStore{s}, func(tx Tx) audit.Tx { return tx }}
}

// eventStore is the store as the event room sees it.
type eventStore struct{ dutyStore }

// Events returns the store as the event room sees it.
func Events(s Store) event.Store { return eventStore{dutyStore{s}} }

// NumberEvents implements event.Store.
func (s eventStore) NumberEvents(ctx context.Context, list []event.Unnumbered) error {
	return s.Tx(ctx, func(tx Tx) error { return tx.NumberEvents(list) })
}

// DeleteEvents implements event.Store.
func (s eventStore) DeleteEvents(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.Tx(ctx, func(tx Tx) error {
		n, err = tx.DeleteEvents(before, limit)
		return err
	})
	return n, err
}

// WithContact returns the store, of whose transactions the contact learns whether the
// database answers.
func WithContact(s Store, c *job.Contact) Store { return contactStore{s, c} }

type contactStore struct {
	Store
	contact *job.Contact
}

// Tx implements Store.
func (s contactStore) Tx(ctx context.Context, do func(Tx) error) error {
	ended := s.contact.Observe()
	err := s.Store.Tx(ctx, do)
	ended(err)
	return err
}
