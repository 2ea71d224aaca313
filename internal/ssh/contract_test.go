package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/testenv"
)

// subject is a server under contract: the one in this process, or OpenSSH's.
type subject struct {
	address, user, hostKey string
	password               secret.Secret // zero: none is taken
	authorize              func(line string)
	config                 Config
}

func (s subject) machines() *Machines { return NewMachines(s.config) }

// login makes a key, has it authorized and gives the login with it.
func (s subject) login(t *testing.T) host.Login {
	t.Helper()
	private, authorized, err := s.machines().NewKey("berth test")
	if err != nil {
		t.Fatal(err)
	}
	s.authorize(authorized)
	return host.Login{Address: s.address, User: s.user, Key: private, HostKey: s.hostKey}
}

var limits = Config{DialLimit: testenv.Limit(10 * time.Second)}

func inProcess(t *testing.T) (subject, *server) {
	t.Helper()
	key := newSigner(t)
	s := newServer(t, key)
	return subject{
		address: s.address, user: testUser, hostKey: line(key.PublicKey()), password: secret.New(testPassword), config: limits,
		authorize: func(text string) {
			k, _, _, _, err := xssh.ParseAuthorizedKey([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.authorized = append(s.authorized, k)
		},
	}, s
}

func TestContract(t *testing.T) {
	t.Run("in process", func(t *testing.T) {
		s, _ := inProcess(t)
		contract(t, s)
	})
	t.Run("OpenSSH", func(t *testing.T) {
		d := testenv.StartSSHD(t, "MaxSessions 1", "MaxStartups 100")
		contract(t, subject{
			address: d.Address, user: d.User, hostKey: d.HostKey, config: limits,
			authorize: func(line string) { d.Authorize(t, line) },
		})
	})
}

// contract tests what host.Machines and Tunnels promise, each method of the interfaces at least once.
func contract(t *testing.T, s subject) {
	tests := []struct {
		name string
		run  func(*testing.T, subject)
	}{
		{"HostKey", hostKeyShown}, {"NewKey", newKeyLogsIn}, {"a password", passwordLogsIn}, {"refused", loginIsRefused},
		{"another host key", hostKeyChanges}, {"no host key", nothingPinned}, {"Run", scripts}, {"Run with much output", muchOutput},
		{"Run that is canceled", canceledScript}, {"Close", closedShell}, {"Dial", sockets}, {"Dial without a socket", noSocket},
		{"Dial, 40 at once", manySockets}, {"Run, over the connection of sockets", sharedShells},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
	// One that is added has no test of its name.
	names := map[string]bool{"Shell": true} // by which the others begin
	for _, test := range tests {
		names[strings.Fields(strings.ReplaceAll(test.name, ",", ""))[0]] = true
	}
	for _, of := range []reflect.Type{reflect.TypeFor[host.Machines](), reflect.TypeFor[host.Shell]()} {
		for i := range of.NumMethod() {
			if name := of.Method(i).Name; !names[name] {
				t.Errorf("the contract has no test of %s", name)
			}
		}
	}
}

func code(t *testing.T, err error, want fault.Code, words ...string) {
	t.Helper()
	if err == nil || fault.CodeOf(err) != want {
		t.Fatalf("%v: code %s; want %s", err, fault.CodeOf(err), want)
	}
	for _, w := range words {
		if !strings.Contains(fault.Explain(err), w) {
			t.Errorf("%q does not say %q", fault.Explain(err), w)
		}
	}
}

func shellOf(t *testing.T, s subject) host.Shell {
	t.Helper()
	sh, err := s.machines().Shell(t.Context(), s.login(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sh.Close() })
	return sh
}

func hostKeyShown(t *testing.T, s subject) {
	key, err := s.machines().HostKey(t.Context(), s.address)
	if err != nil || key != s.hostKey {
		t.Fatalf("%q, %v; want %q", key, err, s.hostKey)
	}
	_, err = s.machines().HostKey(t.Context(), testenv.FreeAddress(t))
	code(t, err, fault.CodeHostUnavailable)
	_, err = s.machines().HostKey(t.Context(), "no-port")
	code(t, err, fault.CodeInvalid, "HOST:PORT")
}

func newKeyLogsIn(t *testing.T, s subject) {
	shellOf(t, s)
	if _, _, err := s.machines().NewKey("two\nssh-ed25519 lines"); fault.CodeOf(err) != fault.CodeInvalid {
		t.Errorf("a comment of two lines: %v", err)
	}
}

func passwordLogsIn(t *testing.T, s subject) {
	if s.password.Empty() {
		return // the system's own accounts are left alone; the server in this process takes passwords
	}
	sh, err := s.machines().Shell(t.Context(), host.Login{Address: s.address, User: s.user, Password: s.password, HostKey: s.hostKey})
	if err != nil {
		t.Fatal(err)
	}
	_ = sh.Close()
}

func loginIsRefused(t *testing.T, s subject) {
	const wrong = "wr0ng-passw0rd"
	private, _, err := s.machines().NewKey("nobody knows it")
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]host.Login{
		"password": {Address: s.address, User: s.user, Password: secret.New(wrong), HostKey: s.hostKey},
		"key":      {Address: s.address, User: s.user, Key: private, HostKey: s.hostKey},
		"both":     {Address: s.address, User: "nobody-of-that-name", Key: private, Password: secret.New(wrong), HostKey: s.hostKey},
	} {
		_, err := s.machines().Shell(t.Context(), l)
		code(t, err, fault.CodeLoginRefused, l.User, l.Address)
		if all := fmt.Sprintf("%+v %#v", err, l); strings.Contains(all, wrong) || strings.Contains(all, "PRIVATE KEY") {
			t.Errorf("%s: a secret is shown: %s", name, all)
		}
	}
}

func hostKeyChanges(t *testing.T, s subject) {
	l := s.login(t)
	rsa := "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDCHJOhVzxwHbrWqCSyMuNOxrUGyg0pUYwGsLCUKsF2RJvDg4DDtHhvPeXJHVVFHJMW5HrxkGCXYKWZQNwGU8P5Kb+" +
		"oEoOaIHqxmAXP3qCyRyfwbAXZtN5Dlmwq9mHkFmC1tqWXsTIHrGbhLnHuQhSX1l7C3VmyAr3CZTZOd4nV5w=="
	for _, other := range []string{line(newSigner(t).PublicKey()), rsa} {
		want, err := pinned(host.Login{HostKey: other})
		if err != nil {
			t.Fatal(err)
		}
		l.HostKey = other
		shown, err := pinned(host.Login{HostKey: s.hostKey})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.machines().Shell(t.Context(), l)
		code(t, err, fault.CodeHostKeyChanged, s.address, xssh.FingerprintSHA256(want), xssh.FingerprintSHA256(shown), "ssh-keygen -lf")
	}
}

func nothingPinned(t *testing.T, s subject) {
	l := s.login(t)
	for _, bad := range []string{"", "ssh-ed25519", "somewhere " + s.hostKey, s.hostKey + "\n" + s.hostKey, "x\n" + s.hostKey} {
		l.HostKey = bad
		_, err := s.machines().Shell(t.Context(), l)
		code(t, err, fault.CodeInvalid)
	}
	l.HostKey, l.Key = s.hostKey, secret.New("-----BEGIN nonsense topsecret")
	_, err := s.machines().Shell(t.Context(), l)
	if code(t, err, fault.CodeInvalid); strings.Contains(err.Error(), "topsecret") {
		t.Errorf("%v quotes the key", err)
	}
}

func scripts(t *testing.T, s subject) {
	sh := shellOf(t, s)
	args := []string{"a b", "it's", "", "-n", "$HOME `id` \\", "ä\nb", "!x", "--"}
	out, err := sh.Run(t.Context(), `printf '%s\n' "$#"; for a in "$@"; do printf '<%s>' "$a"; done`, args...)
	if want := fmt.Sprintf("%d\n<%s>", len(args), strings.Join(args, "><")); err != nil || out != want {
		t.Fatalf("%q, %v; want %q", out, err, want)
	}
	out, err = sh.Run(t.Context(), "echo before; echo first >&2; printf '\\033[31mlast words\\n\\n' >&2; exit 7; echo after")
	var end *host.ScriptError
	if !errors.As(err, &end) || end.Status != 7 || end.Said != "[31mlast words" || out != "before\n" {
		t.Fatalf("%q, %v", out, err)
	}
	if !strings.Contains(err.Error(), "status 7") {
		t.Error(err)
	}
	if _, err := sh.Run(t.Context(), "true", "a\x00b"); fault.CodeOf(err) != fault.CodeInvalid {
		t.Errorf("a NUL: %v", err)
	}
	// More at once than the server has sessions for.
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if out, err := sh.Run(t.Context(), "echo $1", fmt.Sprint(i)); err != nil || out != fmt.Sprintln(i) {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	all.Wait()
}

func muchOutput(t *testing.T, s subject) {
	sh := shellOf(t, s)
	out, err := sh.Run(t.Context(), "while :; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; done")
	var end *host.ScriptError
	if !errors.As(err, &end) || !end.TooLarge || len(out) != host.MaxOutput {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	out, err = sh.Run(t.Context(), "head -c 1048576 /dev/zero")
	if err != nil || len(out) != host.MaxOutput {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
}

func canceledScript(t *testing.T, s subject) {
	sh := shellOf(t, s)
	fifo := filepath.Join(t.TempDir(), "begun")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := sh.Run(ctx, `echo $$ >"$1.new"; mv "$1.new" "$1"; exec sleep 600`, fifo)
		ended <- err
	}()
	awaitFile(t, fifo)
	defer kill(t, fifo)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Fatal(err)
	}
	if out, err := shellOf(t, s).Run(t.Context(), "echo again"); err != nil || out != "again\n" {
		t.Fatalf("%q, %v", out, err)
	}
}

// kill ends the process whose id is in the file.
func kill(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for limit := time.Now().Add(testenv.Limit(10 * time.Second)); ; <-time.After(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s is not there", path)
		}
	}
}

func closedShell(t *testing.T, s subject) {
	sh := shellOf(t, s)
	if err := sh.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := sh.Run(t.Context(), "true")
	code(t, err, fault.CodeHostUnavailable, s.address)
}

// echo listens at a socket and gives back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "echo") //nolint:usetesting // whose names may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ln.Close()
		_ = os.RemoveAll(folder)
	})
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // it is a test's
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return path
}

