package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

// announce appends the event, and with it a delivery for every webhook that wants
// it. Every event goes through here, after the writes that made it true: the bodies
// show instance and job as they are now.
func announce(tx Tx, newID id.Maker, event Event) error {
	if event.Tenant == tenant.Nobody {
		return nil // nobody is to be told
	}
	hooks, err := tx.Listeners(event.Tenant)
	if err != nil {
		return err
	}
	return announceTo(tx, newID, event, hooks)
}

// announceTo is announce where it is known who listens.
func announceTo(tx Tx, newID id.Maker, event Event, hooks []Webhook) error {
	if err := tx.AppendEvent(event); err != nil {
		return err
	}
	hooks = slices.DeleteFunc(hooks, func(h Webhook) bool { return !h.wants(event.Type) })
	if len(hooks) == 0 {
		return nil
	}
	body, err := bodyOf(tx, event)
	if err != nil {
		return err
	}
	for _, h := range hooks {
		d := newDeliveryOf(newID, event, event.At)
		d.Webhook, d.URL, d.Body = h.ID, h.URL, body
		if err := tx.InsertDelivery(d); err != nil {
			return err
		}
	}
	return nil
}

// bodyOf gives what is sent of the event. What it was about may be gone.
func bodyOf(tx Tx, event Event) ([]byte, error) {
	var about struct {
		job  *Job
		inst *Instance
	}
	if event.Job != "" {
		job, err := tx.Job(event.Job)
		if err != nil && !errors.Is(err, fault.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			about.job = &job
		}
	}
	if event.Instance != "" {
		inst, err := tx.Instance(event.Instance)
		if err != nil && !errors.Is(err, fault.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			about.inst = &inst
		}
	}
	body, err := json.Marshal(newCallback(event, about.inst, about.job))
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return body, nil
}

// newDeliveryOf gives a delivery of the event that is due now; where it goes and
// what signs it is the caller's to say.
func newDeliveryOf(newID id.Maker, event Event, now time.Time) Delivery {
	return Delivery{
		ID: DeliveryID(newID(PrefixDelivery)), Tenant: event.Tenant, Instance: event.Instance, Job: event.Job, Event: event.ID, EventType: event.Type,
		State: DeliveryPending, DueAt: now, Generation: 1, WakeAt: now.Add(relayGrace), ExpiresAt: now.Add(deliveryAge), CreatedAt: now, UpdatedAt: now,
	}
}
