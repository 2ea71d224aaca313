package ssh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	xssh "golang.org/x/crypto/ssh"
)

// server is an SSH server in this process, with faults to switch on. It runs scripts and
// connects to sockets on this machine.
type server struct {
	t       *testing.T
	address string
	config  *xssh.ServerConfig
	ln      net.Listener
	done    sync.WaitGroup

	logins, keepAlives, connected atomic.Int64 // that were accepted; that were asked; that were ever made
	silent                        atomic.Bool  // nothing after the version: no key exchange
	deaf                          atomic.Bool  // no answers to requests and to new channels
	prohibit                      atomic.Bool  // no sockets
	noSessions                    atomic.Bool

	mu         sync.Mutex
	authorized []xssh.PublicKey
	conns      map[net.Conn]struct{}
}

const (
	testUser     = "berth-test"
	testPassword = "correct horse battery staple"
)

// newSigner makes a host key.
func newSigner(t *testing.T) xssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := xssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// newServer starts one that takes the user with the password, in these ways, or with a key.
func newServer(t *testing.T, keys ...xssh.Signer) *server {
	t.Helper()
	s := &server{t: t, conns: map[net.Conn]struct{}{}}
	s.config = &xssh.ServerConfig{
		MaxAuthTries: 6,
		PasswordCallback: func(c xssh.ConnMetadata, p []byte) (*xssh.Permissions, error) {
			return nil, right(c, string(p))
		},
		PublicKeyCallback: func(_ xssh.ConnMetadata, k xssh.PublicKey) (*xssh.Permissions, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, a := range s.authorized {
				if bytes.Equal(a.Marshal(), k.Marshal()) {
					return nil, nil //nolint:nilnil // no permissions are special
				}
			}
			return nil, errors.New("no such key")
		},
	}
	for _, k := range keys {
		s.config.AddHostKey(k)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ln, s.address = ln, ln.Addr().String()
	s.done.Go(s.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		s.cut()
		s.done.Wait()
	})
	return s
}

func right(c xssh.ConnMetadata, password string) error {
	if c.User() != testUser || password != testPassword {
		return errors.New("wrong password")
	}
	return nil
}

// interactive has the server ask for the password by questions, and nothing else but what more says.
func (s *server) interactive(more ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config.PasswordCallback = nil
	s.config.KeyboardInteractiveCallback = func(c xssh.ConnMetadata, ask xssh.KeyboardInteractiveChallenge) (*xssh.Permissions, error) {
		answers, err := ask("", "Welcome", []string{"Password: "}, []bool{false})
		if err != nil {
			return nil, err
		}
		for _, question := range more {
			if _, err := ask("", "", []string{question}, []bool{false}); err != nil {
				return nil, err
			}
		}
		return nil, right(c, answers[0])
	}
}

// banner has logins wait at the gate.
func (s *server) banner(gate <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config.BannerCallback = func(xssh.ConnMetadata) string { <-gate; return "" }
}

// cut ends all connections as a cable that is pulled would, for who is at both ends.
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *server) serve() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.connected.Add(1)
		s.mu.Lock()
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.done.Go(func() {
			defer conn.Close() //nolint:errcheck // it is a test's
			s.connection(conn)
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

func (s *server) connection(conn net.Conn) {
	if s.silent.Load() {
		_, _ = conn.Write([]byte("SSH-2.0-Silent\r\n"))
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	s.mu.Lock()
	config := *s.config
	s.mu.Unlock()
	c, channels, requests, err := xssh.NewServerConn(conn, &config)
	if err != nil {
		return
	}
	s.logins.Add(1)
	s.done.Go(func() {
		for r := range requests {
			s.keepAlives.Add(1)
			if !s.deaf.Load() {
				_ = r.Reply(false, nil)
			}
		}
	})
	for nc := range channels {
		if s.deaf.Load() {
			continue
		}
		s.done.Go(func() { s.channel(nc) })
	}
	_ = c.Wait()
}

func (s *server) channel(nc xssh.NewChannel) {
	switch {
	case nc.ChannelType() == "session" && s.noSessions.Load():
		_ = nc.Reject(xssh.ConnectionFailed, "open failed")
	case nc.ChannelType() == "session":
		s.session(nc)
	case s.prohibit.Load():
		_ = nc.Reject(xssh.Prohibited, "open failed")
	case nc.ChannelType() == "direct-streamlocal@openssh.com":
		s.socket(nc)
	default:
		_ = nc.Reject(xssh.UnknownChannelType, "unknown")
	}
}

// socket connects the channel to a socket of this machine.
func (s *server) socket(nc xssh.NewChannel) {
	var open struct {
		Path      string
		Reserved0 string
		Reserved1 uint32
	}
	if err := xssh.Unmarshal(nc.ExtraData(), &open); err != nil {
		_ = nc.Reject(xssh.ConnectionFailed, "unreadable")
		return
	}
	to, err := net.Dial("unix", open.Path)
	if err != nil {
		_ = nc.Reject(xssh.ConnectionFailed, "open failed")
		return
	}
	defer to.Close() //nolint:errcheck // it is a test's
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	go xssh.DiscardRequests(requests)
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(ch, to)
		_ = ch.CloseWrite()
	}()
	_, _ = io.Copy(to, ch)
	_ = to.(*net.UnixConn).CloseWrite()
	<-back
	_ = ch.Close()
}

// session runs the command that is asked for with a shell, as sshd does.
func (s *server) session(nc xssh.NewChannel) {
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close() //nolint:errcheck // it is a test's
	var process *exec.Cmd
	ended := make(chan uint32, 1)
	for {
		select {
		case status := <-ended:
			_, _ = ch.SendRequest("exit-status", false, xssh.Marshal(struct{ Status uint32 }{status}))
			return
		case r, more := <-requests:
			if !more {
				if process != nil {
					_ = process.Process.Kill()
					<-ended
				}
				return
			}
			if r.Type != "exec" {
				_ = r.Reply(false, nil)
				continue
			}
			var command struct{ Text string }
			_ = xssh.Unmarshal(r.Payload, &command)
			process = exec.Command("/bin/sh", "-c", command.Text)
			process.Stdout, process.Stderr = ch, ch.Stderr()
			input, err := process.StdinPipe()
			if err == nil {
				err = process.Start()
			}
			_ = r.Reply(err == nil, nil)
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(input, ch)
				_ = input.Close()
			}()
			go func() {
				_ = process.Wait()
				ended <- uint32(max(0, process.ProcessState.ExitCode())) //nolint:gosec // it is not negative
			}()
		}
	}
}
