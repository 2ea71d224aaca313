package edge_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/edge"
	"github.com/berth-project/berth/internal/testenv"
)

// server is one that runs.
type server struct {
	*testing.T
	address string
	roots   *x509.CertPool // nil: it does not speak TLS
	client  *http.Client
	log     *testenv.Log
	held    chan struct{} // a request of /held is there
	release chan struct{}
}

// serve runs a server that answers "served", and holds requests of /held until they are released.
func serve(t *testing.T, cert *edge.Certificate, roots *x509.CertPool, limits edge.Limits) *server {
	t.Helper()
	s := &server{T: t, roots: roots, log: &testenv.Log{}, held: make(chan struct{}, 1), release: make(chan struct{})}
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	transport := &http.Transport{ForceAttemptHTTP2: true}
	if roots != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	s.client = &http.Client{Transport: transport}
	running := edge.New(http.HandlerFunc(s.answer), limits, cert, s.log.Logger())
	served := make(chan error, 1)
	go func() { served <- running.Serve(listener) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := running.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != http.ErrServerClosed { //nolint:errorlint // it is that, and nothing else
			t.Error(err)
		}
	})
	return s
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/held" {
		s.held <- struct{}{}
		<-s.release
		_, _ = io.WriteString(w, "held")
		return
	}
	if r.URL.Path == "/panic" {
		panic("told to")
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	_, _ = io.WriteString(w, "served")
}

func (s *server) get(path string) string { return s.do(s.Context(), path) }

func (s *server) do(ctx context.Context, path string) string {
	scheme := "http://"
	if s.roots != nil {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+s.address+path, nil)
	if err != nil {
		s.Error(err)
		return ""
	}
	res, err := s.client.Do(req)
	if err != nil {
		s.Error(err)
		return ""
	}
	defer res.Body.Close() //nolint:errcheck // nothing depends on it
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.Error(err)
	}
	return string(text)
}

func (s *server) dial() net.Conn {
	s.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(s.Context(), "tcp", s.address)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	return conn
}

// short are limits that a test can wait for.
var short = edge.Limits{Header: 300 * time.Millisecond, Read: time.Second, Write: time.Second, Idle: 300 * time.Millisecond, HeaderBytes: 8 << 10}

// TestSlowHeaders: who sends a header bit by bit is cut off, and holds up nobody meanwhile.
func TestSlowHeaders(t *testing.T) {
	s := serve(t, nil, nil, short)
	const slow = 50
	var cut sync.WaitGroup
	for range slow {
		conn := s.dial()
		cut.Go(func() {
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n")
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for range tick.C { // until the server has closed it; a server without the limit never does
				if _, err := fmt.Fprint(conn, "X-A: b\r\n"); err != nil {
					return
				}
			}
		})
	}
	if got := s.get("/"); got != "served" {
		t.Errorf("%q", got)
	}
	cut.Wait()
}

// TestIdleConnections: those that say nothing, from the beginning or after a request, are
// closed, and hold up nobody meanwhile.
func TestIdleConnections(t *testing.T) {
	s := serve(t, nil, nil, short)
	var closed sync.WaitGroup
	for i := range 300 {
		conn := s.dial()
		if i%2 == 0 {
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		closed.Go(func() { _, _ = io.Copy(io.Discard, conn) }) // ends when the server closes it
	}
	if got := s.get("/"); got != "served" {
		t.Errorf("%q", got)
	}
	closed.Wait()
}

// TestLargeHeaders: 431 beyond the limit, by either protocol.
func TestLargeHeaders(t *testing.T) {
	s := serve(t, nil, nil, short)
	for size, want := range map[int]int{4 << 10: 200, 64 << 10: 431} {
		conn := s.dial()
		go func() {
			_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n", strings.Repeat("a", size))
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%d bytes: %d, want %d", size, res.StatusCode, want)
		}
	}
}

// TestSlowBody: a request as a whole has a limit, unless its handler moves it.
func TestSlowBody(t *testing.T) {
	s := serve(t, nil, nil, short)
	conn := s.dial()
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
	_, _ = io.Copy(io.Discard, conn) // ends when the server closes it
}

// TestComplaints: what net/http has to say goes to the log, in its form.
func TestComplaints(t *testing.T) {
	s := serve(t, nil, nil, edge.Standard)
	conn := s.dial()
	_, _ = io.WriteString(conn, "GET /panic HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = io.Copy(io.Discard, conn)
	if text := s.log.String(); !strings.Contains(text, `level=WARN msg="the HTTP server complains" error="http: panic serving`) {
		t.Errorf("%s", text)
	}
}

func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	limit, tick := time.After(30*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-limit:
			t.Fatalf("not within 30 s: %s", what)
		case <-tick.C:
		}
	}
}
