package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/testenv"
)

// watch gives the news of a runtime until the test ends.
func watch(t *testing.T, r *Runtime) <-chan host.UnitID {
	t.Helper()
	news, done := make(chan host.UnitID, 100), make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- r.Watch(ctx, func(id host.UnitID) { news <- id }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch ended with %v", err)
		}
	})
	return news
}

// hear waits for news of the instance, and gives how long it took.
func hear(t *testing.T, news <-chan host.UnitID, id host.UnitID, limit time.Duration) time.Duration {
	t.Helper()
	began, end := time.Now(), time.After(limit)
	for {
		select {
		case got := <-news:
			if got == id {
				return time.Since(began)
			}
		case <-end:
			t.Fatalf("no news of %q within %s", id, limit)
		}
	}
}

// forget drops the news that have come until now.
func forget(news <-chan host.UnitID) {
	for len(news) > 0 {
		<-news
	}
}

// TestWatchOutlivesTheEngine restarts a real engine, in order and by SIGKILL: what does
// not run afterwards is told, and so is what ends later, as soon as ever.
func TestWatchOutlivesTheEngine(t *testing.T) {
	t.Parallel()
	e := testenv.NewEngine(t, redisImages...)
	own := &realEngine{host: host.Host{Name: "own", Endpoint: e.URL}, deployment: "test-" + rand.Text()}
	own.hosts = New(Config{Deployment: own.deployment})
	t.Cleanup(func() { _ = own.hosts.Close() })
	r, w := own.runtime(t), own.workload(t)
	image, err := r.EnsureImage(t.Context(), redisImages, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Image, w.Bind = image, e.Host
	start(t, r, w)
	if err := r.Settle(t.Context(), w.Unit, w.Fence); err != nil {
		t.Fatal(err)
	}
	news := watch(t, r)
	testenv.Eventually(t, "the watch has begun", 20*time.Second, func(ctx context.Context) error {
		if _, err := e.Docker(ctx, "restart", "--time", "0", nameOf(w.Unit)); err != nil {
			return err
		}
		select {
		case <-news:
			return nil
		case <-time.After(200 * time.Millisecond):
			return errors.New("nothing was told")
		}
	})
	const limit = reopenEvery + 20*time.Second // it opens the stream again first, on an engine that has just come up
	for _, restart := range []struct {
		name string
		end  func()
	}{{"stopped", e.Stop}, {"killed", e.Kill}, {"killed again", e.Kill}} {
		restart.end()
		forget(news) // what it told on its way out
		e.Start()
		unit, err := r.Inspect(t.Context(), w.Unit)
		if err != nil {
			t.Fatal(err)
		}
		if !unit.Running { // a dockerd that was killed ends what it finds, and leaves it
			t.Logf("%s: told of what does not run after %s", restart.name, hear(t, news, w.Unit, limit))
			w.Fence++
			start(t, r, w)
			forget(news)
		}
		if _, err := e.Docker(t.Context(), "kill", nameOf(w.Unit)); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: told of an end after %s", restart.name, hear(t, news, w.Unit, limit))
		w.Fence++
		start(t, r, w)
		if err := r.Settle(t.Context(), w.Unit, w.Fence); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWatchMissesNothing has a stream end that has told nothing yet, and a container
// end right after the list that is made then.
func TestWatchMissesNothing(t *testing.T) {
	const deployment = "fake"
	died := make(chan struct{})
	var streams, lists atomic.Int64
	r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		answer := "{}"
		switch q.URL.Path {
		case "/_ping":
			answer = "OK"
		case "/v1.41/info":
			answer = `{"SystemTime": "2026-11-21T05:00:00.5Z"}`
		case "/v1.41/containers/json":
			answer = "[]"
			if lists.Add(1) == 1 {
				defer close(died)
			}
		case "/v1.41/events":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			if streams.Add(1) == 1 {
				return // it ends
			}
			// The engine tells of what happens from now on, or since the time that it was given.
			select {
			case <-died:
				if q.URL.Query().Get("since") != "1795237200.500000000" {
					return
				}
			default:
			}
			select {
			case <-died:
			case <-q.Context().Done():
				return
			}
			answer = fmt.Sprintf(`{"Type": "container", "Action": "die", "Actor": {"Attributes": {%q: "ins_late", %q: %q}}, "timeNano": 1795237201000000000}`,
				labelInstance, labelDeployment, deployment)
			_, _ = io.WriteString(w, answer)
			w.(http.Flusher).Flush()
			<-q.Context().Done()
			return
		}
		_, _ = io.WriteString(w, answer)
	}), Config{Deployment: deployment})
	hear(t, watch(t, r), "ins_late", 10*time.Second)
}
