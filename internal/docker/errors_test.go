package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// What a dialer says of a machine that is not reached is what is said, however the SDK takes it.
func TestUndialed(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for name, want := range map[string]*fault.Error{
		"refused":       fault.Errorf(fault.CodeHostUnavailable, refused, "10.0.0.7:22 does not answer by SSH: connection refused; check that its SSH server runs"),
		"too late":      fault.Errorf(fault.CodeHostUnavailable, os.ErrDeadlineExceeded, "10.0.0.7:22 does not answer by SSH: i/o timeout"),
		"out of time":   fault.Errorf(fault.CodeHostUnavailable, context.DeadlineExceeded, "10.0.0.7:22 does not answer by SSH in time"),
		"another key":   fault.Errorf(fault.CodeHostKeyChanged, nil, "10.0.0.7:22 shows another key"),
		"login refused": fault.Errorf(fault.CodeLoginRefused, refused, "10.0.0.7:22 refuses the login"),
	} {
		t.Run(name, func(t *testing.T) {
			hosts := New(Config{Deployment: "dep_1", Dial: func(context.Context, host.Host) (net.Conn, error) { return nil, want }})
			defer hosts.Close() //nolint:errcheck // it is of no use any more
			r, err := hosts.Runtime(host.Host{ID: "hst_1", Name: "h", Endpoint: "ssh://root@10.0.0.7", Source: host.FromPool})
			if err != nil {
				t.Fatal(err)
			}
			_, unknown := r.Identity(t.Context())
			for call, err := range map[string]error{"ping": r.Ping(t.Context()), "identity": unknown} {
				if fault.CodeOf(err) != want.Code || fault.Explain(err) != want.Message {
					t.Errorf("%s: %s: %v", call, fault.CodeOf(err), err)
				}
			}
		})
	}
}

func TestTranslate(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want fault.Code
	}{
		"nothing there":   {fmt.Errorf("error during connect: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), fault.CodeHostUnavailable},
		"reset":           {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, fault.CodeHostUnavailable},
		"hangs":           {context.DeadlineExceeded, fault.CodeHostUnavailable},
		"ends midway":     {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), fault.CodeHostUnavailable},
		"going down":      {fmt.Errorf("%w: shutting down", cerrdefs.ErrUnavailable), fault.CodeHostUnavailable},
		"not found":       {fmt.Errorf("%w: no such container", cerrdefs.ErrNotFound), fault.CodeNotFound},
		"conflict":        {fmt.Errorf("%w: name in use", cerrdefs.ErrConflict), fault.CodeConflict},
		"refused for why": {fmt.Errorf("%w: no space left on device", cerrdefs.ErrInternal), fault.CodeInternal},
		"too much asked":  {fmt.Errorf("%w: slow down", cerrdefs.ErrResourceExhausted), fault.CodeInternal},
		"bad spec":        {fmt.Errorf("%w: invalid mount", cerrdefs.ErrInvalidArgument), fault.CodeHostRefused},
		"not offered":     {fmt.Errorf("%w: no such feature", cerrdefs.ErrNotImplemented), fault.CodeHostRefused},
		"forbidden":       {fmt.Errorf("%w: by a plugin", cerrdefs.ErrPermissionDenied), fault.CodeHostRefused},
		"unknown caller":  {fmt.Errorf("%w: log in", cerrdefs.ErrUnauthenticated), fault.CodeHostRefused},
		"another 4xx":     {statusError(http.StatusMethodNotAllowed, "not so"), fault.CodeHostRefused},
		"another 5xx":     {statusError(http.StatusBadGateway, "no answer from behind"), fault.CodeInternal},
		"refused as 500":  {statusError(http.StatusInternalServerError, `invalid entry name "../data/"`), fault.CodeHostRefused},
		"cut off":         {fmt.Errorf("invalid character '<' looking for beginning of value"), fault.CodeInternal},
	} {
		err := translate("local", "do it", test.err)
		if err.Code != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: got %v (%s), want %s", name, err, err.Code, test.want)
		}
	}
}

