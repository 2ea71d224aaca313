package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// announce appends the event, and with it a delivery for every webhook that wants
// it. Every event goes through here, after the writes that made it true: the bodies
// show instance and job as they are now. It gives the wake-up calls for after the
// commit.
func announce(tx Tx, newID NewID, event Event) ([]Task, error) {
	if event.Tenant == TenantNobody {
		return nil, nil // nobody is to be told
	}
	hooks, err := tx.Listeners(event.Tenant)
	if err != nil {
		return nil, err
	}
	return announceTo(tx, newID, event, hooks)
}

// announceTo is announce where it is known who listens.
func announceTo(tx Tx, newID NewID, event Event, hooks []Webhook) ([]Task, error) {
	if err := tx.AppendEvent(event); err != nil {
		return nil, err
	}
	hooks = slices.DeleteFunc(hooks, func(h Webhook) bool { return !h.wants(event.Type) })
	if len(hooks) == 0 {
		return nil, nil
	}
	body, err := bodyOf(tx, event)
	if err != nil {
		return nil, err
	}
	calls := make([]Task, len(hooks))
	for i, h := range hooks {
		d := newDeliveryOf(newID, event, event.At)
		d.Webhook, d.URL, d.Body = h.ID, h.URL, body
		calls[i] = d.task()
		if err := tx.InsertDelivery(d); err != nil {
			return nil, err
		}
	}
	return calls, nil
}

// bodyOf gives what is sent of the event. What it was about may be gone.
func bodyOf(tx Tx, event Event) ([]byte, error) {
	var about struct {
		job  *Job
		inst *Instance
	}
	if event.Job != "" {
		job, err := tx.Job(event.Job)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if err == nil {
			about.job = &job
		}
	}
	if event.Instance != "" {
		inst, err := tx.Instance(event.Instance)
		if err != nil && !errors.Is(err, ErrNotFound) {
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
func newDeliveryOf(newID NewID, event Event, now time.Time) Delivery {
	return Delivery{
		ID: DeliveryID(newID(PrefixDelivery)), Tenant: event.Tenant, Instance: event.Instance, Job: event.Job, Event: event.ID, EventType: event.Type,
		State: DeliveryPending, DueAt: now, Generation: 1, WakeAt: now.Add(relayGrace), ExpiresAt: now.Add(deliveryAge), CreatedAt: now, UpdatedAt: now,
	}
}

// wakeAll makes the tasks for what was committed. Like wake it may fail; the first
// failure is enough to leave the rest to the relay.
func wakeAll(ctx context.Context, queue Queue, log *slog.Logger, tasks []Task) {
	if len(tasks) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enqueueTimeout)
	defer cancel()
	for _, task := range tasks {
		if err := queue.Enqueue(ctx, task); err != nil && !errors.Is(err, ErrConflict) {
			log.WarnContext(ctx, "the queue could not be told; the relay will", "kind", task.Kind, "id", task.ID, "of", len(tasks), "error", err)
			return
		}
	}
}

// tell announces the event where nobody is there to wake the couriers at once; the
// relay does it within a few seconds.
func tell(tx Tx, newID NewID, event Event) error {
	_, err := announce(tx, newID, event)
	return err
}
