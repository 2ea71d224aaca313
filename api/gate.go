package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/requestid"
)

// gateHold is how long a request waits at the gate before it is sent away.
const gateHold = 5 * time.Second

// Gate stands before an API whose parts are still being opened. Requests that come early
// wait a while, so that a short start is not seen; health checks are answered at once.
type Gate struct {
	opened   chan struct{}
	handler  http.Handler // once opened
	stopping context.Context
}

// NewGate makes a gate that is shut. It holds nobody once the context has ended.
func NewGate(stopping context.Context) *Gate {
	return &Gate{opened: make(chan struct{}), stopping: stopping}
}

// Open lets requests through to the handler.
func (g *Gate) Open(handler http.Handler) {
	g.handler = handler
	close(g.opened)
}

// IsOpen reports whether requests are let through.
func (g *Gate) IsOpen() bool {
	select {
	case <-g.opened:
		return true
	default:
		return false
	}
}

// ServeHTTP implements http.Handler.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.await(r) {
		g.handler.ServeHTTP(w, r)
		return
	}
	named(http.HandlerFunc(g.turnAway)).ServeHTTP(w, r)
}

func (g *Gate) turnAway(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	safeHeaders(h)
	if r.TLS != nil {
		h.Set(strictTransportHeader, strictTransport)
	}
	h.Set("Retry-After", "1")
	h.Set("Connection", "close")
	if isHealthCheck(r) {
		status := "starting"
		if g.stopping.Err() != nil {
			status = "stopping"
		}
		answerAtGate(w, "application/json", map[string]string{"status": status})
		return
	}
	p := newProblem(http.StatusServiceUnavailable, fault.CodeUnavailable, "Berth is starting; try again in a moment")
	p.RequestID = requestid.Of(r.Context())
	answerAtGate(w, problemType, p)
}

// await reports whether the gate is open, or opens soon enough.
func (g *Gate) await(r *http.Request) bool {
	if g.IsOpen() || isHealthCheck(r) {
		return g.IsOpen()
	}
	hold := time.NewTimer(gateHold)
	defer hold.Stop()
	select {
	case <-g.opened:
		return true
	case <-hold.C:
	case <-g.stopping.Done():
	case <-r.Context().Done():
	}
	return false
}

func isHealthCheck(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

func answerAtGate(w http.ResponseWriter, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(w).Encode(body) // whoever has gone needs no answer
}