// statusError gives the error that the SDK makes of an answer with that status.
func statusError(status int, message string) error {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
	}))
	defer server.Close()
	api, err := client.NewClientWithOpts(client.WithHost("tcp://" + server.Listener.Addr().String()))
	if err != nil {
		return err
	}
	defer func() { _ = api.Close() }()
	return api.ContainerStart(context.Background(), "x", container.StartOptions{})
}

// TestSocketForbidden has a socket that this process may not open.
func TestSocketForbidden(t *testing.T) {
	const socket = "/var/run/docker.sock"
	dial := &net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: socket, Net: "unix"}, Err: os.NewSyscallError("connect", syscall.EACCES)}
	hosts := New(Config{})
	defer func() { _ = hosts.Close() }()
	got, err := hosts.Runtime(host.Host{Name: "local", Endpoint: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	r := got.(*Runtime)
	r.engine.api = forbidden(t, dial)
	_, inspect := r.Inspect(t.Context(), "ins_1")
	for name, err := range map[string]error{"ping": r.Ping(t.Context()), "inspect": inspect} {
		if fault.CodeOf(err) != fault.CodeHostUnavailable {
			t.Errorf("%s: got %v", name, err)
		}
		var problem *fault.Error
		if !errors.As(err, &problem) {
			continue
		}
		for _, words := range []string{"permission denied", socket, "usermod -aG docker", "root"} {
			if !strings.Contains(problem.Message, words) {
				t.Errorf("%s: %q does not say %q", name, problem.Message, words)
			}
		}
	}
}

// forbidden is a client that meets the error whenever it connects.
func forbidden(t *testing.T, dial error) *client.Client {
	t.Helper()
	api, err := client.NewClientWithOpts(client.WithHost("unix:///var/run/docker.sock"), client.WithHTTPClient(&http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, dial },
	}}))
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// The texts are Docker's own: engine 20.10 twice, engine 28, Docker Desktop. The number is the
// port that is refused.
func TestPortRefusedTexts(t *testing.T) {
	const failed = "driver failed programming external connectivity on endpoint berth-x (0a1b): "
	for text, want := range map[string]int{
		failed + "Bind for 127.0.0.1:18001 failed: port is already allocated":                                                                   18001,
		failed + "Error starting userland proxy: listen tcp4 127.0.0.1:18001: bind: address already in use":                                     18001,
		failed + "Error starting userland proxy: listen tcp6 [::1]:18001: bind: address already in use":                                         18001,
		"failed to set up container networking: " + failed + "failed to bind host port 127.0.0.1:1/tcp: address already in use":                 1,
		"failed to set up container networking: " + failed + "failed to bind host port 127.0.0.1:2:172.17.0.2:6379/tcp: address already in use": 2,
		"Ports are not available: exposing port TCP 127.0.0.1:18001 -> 127.0.0.1:0: listen tcp: bind: in use":                                   18001,
		failed + "listen tcp4 10.9.9.9:18001: bind: cannot assign requested address":                                                            0,
		"OCI runtime create failed: exec: \"x\": executable file not found in $PATH":                                                            0,
	} {
		err := translate("local", "start", fmt.Errorf("%w: %s", cerrdefs.ErrInternal, text))
		if got := err.Code == fault.CodePortRefused; got != (want != 0) {
			t.Errorf("%q: %s", text, err.Code)
		}
		var port *host.RefusedPort
		if want != 0 && (!errors.As(err, &port) || port.Port != want) {
			t.Errorf("%q: port %+v", text, port)
		}
	}
	var port *host.RefusedPort
	if err := translate("local", "start", errors.New("port is already allocated")); err.Code != fault.CodePortRefused || errors.As(err, &port) {
		t.Errorf("a port that is not named: %+v", err)
	}
}

// An error that is given another code must not match its old one.
func TestCause(t *testing.T) {
	old := translate("local", "create", fmt.Errorf("%w: no such image", cerrdefs.ErrNotFound))
	err := fault.Errorf(fault.CodeImageUnavailable, cause(old), "no image")
	if errors.Is(err, fault.ErrNotFound) || !errors.Is(err, cerrdefs.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
