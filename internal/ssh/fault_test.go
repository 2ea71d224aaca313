package ssh

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// until waits for what other goroutines bring about.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(testenv.Limit(20 * time.Second)); !is(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: not so", what)
		}
	}
}

func (t *Tunnels) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}

// A server that asks for the password by questions gets it once, and nothing else.
func TestKeyboardInteractive(t *testing.T) {
	s, fake := inProcess(t)
	fake.interactive()
	passwordLogsIn(t, s)
	fake.interactive("New password: ")
	_, err := s.machines().Shell(t.Context(), host.Login{Address: s.address, User: s.user, Password: s.password, HostKey: s.hostKey})
	code(t, err, fault.CodeLoginRefused)
}

// Logins with another password, key, user or host key never share a connection.
func TestLoginsAreKeptApart(t *testing.T) {
	s, _ := inProcess(t)
	through, path := tunnels(t, s), echo(t)
	good := host.Login{Address: s.address, User: s.user, Password: s.password, HostKey: s.hostKey}
	conn, err := through.Dial(t.Context(), good, path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it is a test's
	bad := good
	bad.Password = secret.New("guessed")
	_, err = through.Dial(t.Context(), bad, path)
	code(t, err, fault.CodeLoginRefused)
	bad = good
	bad.HostKey = line(newSigner(t).PublicKey())
	_, err = through.Dial(t.Context(), bad, path)
	code(t, err, fault.CodeHostKeyChanged)
}

// A connection that breaks ends what runs over it, and says so; the next Dial makes another.
func TestBrokenConnection(t *testing.T) {
	s, fake := inProcess(t)
	through, path, l := tunnels(t, s), echo(t), s.login(t)
	conn, err := through.Dial(t.Context(), l, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, "before"); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		fake.cut()
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a cut looks like an end: %v", err)
		}
		_ = conn.Close()
		if conn, err = through.Dial(t.Context(), l, path); err != nil {
			t.Fatal(err)
		}
		if err := exchange(conn, "after"); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.Close()
	if n := fake.logins.Load(); n != 6 {
		t.Errorf("%d logins", n)
	}
}

// A shell on a kept connection that has broken meanwhile is one on another connection.
func TestBrokenSharedConnection(t *testing.T) {
	s, fake := inProcess(t)
	through, l := tunnels(t, s), s.login(t)
	for range 3 {
		sh, err := through.Shell(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := sh.Run(t.Context(), "echo here"); err != nil || out != "here\n" {
			t.Errorf("%q, %v", out, err)
		}
		_ = sh.Close()
		fake.cut()
	}
	if n := fake.logins.Load(); n != 3 {
		t.Errorf("%d logins", n)
	}
	bad := l
	bad.HostKey = line(newSigner(t).PublicKey())
	_, err := through.Shell(t.Context(), bad)
	code(t, err, fault.CodeHostKeyChanged)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = through.Shell(ctx, l)
	code(t, err, fault.CodeHostUnavailable)
}

// A shell whose connection breaks does not wait for ever, and does not take it for an end.
func TestBrokenShell(t *testing.T) {
	s, fake := inProcess(t)
	sh := shellOf(t, s)
	fifo := t.TempDir() + "/begun"
	ended := make(chan error, 1)
	go func() {
		_, err := sh.Run(t.Context(), `echo $$ >"$1.new"; mv "$1.new" "$1"; exec sleep 600`, fifo)
		ended <- err
	}()
	awaitFile(t, fifo)
	defer kill(t, fifo)
	fake.cut()
	code(t, <-ended, fault.CodeHostUnavailable, s.address)
}

// However many ask at once, one connection is made, also where it cannot be.
func TestOneLogin(t *testing.T) {
	s, fake := inProcess(t)
	through, path, l := tunnels(t, s), echo(t), s.login(t)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			conn, err := through.Dial(t.Context(), l, path)
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
		})
	}
	all.Wait()
	if n := fake.logins.Load(); n != 1 {
		t.Errorf("%d logins", n)
	}
}

