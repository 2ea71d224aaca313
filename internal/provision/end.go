package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// endOf says how a job ended.
type endOf struct {
	newID   NewID
	vault   Vault
	job     Job
	event   string
	message string
	now     time.Time
}

// endJob writes what belongs to the end of every job, into the transaction that
// ends it: the event, and the callback where one was asked for. It gives the
// callback's wake-up call, or nil where there is none.
func endJob(tx Tx, e endOf) (*Task, error) {
	inst, err := tx.Instance(e.job.Instance)
	if err != nil {
		return nil, err
	}
	event := newEvent(e.newID, e.event, inst, e.job.ID, e.message, e.now)
	if err := tx.AppendEvent(event); err != nil || e.job.CallbackURL == "" {
		return nil, err
	}
	sealed, err := tx.Credentials(inst.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("callback secret: %w", err)
	}
	delivery, err := newDelivery(e, inst, event, sealed)
	if err != nil {
		// Its secret does not open, perhaps because a master key is missing. The job must
		// end all the same.
		return nil, tx.AppendEvent(newEvent(e.newID, EventCallbackDropped, inst, e.job.ID, "the callback was not sent: its signing secret cannot be opened", e.now))
	}
	call := delivery.task()
	return &call, tx.InsertDelivery(delivery)
}

func deliveryContext(id DeliveryID) string { return "delivery/" + string(id) }

func newDelivery(e endOf, inst Instance, event Event, sealed Sealed) (Delivery, error) {
	creds, err := OpenCredentials(e.vault, inst.ID, sealed)
	if err != nil {
		return Delivery{}, err
	}
	body, err := json.Marshal(newCallback(e.job, inst, event))
	if err != nil {
		return Delivery{}, fmt.Errorf("encode callback: %w", err)
	}
	d := Delivery{
		ID: DeliveryID(e.newID(PrefixDelivery)), Tenant: inst.Tenant, Instance: inst.ID, Job: e.job.ID, Event: event.ID,
		URL: e.job.CallbackURL, Body: body, State: DeliveryPending, DueAt: e.now, Generation: 1, WakeAt: e.now.Add(relayGrace), CreatedAt: e.now, UpdatedAt: e.now,
	}
	if d.Secret, err = e.vault.Seal([]byte(creds.CallbackSecret.Reveal()), deliveryContext(d.ID)); err != nil {
		return Delivery{}, fmt.Errorf("seal callback secret: %w", err)
	}
	return d, nil
}

// callback is the body of a webhook, in the form that Standard Webhooks
// recommends: type, timestamp, data.
type callback struct {
	Type      string       `json:"type"`
	Timestamp string       `json:"timestamp"`
	Data      callbackData `json:"data"`
}

type callbackData struct {
	EventID  EventID          `json:"event_id"`
	Job      callbackJob      `json:"job"`
	Instance callbackInstance `json:"instance"`
}

type callbackJob struct {
	ID    JobID          `json:"id"`
	Kind  JobKind        `json:"kind"`
	State JobState       `json:"state"`
	Error *callbackError `json:"error,omitempty"`
}

type callbackError struct {
	Code      Code   `json:"code"`
	Step      string `json:"step,omitempty"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

type callbackInstance struct {
	ID     InstanceID        `json:"id"`
	Engine string            `json:"engine"`
	Name   string            `json:"name"`
	State  InstanceState     `json:"state"`
	Labels map[string]string `json:"labels,omitempty"`
}

func newCallback(job Job, inst Instance, event Event) callback {
	c := callback{
		Type: event.Type, Timestamp: event.At.Format("2006-01-02T15:04:05.000Z07:00"),
		Data: callbackData{
			EventID:  event.ID,
			Job:      callbackJob{ID: job.ID, Kind: job.Kind, State: job.State},
			Instance: callbackInstance{ID: inst.ID, Engine: inst.Engine, Name: inst.Name, State: inst.State, Labels: inst.Labels},
		},
	}
	if e := job.Error; e != nil && job.State != JobSucceeded {
		c.Data.Job.Error = &callbackError{Code: e.Code, Step: e.Step, Message: e.Message, Retryable: e.Retryable}
	}
	return c
}
