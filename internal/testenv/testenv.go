// Package testenv gives tests real servers: one MySQL and one Redis for each test
// binary that asks, started with the docker command and gone when the binary ends.
// It knows nothing of Berth's own packages, so that any test may use it.
//
// A binary that uses it has
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }
package testenv

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
)

// howToGet is the answer to every missing part.
const howToGet = "run scripts/docker.sh and scripts/images.sh"

const (
	// label marks the containers; its value is the Unix time after which nobody can
	// need the container any more. `docker ps -a --filter label=berth.testenv` shows all.
	label = "berth.testenv"
	// endless is for a test binary that may take as long as it likes.
	endless = 24 * time.Hour
	// callLimit and startLimit keep a test from hanging for ever; they say nothing of how
	// long a call or a start should take.
	callLimit  = 2 * time.Minute
	startLimit = 10 * time.Minute
	// stallLimit is how long a server that starts may show no progress.
	stallLimit   = 90 * time.Second
	pollInterval = 50 * time.Millisecond
)

// Run runs the tests of a binary and removes the servers that they had started. It
// gives the exit code.
func Run(m *testing.M) int {
	logging.Disable() // tests that take Redis away know it
	running.Lock()
	running.managed = true
	running.Unlock()
	code := m.Run()
	if err := stopAll(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = max(code, 1)
	}
	return code
}

// running are the containers of this binary.
var running struct {
	sync.Mutex
	managed    bool // Run will remove them
	containers []string
}

func stopAll() error {
	running.Lock()
	defer running.Unlock()
	if len(running.containers) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	_, err := docker(ctx, append([]string{"rm", "--force", "--volumes"}, running.containers...)...)
	running.containers = nil
	return err
}

// server is one container that is started when the first test asks.
type server struct {
	name      string   // "mysql"
	images    []string // the public one first
	port      string   // in the container, "3306/tcp"
	once      sync.Once
	container string
	addr      string // 127.0.0.1:PORT
	err       error
}

// start starts the server once, waits until it is ready, and gives its address.
func (s *server) start(t testing.TB, options, command []string, ready func(ctx context.Context, addr string) error) string {
	t.Helper()
	Needs(t, Databases)
	s.once.Do(func() { s.err = s.launch(options, command, ready) })
	if s.err != nil {
		t.Fatalf("no %s to test with: %v", s.name, s.err)
	}
	return s.addr
}

func (s *server) launch(options, command []string, ready func(context.Context, string) error) error {
	running.Lock()
	managed := running.managed
	running.Unlock()
	if !managed {
		return errors.New("the package's TestMain does not call testenv.Run, so nobody would remove the server")
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	image, err := firstImage(ctx, s.images)
	if err != nil {
		return err
	}
	if err := sweep(ctx); err != nil {
		return err
	}
	name := fmt.Sprintf("berth-testenv-%s-%d-%s", s.name, os.Getpid(), strings.ToLower(rand.Text()[:8]))
	publish := "127.0.0.1:"
	if s.addr != "" {
		publish = s.addr
	}
	args := []string{
		"run", "--detach", "--name", name, "--publish", publish + ":" + strings.TrimSuffix(s.port, "/tcp"),
		"--label", label + "=" + strconv.FormatInt(time.Now().Add(lifetime()).Unix(), 10),
	}
	args = append(append(append(args, options...), image), command...)
	if _, err := docker(ctx, args...); err != nil {
		return err
	}
	running.Lock()
	running.containers = append(running.containers, name)
	running.Unlock()
	s.container = name
	published, err := docker(ctx, "port", name, s.port)
	if err != nil {
		return err
	}
	s.addr, _, _ = strings.Cut(published, "\n")
	return s.await(ctx, ready)
}

// await waits until the server is ready, for as long as it makes progress.
func (s *server) await(ctx context.Context, ready func(context.Context, string) error) error {
	ctx, stalled := context.WithCancelCause(ctx)
	defer stalled(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		stalled(untilStalled(ctx, func() (string, error) { return progressOf(ctx, s.container) }))
	}()
	err := poll(ctx, func() error { return ready(ctx, s.addr) })
	if err != nil {
		err = errors.Join(context.Cause(ctx), err)
		said, _ := docker(context.WithoutCancel(ctx), "logs", "--tail", "20", s.container)
		err = fmt.Errorf("%s at %s is not ready: %w\n%s", s.container, s.addr, err, said)
	}
	stalled(nil)
	<-watched
	return err
}

// progressOf gives what changes while a container works: what it has written, and the
// processor time of its processes. One that has ended makes no progress any more.
func progressOf(ctx context.Context, container string) (string, error) {
	if state, err := docker(ctx, "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", container); err != nil || !strings.HasPrefix(state, "true") {
		return "", errors.Join(err, fmt.Errorf("it has ended (running, exit code: %s)", state))
	}
	used, err := docker(ctx, "top", container, "-eo", "pid,time")
	if err != nil {
		return "", err
	}
	said, err := docker(ctx, "logs", "--tail", "1", "--timestamps", container)
	return used + said, err
}

// untilStalled looks once a second, and gives the error when the progress cannot be seen
// any more or has been the same for too long.
func untilStalled(ctx context.Context, progress func() (string, error)) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last, since := "", time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now, err := progress()
		switch {
		case err != nil:
			return err
		case now != last:
			last, since = now, time.Now()
		case time.Since(since) > stallLimit:
			return fmt.Errorf("it shows no progress for %s", stallLimit)
		}
	}
}

// lifetime is what this test binary may take.
func lifetime() time.Duration {
	limit, err := time.ParseDuration(flag.Lookup("test.timeout").Value.String())
	if err != nil || limit == 0 {
		return endless
	}
	return limit
}

// poll asks until the answer is nil or the context has ended.
func poll(ctx context.Context, ask func() error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// firstImage gives the first of the images that is here.
func firstImage(ctx context.Context, images []string) (string, error) {
	if _, err := docker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return "", fmt.Errorf("%w; %s", err, howToGet)
	}
	for _, image := range images {
		if _, err := docker(ctx, "image", "inspect", "--format", "{{.Id}}", image); err == nil {
			return image, nil
		}
	}
	return "", fmt.Errorf("none of the images %s is here; %s", strings.Join(images, ", "), howToGet)
}

// sweep removes what binaries that were killed have left.
func sweep(ctx context.Context) error {
	list, err := docker(ctx, "ps", "--all", "--filter", "label="+label, "--format", `{{.ID}} {{.Label "`+label+`"}}`)
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		id, until, _ := strings.Cut(strings.TrimSpace(line), " ")
		if end, err := strconv.ParseInt(until, 10, 64); err == nil && end < time.Now().Unix() {
			_, _ = docker(ctx, "rm", "--force", "--volumes", id) // another binary may be at it, too
		}
	}
	return nil
}

// docker runs the docker command on the engine that the servers are on, and gives its
// output.
func docker(ctx context.Context, args ...string) (string, error) {
	return run(ctx, "docker", append(dockerHost(), args...)...)
}

// dockerHost is the option that leads to the engine that everybody shares.
func dockerHost() []string {
	if host := os.Getenv("BERTH_DOCKER_HOST"); host != "" {
		return []string{"--host", host}
	}
	return nil
}

// run runs a command to its end and gives its output.
func run(ctx context.Context, name string, args ...string) (string, error) {
	return runFor(ctx, callLimit, name, args...)
}

// runFor gives the command so much time.
func runFor(ctx context.Context, limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the arguments are this package's
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return strings.TrimSpace(out.String()), nil
}
