package provision

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
)

// endOf says how a job ended.
type endOf struct {
	newID   id.Maker
	vault   secret.Vault
	job     Job
	event   string
	message string
	now     time.Time
}

// endJob writes what belongs to the end of every job, into the transaction that
// ends it: the event, and the callback where one was asked for.
func endJob(tx Tx, e endOf) error {
	inst, err := tx.Instance(e.job.Instance)
	if err != nil {
		return err
	}
	event := newEvent(e.newID, e.event, inst, e.job.ID, e.message, e.now)
	if err := announce(tx, e.newID, event); err != nil || e.job.CallbackURL == "" {
		return err
	}
	body, err := json.Marshal(newCallback(event, &inst, &e.job))
	if err != nil {
		return fmt.Errorf("encode callback: %w", err)
	}
	d := newDeliveryOf(e.newID, event, e.now)
	d.URL, d.Body = e.job.CallbackURL, body
	err = d.sealSecret(tx, e.vault)
	switch {
	case err == nil:
	case fault.CodeOf(err) == fault.CodeUnavailable:
		return err
	default:
		// Its secret does not open, perhaps because a master key is missing. The job must
		// end all the same.
		dropped := newEvent(e.newID, EventCallbackDropped, inst, e.job.ID, "the callback was not sent: its signing secret cannot be opened", e.now)
		return announce(tx, e.newID, dropped)
	}
	return tx.InsertDelivery(d)
}

func deliveryContext(id DeliveryID) string { return "delivery/" + string(id) }

// sealSecret gives a callback its copy of the secret that its instance's callbacks
// are signed with.
func (d *Delivery) sealSecret(tx Tx, vault secret.Vault) error {
	sealed, err := tx.Credentials(d.Instance)
	if err != nil {
		return fmt.Errorf("callback secret: %w", err)
	}
	creds, err := OpenCredentials(vault, d.Instance, sealed)
	if err != nil {
		return err
	}
	if d.Secret, err = vault.Seal([]byte(creds.CallbackSecret.Reveal()), deliveryContext(d.ID)); err != nil {
		return fmt.Errorf("seal callback secret: %w", err)
	}
	return nil
}

// callback is the body of a webhook, in the form that Standard Webhooks
// recommends: type, timestamp, data.
type callback struct {
	Type      string       `json:"type"`
	Timestamp string       `json:"timestamp"`
	Data      callbackData `json:"data"`
}

type callbackData struct {
	EventID  EventID           `json:"event_id"`
	Message  string            `json:"message,omitempty"`
	Job      *callbackJob      `json:"job,omitempty"`
	Instance *callbackInstance `json:"instance,omitempty"`
}

type callbackJob struct {
	ID    id.Job         `json:"id"`
	Kind  JobKind        `json:"kind"`
	State JobState       `json:"state"`
	Error *callbackError `json:"error,omitempty"`
}

type callbackError struct {
	Code      fault.Code `json:"code"`
	Step      string     `json:"step,omitempty"`
	Message   string     `json:"message"`
	Retryable bool       `json:"retryable"`
}

type callbackInstance struct {
	ID     InstanceID        `json:"id"`
	Engine string            `json:"engine"`
	Name   string            `json:"name"`
	State  InstanceState     `json:"state"`
	Labels map[string]string `json:"labels,omitempty"`
}

// newCallback gives the body. Job and instance are nil where the event has none.
func newCallback(event Event, inst *Instance, job *Job) callback {
	c := callback{
		Type: event.Type, Timestamp: event.At.Format("2006-01-02T15:04:05.000Z07:00"),
		Data: callbackData{EventID: event.ID, Message: event.Message},
	}
	if inst != nil {
		c.Data.Instance = &callbackInstance{ID: inst.ID, Engine: inst.Engine, Name: inst.Name, State: inst.State, Labels: inst.Labels}
	}
	if job == nil {
		return c
	}
	c.Data.Job = &callbackJob{ID: job.ID, Kind: job.Kind, State: job.State}
	if e := job.Error; e != nil && job.State != JobSucceeded {
		c.Data.Job.Error = &callbackError{Code: e.Code, Step: e.Step, Message: e.Message, Retryable: e.Retryable}
	}
	return c
}
