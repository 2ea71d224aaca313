package provision

import (
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Delivery is one attempt chain to tell one address of one event: a webhook, or the
// callback_url of the job that ended. Like a job's row, its row is its own outbox.
type Delivery struct {
	ID      DeliveryID
	Tenant  tenant.ID
	Subject id.Subject
	Job     id.Job    // empty where the event has none
	Webhook WebhookID // empty: a callback
	Event   event.ID
	// EventType is the event's, also where the event itself is not kept.
	EventType string
	URL       string
	Body      []byte // the JSON that is signed and sent, the same at every attempt
	// Secret signs a callback; it is a sealed copy, because the instance's own
	// credentials are gone when a delete has ended. Emptied when the delivery has
	// arrived; otherwise it stays as long as the row, for whoever wants it sent again.
	// What signs a webhook's delivery is looked up when it is sent, so that a rotation
	// holds for retries, too.
	Secret     secret.Sealed
	State      DeliveryState
	Attempt    int
	LastStatus int       // HTTP status of the last answer; 0: there was none
	LastError  string    // why the last attempt failed
	Attempts   []Attempt // the last few, the oldest first
	DueAt      time.Time // not sent before
	Generation int64
	WakeAt     time.Time // when the relay looks at it; zero once ended
	// ExpiresAt is when it is given up, whatever was tried by then.
	ExpiresAt time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
}

// DeliveryState is where a delivery is.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryPending   DeliveryState = "pending"
	DeliveryDelivered DeliveryState = "delivered"
	DeliveryExhausted DeliveryState = "exhausted" // gave up; the last error says why
	DeliveryCanceled  DeliveryState = "canceled"  // its webhook was disabled or deleted
)

// The types of events about webhooks.
const (
	EventWebhookPing     = "webhook.ping" // goes to one webhook, and is not in the feed
	EventWebhookDisabled = "webhook.disabled"
	EventCallbackDropped = "callback.dropped"
)
