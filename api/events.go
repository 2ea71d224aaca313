package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
)

const (
	eventsPath       = basePath + "/events"
	eventSocketPath  = eventsPath + "/ws"
	eventStreamType  = "text/event-stream"
	defaultHeartbeat = 15 * time.Second
)

type eventView struct {
	Number     int64       `json:"number" doc:"position in the feed, from 1, without gaps"`
	ID         event.ID    `json:"id"`
	Type       string      `json:"type" example:"instance.running"`
	Subject    id.Subject  `json:"subject" doc:"id of the resource the event is about"`
	InstanceID instance.ID `json:"instance_id" doc:"the subject, if it is an instance"`
	JobID      id.Job      `json:"job_id,omitempty"`
	Message    string      `json:"message"`
	CreatedAt  stamp       `json:"created_at"`
}

func viewEvent(e event.Event) eventView {
	return eventView{Number: e.Number, ID: e.ID, Type: e.Type, Subject: e.Subject, InstanceID: instanceOf(e.Subject), JobID: e.Job, Message: e.Message, CreatedAt: at(e.At)}
}

type eventPageView struct {
	Items     []eventView `json:"items"`
	NextAfter int64       `json:"next_after" doc:"pass it as ?after= to read the events that follow"`
	BeyondEnd bool        `json:"beyond_end,omitempty" doc:"?after= is beyond the end of the feed, because the database was restored from a backup or replaced; continue after last"`
	Last      int64       `json:"last,omitempty" doc:"number of the feed's last event; present if ?after= is beyond it"`
}

// EventsInput says which part of the feed is wanted.
type EventsInput struct {
	After int64    `query:"after" minimum:"0" doc:"return events after this number"`
	Type  []string `query:"type" doc:"return only events of these types, comma-separated"`
	SubjectInput
}

func (in EventsInput) filter() event.Filter {
	return event.Filter{Types: in.Type, Subject: in.subject()}
}

const eventsDoc = "Returns the tenant's events in the order of their numbers. With `Accept: text/event-stream` the response is a stream of server-sent events " +
	"(id: the number, event: the type, data: the event as JSON) that continues with new events; `Last-Event-ID` resumes it. " +
	"A client that continues after the last number it received misses no event and receives none twice. Events are kept for a limited time: " +
	"if the first number is higher than expected, the events before it were removed. If the given number is beyond the end of the feed " +
	"(the database was restored from a backup), the response has the header `Berth-Last-Event` with the last number; a page has " +
	"`beyond_end`, and a stream begins with an event `feed.beyond_end` of that number and continues from there."

func (s *server) eventRoutes(h huma.API) {
	page := h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[eventPageView](), true, "eventPageView")
	event := h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[eventView](), true, "eventView")
	huma.Register(h, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: eventsPath, Summary: "List or stream events after a number", Description: eventsDoc,
		Tags: []string{"events"}, Metadata: needs(tenant.Read),
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"application/json": {Schema: page}, eventStreamType: {Schema: &huma.Schema{Type: huma.TypeString}},
		}, Headers: map[string]*huma.Header{lastEventHeader: {
			Description: "Number of the feed's last event; present if ?after= is beyond it.", Schema: &huma.Schema{Type: huma.TypeInteger},
		}}}},
	}, s.listEvents)
	h.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "follow-events", Method: http.MethodGet, Path: eventSocketPath, Summary: "Stream events after a number over a WebSocket",
		Tags: []string{"events"}, Metadata: needs(tenant.Read), Parameters: h.OpenAPI().Paths[eventsPath].Get.Parameters[:3],
		Responses: map[string]*huma.Response{
			"101": {Description: "Switching Protocols; each text message is one event as JSON", Content: map[string]*huma.MediaType{"application/json": {Schema: event}}},
		},
		Errors: []int{http.StatusForbidden, http.StatusUpgradeRequired},
	})
}

type listEventsInput struct {
	EventsInput
	Limit       int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"maximum number of events in a page; ignored for a stream"`
	LastEventID string `header:"Last-Event-ID" doc:"resume a stream after this event number; overrides ?after="`
	Accept      string `header:"Accept" hidden:"true"`
}

func (s *server) listEvents(ctx context.Context, in *listEventsInput) (*huma.StreamResponse, error) {
	filter := in.filter()
	if wantsStream(in.Accept) {
		if in.LastEventID != "" {
			after, err := strconv.ParseInt(in.LastEventID, 10, 64)
			if err != nil || after < 0 {
				return nil, s.fail(wrongField("Last-Event-ID", "must be the number of an event"))
			}
			in.After = after
		}
		end, err := s.beyondEnd(ctx, in.After)
		if err != nil {
			return nil, s.fail(err)
		}
		return &huma.StreamResponse{Body: func(h huma.Context) { //nolint:contextcheck // it has the request's own
			s.streamEvents(h.Context(), humaecho.Unwrap(h).Response(), filter, in.After, end)
		}}, nil
	}
	page, err := s.Service.Events(ctx, principalOf(ctx), filter, in.After, in.Limit)
	if err != nil {
		return nil, s.fail(err)
	}
	view := eventPageView{Items: make([]eventView, len(page.Events)), NextAfter: page.Next}
	for i, e := range page.Events {
		view.Items[i] = viewEvent(e)
	}
	if view.BeyondEnd = in.After > page.Last; view.BeyondEnd {
		view.Last = page.Last
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		if view.BeyondEnd {
			h.SetHeader(lastEventHeader, strconv.FormatInt(page.Last, 10))
		}
		h.SetHeader("Content-Type", "application/json")
		if err := json.NewEncoder(h.BodyWriter()).Encode(view); err != nil {
			s.Log.Debug("response not written", "error", err)
		}
	}}, nil
}

// lastEventHeader has the number of the feed's last event where a client asks for what
// is behind another number, which the feed has not reached.
const lastEventHeader = "Berth-Last-Event"

// eventBeyondEnd is the notice of a stream that there is less than its reader knows. It
// is no event of the feed.
const eventBeyondEnd = "feed.beyond_end"

// beyondEnd gives the notice for a reader who is beyond the end of the feed; nil: they
// are not, or nobody knows now, and following will tell. It refuses who may not follow.
func (s *server) beyondEnd(ctx context.Context, after int64) (*eventView, error) {
	if err := principalOf(ctx).MayAll(tenant.Read); err != nil || after == 0 {
		return nil, err
	}
	last, err := s.Service.LastEvent(ctx, principalOf(ctx))
	if err != nil || after <= last {
		return nil, nil
	}
	return &eventView{
		Number: last, Type: eventBeyondEnd, CreatedAt: at(clock.System()),
		Message: fmt.Sprintf("the feed ends at %d, before the requested %d: the database was restored from a backup or replaced; continuing after %d", last, after, last),
	}, nil
}

func wrongField(field, message string) error {
	return &fault.Error{Code: fault.CodeInvalid, Message: refused, Fields: []fault.FieldError{{Field: field, Message: message}}}
}

// wantsStream reports whether the client asks for server-sent events.
func wantsStream(accept string) bool { return strings.Contains(accept, eventStreamType) }
