package webhook

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
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
	Job     id.Job // empty where the event has none
	Webhook ID     // empty: a callback
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
	EventPing            = "webhook.ping" // goes to one webhook, and is not in the feed
	EventDisabled        = "webhook.disabled"
	EventCallbackDropped = "callback.dropped"
)

// Attempt is one line of a delivery's log.
type Attempt struct {
	At     time.Time
	Took   time.Duration
	Status int    // HTTP status of the answer; 0: there was none
	Error  string // why it failed; empty: it did not
	Answer string // the beginning of the answer's body, without secrets
}

// DeliverySchedule is when the attempts after the first are made, each counted
// from the one before. It is the schedule that Standard Webhooks suggests; deliveryAge
// cuts the last pause short.
var DeliverySchedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

const (
	// deliveryAge is how long a delivery is tried. After the grace, one that got no
	// attempt in that moment is given up without.
	deliveryAge   = 3 * 24 * time.Hour
	deliveryGrace = 10 * time.Minute
	// maxRetryAfter bounds for how long a receiver is left alone because it asks for it.
	maxRetryAfter = time.Hour
	// shortPause is the longest pause that a receiver's wish makes shorter: it may know
	// that it is back in a moment, but must not use up a delivery's attempts in minutes.
	shortPause = 5 * time.Minute
	// keptAttempts is how many lines of the log are kept.
	keptAttempts  = 10
	maxAnswerKept = 1 << 10
	maxReceiver   = 255
)

// Receiver names who gets the delivery, in the sense that one who is slow or dead
// must not delay the others: the webhook, or the host that the tenant's callbacks go
// to.
func (d Delivery) Receiver() string {
	if d.Webhook != "" {
		return string(d.Webhook)
	}
	u, err := url.Parse(d.URL)
	if err != nil || u.Host == "" {
		u = &url.URL{Host: "?"}
	}
	return clip(string(d.Tenant)+"@"+strings.ToLower(u.Host), maxReceiver)
}

func (d Delivery) due(now time.Time) bool {
	return d.State == DeliveryPending && !d.DueAt.After(now)
}

// noted gives the delivery with one more line in its log.
func (d Delivery) noted(a Attempt) Delivery {
	first := max(0, len(d.Attempts)+1-keptAttempts)
	d.Attempts = append(append([]Attempt{}, d.Attempts[first:]...), a)
	return d
}

// handedBack gives the delivery as it was before the attempt, due at once.
func (d Delivery) handedBack(now time.Time) Delivery {
	d.Attempt--
	d.Generation++
	d.DueAt, d.WakeAt, d.UpdatedAt = now, now, now
	return d
}

// ended gives the delivery in its last state. One that has not arrived may be sent
// again, and keeps the secret for it: its instance's may be gone by then.
func (d Delivery) ended(state DeliveryState) Delivery {
	d.State, d.WakeAt = state, time.Time{}
	if state == DeliveryDelivered {
		d.Secret = secret.Sealed{}
	}
	return d
}

// putOff gives the delivery as it is after a failed attempt: due again after a while,
// or given up. The last attempt is made when its time is up. asked is for how long the
// receiver wants to be left alone; zero: it says nothing.
func (d Delivery) putOff(now time.Time, asked time.Duration) Delivery {
	if d.ExpiresAt.IsZero() { // written by a version that did not know it
		d.ExpiresAt = d.CreatedAt.Add(deliveryAge)
	}
	if d.Attempt > len(DeliverySchedule) || !now.Before(d.ExpiresAt) {
		return d.ended(DeliveryExhausted)
	}
	pause := DeliverySchedule[d.Attempt-1]
	if asked > pause || asked > 0 && pause <= shortPause {
		pause = asked
	} else {
		pause += rand.N(pause / 5) //nolint:gosec // jitter, not a secret
	}
	d.Generation++
	d.DueAt = now.Add(pause)
	if d.DueAt.After(d.ExpiresAt) {
		d.DueAt = d.ExpiresAt
	}
	d.WakeAt = d.DueAt
	return d
}

// expired gives the delivery that has waited until its time was up.
func (d Delivery) expired(now time.Time) Delivery {
	why := "no attempt was made, because the receiver was failing or busy"
	if d.LastError != "" {
		why = d.LastError
	}
	d.LastError, d.UpdatedAt = clip(fmt.Sprintf("not delivered within %s: %s", deliveryAge, why), maxAnswerKept), now
	return d.ended(DeliveryExhausted)
}

// restarted gives the delivery at the beginning of its attempts.
func (d Delivery) restarted(now time.Time) Delivery {
	d.Attempt = 0
	d.Generation++
	d.DueAt, d.WakeAt, d.ExpiresAt, d.UpdatedAt = now, now.Add(relayGrace), now.Add(deliveryAge), now
	return d
}

// clip shortens a text from outside to at most n bytes of UTF-8, which is all that
// a database takes.
func clip(text string, n int) string {
	return strings.ToValidUTF8(text[:min(len(text), n)], "")
}
