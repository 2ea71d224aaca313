package sender

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The vector of Standard Webhooks' own tests (libraries/go/webhook_test.go, TestWebhookSign).
const (
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorSecret    = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" //nolint:gosec // public
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

var vectorTime = time.Unix(1614265330, 0).UTC()

var whsec = secret.New("whsec_" + vectorSecret)

func newSender(t *testing.T, allowPrivate bool, now clock.Clock) *Sender {
	t.Helper()
	s := New(allowPrivate, now)
	t.Cleanup(s.Close)
	return s
}

// send sends a message that is signed once, and gives the status.
func send(ctx context.Context, s *Sender, target, id string, body []byte, sec secret.Secret) (int, error) {
	answer, err := s.Send(ctx, webhook.Message{URL: target, ID: id, Body: body, Secrets: []secret.Secret{sec}})
	return answer.Status, err
}

func timer() time.Time { return vectorTime }

// receive serves a handler.
func receive(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestSigned(t *testing.T) {
	type request struct {
		method, path string
		header       http.Header
		body         []byte
	}
	got := make(chan request, 2)
	target := receive(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.Method, r.RequestURI, r.Header, body}
		w.WriteHeader(http.StatusAccepted)
	})
	verifier, err := standard.NewWebhook(vectorSecret)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []secret.Secret{whsec, secret.New(vectorSecret)} {
		status, err := send(t.Context(), newSender(t, true, timer), target+"/hook?a=b", vectorID, []byte(vectorBody), secret)
		if err != nil || status != http.StatusAccepted {
			t.Fatalf("got %d, %v", status, err)
		}
		r := <-got
		if r.method != http.MethodPost || r.path != "/hook?a=b" || string(r.body) != vectorBody {
			t.Errorf("it was %s %s with %s", r.method, r.path, r.body)
		}
		for name, want := range map[string]string{
			"webhook-id": vectorID, "webhook-timestamp": "1614265330", "webhook-signature": vectorSignature, "content-type": "application/json", "user-agent": "berth-webhook/1",
		} {
			if r.header.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, r.header.Get(name), want)
			}
		}
		if err := verifier.VerifyIgnoringTimestamp(r.body, r.header); err != nil {
			t.Error(err)
		}
		if err := verifier.VerifyIgnoringTimestamp(append(r.body, ' '), r.header); err == nil {
			t.Error("another body has the same signature")
		}
	}
	// With the time of today a receiver takes it, also at the second attempt.
	s := newSender(t, true, clock.System)
	for range 2 {
		if _, err := send(t.Context(), s, target, vectorID, []byte(vectorBody), whsec); err != nil {
			t.Fatal(err)
		}
		if r := <-got; verifier.Verify(r.body, r.header) != nil || r.header.Get("webhook-id") != vectorID {
			t.Errorf("not taken: %v", r.header)
		}
	}
}

func TestAnswers(t *testing.T) {
	for _, want := range []int{200, 204, 400, 404, 410, 429, 500, 503} {
		target := receive(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(want) })
		status, err := send(t.Context(), newSender(t, true, timer), target, "evt_1", []byte("{}"), whsec)
		if err != nil || status != want {
			t.Errorf("got %d, %v, want %d", status, err, want)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var followed atomic.Int32
	other := receive(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	for _, code := range []int{301, 302, 303, 307, 308} {
		target := receive(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, code) })
		status, err := send(t.Context(), newSender(t, true, timer), target, "evt_1", []byte("{}"), whsec)
		if err != nil || status != code {
			t.Errorf("got %d, %v, want %d", status, err, code)
		}
	}
	if followed.Load() != 0 {
		t.Errorf("%d were followed", followed.Load())
	}
}

func TestEndlessBody(t *testing.T) {
	ended := make(chan struct{})
	target := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		chunk := make([]byte, 32<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	began := time.Now()
	status, err := send(t.Context(), newSender(t, true, timer), target, "evt_1", []byte("{}"), whsec)
	if err != nil || status != http.StatusOK || time.Since(began) > 5*time.Second {
		t.Errorf("got %d, %v after %s", status, err, time.Since(began))
	}
	<-ended // the receiver has been hung up on
}

func TestEndlessHeader(t *testing.T) {
	target := rawServer(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for {
			if _, err := io.WriteString(c, "X-More: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
				return
			}
		}
	})
	if status, err := send(t.Context(), newSender(t, true, timer), target, "evt_1", []byte("{}"), whsec); err == nil {
		t.Errorf("got %d", status)
	}
}

