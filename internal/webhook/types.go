package webhook

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/secret"
)

// ID names a webhook ("whk_…").
type ID string

// DeliveryID names a delivery ("dlv_…").
type DeliveryID string

// The prefixes of the ids.
const (
	Prefix         = "whk"
	PrefixDelivery = "dlv"
)

// Sender sends a webhook once.
type Sender interface {
	// Send POSTs the message. An error means that there was no answer.
	Send(context.Context, Message) (Answer, error)
	// CheckURL reports whether callbacks may go there; the error says why not.
	CheckURL(ctx context.Context, url string) error
}

// Message is what is sent to a receiver.
type Message struct {
	URL     string
	ID      string // the same at every attempt
	Body    []byte
	Secrets []secret.Secret // it is signed with each of them
}

// Answer is what a receiver said.
type Answer struct {
	Status int    // of HTTP
	Body   string // the beginning of it
	// RetryAfter is how long the receiver asks to be left alone (RFC 9110, 10.2.3);
	// zero: it asks for nothing.
	RetryAfter time.Duration
}
