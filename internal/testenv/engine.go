package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// howToGetEngine is the answer to what an Engine is without.
	howToGetEngine = "a Docker engine of the test's own needs root, and dockerd, containerd, ip and nsenter in PATH: run scripts/engine.sh (on Debian and Ubuntu: apt-get install docker.io iproute2 util-linux)"
	// engineLimit is above what a dockerd needs to come up, or to go with its containers.
	engineLimit = 3 * time.Minute
)

// Engine is a Docker engine of one test's own, which may be stopped and killed while
// the one that everybody shares goes on. It has a network namespace, a containerd and
// folders of its own, so the two know nothing of each other. What its containers
// publish is reached at Host.
type Engine struct {
	URL  string // unix://…, good across network namespaces
	Host string // its end of a link that nobody else is on

	t       testing.TB
	dir     string
	link    link
	dockerd *Process
}

// NewEngine starts an engine that has those of the images that the shared engine has,
// and fails if that is none. It goes with the test, and all that is on it.
func NewEngine(t testing.TB, images ...string) *Engine {
	t.Helper()
	Needs(t, OwnEngine)
	if err := canHaveEngine(); err != nil {
		t.Fatalf("%v; %s", err, howToGetEngine)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	sweepEngines(ctx)
	// A path of a socket has at most 107 bytes, of which t.TempDir takes too many.
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", enginePrefix, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{t: t, dir: dir}
	e.URL = "unix://" + e.path("docker.sock")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), engineLimit)
		defer cancel()
		if err := takeDown(ctx, dir); err != nil {
			t.Errorf("the test's own Docker engine is not gone: %v", err)
		}
	})
	if e.link, err = newLink(ctx, filepath.Base(dir)); err != nil {
		t.Fatalf("a network for the test's own Docker engine: %v", err)
	}
	e.Host = e.link.inside.String()
	if err := errors.Join(e.write("containerd.toml", fmt.Sprintf(containerdConfig, e.path("containerd"), e.path("containerd-state"), e.containerdSocket())),
		e.write("daemon.json", "{}")); err != nil { // not the machine's
		t.Fatal(err)
	}
	e.startContainerd()
	e.Start()
	t.Cleanup(func() { e.dockerd.end() }) // the last of them, after all that uses it
	if err := e.load(ctx, images); err != nil {
		t.Fatalf("images for the test's own Docker engine: %v", err)
	}
	return e
}

func canHaveEngine() error {
	if os.Geteuid() != 0 {
		return errors.New("this user is not root")
	}
	for _, program := range []string{"dockerd", "containerd", "ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	return nil
}

// inNamespace is a program in the engine's network. The program takes nsenter's
// place, so that its process id is its own. (`ip netns exec` hides the cgroups.)
func (e *Engine) inNamespace(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=" + e.link.namespacePath(), name}, args...)...)
	cmd.Dir, cmd.Env = e.dir, CleanEnvironment()
	return cmd
}

// containerdConfig leaves out what only Kubernetes needs.
const containerdConfig = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
`

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

func (e *Engine) containerdSocket() string { return e.path("containerd.sock") }

func (e *Engine) write(name, text string) error {
	return os.WriteFile(e.path(name), []byte(text), 0o600)
}

// startContainerd gives the engine a containerd of its own. A dockerd would take the
// system's, where there is one, and there find the containers of the shared engine.
func (e *Engine) startContainerd() {
	e.t.Helper()
	start(e.t, "containerd", e.inNamespace("containerd", "--config", e.path("containerd.toml"), "--log-level", "warn"))
	Eventually(e.t, "the engine's containerd is there", engineLimit, func(context.Context) error {
		_, err := os.Stat(e.containerdSocket())
		return err
	})
}

// Start starts the dockerd, again after Stop or Kill, and waits until it answers.
func (e *Engine) Start() {
	e.t.Helper()
	// It would refuse to start while the number in it is some other process's by now.
	_ = os.Remove(e.path("docker.pid"))
	e.dockerd = launch(e.t, "dockerd", e.inNamespace("dockerd", "--host", e.URL, "--containerd", e.containerdSocket(), "--pidfile", e.path("docker.pid"),
		"--data-root", e.path("data"), "--exec-root", e.path("exec"), "--config-file", e.path("daemon.json"), "--log-level", "warn",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+filepath.Base(e.dir)))
	Eventually(e.t, "the test's own Docker engine answers", engineLimit, func(ctx context.Context) error {
		if over, err := e.dockerd.Ended(); over {
			e.t.Fatalf("dockerd has ended: %v\n%s", err, Tail(e.dockerd.Log(), 20))
		}
		_, err := e.Docker(ctx, "version", "--format", "{{.Server.Version}}")
		return err
	})
}

// Stop ends the dockerd in order, which ends its containers.
func (e *Engine) Stop() { e.dockerd.Stop() }

// Kill ends the dockerd as a crash would. Its containers run on, and nobody looks
// after them.
func (e *Engine) Kill() { e.dockerd.Kill() }

// Docker runs the docker command on the engine.
func (e *Engine) Docker(ctx context.Context, args ...string) (string, error) {
	return run(ctx, "docker", append([]string{"--host", e.URL}, args...)...)
}

// load brings those of the images that the shared engine has.
func (e *Engine) load(ctx context.Context, images []string) error {
	var here []string
	for _, image := range images {
		if _, err := docker(ctx, "image", "inspect", "--format", "{{.Id}}", image); err == nil {
			here = append(here, image)
		}
	}
	if len(here) == 0 {
		return fmt.Errorf("none of %s is here; %s", strings.Join(images, ", "), howToGet)
	}
	archive := e.path("images.tar")
	save := append(append(dockerHost(), "save", "--output", archive), here...)
	if _, err := runFor(ctx, startLimit, "docker", save...); err != nil {
		return err
	}
	if _, err := runFor(ctx, startLimit, "docker", "--host", e.URL, "load", "--input", archive); err != nil {
		return err
	}
	return os.Remove(archive)
}
