package client_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/berth-project/berth/internal/client"
)

func eventDoc(n int64) string {
	return fmt.Sprintf(`{"number":%d,"id":"evt_%d","type":"t","instance_id":"ins_1","message":"m","created_at":"2026-11-05T12:00:00.000Z","more":1}`, n, n)
}

// sse is a stream that ends after these events.
func sse(numbers ...int64) answer {
	body := "retry: 1000\n\n"
	for _, n := range numbers {
		body += fmt.Sprintf(": alive\n\nid: %d\nevent: t\ndata: %s\n\n", n, eventDoc(n))
	}
	return answer{header: map[string]string{"Content-Type": "text/event-stream"}, body: body}
}

var errEnough = errors.New("enough")

// A stream that breaks is opened again behind the last event, through restarts.
func TestFollowEvents(t *testing.T) {
	c, s, _ := serve(t, sse(3, 4), answer{hangUp: true}, answer{status: 503}, sse(), sse(5), sse(6, 7))
	var seen []int64
	err := c.FollowEvents(t.Context(), client.EventFilter{Types: []string{"t", "u"}, InstanceID: "ins_1"}, 2, func(e client.Event) error {
		if seen = append(seen, e.Number); e.Number == 7 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || !slices.Equal(seen, []int64{3, 4, 5, 6, 7}) {
		t.Errorf("saw %v, %v", seen, err)
	}
	var after []string
	for _, r := range s.requests() {
		after = append(after, r.uri)
	}
	want := func(n int) string {
		return fmt.Sprintf("/api/v1/events?after=%d&instance_id=ins_1&type=t%%2Cu", n)
	}
	if !slices.Equal(after, []string{want(2), want(4), want(4), want(4), want(4), want(5)}) {
		t.Errorf("asked %q", after)
	}
}

// A refusal, and a server that is gone for good, end it.
func TestFollowEventsGivesUp(t *testing.T) {
	nothing := func(client.Event) error { return nil }
	c, s, _ := serve(t, answer{status: 401, body: `{"code":"unauthorized","detail":"no"}`})
	if err := c.FollowEvents(t.Context(), client.EventFilter{}, 0, nothing); !client.HasCode(err, "unauthorized") || len(s.requests()) != 1 {
		t.Errorf("%v", err)
	}
	c, _, _ = serve(t, sse(1), answer{hangUp: true})
	var unreachable *client.UnreachableError
	if err := c.FollowEvents(t.Context(), client.EventFilter{}, 0, nothing); !errors.As(err, &unreachable) {
		t.Errorf("%v", err)
	}
}
