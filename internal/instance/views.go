package instance

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/webhook"
)

// dutyStore keeps duties by the transactions of a Store.
type dutyStore struct{ Whole }

// TakeDuty implements duty.Store.
func (s dutyStore) TakeDuty(ctx context.Context, name, owner string, now, until time.Time) (mine bool, err error) {
	err = s.Tx(ctx, func(tx WholeTx) error {
		mine, err = tx.TakeDuty(name, owner, now, until)
		return err
	})
	return mine, err
}

// jobStore is the store as the job room sees it.
type jobStore struct{ dutyStore }

// Jobs returns the store as the job room sees it.
func Jobs(s Whole) job.Store { return jobStore{dutyStore{s}} }

// Tx implements job.Store.
func (s jobStore) Tx(ctx context.Context, do func(job.Tx) error) error {
	return s.Whole.Tx(ctx, func(tx WholeTx) error { return do(tx) })
}

// eventStore is the store as the event room sees it.
type eventStore struct{ dutyStore }

// Events returns the store as the event room sees it.
func Events(s Whole) event.Store { return eventStore{dutyStore{s}} }

// NumberEvents implements event.Store.
func (s eventStore) NumberEvents(ctx context.Context, list []event.Unnumbered) error {
	return s.Tx(ctx, func(tx WholeTx) error { return tx.NumberEvents(list) })
}

// DeleteEvents implements event.Store.
func (s eventStore) DeleteEvents(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.Tx(ctx, func(tx WholeTx) error {
		n, err = tx.DeleteEvents(before, limit)
		return err
	})
	return n, err
}

// instanceStore is the store as the instance room sees it.
type instanceStore struct{ dutyStore }

// Instances returns the store as the instance room sees it.
func Instances(s Whole) Store { return instanceStore{dutyStore{s}} }

// Tx implements Store.
func (s instanceStore) Tx(ctx context.Context, do func(Tx) error) error {
	return s.Whole.Tx(ctx, func(tx WholeTx) error { return do(tx) })
}

// hookStore is the store as the webhook room sees it.
type hookStore struct{ Whole }

// Webhooks returns the store as the webhook room sees it.
func Webhooks(s Whole) webhook.Store { return hookStore{s} }

// Tx implements HookStore.
func (s hookStore) Tx(ctx context.Context, do func(webhook.Tx) error) error {
	return s.Whole.Tx(ctx, func(tx WholeTx) error { return do(tx) })
}

// TakeDuty implements duty.Store.
func (s hookStore) TakeDuty(ctx context.Context, name, owner string, now, until time.Time) (bool, error) {
	return dutyStore(s).TakeDuty(ctx, name, owner, now, until)
}

// hostStore is the store as the host room sees it.
type hostStore struct{ dutyStore }

// Hosts returns the store as the host room sees it.
func Hosts(s Whole) host.Store { return hostStore{dutyStore{s}} }

// Tx implements HostStore.
func (s hostStore) Tx(ctx context.Context, do func(host.Tx) error) error {
	return s.Whole.Tx(ctx, func(tx WholeTx) error { return do(tx) })
}

// WithContact returns the store, of whose transactions the contact learns whether the
// database answers.
func WithContact(s Whole, c *job.Contact) Whole { return contactStore{s, c} }

type contactStore struct {
	Whole
	contact *job.Contact
}

// Tx implements Store.
func (s contactStore) Tx(ctx context.Context, do func(WholeTx) error) error {
	ended := s.contact.Observe()
	err := s.Whole.Tx(ctx, do)
	ended(err)
	return err
}
