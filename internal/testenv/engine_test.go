package testenv_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

var redisImages = []string{"redis:8", "berth/redis:8"}

// TestEngineIsApart sees that an engine's container is reached at the engine's address,
// is unknown elsewhere, can be started again when its
// dockerd was away, and that nothing stays.
func TestEngineIsApart(t *testing.T) {
	var socket, host string
	if !t.Run("while it is there", func(t *testing.T) {
		began := time.Now()
		e := testenv.NewEngine(t, redisImages...)
		t.Logf("it took %s", time.Since(began).Round(time.Millisecond))
		socket, host = strings.TrimPrefix(e.URL, "unix://"), e.Host
		image := strings.Fields(onEngine(t, e, "images", "--format", "{{.Repository}}:{{.Tag}}"))[0]
		onEngine(t, e, "run", "--detach", "--name", "berth-apart", "--publish", e.Host+":20000:6379", image, "redis-server", "--protected-mode", "no")
		answers(t, e.Host)
		for _, restart := range []struct {
			name string
			end  func()
		}{{"stopped", e.Stop}, {"killed", e.Kill}} {
			restart.end()
			began := time.Now()
			e.Start()
			t.Logf("%s, it was back after %s", restart.name, time.Since(began).Round(time.Millisecond))
			onEngine(t, e, "start", "berth-apart") // after a kill its dockerd ends it and leaves it ended
			answers(t, e.Host)
		}
		e.Kill() // and is left like that
	}) || socket == "" { // which it is where the engine was left out
		return
	}
	dir := filepath.Dir(socket)
	left, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(dir))
	for _, path := range append(left, dir, filepath.Join("/run/netns", filepath.Base(dir))) {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("there are mounts left in %s, %v", dir, err)
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		if command, _ := os.ReadFile(file); strings.Contains(string(command), dir) {
			t.Errorf("%s runs on: %s", file, command)
		}
	}
	addresses, err := net.InterfaceAddrs()
	for _, a := range addresses {
		if _, network, _ := net.ParseCIDR(a.String()); network.Contains(net.ParseIP(host)) {
			t.Errorf("the link is left: %s", a)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func onEngine(t *testing.T, e *testenv.Engine, args ...string) string {
	t.Helper()
	out, err := e.Docker(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// answers waits until a Redis does, on port 20000.
func answers(t *testing.T, host string) {
	t.Helper()
	testenv.Eventually(t, "the container answers", 20*time.Second, func(ctx context.Context) error {
		var dialer net.Dialer
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, "20000"))
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // nothing depends on it
		_ = c.SetDeadline(time.Now().Add(time.Second))
		answer := make([]byte, 5)
		if _, err = fmt.Fprint(c, "PING\r\n"); err == nil {
			_, err = c.Read(answer)
		}
		if err == nil && string(answer) != "+PONG" {
			err = fmt.Errorf("it says %q", answer)
		}
		return err
	})
}
