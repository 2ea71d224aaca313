package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Fanout writes a delivery of an event for every webhook that wants it, and for the
// callback of the job that ended. It is the event log's sink.
type Fanout struct {
	Store Store
	Vault secret.Vault
	Queue bell.Queue
	NewID id.Maker
	Log   *slog.Logger
	// Events is where it announces that a callback was dropped.
	Events *event.Log
}

var _ event.Sink = (*Fanout)(nil)

// Listeners implements event.Sink. They are read while other things are done: those that
// were there when the request came. Who does not find them in time reads them.
func (f *Fanout) Listeners(ctx context.Context, owner tenant.ID) any {
	return f.Store.ListenersAhead(ctx, owner)
}

// listeners returns what was read ahead, or reads it now.
func listeners(tx Tx, a event.Announcement) ([]Webhook, error) {
	if ahead, ok := a.Listeners.(<-chan []Webhook); ok {
		select {
		case hooks := <-ahead:
			return hooks, nil
		default:
		}
	}
	return tx.Listeners(a.Tenant)
}

// Tell implements event.Sink.
func (f *Fanout) Tell(t event.Tx, a event.Announcement) error {
	tx := t.(Tx) //nolint:forcetypeassert // there is one store
	hooks, err := listeners(tx, a)
	if err != nil {
		return err
	}
	hooks = slices.DeleteFunc(slices.Clone(hooks), func(h Webhook) bool { return !h.wants(a.Type) })
	if len(hooks) == 0 && a.Callback == nil {
		return nil
	}
	body, err := bodyOf(a)
	if err != nil {
		return err
	}
	for _, h := range hooks {
		d := newDeliveryOf(f.NewID, a.Event, a.At)
		d.Webhook, d.URL, d.Body = h.ID, h.URL, body
		if err := insertDelivery(tx, f.Queue, f.Log, d); err != nil {
			return err
		}
	}
	if a.Callback == nil {
		return nil
	}
	return f.callBack(tx, a, body)
}

// callBack writes the delivery of a callback. One whose secret does not open, perhaps
// because a master key is missing, is dropped: the job must end all the same.
func (f *Fanout) callBack(tx Tx, a event.Announcement, body []byte) error {
	switch {
	case fault.CodeOf(a.Callback.Err) == fault.CodeUnavailable:
		return a.Callback.Err
	case a.Callback.Err != nil:
		dropped := event.Event{
			Tenant: a.Tenant, Type: EventCallbackDropped, Subject: a.Subject, Job: a.Job, At: a.At,
			Message: "the callback was not sent: its signing secret cannot be decrypted",
		}
		return f.Events.Announce(tx, event.Announcement{Event: dropped, Snapshot: a.Snapshot})
	}
	d := newDeliveryOf(f.NewID, a.Event, a.At)
	d.URL, d.Body = a.Callback.URL, body
	if err := d.seal(f.Vault, a.Callback.Secret); err != nil {
		return err
	}
	return insertDelivery(tx, f.Queue, f.Log, d)
}

// insertDelivery writes a delivery; after the commit a worker is woken for it.
func insertDelivery(tx Tx, queue bell.Queue, log *slog.Logger, d Delivery) error {
	tx.OnCommit(func(ctx context.Context) { bell.WakeAll(ctx, queue, log, d.task()) })
	return tx.InsertDelivery(d)
}

// DeliveryPlace is where a delivery's secret belongs, which binds its seal to it.
func DeliveryPlace(d DeliveryID) string { return "delivery/" + string(d) }

// seal gives a callback its copy of the secret that signs it: the subject's own may be gone
// when it is sent.
func (d *Delivery) seal(vault secret.Vault, s secret.Secret) (err error) {
	if d.Secret, err = vault.Seal([]byte(s.Reveal()), DeliveryPlace(d.ID)); err != nil {
		return fmt.Errorf("seal callback secret: %w", err)
	}
	return nil
}

func (d *Delivery) task() bell.Task {
	return bell.Task{Pool: bell.PoolWebhooks, ID: string(d.ID), Generation: d.Generation}
}

// envelope is the body of a webhook, in the form that Standard Webhooks recommends: type,
// timestamp, data.
type envelope struct {
	Type      string          `json:"type"`
	Timestamp string          `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// bodyOf returns what is sent of the event: its id and message, and the parts of its
// snapshot by their names.
func bodyOf(a event.Announcement) ([]byte, error) {
	parts := []event.Part{{Name: "event_id", Value: a.ID}}
	if a.Message != "" {
		parts = append(parts, event.Part{Name: "message", Value: a.Message})
	}
	if a.Snapshot != nil {
		more, err := a.Snapshot()
		if err != nil {
			return nil, err
		}
		parts = append(parts, more...)
	}
	var data bytes.Buffer
	for i, p := range parts {
		name, err := json.Marshal(p.Name)
		if err != nil {
			return nil, fmt.Errorf("encode event: %w", err)
		}
		value, err := json.Marshal(p.Value)
		if err != nil {
			return nil, fmt.Errorf("encode event: %w", err)
		}
		data.WriteByte("{,"[min(i, 1)])
		data.Write(name)
		data.WriteByte(':')
		data.Write(value)
	}
	data.WriteByte('}')
	body, err := json.Marshal(envelope{Type: a.Type, Timestamp: a.At.Format("2006-01-02T15:04:05.000Z07:00"), Data: data.Bytes()})
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return body, nil
}

// newDeliveryOf returns a delivery of the event that is due now; where it goes and what
// signs it is the caller's to say.
func newDeliveryOf(newID id.Maker, e event.Event, now time.Time) Delivery {
	return Delivery{
		ID: DeliveryID(newID(PrefixDelivery)), Tenant: e.Tenant, Subject: e.Subject, Job: e.Job, Event: e.ID, EventType: e.Type,
		State: DeliveryPending, DueAt: now, Generation: 1, WakeAt: now.Add(relayGrace), ExpiresAt: now.Add(deliveryAge), CreatedAt: now, UpdatedAt: now,
	}
}
