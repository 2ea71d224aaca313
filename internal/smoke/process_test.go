package smoke

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stopLimit is above what a Berth that stops may still finish.
const stopLimit = 40 * time.Second

// process is one `berth …` that runs, with what it has written.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  lockedBuffer
	done chan struct{}
	err  error // once done
}

// lockedBuffer is written by a process while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs the program with these settings and no others. When the test ends it is
// asked to stop, and must do so in order.
func start(t *testing.T, settings []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: "berth " + strings.Join(args, " "), done: make(chan struct{})}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(cleanEnvironment(), settings...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said last:\n%s", p.name, tail(p.log.String(), 60))
		}
	})
	return p
}

// cleanEnvironment is ours without the settings that were made for others.
func cleanEnvironment() []string {
	var out []string
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "BERTH_") || strings.HasPrefix(line, "BERTH_DOCKER_HOST=") || strings.HasPrefix(line, "BERTH_IMAGE_") {
			out = append(out, line)
		}
	}
	return out
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// ended gives whether the process has ended, and how.
func (p *process) ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// stop asks the process to stop; it must end with 0.
func (p *process) stop() {
	if over, _ := p.ended(); over {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			p.t.Errorf("%s was asked to stop and ended with %v", p.name, p.err)
		}
	case <-time.After(stopLimit):
		p.t.Errorf("%s was asked to stop and still runs after %s", p.name, stopLimit)
		p.kill()
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// finish waits for a process that ends by itself.
func (p *process) finish(limit time.Duration) {
	p.t.Helper()
	select {
	case <-p.done:
		if p.err != nil {
			p.t.Fatalf("%s: %v\n%s", p.name, p.err, tail(p.log.String(), 20))
		}
	case <-time.After(limit):
		p.kill()
		p.t.Fatalf("%s has not ended within %s\n%s", p.name, limit, tail(p.log.String(), 20))
	}
}

// logged gives the lines of the JSON log with this message.
func (p *process) logged(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(p.log.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

// freeAddress gives a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it only found the port
	return l.Addr().String()
}

// portRange gives a range that tests which run beside this one hardly ever share. If
// they do, the host refuses a port and Berth takes the next.
func portRange(ports int) string {
	low := 22000 + rand.N(4000-ports)
	return fmt.Sprintf("%d-%d", low, low+ports-1)
}
