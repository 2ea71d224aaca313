package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
)

const eventsPath = "/api/v1/events"

// say writes events and gives them their numbers.
func (b *bench) say(owner tenant.ID, messages ...string) {
	b.Helper()
	ctx := context.WithoutCancel(b.Context())
	err := b.store.Tx(ctx, func(tx rooms.Tx) error {
		for _, m := range messages {
			e := event.Event{ID: event.ID(b.eventID()), Tenant: owner, Type: "test." + m[:1], Subject: "ins_1", Job: "job_1", Message: m, At: clock.System()}
			if err := tx.AppendEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Error(err)
	}
	sequencer := event.NewSequencer(rooms.Events(b.store), &bell.Local{}, clock.System, "test")
	if _, err := sequencer.RunOnce(ctx); err != nil {
		b.Error(err)
	}
}

func (b *bench) eventID() string { return fmt.Sprintf("evt_%06d", b.events.Add(1)) }

// serverLimit is how long a request and an answer may take, unless it is a stream.
const serverLimit = 2 * time.Second

// serve puts the bench behind a real server, with time limits that streams outlast.
func (b *bench) serve() string {
	b.Helper()
	server := httptest.NewUnstartedServer(b.handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = serverLimit, serverLimit
	server.Start()
	b.Cleanup(server.Close)
	return server.URL
}

// open sends a request whose answer goes on; it ends with the test, or by the cancel.
func (b *bench) open(url string, headers ...string) (*http.Response, context.CancelFunc) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), soon)
	b.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminKey)
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Content-Encoding") != "" {
		b.Fatalf("%s: %s %v", url, res.Status, res.Header)
	}
	return res, cancel
}

// stream reads server-sent events.
type stream struct {
	*testing.T
	lines *bufio.Scanner
}

type streamed struct {
	Number              int64
	ID, Type, Message   string
	InstanceID          string `json:"instance_id"`
	JobID               string `json:"job_id"`
	CreatedAt           string `json:"created_at"`
	id, kind, retryText string
}

// next gives the next event; false at the end. Comments are passed to onComment.
func (s *stream) next(onComment func(string)) (streamed, bool) {
	s.Helper()
	var e streamed
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch {
		case name == "" && value != "" && onComment != nil:
			onComment(value)
		case name == "id":
			e.id = value
		case name == "event":
			e.kind = value
		case name == "retry":
			e.retryText = value
		case name == "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				s.Fatalf("%q: %v", value, err)
			}
		case s.lines.Text() == "" && e.id != "":
			if e.id != strconv.FormatInt(e.Number, 10) || e.kind != e.Type || e.ID == "" || e.InstanceID != "ins_1" || e.JobID != "job_1" || e.CreatedAt == "" {
				s.Errorf("event %+v", e)
			}
			return e, true
		}
	}
	return e, false
}

func (b *bench) stream(url string, headers ...string) (*stream, context.CancelFunc) {
	b.Helper()
	res, cancel := b.open(url, headers...) //nolint:bodyclose // open sees to it
	return &stream{b.T, bufio.NewScanner(res.Body)}, cancel
}

// must gives the next event, which must have the number and the message.
func (s *stream) must(number int64, message string) {
	s.Helper()
	if e, ok := s.next(nil); !ok || e.Number != number || e.Message != message {
		s.Fatalf("got %+v, %v; want %d %q; %v", e, ok, number, message, s.lines.Err())
	}
}

