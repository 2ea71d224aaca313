package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/requestid"
)

// statuses is the error table: which status a code of the domain is answered with.
// A code that is not in it is ours to explain, not the client's: 500.
var statuses = map[fault.Code]int{
	fault.CodeUnauthorized:        http.StatusUnauthorized,
	fault.CodeForbidden:           http.StatusForbidden,
	fault.CodeQuota:               http.StatusForbidden,
	fault.CodeInvalid:             http.StatusUnprocessableEntity,
	fault.CodeLoginRefused:        http.StatusUnprocessableEntity,
	fault.CodeInvalidTemplate:     http.StatusUnprocessableEntity,
	fault.CodeNotFound:            http.StatusNotFound,
	fault.CodeGone:                http.StatusGone,
	fault.CodeBusy:                http.StatusConflict,
	fault.CodeNotReady:            http.StatusConflict,
	fault.CodeNotCancelable:       http.StatusConflict,
	fault.CodeIdempotencyInFlight: http.StatusConflict,
	fault.CodeIdempotencyMismatch: http.StatusUnprocessableEntity,
	fault.CodeConflict:            http.StatusConflict,
	fault.CodeHostKeyChanged:      http.StatusConflict,
	fault.CodeHostExists:          http.StatusConflict,
	fault.CodeEngineKnown:         http.StatusConflict,
	fault.CodeHostInUse:           http.StatusConflict,
	fault.CodeDiskInUse:           http.StatusConflict,
	fault.CodeInstanceState:       http.StatusConflict,
	fault.CodeHostState:           http.StatusConflict,
	fault.CodeHostCordoned:        http.StatusConflict,
	fault.CodeChecksFailed:        http.StatusUnprocessableEntity,
	fault.CodeNoCapacity:          http.StatusConflict,
	fault.CodeTooManyJobs:         http.StatusTooManyRequests,
	fault.CodeTooManyRequests:     http.StatusTooManyRequests,
	fault.CodeCapacity:            http.StatusServiceUnavailable,
	fault.CodeUnavailable:         http.StatusServiceUnavailable,
	fault.CodeHostUnavailable:     http.StatusServiceUnavailable,
}

// httpCodes are the codes of failures that never reach the domain.
var httpCodes = map[int]fault.Code{
	http.StatusBadRequest:            "malformed",
	http.StatusUnauthorized:          fault.CodeUnauthorized,
	http.StatusForbidden:             fault.CodeForbidden,
	http.StatusNotFound:              fault.CodeNotFound,
	http.StatusMethodNotAllowed:      "method_not_allowed",
	http.StatusRequestTimeout:        "request_timeout",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusUnsupportedMediaType:  "unsupported_media_type",
	http.StatusUnprocessableEntity:   fault.CodeInvalid,
}

// problem is an error as clients see it: RFC 9457, with a stable code.
type problem struct {
	Type    string          `json:"type" doc:"always about:blank; see code"`
	Title   string          `json:"title" doc:"text of the HTTP status"`
	Status  int             `json:"status"`
	Detail  string          `json:"detail" doc:"what happened, to what, and what to do next"`
	Code    fault.Code      `json:"code" doc:"stable identifier of the error, for programs"`
	Errors  []problemField  `json:"errors,omitempty" doc:"each invalid field"`
	JobID   string          `json:"job_id,omitempty" doc:"id of the active job that conflicts with the request"`
	Quota   *problemQuota   `json:"quota,omitempty" doc:"limit that the request would exceed"`
	Reasons []problemReason `json:"reasons,omitempty" doc:"what ruled out how many hosts"`
	// RequestID is set where the problem is written.
	RequestID string `json:"request_id" doc:"the answer's X-Request-Id, by which the server's log knows the request"`

	retryAfter time.Duration
	challenge  string // how to be recognized, after a refusal by the operation itself
	cause      error  // for the log; nil: there is nothing to say
}

type problemField struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

type problemReason struct {
	Rule  string `json:"rule" doc:"for example memory"`
	Hosts int    `json:"hosts" doc:"how many hosts it ruled out"`
}

