package api_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/edge"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// serveTLS puts the bench behind a server with TLS, and with time limits that streams outlast.
func (b *bench) serveTLS() (address string, client *http.Client) {
	b.Helper()
	a := testenv.NewAuthority(b)
	a.Issue(1)
	log := slog.New(slog.NewTextHandler(b.log, nil))
	cert, err := edge.LoadCertificate(a.CertFile, a.KeyFile, log)
	if err != nil {
		b.Fatal(err)
	}
	limits := edge.Standard
	limits.Read, limits.Write = serverLimit, serverLimit
	server := edge.New(b.handler, limits, cert, log)
	var lc net.ListenConfig
	listener, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Roots(), MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	b.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := errors.Join(server.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
			b.Error(err)
		}
	})
	return listener.Addr().String(), &http.Client{Transport: transport}
}

// overTLS sends a request by HTTP/2, and returns its status and its body, which ends with the test.
func (b *bench) overTLS(client *http.Client, method, url string, body io.Reader, headers ...string) (int, io.Reader) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), testenv.Limit(soon))
	b.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminKey)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = res.Body.Close() })
	if res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") == "" || res.Header.Get("X-Request-Id") == "" {
		b.Errorf("%s %s: %s %v", method, url, res.Proto, res.Header)
	}
	return res.StatusCode, res.Body
}

// TestOverTLS: what takes longer than an answer may works by HTTP/2 as well: streams, long
// polls, and bodies that arrive slowly. A WebSocket is one over TLS, too.
func TestOverTLS(t *testing.T) {
	b := newBench(t, func(c *api.Config) { c.Heartbeat = 200 * time.Millisecond })
	address, client := b.serveTLS()
	url := "https://" + address

	_, feed := b.overTLS(client, "GET", url+eventsPath+"?after=0", nil, "Accept", "text/event-stream")
	stream := bufio.NewScanner(feed)
	for alive := time.Now(); time.Since(alive) < serverLimit+serverLimit/2; { // longer than the limits of an answer
		if !stream.Scan() {
			t.Fatalf("the stream has ended: %v", stream.Err())
		}
	}
	b.say(tenant.Default, "one")
	for stream.Scan() && !strings.HasPrefix(stream.Text(), "data: ") {
	}
	if !strings.Contains(stream.Text(), `"one"`) {
		t.Errorf("the stream: %q, %v", stream.Text(), stream.Err())
	}

	made := b.call("POST", redisPath, "").is(202, "")
	status, poll := b.overTLS(client, "GET", url+"/api/v1/jobs/"+made.text("job.id")+"?wait=1s", nil)
	if _, err := io.ReadAll(poll); err != nil || status != 200 {
		t.Errorf("the long poll: %d, %v", status, err)
	}

	slow, in := io.Pipe()
	go func() {
		tick := time.NewTicker(serverLimit / 4)
		defer tick.Stop()
		for _, part := range strings.SplitAfter(`{ "name" : "slow" , "plan" : "small" }`, " ") { // 9 of them
			<-tick.C
			_, _ = io.WriteString(in, part)
		}
		_ = in.Close()
	}()
	status, upload := b.overTLS(client, "POST", url+redisPath, slow, "Content-Type", "application/json")
	if text, err := io.ReadAll(upload); err != nil || status != 202 {
		t.Errorf("the slow upload: %d %s, %v", status, text, err)
	}

	if status, _ = b.overTLS(client, "GET", url+eventsPath+"/ws", nil); status != http.StatusUpgradeRequired { // HTTP/2 knows no upgrades
		t.Errorf("the upgrade: %d", status)
	}
	one := &http.Client{Transport: &http.Transport{TLSClientConfig: client.Transport.(*http.Transport).TLSClientConfig.Clone()}}
	defer one.CloseIdleConnections()
	conn, _, err := websocket.Dial(t.Context(), "wss://"+address+eventsPath+"/ws?after=0", &websocket.DialOptions{ //nolint:bodyclose // Dial closes it
		HTTPClient: one, HTTPHeader: http.Header{"Authorization": {"Bearer " + adminKey}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, text, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(text), `"one"`) {
		t.Errorf("the WebSocket: %s, %v", text, err)
	}
	_ = conn.CloseNow()
	b.queue.Flush()
}
