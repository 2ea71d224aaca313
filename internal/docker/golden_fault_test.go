package docker

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// behind gives a runtime whose calls pass a handler on their way to the engine.
func (r *realEngine) behind(t *testing.T, handle func(w http.ResponseWriter, q *http.Request, engine http.Handler)) *Runtime {
	t.Helper()
	socket := strings.TrimPrefix(r.host.Endpoint, "unix://")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	proxy.Transport = transport
	return runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		handle(w, q, proxy)
	}), Config{Deployment: r.deployment})
}

// faulty spoils one call: before it has an effect, or after it, when its answer is lost.
func (r *realEngine) faulty(t *testing.T, method, part string, after bool) *Runtime {
	t.Helper()
	var spoiled atomic.Bool
	return r.behind(t, func(w http.ResponseWriter, q *http.Request, engine http.Handler) {
		if q.Method != method || !strings.Contains(q.URL.Path, part) || !spoiled.CompareAndSwap(false, true) {
			engine.ServeHTTP(w, q)
			return
		}
		if after {
			engine.ServeHTTP(discard{http.Header{}}, q)
		}
		panic(http.ErrAbortHandler) // the connection ends without an answer
	})
}

// discard is an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// TestGoldenOutlivesFaults spoils each call that makes golden data. Whoever asks next
// gets it, and what made it is gone.
func TestGoldenOutlivesFaults(t *testing.T) {
	local := newRealEngine(t)
	for name, call := range map[string][2]string{
		"create": {http.MethodPost, "/containers/create"},
		"files":  {http.MethodPut, "/archive"},
		"start":  {http.MethodPost, "/start"},
		"commit": {http.MethodPost, "/commit"},
		"remove": {http.MethodDelete, "/containers/"},
	} {
		for when, after := range map[string]bool{"before": false, "after": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				g := local.goldenData(t)
				_, err := local.faulty(t, call[0], call[1], after).EnsureGolden(t.Context(), g, nil)
				if name != "remove" && fault.CodeOf(err) != fault.CodeHostUnavailable {
					t.Errorf("got %v", err)
				}
				began := time.Now()
				if got := local.content(t, local.ensured(t, local.runtime(t), g)); got != "made\n" {
					t.Errorf("an instance sees %q", got)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("the next one waited for %s", took)
				}
				// What is left when only the answer, or the removal, was lost goes with its age.
				if local.containerThere(t, local.goldenSpec(t, g).Make.Name) && name != "commit" && name != "remove" {
					t.Error("what made it is left")
				}
			})
		}
	}
}

// TestGoldenWithoutFigures has an engine that cannot say how much the container has done,
// as engines do when it ends under the question. That is no reason to give up.
func TestGoldenWithoutFigures(t *testing.T) {
	local := newRealEngine(t)
	for name, answer := range map[string]http.HandlerFunc{
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"cgroups: cgroup deleted: unknown"}`, http.StatusInternalServerError)
		},
		"gone": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"No such container"}`, http.StatusNotFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Bool
			g := local.goldenData(t)
			g.Command = []string{"/bin/sh", "-c", "sleep 1; echo made > /golden/data"}
			runtime := local.behind(t, func(w http.ResponseWriter, q *http.Request, engine http.Handler) {
				if strings.HasSuffix(q.URL.Path, "/stats") {
					asked.Store(true)
					answer(w, q)
					return
				}
				engine.ServeHTTP(w, q)
			})
			if got := local.content(t, local.ensured(t, runtime, g)); got != "made\n" {
				t.Errorf("an instance sees %q", got)
			}
			if !asked.Load() {
				t.Error("it was not asked")
			}
		})
	}
}
