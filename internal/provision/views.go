package provision

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/job"
)

// jobStore is the store as the job room sees it.
type jobStore struct{ Store }

// Jobs returns the store as the job room sees it.
func Jobs(s Store) job.Store { return jobStore{s} }

// Tx implements job.Store.
func (s jobStore) Tx(ctx context.Context, do func(job.Tx) error) error {
	return s.Store.Tx(ctx, func(tx Tx) error { return do(tx) })
}

// TakeDuty implements duty.Store.
func (s jobStore) TakeDuty(ctx context.Context, name, owner string, now, until time.Time) (bool, error) {
	return dutyStore(s).TakeDuty(ctx, name, owner, now, until)
}

// eventStore is the store as the event room sees it.
type eventStore struct{ Store }

// Events returns the store as the event room sees it.
func Events(s Store) event.Store { return eventStore{s} }

// TakeDuty implements duty.Store.
func (s eventStore) TakeDuty(ctx context.Context, name, owner string, now, until time.Time) (bool, error) {
	return dutyStore(s).TakeDuty(ctx, name, owner, now, until)
}

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
