package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// imageEngine is as much of a Docker engine as a pull needs.
type imageEngine struct {
	mu     sync.Mutex
	there  map[string]bool
	pulls  int
	gone   int                                              // pulls whose asker went away
	stream func(ctx context.Context, say func(text string)) // nil: nothing to say
}

func (e *imageEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	_, route, _ := strings.Cut(r.URL.Path, "/v1.41")
	switch {
	case r.URL.Path == "/_ping":
	case route == "/images/create":
		e.pull(w, r)
	case strings.HasPrefix(route, "/images/"):
		name := strings.TrimSuffix(strings.TrimPrefix(route, "/images/"), "/json")
		e.mu.Lock()
		there := e.there[name]
		e.mu.Unlock()
		if !there {
			w.WriteHeader(http.StatusNotFound)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"Id": name, "message": "No such image"})
	default:
		w.WriteHeader(http.StatusTeapot)
	}
}

func (e *imageEngine) pull(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.pulls++
	stream := e.stream
	e.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	if stream != nil {
		stream(r.Context(), func(text string) {
			_, _ = fmt.Fprintln(w, text)
			_ = http.NewResponseController(w).Flush()
		})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Context().Err() != nil {
		e.gone++
		return
	}
	name := r.URL.Query().Get("fromImage") + ":" + r.URL.Query().Get("tag")
	e.there[strings.TrimPrefix(name, "docker.io/library/")] = true
}

func (e *imageEngine) counts() (pulls, gone int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pulls, e.gone
}

func runtimeOn(t *testing.T, handler http.Handler, config Config) *Runtime {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	hosts := New(config)
	t.Cleanup(func() { _ = hosts.Close() })
	r, err := hosts.Runtime(host.Host{Name: "h1", Endpoint: "tcp://" + server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	return r.(*Runtime)
}

const layerHalf = `{"id":"l1","status":"Downloading","progressDetail":{"current":120000000,"total":260000000}}`

// TestPullOnce has many wait for one pull; the first of them leaves.
func TestPullOnce(t *testing.T) {
	finish := make(chan struct{})
	e := &imageEngine{there: map[string]bool{}, stream: func(ctx context.Context, say func(string)) {
		say(layerHalf)
		select {
		case <-finish:
		case <-ctx.Done():
		}
	}}
	r := runtimeOn(t, e, Config{})
	const askers = 10
	type answer struct {
		reference string
		err       error
	}
	ask := func(ctx context.Context, told chan<- struct{}, answers chan<- answer) {
		var once sync.Once
		reference, err := r.EnsureImage(ctx, []string{"redis:8", "berth/redis:8"}, func(text string) {
			if text == "pulling 46% (120 MB of 260 MB)" {
				once.Do(func() { told <- struct{}{} })
			}
		})
		answers <- answer{reference, err}
	}
	first, leave := context.WithCancel(t.Context())
	defer leave()
	told, firstAnswer, answers := make(chan struct{}), make(chan answer, 1), make(chan answer, askers)
	go ask(first, told, firstAnswer)
	<-told
	for range askers {
		go ask(t.Context(), told, answers)
	}
	for range askers {
		<-told // every waiter hears of it
	}
	leave()
	if got := <-firstAnswer; !errors.Is(got.err, context.Canceled) {
		t.Errorf("who left was told %v", got.err)
	}
	close(finish)
	for range askers {
		if got := <-answers; got.err != nil || got.reference != "redis:8" {
			t.Errorf("got %+v", got)
		}
	}
	if pulls, gone := e.counts(); pulls != 1 || gone != 0 {
		t.Errorf("%d pulls, %d given up; want 1 and 0", pulls, gone)
	}
}

// TestPullLeftByAll ends with its last waiter, and can be asked for again.
func TestPullLeftByAll(t *testing.T) {
	begun, ended := make(chan struct{}, 2), make(chan struct{}, 2)
	e := &imageEngine{there: map[string]bool{}, stream: func(ctx context.Context, _ func(string)) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
	}}
	r := runtimeOn(t, e, Config{})
	for range 2 {
		ctx, leave := context.WithCancel(t.Context())
		go func() { <-begun; leave() }()
		if _, err := r.EnsureImage(ctx, []string{"redis:8"}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		<-ended
	}
	if pulls, _ := e.counts(); pulls != 2 {
		t.Errorf("%d pulls, want 2", pulls)
	}
}

func TestPullFails(t *testing.T) {
	refused := func(_ context.Context, say func(string)) {
		say(`{"errorDetail":{"message":"no basic auth"},"error":"no basic auth"}`)
	}
	silent := func(ctx context.Context, say func(string)) { say(layerHalf); <-ctx.Done() }
	for name, stream := range map[string]func(context.Context, func(string)){"refused": refused, "silent": silent} {
		e := &imageEngine{there: map[string]bool{}, stream: stream}
		r := runtimeOn(t, e, Config{PullStall: 100 * time.Millisecond})
		_, err := r.EnsureImage(t.Context(), []string{"mysql:9.7", "berth/mysql:9.7"}, nil)
		var problem *fault.Error
		if !errors.As(err, &problem) || problem.Code != fault.CodeImageUnavailable {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		for _, words := range []string{"mysql:9.7", "host h1", "run scripts/images.sh on the host", "set BERTH_IMAGE_MYSQL"} {
			if !strings.Contains(problem.Message, words) {
				t.Errorf("%s: %q does not say %q", name, problem.Message, words)
			}
		}
	}
}

func TestFirstPresentWins(t *testing.T) {
	e := &imageEngine{there: map[string]bool{"berth/redis:8": true}}
	r := runtimeOn(t, e, Config{})
	got, err := r.EnsureImage(t.Context(), []string{"redis:8", "berth/redis:8"}, nil)
	if pulls, _ := e.counts(); err != nil || got != "berth/redis:8" || pulls != 0 {
		t.Errorf("got %q, %v, after %d pulls", got, err, pulls)
	}
}

func TestProgressText(t *testing.T) {
	stream := strings.Join([]string{
		`{"status":"Pulling from library/redis","id":"8"}`,
		`{"id":"l1","status":"Downloading","progressDetail":{"current":10000000,"total":40000000}}`,
		`{"id":"l2","status":"Downloading","progressDetail":{"current":0,"total":60000000}}`,
		`{"id":"l1","status":"Download complete"}`,
		`{"id":"l1","status":"Extracting","progressDetail":{"current":1,"total":40000000}}`,
		`{"id":"l2","status":"Pull complete"}`,
	}, "\n")
	var got []string
	if err := readPull(strings.NewReader(stream), func(text string) { got = append(got, text) }); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"", "pulling 25% (10 MB of 40 MB)", "pulling 10% (10 MB of 100 MB)", "pulling 40% (40 MB of 100 MB)",
		"pulling 40% (40 MB of 100 MB)", "pulling 100% (100 MB of 100 MB)",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
