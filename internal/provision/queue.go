package provision

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Queue wakes workers. It is not trusted with anything: a task lost, doubled or
// late costs time and nothing else.
type Queue interface {
	// Enqueue makes a task. A task that is already waiting is success. Where an older
	// task of the same generation blocks it without being live, it fails with
	// CodeConflict: take a new generation. CodeUnavailable when the queue is down.
	Enqueue(context.Context, Task) error
}

// Task is a wake-up call. It carries ids only.
type Task struct {
	Kind       TaskKind
	ID         string // of the job or the delivery
	Generation int64
}

// TaskKind says what to wake up for, and so which pool of workers hears it.
type TaskKind string

// The kinds of tasks. None is the prefix of another.
const (
	TaskCreate  TaskKind = "job:create" // a storm of these never delays the next
	TaskUpkeep  TaskKind = "job:upkeep" // deletes, and all that is not a create
	TaskDeliver TaskKind = "hook:deliver"
)

// task gives the wake-up call for the job.
func (j *Job) task() Task {
	kind := TaskUpkeep
	if j.Kind == JobCreate && j.Tenant != tenant.Nobody { // a create that nobody waits for is no hurry
		kind = TaskCreate
	}
	return Task{Kind: kind, ID: string(j.ID), Generation: j.Generation}
}

func (d *Delivery) task() Task {
	return Task{Kind: TaskDeliver, ID: string(d.ID), Generation: d.Generation}
}

// Ports hands out the ports of hosts.
type Ports interface {
	// Allocate gives the instance a port on the host for the named purpose; asked
	// again it gives the same one. CodePortsExhausted when none is left; CodeFenced
	// when the claim is no longer good.
	Allocate(ctx context.Context, claim Claim, host Host, name string) (int, error)
	// Refused takes the port from the instance because the host would not give it,
	// and keeps it out of use for a while.
	Refused(ctx context.Context, claim Claim, host Host, port int) error
	// Available reports whether the host has a port left.
	Available(ctx context.Context, host Host) (bool, error)
}

// Claim is the right of one worker to one job and its instance, until somebody
// with a higher fence has it. Every write of a worker names its claim.
type Claim struct {
	Job      id.Job
	Instance InstanceID
	Fence    int64
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