func TestEventPages(t *testing.T) {
	b := newBench(t)
	if got := b.call("GET", eventsPath, "").is(200, ""); got.body != `{"items":[],"next_after":0}`+"\n" {
		t.Errorf("%s", got.body)
	}
	b.made("redis", "{}")
	b.say("other", "not ours", "nor this")
	b.say(tenant.Default, "a1", "b2")
	page := func(query string, next float64, want ...string) {
		t.Helper()
		got := b.call("GET", eventsPath+query, "").is(200, "")
		var types []string
		items, _ := got.json["items"].([]any)
		for _, v := range items {
			m, _ := v.(map[string]any)
			types = append(types, fmt.Sprint(m["number"], " ", m["type"]))
			if m["id"] == nil || m["instance_id"] == nil || m["job_id"] == nil || m["message"] == nil || m["created_at"] == nil {
				t.Errorf("%v", m)
			}
		}
		if strings.Join(types, ", ") != strings.Join(want, ", ") || got.json["next_after"] != next {
			t.Errorf("%s: got %v, next %v; want %v, %v", query, types, got.json["next_after"], want, next)
		}
	}
	page("?limit=3", 3, "1 instance.pending", "2 instance.provisioning", "3 instance.running")
	page("?after=3", 6, "4 job.succeeded", "5 test.a", "6 test.b")
	page("?after=6", 6)
	page("?after=9", 9)
	page("?type=instance.running,test.b", 6, "3 instance.running", "6 test.b")
	page("?type=instance.running,test.b&limit=1", 3, "3 instance.running")
	page("?instance_id=ins_1&after=1", 6, "5 test.a", "6 test.b")
	page("?instance_id=ins_2", 6)
	page("?instance_id=ins%00%C3%BC&after=2", 2)
	for query, field := range map[string]string{"after=-1": "after", "after=x": "after", "limit=0": "limit", "limit=501": "limit"} {
		b.call("GET", eventsPath+"?"+query, "").is(422, "invalid").field(field)
	}
	b.call("GET", eventsPath, "", "Accept", "text/event-stream", "Last-Event-ID", "x").is(422, "invalid").field("Last-Event-ID")
	b.send("GET", eventsPath, nil).is(401, "unauthorized")
	b.send("GET", eventsPath, nil, "Accept", "text/event-stream").is(401, "unauthorized")
	b.send("GET", eventsPath+"/ws", nil, "Upgrade", "websocket").is(401, "unauthorized")
	b.call("GET", eventsPath+"/ws", "").is(426, "upgrade_required")
	b.call("GET", eventsPath+"/ws", "", "Upgrade", "websocket", "Origin", "https://evil.example").is(403, "forbidden")
	b.call("GET", eventsPath+"/ws?after=-1", "", "Upgrade", "websocket").is(422, "invalid").field("after")
}

// A stream gives what is there and what comes, outlasts the server's time limits,
// shows that it is alive, and is not held back to be compressed.
func TestEventStream(t *testing.T) {
	const beatEvery = 100 * time.Millisecond
	b := newBench(t, func(c *api.Config) { c.Heartbeat, c.Gzip = beatEvery, true })
	b.say(tenant.Default, "one", "two")
	s, _ := b.stream(b.serve()+eventsPath+"?after=1", "Accept-Encoding", "gzip")
	s.must(2, "two")
	b.say("other", "not ours")
	const beyond = int(serverLimit/beatEvery) + 5
	beats := 0
	beat := make(chan struct{}, 100)
	go func() {
		for range beyond {
			<-beat
		}
		b.say(tenant.Default, "three")
	}()
	e, ok := s.next(func(string) { beats++; beat <- struct{}{} })
	if !ok || e.Number != 3 || e.Message != "three" || beats < beyond {
		t.Errorf("%+v, %v after %d beats: %v", e, ok, beats, s.lines.Err())
	}
}

// A client that loses its stream again and again, while events are written, and comes
// back to one server or another, gets each event once, in order.
func TestEventStreamResumes(t *testing.T) {
	b := newBench(t)
	urls := []string{b.serve(), b.serve()}
	const count = 60
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range count {
			b.say(tenant.Default, fmt.Sprint("e", n+1))
		}
	}()
	for after := int64(0); after < count; {
		s, cut := b.stream(urls[after%2]+eventsPath, "Last-Event-ID", strconv.FormatInt(after, 10))
		for range 7 {
			e, ok := s.next(nil)
			if !ok || e.Number != after+1 || e.Message != fmt.Sprint("e", e.Number) {
				t.Fatalf("after %d comes %+v, %v: %v", after, e, ok, s.lines.Err())
			}
			if after = e.Number; after == count {
				break
			}
		}
		cut()
	}
	<-done
}

// Streams end when the server stops, so that their clients go elsewhere.
func TestEventStreamsEndWithTheServer(t *testing.T) {
	stopping, stop := context.WithCancel(context.Background())
	b := newBench(t, func(c *api.Config) { c.Stopping = stopping })
	b.say(tenant.Default, "one")
	url := b.serve()
	s, _ := b.stream(url + eventsPath)
	s.must(1, "one")
	conn := b.dial(url, "")
	b.mustRead(conn, 1, "one")
	stop()
	if e, ok := s.next(nil); ok || s.lines.Err() != nil {
		t.Errorf("%+v, %v", e, s.lines.Err())
	}
	if _, _, err := conn.Read(b.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("%v", err)
	}
}

// A client that takes nothing keeps nobody else waiting.
func TestSlowReader(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	long := strings.Repeat("x", 8<<10)
	slow, _ := b.open(url + eventsPath) // is never read
	for range 10 {
		b.say(tenant.Default, long, long, long, long, long, long, long, long, long, long)
	}
	s, _ := b.stream(url + eventsPath)
	s.lines.Buffer(nil, 1<<20)
	for n := range int64(100) {
		s.must(n+1, long)
	}
	b.say(tenant.Default, "last")
	s.must(101, "last")
	_ = slow.Body.Close()
}

