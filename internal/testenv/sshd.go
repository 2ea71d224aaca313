package testenv

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// SSHD is an OpenSSH server of a test's own, on a port of 127.0.0.1.
type SSHD struct {
	Address string
	User    string // who is let in: the one that the test runs as
	Keys    string // the file of authorized keys, which is empty at first
	HostKey string // its ed25519 key; it has an ecdsa one, too
	process *Process
}

// sshdPaths are where it is, which PATH of a user often does not have.
var sshdPaths = []string{"sshd", "/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"}

// StartSSHD starts one with these further lines of configuration. The test ends it.
func StartSSHD(t testing.TB, options ...string) *SSHD {
	t.Helper()
	Needs(t, OpenSSH)
	program := sshdProgram(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if me.Uid == "0" { // where it lets go of root's rights; it starts only where this is there
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	folder := t.TempDir()
	s := &SSHD{Address: FreeAddress(t), User: me.Username, Keys: filepath.Join(folder, "authorized_keys")}
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{
		"ListenAddress 127.0.0.1", "Port " + port, "PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin " +
			"yes", "LogLevel VERBOSE",
		"HostKey " + hostKey(t, folder, "ed25519"), "HostKey " + hostKey(t, folder, "ecdsa"), "AuthorizedKeysFile " + s.Keys,
	}
	// The first line of a kind is the one that holds.
	text := strings.Join(append(append([]string{}, options...), lines...), "\n") + "\n"
	configuration := filepath.Join(folder, "sshd_config")
	write(t, configuration, text)
	write(t, s.Keys, "")
	public, err := os.ReadFile(filepath.Join(folder, "ed25519.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s.HostKey = strings.Join(strings.Fields(string(public))[:2], " ")
	s.process = launch(t, "sshd", exec.Command(program, "-D", "-e", "-f", configuration))
	t.Cleanup(s.end)
	s.await(t)
	return s
}

// Authorize lets in who has the key of this line.
func (s *SSHD) Authorize(t testing.TB, line string) {
	t.Helper()
	write(t, s.Keys, line+"\n")
}

// Log is what it has said.
func (s *SSHD) Log() string { return s.process.Log() }

// end ends it. It answers a SIGTERM with 255, so it is not asked to stop in order.
func (s *SSHD) end() {
	s.process.Kill()
	if s.process.t.Failed() {
		s.process.t.Logf("sshd said last:\n%s", Tail(s.process.Log(), 40))
	}
}

func (s *SSHD) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Limit(10*time.Second))
	defer cancel()
	var dialer net.Dialer
	for {
		if over, err := s.process.Ended(); over {
			t.Fatalf("sshd has ended: %v\n%s", err, s.process.Log())
		}
		conn, err := dialer.DialContext(ctx, "tcp", s.Address)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("sshd does not listen: %v\n%s", err, s.process.Log())
		}
	}
}

func sshdProgram(t testing.TB) string {
	t.Helper()
	for _, name := range sshdPaths {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err == nil {
			return path // which sshd demands to be absolute
		}
	}
	t.Fatal("sshd is missing: run scripts/sshd.sh, or install OpenSSH's server")
	return ""
}

func hostKey(t testing.TB, folder, kind string) string {
	t.Helper()
	path := filepath.Join(folder, kind)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", path).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("ssh-keygen: %w: %s; run scripts/sshd.sh, or install OpenSSH's client", err, out))
	}
	return path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
