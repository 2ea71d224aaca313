package edge_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/edge"
	"github.com/berth-project/berth/internal/testenv"
)

// serial returns the number of the certificate that a new connection is shown.
func (s *server) serial() int64 {
	s.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: s.roots}}).DialContext(s.Context(), "tcp", s.address)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing depends on it
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// TestReload: a certificate that replaces another is shown to new connections, while old ones
// go on, also with the request that they are in.
func TestReload(t *testing.T) {
	a := testenv.NewAuthority(t)
	a.Issue(1)
	log := &testenv.Log{}
	cert, err := edge.LoadCertificate(a.CertFile, a.KeyFile, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, cert, a.Roots(), edge.Standard)
	running := make(chan string)
	go func() { running <- s.get("/held") }()
	<-s.held
	if got := s.serial(); got != 1 {
		t.Errorf("certificate %d, want 1", got)
	}
	cert.Look(t.Context())
	a.Issue(2)
	cert.Look(t.Context())
	if got := s.serial(); got != 2 {
		t.Errorf("certificate %d, want 2", got)
	}
	s.release <- struct{}{}
	if got := <-running; got != "held" {
		t.Errorf("the request that ran was answered %q", got)
	}
	reused := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
	if got := s.do(ctx, "/"); got != "served" || !reused {
		t.Errorf("%q, by the old connection: %v", got, reused)
	}
	if text := log.String(); strings.Contains(text, "level=ERROR") || strings.Count(text, "TLS certificate reloaded") != 1 {
		t.Errorf("%s", text)
	}
}

// TestReloadRefusesWhatIsBroken: the old pair stays in use, and one line tells of it.
func TestReloadRefusesWhatIsBroken(t *testing.T) {
	a := testenv.NewAuthority(t)
	cert1, key1 := a.Pair(1)
	cert2, key2 := a.Pair(2)
	a.Put(a.CertFile, cert1)
	a.Put(a.KeyFile, key1)
	log := &testenv.Log{}
	cert, err := edge.LoadCertificate(a.CertFile, a.KeyFile, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, cert, a.Roots(), edge.Standard)
	errors, want := 0, int64(1)
	look := func(what string, logged bool) {
		t.Helper()
		for range 3 {
			cert.Look(t.Context())
		}
		if logged {
			errors++
		}
		if got := strings.Count(log.String(), "level=ERROR"); got != errors {
			t.Errorf("%s: %d lines at ERROR, want %d", what, got, errors)
		}
		if got := s.serial(); got != want {
			t.Errorf("%s: certificate %d, want %d", what, got, want)
		}
	}
	look("nothing has changed", false)
	a.Put(a.KeyFile, []byte("no key"))
	look("no key", true)
	a.Put(a.KeyFile, key2)
	look("another's key", true)
	a.Put(a.KeyFile, key1)
	look("as it was", false)
	if err := os.Remove(a.CertFile); err != nil {
		t.Fatal(err)
	}
	look("no file", true)
	a.Put(a.CertFile, cert2)
	cert.Look(t.Context()) // between the two files
	a.Put(a.KeyFile, key2)
	want = 2
	look("a new pair, one file after the other", false)
	if text := log.String(); strings.Contains(text, "PRIVATE KEY") || !strings.Contains(text, "the TLS certificate was not reloaded") {
		t.Errorf("%s", text)
	}
	for _, files := range [][2]string{{a.CertFile + ".missing", a.KeyFile}, {a.KeyFile, a.CertFile}} {
		if _, err := edge.LoadCertificate(files[0], files[1], log.Logger()); err == nil || !strings.Contains(err.Error(), files[0]) {
			t.Errorf("%v: %v", files, err)
		}
	}
}

// TestTLS: nothing older than 1.2, HTTP/2 for those who know it, and an answer for those who
// have forgotten to use TLS.
func TestTLS(t *testing.T) {
	a := testenv.NewAuthority(t)
	a.Issue(1)
	log := &testenv.Log{}
	cert, err := edge.LoadCertificate(a.CertFile, a.KeyFile, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, cert, a.Roots(), edge.Standard)
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: s.roots, MinVersion: version, MaxVersion: version}}).DialContext(t.Context(), "tcp", s.address)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("TLS version %x: %v", version, err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Errorf("%s", res.Proto)
	}
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
		t.Error("an unknown authority was believed")
	}
	req.URL.Scheme = "http"
	res, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "HTTPS") {
		t.Errorf("%d %s", res.StatusCode, text)
	}
	if strings.Contains(s.log.String(), "level=WARN") || !strings.Contains(s.log.String(), "level=DEBUG") {
		t.Errorf("failed handshakes are for DEBUG: %s", s.log.String())
	}
}

// TestRun looks at the files by itself, until it is told to end.
func TestRun(t *testing.T) {
	a := testenv.NewAuthority(t)
	a.Issue(1)
	log := &testenv.Log{}
	cert, err := edge.LoadCertificate(a.CertFile, a.KeyFile, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { cert.Run(ctx); close(done) }()
	a.Issue(2)
	eventually(t, "the new certificate is in use", func() bool {
		now, err := cert.Get(nil)
		return err == nil && now.Leaf.SerialNumber.Int64() == 2
	})
	cancel()
	<-done
}
