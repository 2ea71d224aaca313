package docker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// TestBusyEngine has an engine that takes long for a call and answers pings meanwhile: the
// call is waited for, and made once.
func TestBusyEngine(t *testing.T) {
	for name, call := range map[string]func(context.Context, *engine) error{
		"a change": func(ctx context.Context, e *engine) error { return e.removeContainer(ctx, "x") },
		"a look": func(ctx context.Context, e *engine) error {
			_, err := e.inspectContainer(ctx, "x")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var pings, calls atomic.Int64
			enough := make(chan struct{})
			r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Api-Version", "1.41")
				if q.URL.Path == "/_ping" {
					if pings.Add(1) == 4 { // one to agree on a version, and one for each limit that passed
						close(enough)
					}
					return
				}
				calls.Add(1)
				<-enough
				if q.Method == http.MethodGet {
					_, _ = w.Write([]byte(`{"Id":"x"}`))
					return
				}
				w.WriteHeader(http.StatusNoContent)
			}), Config{CallLimit: 50 * time.Millisecond})
			if err := call(t.Context(), r.engine); err != nil {
				t.Errorf("got %v", err)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("it was called %d times", n)
			}
		})
	}
}

// TestTooBusyEngine has one that never comes to an end: it is not said to be away.
func TestTooBusyEngine(t *testing.T) {
	ended := make(chan struct{})
	r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if q.URL.Path != "/_ping" {
			<-ended
		}
	}), Config{CallLimit: 20 * time.Millisecond})
	t.Cleanup(func() { close(ended) })
	err := r.engine.removeContainer(t.Context(), "x")
	if fault.CodeOf(err) != fault.CodeHostUnavailable || !strings.Contains(err.Error(), "overloaded") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.engine.removeContainer(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's own end is the caller's own error, got %v", err)
	}
}

// TestSilentEngine has one that answers nothing any more once it is at a call.
func TestSilentEngine(t *testing.T) {
	var silent atomic.Bool
	ended := make(chan struct{})
	r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/_ping" {
			silent.Store(true)
		}
		if silent.Load() {
			<-ended
		}
		w.Header().Set("Api-Version", "1.41")
	}), Config{CallLimit: 50 * time.Millisecond})
	t.Cleanup(func() { close(ended) })
	err := r.engine.removeContainer(t.Context(), "x")
	if fault.CodeOf(err) != fault.CodeHostUnavailable || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("got %v", err)
	}
}
