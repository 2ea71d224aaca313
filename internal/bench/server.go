package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/store"
)

// server is a berth process and a client of it.
type server struct {
	cmd       *exec.Cmd
	client    *client.Client
	readyTook time.Duration
	address   string
	key       string // of the operator
}

// unbounded lets a measurement have as many jobs and requests as it wants.
var unbounded = []string{"BERTH_LOG_LEVEL=error", "BERTH_MAX_JOBS=100000000", "BERTH_MAX_JOBS_PER_TENANT=100000000", "BERTH_RATE_LIMIT=0", "BERTH_RATE_LIMIT_ADDRESS=0"}

func runID() string { return strings.ToLower(rand.Text()[:8]) }

func command(ctx context.Context, binary string, settings []string, verb string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, verb) //nolint:gosec // the binary is what the caller wants measured
	cmd.Env = append(append(withoutSettings(), unbounded...), settings...)
	cmd.Stderr = &complaints{}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that it ends in order
	cmd.WaitDelay = 40 * time.Second
	return cmd
}

// complaints is what a process has written: its greeting, and errors only. It is shown
// when something goes wrong.
type complaints struct {
	mu   sync.Mutex
	text []byte
}

// Write keeps the last of it.
func (c *complaints) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, p...)
	c.text = c.text[max(0, len(c.text)-8<<10):]
	return len(p), nil
}

// said gives what the process has complained of.
func (s *server) said() string {
	c, ok := s.cmd.Stderr.(*complaints)
	if !ok {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}

// withoutSettings is our environment without the settings that were made for others.
func withoutSettings() []string {
	var out []string
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "BERTH_") || strings.HasPrefix(line, "BERTH_DOCKER_HOST=") || strings.HasPrefix(line, "BERTH_IMAGE_") {
			out = append(out, line)
		}
	}
	return out
}

func (b *bench) migrate(ctx context.Context, settings []string) error {
	s := &server{cmd: command(ctx, b.binary, settings, "migrate")}
	if err := s.cmd.Run(); err != nil {
		return fmt.Errorf("berth migrate: %w\n%s", err, s.said())
	}
	return nil
}

// startWorker starts a process that has no address.
func (b *bench) startWorker(ctx context.Context, settings []string) (*server, error) {
	s := &server{cmd: command(ctx, b.binary, settings, "worker")}
	return s, s.cmd.Start()
}

// startServer starts a berth process on a free port and waits until it is ready.
func (b *bench) startServer(ctx context.Context, settings []string, verb string) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	address, key := fmt.Sprintf("127.0.0.1:%d", port), secret.APIKey()
	cmd := command(ctx, b.binary, append([]string{"BERTH_HTTP_ADDR=" + address, "BERTH_ADMIN_KEY=" + key, "BERTH_DRAIN_DELAY=0s"}, settings...), verb)
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, address: address, key: key}
	pooled := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	if s.client, err = client.New(client.Config{URL: "http://" + address, APIKey: key, HTTP: pooled}); err != nil {
		s.stop()
		return nil, err
	}
	err = until(ctx, time.Minute, 2*time.Millisecond, func() error { return ready(ctx, address) })
	if s.readyTook = time.Since(begun); err != nil {
		s.stop()
		return nil, fmt.Errorf("berth %s is not ready: %w\n%s", verb, err, s.said())
	}
	return s, nil
}

func ready(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // nothing depends on it
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

// until asks until the answer is nil, the time is up, or the context has ended.
func until(ctx context.Context, limit, pause time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// givenPorts are those that freePort has given. Until they are listened at they are free to
// the kernel, which would give the same one to two that ask at once.
var givenPorts sync.Map

func freePort(ctx context.Context) (int, error) {
	for range 1000 {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on TCP
		if err := l.Close(); err != nil {
			return 0, err
		}
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port, nil
		}
	}
	return 0, errors.New("no port is free that was not given before")
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// dev is a `berth dev` with a deployment of its own, of which nothing is left when it
// has been closed.
type dev struct {
	*server
	store      *store.Store
	deployment string
	docker     *bareDocker
}

func (b *bench) startDev(ctx context.Context, name, ports string, settings ...string) (*dev, error) {
	dir := filepath.Join(b.dir, name)
	s, err := b.startServer(ctx, append([]string{"BERTH_DATA_DIR=" + dir, "BERTH_PORT_RANGE=" + ports}, settings...), "dev")
	if err != nil {
		return nil, err
	}
	d := &dev{server: s, docker: b.docker}
	if d.store, err = store.Open("sqlite://" + filepath.Join(dir, "berth.db")); err == nil {
		d.deployment, err = d.store.Deployment(ctx, "")
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return d, nil
}

func (d *dev) close(ctx context.Context) error {
	d.stop()
	err := d.store.Close()
	if d.deployment == "" {
		return errors.Join(err, errors.New("a deployment without an id: look for its containers yourself"))
	}
	return errors.Join(err, d.docker.removeAll(context.WithoutCancel(ctx), "berth.deployment="+d.deployment))
}
