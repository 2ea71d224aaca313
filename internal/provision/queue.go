package provision

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
)

// Ports hands out the ports of hosts.
type Ports interface {
	// Allocate gives the instance a port on the host for the named purpose; asked
	// again it gives the same one. CodePortsExhausted when none is left; CodeFenced
	// when the claim is no longer good.
	Allocate(ctx context.Context, claim job.Claim, host Host, name string) (int, error)
	// Refused takes the port from the instance because the host would not give it,
	// and keeps it out of use for a while.
	Refused(ctx context.Context, claim job.Claim, host Host, port int) error
	// Available reports whether the host has a port left.
	Available(ctx context.Context, host Host) (bool, error)
}

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
