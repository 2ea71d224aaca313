// Package fault owns the errors that people see: their codes, their messages, and whether
// trying again can help. The API's table of errors is made of its codes. It must not know
// what failed: rooms say that in the message.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/id"
)

// Code says what kind of failure an Error is. Codes are part of the public API:
// they are added, never renamed.
type Code string

// The codes, grouped by who meets them.
const (
	// Refusals of a request.
	CodeUnauthorized        Code = "unauthorized"          // the caller was not recognized
	CodeForbidden           Code = "forbidden"             // the caller's role does not allow it
	CodeInvalid             Code = "invalid"               // a field is wrong; Error.Fields names it
	CodeInvalidTemplate     Code = "invalid_template"      // a file of hosts cannot be read as one; Error.Fields names columns
	CodeNotFound            Code = "not_found"             // no such thing, or not this tenant's
	CodeGone                Code = "gone"                  // it was deleted
	CodeBusy                Code = "busy"                  // another job runs on the instance; Error.Job names it
	CodeNotReady            Code = "not_ready"             // the instance cannot answer this in its state
	CodeNotCancelable       Code = "not_cancelable"        // the job has ended, or must not be stopped
	CodeIdempotencyMismatch Code = "idempotency_mismatch"  // same key, another request
	CodeIdempotencyInFlight Code = "idempotency_in_flight" // same key, first request still running
	CodeCapacity            Code = "capacity_exhausted"    // no host can take it now
	CodeTooManyJobs         Code = "too_many_jobs"         // too many accepted jobs have not ended
	CodeQuota               Code = "quota_exceeded"        // it would exceed the tenant's quota; Error.Quota names it
	CodeTooManyRequests     Code = "too_many_requests"     // too many of a kind from one caller or address
	CodeUnavailable         Code = "unavailable"           // a part that is needed is down

	// Refusals of what is asked of hosts.
	CodeNoCapacity    Code = "no_capacity"    // no host fits what was asked for; Error.Reasons counts why
	CodeHostExists    Code = "host_exists"    // another host has the name or the address
	CodeEngineKnown   Code = "engine_known"   // the engine is another host's already
	CodeHostInUse     Code = "host_in_use"    // something is still on the host
	CodeInstanceState Code = "instance_state" // the instance's state does not allow it
	CodeHostState     Code = "host_state"     // the host's state does not allow it
	CodeHostCordoned  Code = "host_cordoned"  // nothing is placed on the host
	CodeDiskInUse     Code = "disk_in_use"    // something is still on the disk
	CodeChecksFailed  Code = "checks_failed"  // the machine is not fit to be a host

	// Failures of a job.
	CodeHostUnavailable  Code = "host_unavailable"  // the host's engine does not answer
	CodeHostRefused      Code = "host_refused"      // the host's engine will not do what it is asked to
	CodeLoginRefused     Code = "login_refused"     // the machine does not let Berth log in
	CodeHostKeyChanged   Code = "host_key_changed"  // the machine shows another key than the one that is pinned
	CodeImageUnavailable Code = "image_unavailable" // the image is neither there nor to be had
	CodePortRefused      Code = "port_refused"      // the host would not give the port
	CodePortsExhausted   Code = "ports_exhausted"   // every port of the host is taken or resting
	CodeStartFailed      Code = "start_failed"      // the server ended instead of starting
	CodeProbeFailed      Code = "probe_failed"      // it runs but cannot be used
	CodeDataLost         Code = "data_lost"         // the volume with the instance's data is gone
	CodeTimeout          Code = "timeout"           // a step took longer than it may
	CodeDeadline         Code = "deadline_exceeded" // the job took longer than it may
	CodeWorkerCrashed    Code = "worker_crashed"    // the job ended its worker again and again
	CodeCanceled         Code = "canceled"          // somebody asked for the job to stop
	CodeInternal         Code = "internal"          // a defect, or something nobody foresaw

	// Between the domain and its adapters; they never leave the process.
	CodeConflict Code = "conflict" // the row changed since it was read
	CodeFenced   Code = "fenced"   // the lease is lost: somebody else owns the job now
	CodeNameHeld Code = "name_held"
)

// Retryable reports whether trying the same thing again later can help.
func (c Code) Retryable() bool {
	switch c {
	case CodeHostUnavailable, CodeImageUnavailable, CodePortRefused, CodePortsExhausted, CodeStartFailed,
		CodeProbeFailed, CodeTimeout, CodeUnavailable, CodeCapacity, CodeNoCapacity, CodeConflict, CodeInternal:
		return true
	default:
		return false
	}
}

// Error is the one error type of the domain. Message is for people: it says what
// happened, to what, and what to do next, and never holds a secret.
type Error struct {
	Code       Code
	Message    string
	Fields     []FieldError  // with CodeInvalid and CodeInvalidTemplate: what is wrong with each field
	Job        id.Job        // with CodeBusy: the job that is in the way
	Quota      *Quota        // with CodeQuota: what would be exceeded
	Reasons    []Reason      // with CodeNoCapacity: what ruled out how many hosts
	RetryAfter time.Duration // when trying again makes sense; zero: not known
	Err        error         // the cause, for the log
}

// FieldError says what is wrong with one field of a request, and what is allowed.
type FieldError struct {
	Field   string // a path as the client wrote it, for example "parameters.charset"
	Message string
}

// Quota is a limit that a request would exceed, in the units of its measure.
type Quota struct {
	Name               string // for example "instances"
	Limit, Used, Asked int64
}

// Reason is why some hosts could not be taken.
type Reason struct {
	Rule  string // for example "memory"
	Hosts int
}

// Error gives the message, and behind it the cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s: %s", f.Field, f.Message)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches two domain errors by their code, so that errors.Is works with the
// sentinels below.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Sentinels for errors.Is; they match any Error of the same code.
var (
	ErrNotFound = &Error{Code: CodeNotFound, Message: "not found"}
	ErrConflict = &Error{Code: CodeConflict, Message: "changed by another request"}
	ErrFenced   = &Error{Code: CodeFenced, Message: "the lease is lost"}
	ErrBusy     = &Error{Code: CodeBusy, Message: "another job is active on the instance"}
	ErrDataLost = &Error{Code: CodeDataLost, Message: "the data is gone"}
	ErrNameHeld = &Error{Code: CodeNameHeld, Message: "the name is taken"}
)

// Errorf makes an Error. The cause, which may be nil, is kept for the log and for
// errors.Is; only the formatted message is shown to people.
func Errorf(code Code, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: cause}
}

// Invalid makes the refusal of a request with all that is wrong in it.
func Invalid(wrong []FieldError) error {
	return &Error{Code: CodeInvalid, Message: "the request was refused; nothing was changed", Fields: wrong}
}

// Explain returns the words for people: the message of the first Error in the chain,
// without the chain of causes, which belongs in the log.
func Explain(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// IgnoreLostRace forgives the errors of a caller that was not the first to change
// something.
func IgnoreLostRace(err error) error {
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrBusy) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

// IgnoreNotFound forgives that something is not there.
func IgnoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// maxDecisions limits how often a decision that lost to another write is made anew.
const maxDecisions = 10

// Redecide runs a transaction that depends on what a worker may be changing at the same
// moment. Where the worker was faster, it is run again and sees the change.
func Redecide(do func() error) error {
	for try := 1; ; try++ {
		err := do()
		late := errors.Is(err, ErrFenced) || errors.Is(err, ErrConflict) || errors.Is(err, ErrBusy)
		if !late || try == maxDecisions {
			return err
		}
	}
}

// CodeOf gives the code of the first domain error in the chain, CodeInternal
// where there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
