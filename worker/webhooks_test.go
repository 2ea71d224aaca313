package worker_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/sender"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
	"github.com/berth-project/berth/internal/testenv"
	"github.com/berth-project/berth/internal/webhook"
)

// reallySend gives the bench a sender that really sends.
func (b *bench) reallySend() {
	b.Helper()
	vault, err := secret.NewKeyring(secret.MasterKey())
	if err != nil {
		b.Fatal(err)
	}
	sender, log, newID := sender.New(true, clock.System), slog.New(slog.DiscardHandler), id.NewSource().New
	b.Cleanup(sender.Close)
	b.service = rooms.NewService(rooms.ServiceConfig{
		Store: b.rows, Queue: b.tasks, Vault: vault, Secrets: secret.Random{}, Sender: sender, NewID: newID, Log: log, Bell: b.cfg.Bell,
	})
	b.cfg.Courier = webhook.NewCourier(webhook.CourierConfig{
		Store: rooms.Webhooks(b.rows), Queue: b.tasks, Vault: vault, Sender: sender, Events: b.service.Engine.Events, Now: clock.System, Log: log,
	})
}

// hang holds the answer back until the caller hangs up.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// naughty are the receivers that a webhook may meet, and what the delivery log says
// after the first attempt. Where it is empty, there is no end to it in this test.
var naughty = map[string]struct {
	handler http.HandlerFunc
	state   webhook.DeliveryState
	says    string
}{
	"hangs": {handler: hang},
	"hangs in its header": {handler: func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // nobody listens
		for err == nil {
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Slow: ")
			<-time.After(100 * time.Millisecond)
		}
	}},
	"fails":   {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "we are down", 500) }, webhook.DeliveryPending, "500 Internal Server Error"},
	"is gone": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }, webhook.DeliveryExhausted, "410 Gone"},
	"redirects inside": {func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusTemporaryRedirect)
	}, webhook.DeliveryPending, "307 Temporary Redirect"},
	"never ends": {func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("more ", 1000)); err != nil {
				return
			}
		}
	}, webhook.DeliveryDelivered, ""},
	"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, webhook.DeliveryPending, "EOF"},
}

// Real receivers of every bad kind, with a backlog each, hold up nobody: one that is
// well gets its events while they do what they do.
func TestNaughtyReceivers(t *testing.T) {
	b := newBench(t, embedded(t))
	b.reallySend()
	b.cfg.ShutdownTimeout = 100 * time.Millisecond // those that hang are hung up on
	listen := func(handler http.HandlerFunc) webhook.ID {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		h, _, err := b.service.CreateWebhook(t.Context(), tenanttest.Owner(tenant.Default), webhook.Request{URL: &server.URL, Events: &[]string{webhook.EventPing}})
		if err != nil {
			t.Fatal(err)
		}
		return h.ID
	}
	ping := func(id webhook.ID) webhook.DeliveryID {
		d, err := b.service.PingWebhook(t.Context(), tenanttest.Owner(tenant.Default), id)
		if err != nil {
			t.Fatal(err)
		}
		return d.ID
	}
	var got atomic.Int32
	arrived := make(chan string, 100)
	well := listen(func(_ http.ResponseWriter, r *http.Request) {
		got.Add(1)
		arrived <- r.Header.Get("webhook-id")
	})
	first := map[string]webhook.DeliveryID{}
	for name, bad := range naughty {
		id := listen(bad.handler)
		first[name] = ping(id)
		for range 9 {
			if bad.state != webhook.DeliveryExhausted { // which would end the others, too
				ping(id)
			}
		}
	}
	stop := b.start()
	for range 10 {
		begun := time.Now()
		ping(well)
		await(t, "a webhook", arrived)
		if took := time.Since(begun); took > testenv.Limit(15*time.Second) {
			t.Errorf("it came after %s", took)
		}
	}
	for name, bad := range naughty {
		if bad.state == "" {
			continue
		}
		d := b.attempted(first[name])
		last := d.Attempts[len(d.Attempts)-1]
		if d.State != bad.state || !strings.Contains(d.LastError, bad.says) || len(last.Answer) > 1024 {
			t.Errorf("%s: %+v", name, d)
		}
	}
	stop()
	if got.Load() != 10 {
		t.Errorf("%d for 10 events", got.Load())
	}
}

// attempted gives the delivery once it was tried.
func (b *bench) attempted(id webhook.DeliveryID) webhook.Delivery {
	b.Helper()
	tick, deadline := time.NewTicker(20*time.Millisecond), time.After(long)
	defer tick.Stop()
	for {
		d, err := b.store.Delivery(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		if len(d.Attempts) > 0 {
			return d
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.Fatalf("never tried: %+v", d)
		}
	}
}