// rawServer takes one connection and hands it over.
func rawServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // the test is over
		serve(c)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return "http://" + l.Addr().String()
}

func TestTimeouts(t *testing.T) {
	t.Run("no answer", func(t *testing.T) {
		s := newSender(t, true, timer)
		s.client.Timeout = 100 * time.Millisecond
		target := receive(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			<-r.Context().Done()
		})
		status, err := send(t.Context(), s, target, "evt_1", []byte("{}"), whsec)
		var n net.Error
		if !errors.As(err, &n) || !n.Timeout() || status != 0 {
			t.Errorf("got %d, %v", status, err)
		}
	})
	t.Run("a body that hangs", func(t *testing.T) {
		s := newSender(t, true, timer)
		s.client.Timeout = 2 * time.Second // the answer's head comes in it
		target := receive(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		if status, err := send(t.Context(), s, target, "evt_1", []byte("{}"), whsec); err != nil || status != http.StatusOK {
			t.Errorf("got %d, %v: the answer was there", status, err)
		}
	})
	t.Run("the caller's end", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target := receive(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			cancel()
			<-r.Context().Done()
		})
		if _, err := send(ctx, newSender(t, true, timer), target, "evt_1", []byte("{}"), whsec); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	if s := newSender(t, true, timer); s.client.Timeout != sendTimeout || sendTimeout > 30*time.Second {
		t.Errorf("an attempt may take %s", s.client.Timeout)
	}
}

// TestSayNoMore has errors that must not show what the URL or the secret holds.
func TestSayNoMore(t *testing.T) {
	refused := rawServer(t, func(net.Conn) {}) // hangs up
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(tls.Close)
	for _, target := range []string{refused, tls.URL, "http://127.0.0.1:1", "http://127.0.0.1:x", "http://[::1", "nonsense://x", "http://a b"} {
		status, err := send(t.Context(), newSender(t, true, timer), target+"/topsecret?token=topsecret", "evt_1", []byte("{}"), whsec)
		if err == nil || status != 0 || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: got %d, %v", target, status, err)
		}
	}
	_, err := send(t.Context(), newSender(t, true, timer), refused, "evt_1", nil, secret.New("whsec_!topsecret!"))
	if err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("a bad secret: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := vectorTime
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for value, want := range map[string]time.Duration{
		"2": 2 * time.Second, " 120 ": 2 * time.Minute, "0": 0, "007": 7 * time.Second,
		date(time.Minute):                        time.Minute,
		date(-time.Minute):                       0,
		date(20 * 8760 * time.Hour):              20 * 8760 * time.Hour,
		now.Add(time.Minute).Format(time.RFC850): time.Minute, now.Add(time.Minute).Format(time.ANSIC): time.Minute,
		"-5": 0, "+5": 0, "2.5": 0, "1e3": 0, "": 0, "soon": 0, "2s": 0, "2, 3": 0, "0x10": 0, "٣": 0, now.Format(time.RFC3339): 0, "Wed, 99 Foo 2026 00:00:00 GMT": 0,
		"99999999999": math.MaxInt64, "9223372036854775807": math.MaxInt64, strings.Repeat("9", 100): math.MaxInt64,
		"Fri, 31 Dec 9999 23:59:59 GMT": math.MaxInt64,
	} {
		if got := retryAfter([]string{value}, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	if retryAfter(nil, now) != 0 || retryAfter([]string{"1", "2"}, now) != 0 {
		t.Error("none, or two")
	}
	s := newSender(t, true, timer)
	url := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "17")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	answer, err := s.Send(t.Context(), webhook.Message{URL: url, ID: "x", Secrets: []secret.Secret{whsec}})
	if err != nil || answer.Status != 429 || answer.RetryAfter != 17*time.Second {
		t.Errorf("%+v, %v", answer, err)
	}
}