func (b *bench) dial(url, query string, headers ...string) *websocket.Conn {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), soon)
	b.Cleanup(cancel)
	h := http.Header{"Authorization": {"Bearer " + adminKey}}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	conn, res, err := websocket.Dial(ctx, url+eventsPath+"/ws"+query, &websocket.DialOptions{HTTPHeader: h})
	if err != nil {
		b.Fatal(err)
	}
	if res.Body != nil {
		_ = res.Body.Close()
	}
	b.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func (b *bench) mustRead(conn *websocket.Conn, number int64, message string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), soon)
	defer cancel()
	kind, data, err := conn.Read(ctx)
	var e streamed
	if err != nil || kind != websocket.MessageText || json.Unmarshal(data, &e) != nil || e.Number != number || e.Message != message {
		b.Fatalf("got %s, %v; want %d %q", data, err, number, message)
	}
}

func TestEventSocket(t *testing.T) {
	b := newBench(t, func(c *api.Config) {
		c.Heartbeat, c.Gzip, c.CORSOrigins = 50*time.Millisecond, true, []string{"https://app.example"}
	})
	b.say(tenant.Default, "a1", "b2", "c3")
	url := b.serve()
	conn := b.dial(url, "?after=1&type=test.a,test.c,test.d", "Origin", "https://app.example")
	b.mustRead(conn, 3, "c3")
	go func() {
		b.say("other", "d1")
		b.say(tenant.Default, "b4", "d5")
	}()
	b.mustRead(conn, 5, "d5")
	// It answers pings, sees that it may close, and says nothing else.
	reading := conn.CloseRead(b.Context())
	if err := conn.Ping(reading); err != nil {
		t.Error(err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	conn, res, err := websocket.Dial(b.Context(), url+eventsPath+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{
		"Authorization": {"Bearer " + adminKey}, "Origin": {"https://evil.example"},
	}})
	if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Fatalf("another origin: %v, %v, %v", conn, res, err)
	}
	if body, _ := io.ReadAll(res.Body); !strings.Contains(string(body), `"code":"forbidden"`) {
		t.Errorf("%s", body)
	}
	_ = res.Body.Close()
}

// Who knows a number that the feed has not reached is told so: the database was restored.
func TestBeyondTheEnd(t *testing.T) {
	b := newBench(t)
	b.say(tenant.Default, "a1", "b2", "c3")
	a := b.call("GET", eventsPath+"?after=9", "").is(200, "")
	if a.json["beyond_end"] != true || a.json["last"] != 3.0 || a.header.Get("Berth-Last-Event") != "3" {
		t.Errorf("%v %s", a.header, a.body)
	}
	for _, query := range []string{"?after=3", "?after=0", "?after=2&type=test.x", ""} {
		if a := b.call("GET", eventsPath+query, "").is(200, ""); a.json["beyond_end"] != nil || a.header.Get("Berth-Last-Event") != "" {
			t.Errorf("%s: %v %s", query, a.header, a.body)
		}
	}
	if a := b.call("GET", eventsPath+"?after=4&instance_id=ins%00", "").is(200, ""); a.json["beyond_end"] != true {
		t.Errorf("%s", a.body)
	}

	// A stream says so and goes on with what comes.
	url := b.serve()
	res, _ := b.open(url+eventsPath, "Last-Event-ID", "9") //nolint:bodyclose // open sees to it
	if res.Header.Get("Berth-Last-Event") != "3" {
		t.Errorf("%v", res.Header)
	}
	conn := b.dial(url, "?after=9")
	var notice streamed
	if _, data, err := conn.Read(t.Context()); err != nil || json.Unmarshal(data, &notice) != nil || notice.Number != 3 || notice.Type != "feed.beyond_end" {
		t.Errorf("%v %s", err, data)
	}
	b.say(tenant.Default, "d4")
	if _, data, err := conn.Read(t.Context()); err != nil || json.Unmarshal(data, &notice) != nil || notice.Number != 4 || notice.Message != "d4" {
		t.Errorf("%v %s", err, data)
	}
	lines, want := bufio.NewScanner(res.Body), []string{"id: 3", "event: feed.beyond_end", "id: 4", "event: test.d"}
	for len(want) > 0 && lines.Scan() {
		if lines.Text() == want[0] {
			want = want[1:]
		} else if strings.HasPrefix(lines.Text(), "id: ") || strings.HasPrefix(lines.Text(), "event: ") {
			t.Errorf("%q, want %q", lines.Text(), want[0])
		}
	}
	if len(want) > 0 {
		t.Errorf("no %q: %v", want, lines.Err())
	}
}
