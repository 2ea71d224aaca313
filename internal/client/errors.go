package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/backoff"
)

// Codes of a Problem that callers act on.
const (
	CodeUnauthorized        = "unauthorized"
	CodeNotFound            = "not_found"
	CodeGone                = "gone"
	CodeNoCapacity          = "no_capacity" // the detail says all that there is to know
	CodeIdempotencyInFlight = "idempotency_in_flight"
)

// Problem is a refusal by the server (RFC 9457).
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail"`
	Code   string       `json:"code"` // stable; "" if something else than Berth answered
	Errors []FieldError `json:"errors"`
	JobID  string       `json:"job_id"` // the job that is in the way
	// RequestID is what the server's log knows the request by; empty: an older server's.
	RequestID string `json:"request_id"`

	// RetryAfter is what the server's header of that name asked for; negative: nothing.
	RetryAfter time.Duration `json:"-"`
}

// FieldError says what is wrong with one field of a request.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error gives the detail in one line; the fields are for the caller to show.
func (p *Problem) Error() string {
	switch {
	case p.Detail != "":
		return p.Detail
	case p.Title != "":
		return p.Title
	default:
		return fmt.Sprintf("status %d", p.Status)
	}
}

// UnreachableError says that no answer came, after all attempts.
type UnreachableError struct {
	URL string
	Err error
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("no answer from %s: %v", e.URL, e.Err) }

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// HasCode reports whether err is a Problem with this code.
func HasCode(err error, code string) bool {
	var p *Problem
	return errors.As(err, &p) && p.Code == code
}

// decodeProblem reads a refusal. What is not problem+json comes from something in
// front of Berth, or from another server altogether, and is reported as that.
func decodeProblem(res *http.Response, body []byte, now time.Time) *Problem {
	p := &Problem{}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if !strings.HasSuffix(kind, "json") || json.Unmarshal(body, p) != nil {
		*p = Problem{}
	}
	if p.Detail == "" && p.Title == "" {
		p.Detail = fmt.Sprintf("%s responded %s without a reason", res.Request.URL.Redacted(), res.Status)
	}
	p.Status = res.StatusCode
	p.RetryAfter = parseRetryAfter(res.Header.Get("Retry-After"), now)
	return p
}

// parseRetryAfter reads seconds or a date (RFC 9110, 10.2.3); -1: neither.
func parseRetryAfter(header string, now time.Time) time.Duration {
	if s, err := strconv.Atoi(header); err == nil && s >= 0 {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return -1
}

// longestPause is what a person will sit through; a server that asks for more gets its
// refusal shown instead.
const longestPause = 5 * time.Second

// retries are the pauses between the attempts at one call.
var retries = backoff.Exponential{First: 200 * time.Millisecond, Most: longestPause}

// retryAfter decides whether a failed attempt is worth another one, and when.
func retryAfter(err error, try int) (pause time.Duration, again bool) {
	pause = retries.After(try)
	var unreachable *UnreachableError
	if errors.As(err, &unreachable) {
		return pause, true
	}
	var p *Problem
	if !errors.As(err, &p) || !passing(p) {
		return 0, false
	}
	if p.RetryAfter >= 0 {
		pause = max(pause, p.RetryAfter)
	}
	return pause, pause <= longestPause
}

// passing reports whether the refusal is of the kind that goes away by itself.
func passing(p *Problem) bool {
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable:
		return true
	default:
		// Our own first attempt may still be running there: its answer was lost.
		return p.Code == CodeIdempotencyInFlight
	}
}
