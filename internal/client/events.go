package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/backoff"
)

// Event is a fact about an instance. Numbers are a tenant's own: from 1, without gaps.
type Event struct {
	Number     int64     `json:"number"`
	ID         string    `json:"id"`
	Type       string    `json:"type"`
	Subject    string    `json:"subject"`     // id of what it is about
	InstanceID string    `json:"instance_id"` // the subject, if it is an instance
	JobID      string    `json:"job_id,omitempty"`
	Message    string    `json:"message"`
	CreatedAt  time.Time `json:"created_at"`
	document
}

// UnmarshalJSON decodes the value and keeps the document.
func (e *Event) UnmarshalJSON(data []byte) error {
	type plain Event
	return e.decode(data, (*plain)(e))
}

// MarshalJSON gives the document as it was received.
func (e Event) MarshalJSON() ([]byte, error) {
	type plain Event
	return e.encode(plain(e))
}

// EventFilter narrows the feed; empty fields do not.
type EventFilter struct {
	Types      []string
	InstanceID string
}

func (f EventFilter) query(after int64) url.Values {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}}
	set(q, "type", strings.Join(f.Types, ","))
	set(q, "instance_id", f.InstanceID)
	return q
}

// EventPage is a part of the feed.
type EventPage struct {
	Items     []Event `json:"items"`
	NextAfter int64   `json:"next_after"` // the number to go on after
}

// eventPage is how many events one page has.
const eventPage = 500

// Events gives the page of the feed behind the number.
func (c *Client) Events(ctx context.Context, f EventFilter, after int64) (EventPage, error) {
	q := f.query(after)
	q.Set("limit", strconv.Itoa(eventPage))
	var out EventPage
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"events"}, query: q}, &out)
	return out, err
}

// EachEvent calls on with every event that is there behind the number, in order, and
// gives the number to go on after.
func (c *Client) EachEvent(ctx context.Context, f EventFilter, after int64, on func(Event) error) (int64, error) {
	for {
		page, err := c.Events(ctx, f, after)
		if err != nil {
			return after, err
		}
		for _, e := range page.Items {
			if err := on(e); err != nil {
				return after, err
			}
			after = e.Number
		}
		if after = max(after, page.NextAfter); len(page.Items) < eventPage {
			return after, nil
		}
	}
}

const (
	// silence is how long a stream may say nothing: the server says that it is alive
	// every 15 s.
	silence = 45 * time.Second
	// followOutages is how many connections in a row may fail before FollowEvents gives
	// up: about two minutes of a server that is away.
	followOutages = 60
	maxEventLine  = 1 << 20
)

// reconnects are the pauses between two connections.
var reconnects = backoff.Exponential{First: 100 * time.Millisecond, Most: 2 * time.Second}

// FollowEvents calls on with every event behind the number, in order and once each,
// those to come as well, until the context ends or on fails. A connection that breaks
// is made again, and goes on behind the last event.
func (c *Client) FollowEvents(ctx context.Context, f EventFilter, after int64, on func(Event) error) error {
	for failures := 0; ; {
		heard, err := c.streamEvents(ctx, f, &after, on)
		var mine *callbackError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &mine):
			return mine.err
		case err != nil && !passingOutage(err):
			return err
		}
		if failures++; heard {
			failures = 0
		}
		if failures > followOutages {
			return err
		}
		if err := c.sleep(ctx, reconnects.After(failures+1)); err != nil {
			return err
		}
	}
}

// callbackError tells the caller's own failure from the stream's.
type callbackError struct{ err error }

func (e *callbackError) Error() string { return e.err.Error() }

// streamEvents reads one stream to its end. heard says that there was one.
func (c *Client) streamEvents(ctx context.Context, f EventFilter, after *int64, on func(Event) error) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	req, err := c.request(ctx, call{method: http.MethodGet, path: []string{"events"}, query: f.query(*after)}, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := c.http.Do(req) //nolint:gosec // the address is the one the user gave
	if err != nil {
		return false, &UnreachableError{URL: c.base.Redacted(), Err: err}
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(res.Body, answerLimit)) // what was lost of it is not needed
		return false, decodeProblem(res, answer, c.now())
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxEventLine)
	for lines.Scan() {
		watchdog.Reset(silence)
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue // the number and the type are in the data, too
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return true, fmt.Errorf("%s sent an event that is not from Berth: %w", c.base.Redacted(), err)
		}
		if err := on(e); err != nil {
			return true, &callbackError{err}
		}
		*after = e.Number
	}
	return true, nil // however it ended, the next one goes on
}
