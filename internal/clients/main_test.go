package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

const (
	howToGetNode = "run scripts/node.sh (on Debian and Ubuntu: apt-get install nodejs npm)"
	// commandLimit is far above what the slowest of these commands needs: a compiler's or
	// a package manager's first run on a slow machine.
	commandLimit = 10 * time.Minute
	jobLimit     = 3 * time.Minute
)

var (
	binary        string // the program under test
	repository, _ = filepath.Abs("../..")
)

func TestMain(m *testing.M) {
	cleanUp, err := findBinary()
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
	code := testenv.Run(m)
	cleanUp()
	os.Exit(code)
}

// findBinary takes BERTH_BIN, or builds the program into a folder of its own.
func findBinary() (cleanUp func(), err error) {
	if binary = os.Getenv("BERTH_BIN"); binary != "" {
		if !filepath.IsAbs(binary) { // tests run in their package's folder
			binary = filepath.Join(repository, binary)
		}
		if _, err := os.Stat(binary); err != nil {
			return nil, fmt.Errorf("BERTH_BIN: %w; give an absolute path, or one from the repository's root", err)
		}
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "berth-clients-")
	if err != nil {
		return nil, err
	}
	binary = filepath.Join(dir, "berth")
	build := exec.Command("go", "build", "-o", binary, "./cmd/berth")
	build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("build the program: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return func() { _ = os.RemoveAll(dir) }, nil
}

// server is a `berth dev` of one test.
type server struct {
	*client.Client
	url, key string
}

// startDev starts one and waits until it is ready. Whoever makes an instance removes it.
func startDev(t *testing.T) *server {
	t.Helper()
	dir, addr := t.TempDir(), testenv.FreeAddress(t)
	process := testenv.Start(t, binary, []string{
		"BERTH_HTTP_ADDR=" + addr, "BERTH_DATA_DIR=" + dir, "BERTH_PORT_RANGE=" + testenv.PortRange(t, 100), "BERTH_LOG_LEVEL=debug",
	}, "dev")
	s := &server{url: "http://" + addr}
	testenv.Eventually(t, "the server is ready", jobLimit, func(ctx context.Context) error {
		if over, err := process.Ended(); over {
			t.Fatalf("%s has ended: %v\n%s", process.Name(), err, testenv.Tail(process.Log(), 20))
		}
		_, err := s.get(ctx, "/readyz")
		return err
	})
	key, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	s.key = strings.TrimSpace(string(key))
	if s.Client, err = client.New(client.Config{URL: s.url, APIKey: s.key}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.removeAll(t) })
	return s
}

func (s *server) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, res.Status, body)
	}
	return string(body), err
}

// documents writes what the server says of its API into the folder, and gives both files.
func (s *server) documents(t *testing.T, dir string) (newer, older string) {
	t.Helper()
	newer, older = filepath.Join(dir, "openapi.json"), filepath.Join(dir, "openapi-3.0.json")
	for _, file := range []string{newer, older} {
		text, err := s.get(t.Context(), "/"+filepath.Base(file))
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%s is not JSON: %.200s", file, text)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return newer, older
}

// instance makes one, waits until it runs and gives how to connect.
func (s *server) instance(t *testing.T, engine string) client.Connection {
	t.Helper()
	accepted, err := s.Create(t.Context(), engine, "", client.CreateRequest{})
	if err != nil {
		t.Fatalf("create %s: %v", engine, err)
	}
	s.await(t, accepted.Job)
	conn, err := s.Connection(t.Context(), accepted.Instance)
	if err != nil {
		t.Fatalf("config of %s: %v", engine, err)
	}
	return conn
}

func hostPort(c client.Connection) string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

func (s *server) await(t *testing.T, job client.Job) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), jobLimit)
	defer cancel()
	if last, err := s.WaitJob(ctx, job.ID, 5*time.Second, nil); err != nil || last.State != client.JobSucceeded {
		t.Errorf("%s %s is %s: %v, %+v", job.Kind, job.ID, last.State, err, last.Error)
	}
}

// removeAll deletes what tests and their clients have left.
func (s *server) removeAll(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), jobLimit)
	defer cancel()
	page, err := s.Instances(ctx, client.InstanceFilter{})
	if err != nil {
		t.Errorf("what is left cannot be listed: %v", err)
	}
	for _, inst := range page.Items {
		if inst.State == "failed" {
			continue // it has nothing any more
		}
		accepted, err := s.Delete(ctx, inst)
		if err != nil {
			t.Errorf("delete %s: %v", inst.ID, err)
			continue
		}
		s.await(t, accepted.Job)
	}
}

// run runs a command to its end in the folder, and fails the test with what it said.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(testenv.CleanEnvironment(), env...), 10*time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, testenv.Tail(string(out), 60))
	}
	return string(out)
}
