package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
)

const (
	// streamWrite is how long a client may take for a page before it is let go; it can
	// come back and go on where it was.
	streamWrite = 20 * time.Second
	// Clients of a process that ends come back after one to three seconds, not all at
	// once.
	retryFirst  = time.Second
	retrySpread = 2 * time.Second
	// A client of the WebSocket has nothing to say.
	maxSocketRead = 1 << 10
)

// isStream reports whether the answer is one that must not be held back to be
// compressed.
func isStream(c echo.Context) bool {
	path := c.Request().URL.Path
	return path == eventSocketPath || path == eventsPath && wantsStream(c.Request().Header.Get(echo.HeaderAccept))
}

// untilStop gives a context that also ends when the server is to stop, or the caller is not
// recognized any more.
func (s *server) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.Stopping, cancel) //nolint:contextcheck // the request's context ends early when the server stops
	watch := watchCaller(ctx, cancel)
	return ctx, func() { stop(); cancel(); <-watch }
}

// streamEvents serves server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
//
// Where end is given, the feed ends there, before the number asked for.
func (s *server) streamEvents(ctx context.Context, w http.ResponseWriter, filter event.Filter, after int64, end *eventView) {
	ctx, cancel := s.untilStop(ctx)
	defer cancel()
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the server's would end the request; not every writer has one
	w.Header().Set("Content-Type", eventStreamType)
	w.Header().Set("X-Accel-Buffering", "no") // what nginx wants to hear
	if end != nil {
		after = end.Number
		w.Header().Set(lastEventHeader, strconv.FormatInt(end.Number, 10))
	}
	if isHead(ctx) {
		return
	}
	send := func(text []byte) error {
		if err := out.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		return out.Flush()
	}
	retry := retryFirst + rand.N(retrySpread) //nolint:gosec // jitter, not a secret
	if send(fmt.Appendf(nil, "retry: %d\n\n", retry.Milliseconds())) != nil {
		return
	}
	if end != nil {
		notice, err := eventLines(*end)
		if err != nil || send(notice) != nil {
			return
		}
	}
	s.ended(ctx, s.Service.Follow(ctx, principalOf(ctx), filter, after, s.Heartbeat, func(events []event.Event) error {
		text, err := eventText(events)
		if err != nil {
			return err
		}
		return send(text)
	}))
}

func eventText(events []event.Event) ([]byte, error) {
	if len(events) == 0 {
		return []byte(": alive\n\n"), nil
	}
	var text bytes.Buffer
	for _, e := range events {
		lines, err := eventLines(viewEvent(e))
		if err != nil {
			return nil, err
		}
		text.Write(lines)
	}
	return text.Bytes(), nil
}

func eventLines(e eventView) ([]byte, error) {
	data, err := json.Marshal(e) // has no line breaks
	return fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", e.Number, e.Type, data), err
}

// ended logs why a stream ended, where it was neither the client nor the server who
// wished it.
func (s *server) ended(ctx context.Context, err error) {
	if ctx.Err() == nil && fault.CodeOf(err) != fault.CodeInternal {
		s.Log.WarnContext(ctx, "event stream ended", "error", err)
		return
	}
	s.Log.DebugContext(ctx, "event stream ended", "cause", err)
}

// eventSocket serves the feed by WebSocket: one event, one text message.
func (s *server) eventSocket(c echo.Context) error {
	r := c.Request()
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || isHead(r.Context()) {
		c.Response().Header().Set("Upgrade", "websocket")
		return newProblem(http.StatusUpgradeRequired, "upgrade_required", "this endpoint needs a WebSocket upgrade; for a stream over plain HTTP use GET "+eventsPath+" with `Accept: "+eventStreamType+"`")
	}
	if !s.mayCall(r.Header.Get("Origin"), r.Host) {
		return newProblem(http.StatusForbidden, httpCodes[http.StatusForbidden], "pages of this origin may not use the API; BERTH_HTTP_CORS_ORIGINS lists the origins that may")
	}
	in, err := socketInput(r.URL.Query())
	if err != nil {
		return err
	}
	filter := in.filter()
	end, err := s.beyondEnd(r.Context(), in.After)
	if err != nil {
		return s.fail(err)
	}
	if end != nil {
		in.After = end.Number
		c.Response().Header().Set(lastEventHeader, strconv.FormatInt(end.Number, 10))
	}
	conn, err := websocket.Accept(c.Response(), r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // looked at above, and refused in our words
	if err != nil {
		s.Log.DebugContext(r.Context(), "WebSocket handshake failed", "error", err) // it has answered
		return nil
	}
	defer conn.CloseNow() //nolint:errcheck // the last resort
	conn.SetReadLimit(maxSocketRead)
	connected := conn.CloseRead(r.Context())
	ctx, cancel := s.untilStop(connected)
	defer cancel()
	if end != nil {
		err = sendSocketEvent(connected, conn, *end)
	}
	if err == nil {
		err = s.followSocket(ctx, connected, conn, filter, in.After)
	}
	s.ended(ctx, err)
	status := websocket.StatusTryAgainLater
	if s.Stopping.Err() != nil {
		status = websocket.StatusGoingAway
	}
	if isUnauthorized(stillRecognized(r.Context())) {
		_ = conn.Close(websocket.StatusPolicyViolation, "the API key is not accepted any more")
		return nil
	}
	_ = conn.Close(status, "continue after the last number received")
	return nil
}

// followSocket sends what the feed has and gets. An ended ctx would cut the line before the
// farewell, so sending goes by the connection's.
func (s *server) followSocket(ctx, connected context.Context, conn *websocket.Conn, filter event.Filter, after int64) error {
	return s.Service.Follow(ctx, principalOf(ctx), filter, after, s.Heartbeat, func(events []event.Event) error {
		return sendSocket(connected, conn, events)
	})
}

// sendSocket sends the events, or, where there are none, asks whether anybody is there.
func sendSocket(ctx context.Context, conn *websocket.Conn, events []event.Event) error {
	ctx, cancel := context.WithTimeout(ctx, streamWrite)
	defer cancel()
	if len(events) == 0 {
		return conn.Ping(ctx)
	}
	for _, e := range events {
		if err := sendSocketEvent(ctx, conn, viewEvent(e)); err != nil {
			return err
		}
	}
	return nil
}

func sendSocketEvent(ctx context.Context, conn *websocket.Conn, e eventView) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return conn.Write(ctx, websocket.MessageText, data)
}

// mayCall reports whether a page of the origin may open a WebSocket: browsers let any
// page try. Programs that are no browsers send no origin.
func (s *server) mayCall(origin, host string) bool {
	if origin == "" || slices.Contains(s.CORSOrigins, origin) || slices.Contains(s.CORSOrigins, "*") {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// socketInput reads what huma does not: the query of the WebSocket.
func socketInput(q url.Values) (EventsInput, error) {
	if wrong := wrongNames(q, []string{"after", "type", "subject", "instance_id"}, nil); len(wrong) > 0 {
		return EventsInput{}, refusal(wrong)
	}
	in := EventsInput{SubjectInput: SubjectInput{Subject: q.Get("subject"), InstanceID: q.Get("instance_id")}}
	if in.differ() {
		return EventsInput{}, wrongField("instance_id", twoSubjects)
	}
	if types := q.Get("type"); types != "" {
		in.Type = strings.Split(types, ",")
	}
	if after := q.Get("after"); after != "" {
		var err error
		if in.After, err = strconv.ParseInt(after, 10, 64); err != nil || in.After < 0 {
			return in, wrongField("after", "must be the number of an event")
		}
	}
	return in, nil
}
