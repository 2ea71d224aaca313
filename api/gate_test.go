package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/api"
)

// TestGate has requests come before there is an API.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		gate := api.NewGate(ctx)
		ask := func(path string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			gate.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			return w
		}
		refused := func(what string, w *httptest.ResponseRecorder, kind, words string) {
			t.Helper()
			if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("Content-Type") != kind || !strings.Contains(w.Body.String(), words) {
				t.Errorf("%s: %d %v %s", what, w.Code, w.Header(), w.Body)
			}
		}
		begun := time.Now()
		refused("health", ask("/healthz"), "application/json", `"starting"`)
		refused("ready", ask("/readyz"), "application/json", `"starting"`)
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("health checks waited %s", waited)
		}
		refused("a request", ask("/api/v1/jobs"), "application/problem+json", `"unavailable"`)
		if waited := time.Since(begun); waited != 5*time.Second {
			t.Errorf("a request waited %s", waited)
		}
		held := make(chan *httptest.ResponseRecorder)
		go func() { held <- ask("/api/v1/jobs") }()
		synctest.Wait()
		gate.Open(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
		if w := <-held; w.Code != http.StatusTeapot {
			t.Errorf("one that waited: %d", w.Code)
		}
		if w := ask("/readyz"); w.Code != http.StatusTeapot || !gate.IsOpen() {
			t.Errorf("through an open gate: %d", w.Code)
		}
		stop()
		shut := api.NewGate(ctx)
		gate = shut
		refused("while stopping", ask("/readyz"), "application/json", `"stopping"`)
		begun = time.Now()
		refused("while stopping", ask("/api/v1/jobs"), "application/problem+json", `"unavailable"`)
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("it was held for %s", waited)
		}
	})
}
