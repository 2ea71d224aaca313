package instance

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
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

func newDuty(store Store, now clock.Clock, name, owner string, hold time.Duration) *duty.Duty {
	return &duty.Duty{Store: dutyStore{store}, Now: now, Name: name, Owner: owner, Hold: hold}
}

// jobStore is the store as the job room sees it.
type jobStore struct{ dutyStore }

// Jobs returns the store as the job room sees it.
func Jobs(s Store) job.Store { return jobStore{dutyStore{s}} }

// Tx implements job.Store.
func (s jobStore) Tx(ctx context.Context, do func(job.Tx) error) error {
	return s.Store.Tx(ctx, func(tx Tx) error { return do(tx) })
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

// hookStore is the store as the webhook room sees it.
type hookStore struct{ Store }

// Webhooks returns the store as the webhook room sees it.
func Webhooks(s Store) webhook.Store { return hookStore{s} }

// Tx implements HookStore.
func (s hookStore) Tx(ctx context.Context, do func(webhook.Tx) error) error {
	return s.Store.Tx(ctx, func(tx Tx) error { return do(tx) })
}

// TakeDuty implements duty.Store.
func (s hookStore) TakeDuty(ctx context.Context, name, owner string, now, until time.Time) (bool, error) {
	return dutyStore(s).TakeDuty(ctx, name, owner, now, until)
}

// hostStore is the store as the host room sees it.
type hostStore struct{ dutyStore }

// Hosts returns the store as the host room sees it.
func Hosts(s Store) host.Store { return hostStore{dutyStore{s}} }

// Tx implements HostStore.
func (s hostStore) Tx(ctx context.Context, do func(host.Tx) error) error {
	return s.Store.Tx(ctx, func(tx Tx) error { return do(tx) })
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
