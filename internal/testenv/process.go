package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stopLimit is above what a Berth that stops may still finish on a quiet machine.
const stopLimit = 40 * time.Second

// Process is a program that runs, a `berth …` as a rule, with what it has written.
type Process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	log  Log
	done chan struct{}
	err  error // once done
}

// Start runs the program with these settings and no others. When the test ends it is
// asked to stop, and must do so in order.
func Start(t testing.TB, binary string, settings []string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(CleanEnvironment(), settings...)
	return start(t, "berth "+strings.Join(args, " "), cmd)
}

// start starts the command, and ends it with the test.
func start(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := launch(t, name, cmd)
	t.Cleanup(p.end)
	return p
}

// launch starts the command, for a caller who ends it.
func launch(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, name: name, cmd: cmd, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p
}

// end stops the process, and shows what it has said to a test that failed.
func (p *Process) end() {
	p.Stop()
	if p.t.Failed() {
		p.t.Logf("%s said last:\n%s", p.name, Tail(p.log.String(), 60))
	}
}

// CleanEnvironment is ours without the settings that were made for others.
func CleanEnvironment() []string {
	var out []string
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "BERTH_") || strings.HasPrefix(line, "BERTH_DOCKER_HOST=") || strings.HasPrefix(line, "BERTH_IMAGE_") {
			out = append(out, line)
		}
	}
	return out
}

// Tail gives the last lines of a text.
func Tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Name is the command line, without settings.
func (p *Process) Name() string { return p.name }

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log is what it has written.
func (p *Process) Log() string { return p.log.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended gives whether the process has ended, and how.
func (p *Process) Ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// Freeze has the process stand still until Continue.
func (p *Process) Freeze() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

// Stopped fails unless the process stands still, by a SIGSTOP.
func (p *Process) Stopped() error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		return err
	}
	if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "T") {
		return fmt.Errorf("it is in state %.1s", state)
	}
	return nil
}

// Continue has the process go on that stands still.
func (p *Process) Continue() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// Stop asks the process to stop; it must end with 0.
func (p *Process) Stop() {
	if over, _ := p.Ended(); over {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			p.t.Errorf("%s was asked to stop and ended with %v", p.name, p.err)
		}
	case <-time.After(Limit(stopLimit)):
		p.t.Errorf("%s was asked to stop and still runs after %s", p.name, Limit(stopLimit))
		p.Kill()
	}
}

// Kill ends the process as a power cut would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Finish waits for a process that ends by itself, within the limit on a quiet machine.
func (p *Process) Finish(limit time.Duration) {
	p.t.Helper()
	limit = Limit(limit)
	select {
	case <-p.done:
		if p.err != nil {
			p.t.Fatalf("%s: %v\n%s", p.name, p.err, Tail(p.log.String(), 20))
		}
	case <-time.After(limit):
		p.Kill()
		p.t.Fatalf("%s has not ended within %s\n%s", p.name, limit, Tail(p.log.String(), 20))
	}
}

// Logged gives the lines of the JSON log with this message.
func (p *Process) Logged(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(p.log.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

// FreeAddress gives a loopback address that nobody listens on, and that no other test is
// given, in whatever process, while this one runs. Its port is below those of outgoing
// connections, one of which could have it before somebody listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	var config net.ListenConfig
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.N(8000))
		// Linux lets one process at a time have a socket of that name, and ends it with the process.
		claim, err := config.Listen(context.WithoutCancel(t.Context()), "unix", "@berth-test-"+addr)
		if err != nil {
			continue
		}
		l, err := config.Listen(t.Context(), "tcp", addr)
		if err != nil {
			_ = claim.Close()
			continue
		}
		t.Cleanup(func() { _ = claim.Close() })
		_ = l.Close() // it only found the port
		return addr
	}
	t.Fatal("no port from 10000 to 17999 is free")
	return ""
}

// PortRange gives a range of less than 500 ports that no other test has, in whatever
// process: it lies in a block whose first port is held while the test runs.
func PortRange(t testing.TB, ports int) string {
	t.Helper()
	const block = 500
	var config net.ListenConfig
	for range 200 {
		low := 22000 + block*rand.N(20)
		l, err := config.Listen(context.WithoutCancel(t.Context()), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(low)))
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = l.Close() })
		return fmt.Sprintf("%d-%d", low+1, low+min(ports, block-1))
	}
	t.Fatal("every block of ports from 22000 on is taken")
	return ""
}
