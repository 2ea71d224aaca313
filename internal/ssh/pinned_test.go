package ssh

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// A server with several host keys shows the one that is pinned, whichever that is.
func TestPinnedKindIsShown(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := xssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	first := newSigner(t)
	s := newServer(t, other, first)
	machines := NewMachines(limits)
	if key, err := machines.HostKey(t.Context(), s.address); err != nil || key != line(first.PublicKey()) {
		t.Errorf("%s, %v", key, err)
	}
	for _, key := range []xssh.PublicKey{first.PublicKey(), other.PublicKey()} {
		for _, pinned := range []string{line(key), line(key) + " root@somewhere\n"} {
			sh, err := machines.Shell(t.Context(), host.Login{Address: s.address, User: testUser, Password: secret.New(testPassword), HostKey: pinned})
			if err != nil {
				t.Fatalf("%s: %v", key.Type(), err)
			}
			_ = sh.Close()
		}
	}
}

// HTTP runs over a socket as Docker's client has it: many at once, with connections kept.
func TestHTTP(t *testing.T) {
	s, fake := inProcess(t)
	folder, err := os.MkdirTemp("/tmp", "web") //nolint:usetesting // whose names may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder) //nolint:errcheck // it is a test's
	path := folder + "/s"
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })}
	go func() { _ = web.Serve(ln) }()
	defer web.Close() //nolint:errcheck // it is a test's
	through, l := tunnels(t, s), s.login(t)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return through.Dial(ctx, l, path) }}
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 5 {
				r, err := client.Get("http://docker/_ping") //nolint:noctx // it is a test's
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				_ = r.Body.Close()
			}
		})
	}
	all.Wait()
	transport.CloseIdleConnections()
	if n := fake.logins.Load(); n != 1 {
		t.Errorf("%d logins", n)
	}
	until(t, "nothing is in use", func() bool {
		through.mu.Lock()
		defer through.mu.Unlock()
		return through.links[l] != nil && through.links[l].users == 0
	})
}
