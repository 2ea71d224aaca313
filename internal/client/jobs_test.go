package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
)

func job(state string) answer { return answer{body: `{"id":"job_1","state":"` + state + `"}`} }

func TestWaitJob(t *testing.T) {
	c, s, clk := serve(t, job("queued"), job("running"), answer{status: 503}, job("running"), job("succeeded"))
	var looks []string
	got, err := c.WaitJob(t.Context(), "job_1", time.Second, func(j client.Job) { looks = append(looks, j.State) })
	if err != nil || got.State != client.JobSucceeded {
		t.Fatalf("got %+v, %v", got, err)
	}
	if want := []string{"queued", "running", "running", "succeeded"}; !reflect.DeepEqual(looks, want) {
		t.Errorf("looked at %v, want %v", looks, want)
	}
	if s.requests()[0].uri != "/api/v1/jobs/job_1" || s.requests()[1].uri != "/api/v1/jobs/job_1?wait=1s" {
		t.Errorf("asked %s, then %s", s.requests()[0].uri, s.requests()[1].uri)
	}
	// The server did not hold its answers back, so the client did, longer each time, but
	// for the last one; the second pause is the retry after 503.
	want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 200 * time.Millisecond}
	if !reflect.DeepEqual(clk.pauses, want) {
		t.Errorf("paused %v, want %v", clk.pauses, want)
	}
}

func TestWaitJobOutlivesARestart(t *testing.T) {
	answers := []answer{job("running")}
	for range 9 { // two calls of four attempts, and one more attempt
		answers = append(answers, answer{hangUp: true})
	}
	c, _, _ := serve(t, append(answers, job("failed"))...)
	got, err := c.WaitJob(t.Context(), "job_1", time.Second, nil)
	if err != nil || got.State != client.JobFailed {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWaitJobGivesUp(t *testing.T) {
	t.Run("unknown job", func(t *testing.T) {
		c, s, _ := serve(t, answer{status: 404, body: `{"code":"not_found","detail":"no such job"}`})
		if _, err := c.WaitJob(t.Context(), "job_1", time.Second, nil); !client.HasCode(err, client.CodeNotFound) || len(s.requests()) != 1 {
			t.Errorf("got %v after %d requests", err, len(s.requests()))
		}
	})
	t.Run("server gone for good", func(t *testing.T) {
		c, _, clk := serve(t, job("running"), answer{hangUp: true})
		got, err := c.WaitJob(t.Context(), "job_1", time.Second, nil)
		var unreachable *client.UnreachableError
		if !errors.As(err, &unreachable) || got.ID != "job_1" {
			t.Errorf("got %+v, %v", got, err)
		}
		if waited := clk.at.Sub(time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)); waited < 15*time.Second || waited > time.Minute {
			t.Errorf("gave up after %s", waited)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, _, _ := serve(t, job("running"))
		got, err := c.WaitJob(ctx, "job_1", time.Second, func(client.Job) { cancel() })
		if !errors.Is(err, context.Canceled) || got.ID != "job_1" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestSchemaValue(t *testing.T) {
	c, _, _ := serve(t, answer{body: `{"items":[{"name":"x","parameters":{"properties":{
		"n":{"type":"integer"},"f":{"type":"number"},"b":{"type":"boolean"},"s":{"type":"string","enum":["1","no"]},
		"bytes":{"oneOf":[{"type":"integer"},{"type":"string"}]},"maybe":{"type":["integer","null"]},"list":{"type":"array"}}}}]}`})
	page, err := c.Engines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	schema := page.Items[0].Parameters
	tests := []struct {
		name, text string
		want       any
	}{
		{"n", "50", int64(50)},
		{"n", "-1", int64(-1)},
		{"n", "many", "many"},
		{"n", "1.5", "1.5"},
		{"n", "99999999999999999999", "99999999999999999999"},
		{"f", "1.5", 1.5},
		{"f", "NaN", "NaN"},
		{"b", "true", true},
		{"b", "yes", "yes"},
		{"s", "1", "1"},
		{"s", "no", "no"},
		{"bytes", "64mb", "64mb"},
		{"bytes", "67108864", int64(67108864)},
		{"maybe", "3", int64(3)},
		{"list", "[1]", []any{1.0}},
		{"unknown", "1", "1"},
	}
	for _, tt := range tests {
		if got := schema.Value(tt.name, tt.text); !sameJSON(t, got, tt.want) {
			t.Errorf("%s=%s gives %#v, want %#v", tt.name, tt.text, got, tt.want)
		}
	}
}

func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}
