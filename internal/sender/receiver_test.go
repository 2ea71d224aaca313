package sender

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/webhook"
)

// Signed with two secrets, a message is taken by who has either, and by nobody else.
func TestTwoSignatures(t *testing.T) {
	got := make(chan http.Header, 1)
	target := receive(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
	secrets := []secret.Secret{secret.New("whsec_bmV3IHNlY3JldCBvZiAyNCBieXRlcw=="), whsec}
	message := webhook.Message{URL: target, ID: vectorID, Body: []byte(vectorBody), Secrets: secrets}
	if _, err := newSender(t, true, timer).Send(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	header := <-got
	signatures := strings.Split(header.Get("webhook-signature"), " ")
	if len(signatures) != 2 || signatures[1] != vectorSignature || !strings.HasPrefix(signatures[0], "v1,") {
		t.Errorf("signed with %q", signatures)
	}
	for _, secret := range secrets {
		verifier, err := standard.NewWebhook(secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.VerifyIgnoringTimestamp([]byte(vectorBody), header); err != nil {
			t.Error(err)
		}
	}
	stranger, err := standard.NewWebhook("bm90IG91ciBzZWNyZXQgYXQgYWxsISE=")
	if err != nil {
		t.Fatal(err)
	}
	if stranger.VerifyIgnoringTimestamp([]byte(vectorBody), header) == nil {
		t.Error("a stranger's secret verifies it")
	}
}

// The beginning of an answer is kept, whatever follows.
func TestAnswerBody(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"short": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "why") },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := io.WriteString(w, "why"+strings.Repeat(" not", 1000)); err != nil {
					return
				}
			}
		},
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, "why")
		},
	} {
		answer, err := newSender(t, true, timer).Send(t.Context(), webhook.Message{URL: receive(t, handler), ID: "evt_1", Secrets: []secret.Secret{whsec}})
		if err != nil || answer.Status != http.StatusOK || !strings.HasPrefix(answer.Body, "why") || len(answer.Body) > maxAnswer {
			t.Errorf("%s: %d bytes %.10q, %v", name, len(answer.Body), answer.Body, err)
		}
	}
}

// A header that comes one byte at a time ends with the attempt's time, not with its
// own.
func TestSlowHeader(t *testing.T) {
	target := rawServer(t, func(c net.Conn) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for _, b := range []byte("HTTP/1.1 200 OK\r\nX-Slow: " + strings.Repeat("x", 10_000)) {
			<-tick.C
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
		}
	})
	s := newSender(t, true, timer)
	s.client.Timeout = 200 * time.Millisecond
	began := time.Now()
	_, err := send(t.Context(), s, target, "evt_1", []byte("{}"), whsec)
	var n net.Error
	if !errors.As(err, &n) || !n.Timeout() || time.Since(began) > 5*time.Second {
		t.Errorf("got %v after %s", err, time.Since(began))
	}
}

// nameserver answers every question for an IPv4 address with what next gives, and
// every other one with nothing.
func nameserver(t *testing.T, next func() netip.Addr) *net.Resolver {
	t.Helper()
	var config net.ListenConfig
	server, err := config.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		question := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(question)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(dnsAnswer(question[:n], next), from)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// dnsAnswer makes the answer to a question (RFC 1035, section 4).
func dnsAnswer(question []byte, next func() netip.Addr) []byte {
	const header = 12
	end := header
	for question[end] != 0 {
		end += int(question[end]) + 1
	}
	end += 5 // the name's end, type and class
	answer := append([]byte{}, question[:end]...)
	binary.BigEndian.PutUint16(answer[2:], 0x8180) // a response, recursion available
	binary.BigEndian.PutUint16(answer[6:], 0)
	binary.BigEndian.PutUint16(answer[8:], 0)
	binary.BigEndian.PutUint16(answer[10:], 0)
	if typeA := uint16(1); binary.BigEndian.Uint16(question[end-4:]) == typeA {
		binary.BigEndian.PutUint16(answer[6:], 1)
		address := next().As4()
		answer = append(answer, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the same name, A, IN, no time to live
		answer = append(answer, address[:]...)
	}
	return answer
}

// A name that was public when the address was checked and is not when it is called
// reaches nobody (DNS rebinding).
func TestRebinding(t *testing.T) {
	var reached, asked atomic.Int32
	target := receive(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	port := target[strings.LastIndex(target, ":"):]
	addresses := []string{"192.88.98.1", "127.0.0.1", "169.254.169.254", "10.0.0.1"}
	s := newSender(t, false, timer)
	s.dialer.Resolver = nameserver(t, func() netip.Addr {
		n := int(asked.Add(1)) - 1
		return netip.MustParseAddr(addresses[min(n, len(addresses)-1)])
	})
	url := "http://rebind.example" + port + "/hook"
	if err := s.CheckURL(t.Context(), url); err != nil {
		t.Fatalf("the first address is public: %v", err)
	}
	for n := 1; n < len(addresses); n++ {
		if _, err := send(t.Context(), s, url, "evt_1", []byte("{}"), whsec); !errors.Is(err, errForbidden) {
			t.Errorf("to %s: %v", addresses[n], err)
		}
	}
	if err := s.CheckURL(t.Context(), url); !errors.Is(err, errForbidden) {
		t.Errorf("checked again: %v", err)
	}
	if reached.Load() != 0 || int(asked.Load()) != len(addresses)+1 {
		t.Errorf("reached %d times, asked %d times", reached.Load(), asked.Load())
	}
	// The same name with nothing to hide gets through, by the same resolver.
	open := newSender(t, true, timer)
	open.dialer.Resolver = nameserver(t, func() netip.Addr { return netip.MustParseAddr("127.0.0.1") })
	if status, err := send(t.Context(), open, url, "evt_1", []byte("{}"), whsec); err != nil || status != http.StatusOK {
		t.Error(fmt.Sprint(status), err)
	}
}
