package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
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
	hosts := New(Config{CallLimit: time.Second})
	defer func() { _ = hosts.Close() }()
	r, err := hosts.Runtime(host.Host{Name: "hung", Endpoint: "tcp://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	answers := make(chan error, 10)
	for range cap(answers) {
		go func() { answers <- r.Ping(t.Context()) }()
	}
	for range cap(answers) {
		if err := <-answers; fault.CodeOf(err) != fault.CodeHostUnavailable {
			t.Errorf("got %v", err)
		}
	}
	if _, err := r.EnsureImage(t.Context(), []string{"redis:8"}, nil); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("EnsureImage: %v", err)
	}
	if took := time.Since(began); took > 8*time.Second { // one after the other it would be 11
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
	r, err := hosts.Runtime(host.Host{Name: "leaving", Endpoint: "tcp://" + server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := asked.Load()
	_ = server.Listener.Close()
	if err := r.Ping(t.Context()); fault.CodeOf(err) != fault.CodeHostUnavailable || asked.Load() != before {
		t.Errorf("got %v, and it was asked %d times more", err, asked.Load()-before)
	}
}

// crowd is an engine where every call waits until it is let go.
type crowd struct {
	now, most      atomic.Int64
	arrived, leave chan struct{}
}

func (c *crowd) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	if q.URL.Path == "/_ping" {
		return
	}
	c.most.Store(max(c.most.Load(), c.now.Add(1)))
	c.arrived <- struct{}{}
	<-c.leave
	c.now.Add(-1)
	if q.Method == http.MethodGet {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func TestCallsAreBounded(t *testing.T) {
	for name, call := range map[string]func(context.Context, *engine) error{
		"changes": func(ctx context.Context, e *engine) error { return e.removeContainer(ctx, "x") },
		"reads": func(ctx context.Context, e *engine) error {
			if _, err := e.inspectContainer(ctx, "x"); !errors.Is(err, fault.ErrNotFound) {
				return fmt.Errorf("inspect: %w", err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &crowd{arrived: make(chan struct{}), leave: make(chan struct{})}
			r := runtimeOn(t, c, Config{Parallel: 2, Reads: 2})
			const calls = 6
			answers := make(chan error, calls)
			for range calls {
				go func() { answers <- call(t.Context(), r.engine) }()
			}
			for range calls / 2 {
				<-c.arrived
				<-c.arrived
				c.leave <- struct{}{}
				c.leave <- struct{}{}
			}
			for range calls {
				if err := <-answers; err != nil {
					t.Error(err)
				}
			}
			if c.most.Load() != 2 {
				t.Errorf("%d at once, want 2", c.most.Load())
			}
		})
	}
}

// Changes that take up all of their slots keep nobody from looking, nor the other way
// round; and who waits for a slot waits no longer than he wants to.
func TestReadsAndChangesDoNotWaitForEachOther(t *testing.T) {
	c := &crowd{arrived: make(chan struct{}), leave: make(chan struct{})}
	r := runtimeOn(t, c, Config{Parallel: 1, Reads: 1})
	change := func() error { return r.engine.removeContainer(t.Context(), "x") }
	look := func() error {
		_, err := r.engine.inspectContainer(t.Context(), "x")
		if errors.Is(err, fault.ErrNotFound) {
			return nil
		}
		return err
	}
	answers := make(chan error, 2)
	for _, call := range []func() error{change, look} {
		go func() { answers <- call() }()
		<-c.arrived // while the one before is there still
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.engine.inspectContainer(ctx, "y"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one without a slot: %v", err)
	}
	if err := r.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	for range 2 {
		c.leave <- struct{}{}
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestNoCertificates(t *testing.T) {
	hosts := New(Config{CertPath: t.TempDir()})
	_, err := hosts.Runtime(host.Host{Name: "x", Endpoint: "tcp://127.0.0.1:2376"})
	if fault.CodeOf(err) != fault.CodeHostUnavailable || !strings.Contains(err.Error(), "DOCKER_CERT_PATH") {
		t.Errorf("got %v", err)
	}
}

func TestBadEndpoint(t *testing.T) {
	hosts := New(Config{})
	if _, err := hosts.Runtime(host.Host{Name: "x", Endpoint: "nonsense"}); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("got %v", err)
	}
	if err := hosts.Close(); err != nil {
		t.Error(err)
	}
	if _, err := hosts.Runtime(host.Host{Endpoint: "unix:///x"}); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("after Close: %v", err)
	}
}
