package provision

import (
	"net/url"
	"strings"
	"time"
)

// Attempt is one line of a delivery's log.
type Attempt struct {
	At     time.Time
	Took   time.Duration
	Status int    // HTTP status of the answer; 0: there was none
	Error  string // why it failed; empty: it did not
	Answer string // the beginning of the answer's body, without secrets
}

const (
	// keptAttempts is how many lines of the log are kept.
	keptAttempts  = 10
	maxAnswerKept = 1 << 10
	maxReceiver   = 255
)

// Receiver names who gets the delivery, in the sense that one who is slow or dead
// must not delay the others: the webhook, or the host that callbacks go to.
func (d Delivery) Receiver() string {
	if d.Webhook != "" {
		return string(d.Webhook)
	}
	u, err := url.Parse(d.URL)
	if err != nil {
		return ""
	}
	return clip(strings.ToLower(u.Host), maxReceiver)
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

// ended gives the delivery in its last state, without the secret it needed.
func (d Delivery) ended(state DeliveryState) Delivery {
	d.State, d.WakeAt, d.Secret = state, time.Time{}, Sealed{}
	return d
}

// restarted gives the delivery at the beginning of its attempts.
func (d Delivery) restarted(now time.Time) Delivery {
	d.Attempt = 0
	d.Generation++
	d.DueAt, d.WakeAt, d.UpdatedAt = now, now.Add(relayGrace), now
	return d
}

// clip shortens a text from outside to at most n bytes of UTF-8, which is all that
// a database takes.
func clip(text string, n int) string {
	return strings.ToValidUTF8(text[:min(len(text), n)], "")
}
