package provision

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code says what kind of failure an Error is. Codes are part of the public API:
// they are added, never renamed.
type Code string

// The codes, grouped by who meets them.
const (
	// Refusals of a request.
	CodeInvalid             Code = "invalid"               // a field is wrong; Error.Fields names it
	CodeNotFound            Code = "not_found"             // no such thing, or not this tenant's
	CodeGone                Code = "gone"                  // it was deleted
	CodeBusy                Code = "busy"                  // another job runs on the instance; Error.Job names it
	CodeNotReady            Code = "not_ready"             // the instance cannot answer this in its state
	CodeNotCancelable       Code = "not_cancelable"        // the job has ended, or must not be stopped
	CodeIdempotencyMismatch Code = "idempotency_mismatch"  // same key, another request
	CodeIdempotencyInFlight Code = "idempotency_in_flight" // same key, first request still running
	CodeCapacity            Code = "capacity_exhausted"    // no host can take it now
	CodeTooManyJobs         Code = "too_many_jobs"         // too many accepted jobs have not ended
	CodeUnavailable         Code = "unavailable"           // a part that is needed is down

	// Failures of a job.
	CodeHostUnavailable  Code = "host_unavailable"  // the host's engine does not answer
	CodeHostRefused      Code = "host_refused"      // the host's engine will not do what it is asked to
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

// Passing reports whether trying the same thing again later can help.
func (c Code) Passing() bool {
	switch c {
	case CodeHostUnavailable, CodeImageUnavailable, CodePortRefused, CodePortsExhausted, CodeStartFailed,
		CodeProbeFailed, CodeTimeout, CodeUnavailable, CodeCapacity, CodeConflict, CodeInternal:
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
	Fields     []FieldError  // with CodeInvalid: what is wrong with each field
	Job        JobID         // with CodeBusy: the job that is in the way
	RetryAfter time.Duration // when trying again makes sense; zero: not known
	Err        error         // the cause, for the log
}

// FieldError says what is wrong with one field of a request, and what is allowed.
type FieldError struct {
	Field   string // a path as the client wrote it, for example "parameters.charset"
	Message string
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
	ErrConflict = &Error{Code: CodeConflict, Message: "changed meanwhile"}
	ErrFenced   = &Error{Code: CodeFenced, Message: "the lease is lost"}
	ErrBusy     = &Error{Code: CodeBusy, Message: "another job is running on the instance"}
	ErrDataLost = &Error{Code: CodeDataLost, Message: "the data is gone"}
	ErrNameHeld = &Error{Code: CodeNameHeld, Message: "the name is taken"}
)

// Errorf makes an Error. The cause, which may be nil, is kept for the log and for
// errors.Is; only the formatted message is shown to people.
func Errorf(code Code, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: cause}
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