// A machine that takes the connection and says nothing.
func TestHangs(t *testing.T) {
	s, fake := inProcess(t)
	l := s.login(t)
	fake.silent.Store(true)
	s.config.DialLimit = 200 * time.Millisecond
	_, err := s.machines().HostKey(t.Context(), s.address)
	code(t, err, fault.CodeHostUnavailable, "in time")
	_, err = s.machines().Shell(t.Context(), l)
	code(t, err, fault.CodeHostUnavailable, "in time")
	_, err = tunnels(t, s).Dial(t.Context(), l, "")
	code(t, err, fault.CodeHostUnavailable, "in time")

	s.config.DialLimit = time.Minute // a context ends it sooner
	through := tunnels(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	before := fake.connected.Load()
	go func() {
		for fake.connected.Load() == before {
			<-time.After(time.Millisecond)
		}
		cancel()
	}()
	_, err = through.Dial(ctx, l, "")
	code(t, err, fault.CodeHostUnavailable, "canceled")
	until(t, "the login that nobody waits for is given up", func() bool { return through.count() == 0 })
}

// One who leaves does not take the others' login along.
func TestFirstLeaves(t *testing.T) {
	s, fake := inProcess(t)
	through, path, l := tunnels(t, s), echo(t), s.login(t)
	gate := make(chan struct{})
	fake.banner(gate)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := through.Dial(ctx, l, path)
		first <- err
	}()
	users := func() int {
		through.mu.Lock()
		defer through.mu.Unlock()
		if lk := through.links[l]; lk != nil {
			return lk.users
		}
		return 0
	}
	until(t, "the first waits", func() bool { return users() == 1 })
	second := make(chan error, 1)
	go func() {
		conn, err := through.Dial(t.Context(), l, path)
		if err == nil {
			_ = conn.Close()
		}
		second <- err
	}()
	until(t, "both wait", func() bool { return users() == 2 })
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(gate)
	if err := <-second; err != nil || fake.logins.Load() != 1 {
		t.Errorf("%v, %d logins", err, fake.logins.Load())
	}
}

// A machine that is there and answers nothing any more is noticed by who opens a socket, and,
// where nobody does, by the questions.
func TestDeaf(t *testing.T) {
	s, fake := inProcess(t)
	s.config.KeepAlive = 20 * time.Millisecond
	through, path, l := tunnels(t, s), echo(t), s.login(t)
	conn, err := through.Dial(t.Context(), l, path)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it is asked", func() bool { return fake.keepAlives.Load() > 1 })
	fake.deaf.Store(true)
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read: %v", err)
	}
	_ = conn.Close()
	until(t, "it is closed", func() bool { return through.count() == 0 })

	s.config.KeepAlive, s.config.DialLimit = time.Hour, 300*time.Millisecond
	slow := tunnels(t, s)
	fake.deaf.Store(false)
	if conn, err = slow.Dial(t.Context(), l, path); err != nil {
		t.Fatal(err)
	}
	fake.deaf.Store(true)
	_, err = slow.Dial(t.Context(), l, path)
	code(t, err, fault.CodeHostUnavailable, "in time")
	fake.deaf.Store(false)
	other, err := slow.Dial(t.Context(), l, path) // by another connection: the first is suspect
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, "what is open stays"); err != nil {
		t.Error(err)
	}
	_ = other.Close()
	_ = conn.Close()
	until(t, "the suspect is closed with its last stream", func() bool { return slow.count() == 1 })
}

// A connection that nothing uses is closed after a while.
func TestIdle(t *testing.T) {
	s, _ := inProcess(t)
	s.config.IdleLimit = 20 * time.Millisecond
	through, path, l := tunnels(t, s), echo(t), s.login(t)
	conn, err := through.Dial(t.Context(), l, path)
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(60 * time.Millisecond)
	if err := exchange(conn, "in use"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	until(t, "it is closed", func() bool { return through.count() == 0 })
}

func TestClose(t *testing.T) {
	s, _ := inProcess(t)
	through, path, l := tunnels(t, s), echo(t), s.login(t)
	conn, err := through.Dial(t.Context(), l, path)
	if err != nil {
		t.Fatal(err)
	}
	through.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("it can be read from")
	}
	_ = conn.Close()
	_, err = through.Dial(t.Context(), l, path)
	code(t, err, fault.CodeHostUnavailable, "shutting down")
	through.Close()
}

// Sockets and sessions that the server does not allow are told apart from those that are not there.
func TestProhibited(t *testing.T) {
	s, fake := inProcess(t)
	l := s.login(t)
	fake.prohibit.Store(true)
	_, err := tunnels(t, s).Dial(t.Context(), l, echo(t))
	code(t, err, fault.CodeHostUnavailable, "AllowStreamLocalForwarding")
	sh := shellOf(t, s)
	fake.noSessions.Store(true)
	_, err = sh.Run(t.Context(), "true")
	code(t, err, fault.CodeHostUnavailable, "MaxSessions")
}

// Deadlines wake who waits, and can be set anew.
func TestDeadlines(t *testing.T) {
	s, _ := inProcess(t)
	conn, err := tunnels(t, s).Dial(t.Context(), s.login(t), echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it is a test's
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Time{})
	if err := exchange(conn, "after"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(-time.Second))
	if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(time.Hour))
	if err := exchange(conn, "again"); err != nil {
		t.Fatal(err)
	}
	woken := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		woken <- err
	}()
	_ = conn.SetReadDeadline(time.Now())
	if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	_ = conn.Close()
}

func TestReadable(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\tc": "a b c", "\x1b[2Jx\x00\xff\u202e": "[2Jx", strings.Repeat("ä", 400): strings.Repeat("ä", 150) + "…", " \n ": "",
	} {
		if got := readable(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
