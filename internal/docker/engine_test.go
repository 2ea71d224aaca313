package docker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/provision"
)

// TestHungEngine has an engine that takes connections and never answers: each of
// many calls at once ends after its own time limit, not after those of the others.
func TestHungEngine(t *testing.T) {
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	hosts := New(Config{CallLimit: 300 * time.Millisecond})
	defer func() { _ = hosts.Close() }()
	r, err := hosts.Runtime(provision.Host{Name: "hung", Endpoint: "tcp://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	answers := make(chan error, 10)
	for range cap(answers) {
		go func() { answers <- r.Ping(t.Context()) }()
	}
	for range cap(answers) {
		if err := <-answers; provision.CodeOf(err) != provision.CodeHostUnavailable {
			t.Errorf("got %v", err)
		}
	}
	if _, err := r.EnsureImage(t.Context(), []string{"redis:8"}, nil); provision.CodeOf(err) != provision.CodeHostUnavailable {
		t.Errorf("EnsureImage: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	// The caller's own end is the caller's own error.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestNoConnectionIsKept has an engine that takes no new connections, as a dockerd that
// is going down: it is asked nothing more on old ones.
func TestNoConnectionIsKept(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Api-Version", "1.41")
	}))
	defer server.Close()
	hosts := New(Config{})
	defer func() { _ = hosts.Close() }()
	r, err := hosts.Runtime(provision.Host{Name: "leaving", Endpoint: "tcp://" + server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := asked.Load()
	_ = server.Listener.Close()
	if err := r.Ping(t.Context()); provision.CodeOf(err) != provision.CodeHostUnavailable || asked.Load() != before {
		t.Errorf("got %v, and it was asked %d times more", err, asked.Load()-before)
	}
}

func TestChangesAreBounded(t *testing.T) {
	var now, most atomic.Int64
	arrived, leave := make(chan struct{}), make(chan struct{})
	r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if q.URL.Path == "/_ping" {
			return
		}
		most.Store(max(most.Load(), now.Add(1)))
		arrived <- struct{}{}
		<-leave
		now.Add(-1)
		w.WriteHeader(http.StatusNoContent)
	}), Config{Parallel: 2})
	const calls = 6
	answers := make(chan error, calls)
	for range calls {
		go func() { answers <- r.engine.removeContainer(t.Context(), "x") }()
	}
	for range calls / 2 {
		<-arrived
		<-arrived
		leave <- struct{}{}
		leave <- struct{}{}
	}
	for range calls {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if most.Load() != 2 {
		t.Errorf("%d at once, want 2", most.Load())
	}
}

func TestBadEndpoint(t *testing.T) {
	hosts := New(Config{})
	if _, err := hosts.Runtime(provision.Host{Name: "x", Endpoint: "nonsense"}); provision.CodeOf(err) != provision.CodeHostUnavailable {
		t.Errorf("got %v", err)
	}
	if err := hosts.Close(); err != nil {
		t.Error(err)
	}
	if _, err := hosts.Runtime(provision.Host{Endpoint: "unix:///x"}); provision.CodeOf(err) != provision.CodeHostUnavailable {
		t.Errorf("after Close: %v", err)
	}
}