// Error gives the detail.
func (p *problem) Error() string { return p.Detail }

// GetStatus gives the HTTP status.
func (p *problem) GetStatus() int { return p.Status }

// ContentType is RFC 9457's.
func (p *problem) ContentType(string) string { return problemType }

// GetHeaders gives Retry-After and WWW-Authenticate where they make sense.
func (p *problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", seconds(p.retryAfter))
	}
	if p.challenge != "" {
		h.Set(echo.HeaderWWWAuthenticate, p.challenge)
	}
	return h
}

const problemType = "application/problem+json"

func seconds(d time.Duration) string { return strconv.Itoa(wholeSeconds(d)) }

func newProblem(status int, code fault.Code, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// problemOf is the one place where an error of the domain becomes an answer. What
// is not the client's to know goes into the log only, when the answer is written.
func problemOf(err error) *problem {
	if errors.Is(err, context.Canceled) { // nobody is there to read the answer
		return newProblem(http.StatusServiceUnavailable, fault.CodeUnavailable, "the client canceled the request")
	}
	var known *fault.Error
	switch {
	case errors.As(err, &known):
	case errors.Is(err, context.DeadlineExceeded):
		known = &fault.Error{Code: fault.CodeUnavailable, Message: "the request took too long; try again"}
	default:
		known = &fault.Error{Code: fault.CodeInternal}
	}
	status, ok := statuses[known.Code]
	if !ok {
		p := newProblem(http.StatusInternalServerError, fault.CodeInternal, "an internal error occurred; the server's log has the details")
		p.cause = err
		return p
	}
	p := newProblem(status, known.Code, known.Message)
	if status == http.StatusServiceUnavailable {
		p.cause = err
	}
	p.JobID, p.retryAfter, p.Quota = string(known.Job), known.RetryAfter, viewProblemQuota(known.Quota)
	if status == http.StatusServiceUnavailable && p.retryAfter == 0 {
		p.retryAfter = 2 * time.Second
	}
	for _, r := range known.Reasons {
		p.Reasons = append(p.Reasons, problemReason(r))
	}
	for _, f := range known.Fields {
		p.Errors = append(p.Errors, problemField(f))
	}
	return p
}

// answerOf returns the problem as the answer to a request, and logs what the client is not told.
func (s *server) answerOf(ctx context.Context, p *problem) *problem {
	answer := *p
	answer.RequestID = requestid.Of(ctx)
	switch {
	case p.cause == nil:
	case p.Status == http.StatusServiceUnavailable:
		s.Log.WarnContext(ctx, "request refused", "code", p.Code, "error", p.cause)
	default:
		s.Log.ErrorContext(ctx, "request failed", "error", p.cause)
	}
	return &answer
}

// explain does so for the problems that huma writes.
func (s *server) explain(c huma.Context, _ string, body any) (any, error) {
	if p, ok := body.(*problem); ok {
		return s.answerOf(c.Context(), p), nil
	}
	return body, nil
}

// writeProblem answers a request that never reached huma.
func (s *server) writeProblem(c echo.Context, p *problem) error {
	for name, values := range p.GetHeaders() {
		c.Response().Header()[name] = values
	}
	body, err := json.Marshal(s.answerOf(c.Request().Context(), p))
	if err != nil {
		return err
	}
	return c.Blob(p.Status, problemType, body)
}

// echoError answers what the router finds wrong: no such path, no such method.
func (s *server) echoError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := &problem{}
	var h *echo.HTTPError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &h):
		code, ok := httpCodes[h.Code]
		if !ok {
			code = fault.CodeInternal
		}
		p = newProblem(h.Code, code, "there is no "+c.Request().Method+" "+c.Request().URL.Path+"; /docs lists all endpoints")
		if h.Code != http.StatusNotFound && h.Code != http.StatusMethodNotAllowed {
			p.Detail = http.StatusText(h.Code)
		}
	default:
		p = problemOf(err)
	}
	if err := s.writeProblem(c, p); err != nil {
		s.Log.WarnContext(c.Request().Context(), "response not written", "error", err)
	}
}