func exchange(conn net.Conn, text string) error {
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	back := make([]byte, len(text))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if string(back) != text {
		return fmt.Errorf("%q came back instead of %q", back, text)
	}
	return nil
}

func tunnels(t *testing.T, s subject) *Tunnels {
	t.Helper()
	tunnels := NewTunnels(s.config)
	t.Cleanup(tunnels.Close)
	return tunnels
}

func sockets(t *testing.T, s subject) {
	conn, err := tunnels(t, s).Dial(t.Context(), s.login(t), echo(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, strings.Repeat("0123456789abcdef", 20_000)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
		t.Fatalf("after the end: %q, %v", rest, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

func noSocket(t *testing.T, s subject) {
	_, err := tunnels(t, s).Dial(t.Context(), s.login(t), "/no/such/socket")
	code(t, err, fault.CodeHostUnavailable, "/no/such/socket", s.address)
}

// sharedShells are many on one connection: they take turns, and what they leave goes on.
func sharedShells(t *testing.T, s subject) {
	through, l := tunnels(t, s), s.login(t)
	conn, err := through.Dial(t.Context(), l, echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it is a test's
	turn := filepath.Join(t.TempDir(), "turn")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			sh, err := through.Shell(t.Context(), l)
			if err != nil {
				t.Error(err)
				return
			}
			out, err := sh.Run(t.Context(), `mkdir "$2" && echo "$1" && rmdir "$2"`, strconv.Itoa(i), turn)
			if err != nil || out != strconv.Itoa(i)+"\n" {
				t.Errorf("%q, %v", out, err)
			}
			for range 2 {
				if err := sh.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := through.count(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if err := exchange(conn, "after"); err != nil {
		t.Error(err)
	}
}

func manySockets(t *testing.T, s subject) {
	through, l, path := tunnels(t, s), s.login(t), echo(t)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			conn, err := through.Dial(t.Context(), l, path)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close() //nolint:errcheck // it is a test's
			if err := exchange(conn, fmt.Sprintf("number %d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	through.mu.Lock()
	defer through.mu.Unlock()
	if len(through.all) != 1 {
		t.Errorf("%d connections", len(through.all))
	}
}
