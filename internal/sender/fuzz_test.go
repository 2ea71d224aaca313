package sender

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/webhook"
)

// FuzzCallbackURL: an address that is taken can be called, holds no password, and names no
// address that is not public, in whatever way of writing.
func FuzzCallbackURL(f *testing.F) {
	for _, target := range []string{
		"https://example.com/hook?a=b#c", "http://example.com:8080", "HTTPS://EXAMPLE.com", "https://user:topsecret@example.com/", "http://", "http://:80/", "ftp://x", "http://a\nb/", "//x",
		"http://127.0.0.1", "http://127.1", "http://0x7f.1", "http://2130706433", "http://0177.0.0.1", "http://127.0.0.1.", "http://[::1]", "http://[::ffff:127.0.0.1]:80", "http://[fe80::1%25lo]/",
		"http://169.254.169.254/latest", "http://example.com:0", "http://example.com:65536", "http://example.com:", "http://exam%70le.com", "http://127.0.0%2e1/", "http://１２７.0.0.1/", "http://[::1",
		"http://localhost\\@example.com", "http://example.com%00/", "http://a..b/", "http:example.com", "http:///x", "https://bücher.example/",
	} {
		f.Add(target)
	}
	s := New(false, timer)
	f.Cleanup(s.Close)
	s.dialer.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name is looked up")
	}}
	f.Fuzz(func(t *testing.T, target string) {
		if err := s.CheckURL(t.Context(), target); err != nil {
			if strings.Contains(target, "topsecret") && strings.Contains(err.Error(), "topsecret") {
				t.Errorf("%q: %v", target, err)
			}
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, nil)
		if err != nil || r.URL.User != nil || r.URL.Hostname() == "" || len(target) > maxURLLength || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
			t.Fatalf("%q: %+v, %v", target, r, err)
		}
		if a, err := netip.ParseAddr(strings.TrimSuffix(r.URL.Hostname(), ".")); err == nil && !public(a) {
			t.Errorf("%q goes to %s", target, a)
		}
	})
}

// FuzzSignature: whatever is sent verifies with each of its secrets, and with nothing changed
// of it.
func FuzzSignature(f *testing.F) {
	f.Add("evt_1", `{"a":1}`, []byte("0123456789abcdef0123456789abcdef"), []byte("another secret"), int64(1614265330))
	f.Add("", "", []byte{0}, []byte{}, int64(0))
	f.Add("a.b", "1.{}", []byte{0xff}, []byte{0xff}, int64(-1))
	f.Add("evt_1.1614265330", "\x00\xff\n", []byte("x"), []byte("y"), int64(1<<40))
	f.Add("0", "0", []byte("0"), []byte("\x010"), int64(1614265304))
	f.Fuzz(func(t *testing.T, id, body string, first, second []byte, at int64) {
		if len(first) == 0 || len(second) == 0 {
			return
		}
		secrets := []secret.Secret{}
		for _, key := range [][]byte{first, second} {
			secrets = append(secrets, secret.New("whsec_"+base64.StdEncoding.EncodeToString(key)))
		}
		signature, err := sign(webhook.Message{ID: id, Body: []byte(body), Secrets: secrets}, time.Unix(at, 0))
		if err != nil {
			t.Fatal(err)
		}
		verify := func(key []byte, id, body string, at int64) error {
			v, err := standard.NewWebhookRaw(key)
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			h.Set(standard.HeaderWebhookID, id)
			h.Set(standard.HeaderWebhookTimestamp, fmt.Sprint(at))
			h.Set(standard.HeaderWebhookSignature, signature)
			return v.VerifyIgnoringTimestamp([]byte(body), h)
		}
		other := slices.Concat([]byte{1}, first, second) // is neither, also where HMAC fills a key up with zeros
		for _, key := range [][]byte{first, second} {
			if id != "" {
				if err := verify(key, id, body, at); err != nil {
					t.Errorf("%q does not verify: %v", signature, err)
				}
			}
			if verify(key, id, body+" ", at) == nil || verify(key, id, body, at+1) == nil || verify(other, id, body, at) == nil {
				t.Error("something else has the same signature")
			}
		}
	})
}

// FuzzRetryAfter: whatever a receiver asks for is no time in the past, and seconds are seconds.
func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"2", " 120 ", "-5", "1e3", "99999999999", strings.Repeat("9", 100), "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0000 00:00:00 GMT", "", "\xff", "٣"} {
		f.Add(value, uint32(7))
	}
	f.Fuzz(func(t *testing.T, value string, seconds uint32) {
		if got := retryAfter([]string{value}, vectorTime); got < 0 {
			t.Errorf("%q: %s", value, got)
		}
		if got := retryAfter([]string{fmt.Sprint(seconds)}, vectorTime); got != time.Duration(seconds)*time.Second {
			t.Errorf("%d: %s", seconds, got)
		}
	})
}
