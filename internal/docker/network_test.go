package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/testenv"
)

// server makes the workload a Redis that anybody may use who reaches it.
func server(w host.Workload) host.Workload {
	w.Command = []string{"/bin/sh", "-c", "exec redis-server --port 6379 --protected-mode no --save '' --dir /data"}
	return w
}

// shell runs a script in the container of the unit.
func shell(t *testing.T, r *realEngine, id host.UnitID, script string) (output string, exitCode int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", "--host", r.host.Endpoint, "exec", nameOf(id), "/bin/sh", "-c", script) //nolint:gosec // a test's own
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("docker exec: %s; %s", out.String(), howToGet)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// reaches reports whether a Redis answers the unit at the address. Whatever it says is an
// answer.
func reaches(t *testing.T, r *realEngine, from host.UnitID, address string, port int) bool {
	t.Helper()
	out, code := shell(t, r, from, fmt.Sprintf("timeout 2 redis-cli -h %s -p %d PING", address, port))
	return code == 0 && strings.Contains(out, "PONG")
}

// addressOf gives the unit's own address, and that of the host in its network.
func addressOf(t *testing.T, r *realEngine, id host.UnitID) (own, gateway string) {
	t.Helper()
	c, err := r.api.ContainerInspect(t.Context(), nameOf(id))
	if err != nil {
		t.Fatal(err)
	}
	n := c.NetworkSettings.Networks[networkName]
	if n == nil || len(c.NetworkSettings.Networks) != 1 {
		t.Fatalf("it is in %v", c.NetworkSettings.Networks)
	}
	return n.IPAddress, n.Gateway
}

// answersHere waits until a Redis answers this process at the address.
func answersHere(t *testing.T, address string, port int) {
	t.Helper()
	testenv.Eventually(t, "a server answers at "+address, 20*time.Second, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // only asked
		if _, err := conn.Write([]byte("PING\r\n")); err != nil {
			return err
		}
		answer := make([]byte, 5)
		_, err = conn.Read(answer)
		if err == nil && !strings.HasPrefix(string(answer), "+PONG") {
			err = fmt.Errorf("it says %q", answer)
		}
		return err
	})
}

// TestNetworkKeepsInstancesApart attacks from inside an instance: another instance, by its own
// address and by its published port; what listens on the host for itself; what is in another
// network of the engine; the address at which clouds tell secrets; and the Docker API.
func TestNetworkKeepsInstancesApart(t *testing.T) {
	local := newRealEngine(t)
	r, attacker, victim := local.runtime(t), server(local.workload(t)), server(local.workload(t))
	attacker.Bind, victim.Bind = "127.0.0.1", "127.0.0.1"
	start(t, r, attacker)
	start(t, r, victim)
	published := victim.Ports[0].Host
	answersHere(t, "127.0.0.1", published)
	own, gateway := addressOf(t, local, victim.Unit)
	if !reaches(t, local, attacker.Unit, "127.0.0.1", 6379) {
		t.Fatal("the attacker does not even reach itself")
	}
	apart := outsider(t, local)
	listener := hostListener(t)
	for what, at := range map[string]struct {
		address string
		port    int
	}{
		"another instance by its own address":            {own, 6379},
		"another instance by its name":                   {nameOf(victim.Unit), 6379},
		"another instance by its port, on loopback":      {"127.0.0.1", published},
		"another instance by its port, over the gateway": {gateway, published},
		"what listens on the host's loopback":            {gateway, listener},
		"a container of another network":                 {apart, 6379},
		"the metadata address":                           {"169.254.169.254", 80},
		"the Docker API":                                 {gateway, 2375},
	} {
		if reaches(t, local, attacker.Unit, at.address, at.port) {
			t.Errorf("an instance reaches %s", what)
		}
	}
	if out, code := shell(t, local, attacker.Unit, "ls /var/run/docker.sock /run/docker.sock"); code == 0 {
		t.Errorf("an instance has the Docker socket: %s", out)
	}
}

// outsider gives the address of a Redis in another network of the engine, as Berth's own
// Redis and database are where docker-compose.yml has started them.
func outsider(t *testing.T, r *realEngine) string {
	t.Helper()
	ctx := t.Context()
	name := "berth-test-" + strings.ToLower(r.deployment[len(r.deployment)-8:])
	made, err := r.api.NetworkCreate(ctx, name, network.CreateOptions{Driver: "bridge"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.api.NetworkRemove(context.WithoutCancel(ctx), made.ID) })
	image, err := r.runtime(t).EnsureImage(ctx, redisImages, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.api.ContainerCreate(ctx, &container.Config{Image: image, Entrypoint: []string{"redis-server"}, Cmd: []string{"--protected-mode", "no"}},
		&container.HostConfig{NetworkMode: container.NetworkMode(name)}, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.api.ContainerRemove(context.WithoutCancel(ctx), c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	})
	if err := r.api.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	seen, err := r.api.ContainerInspect(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	address := seen.NetworkSettings.Networks[name].IPAddress
	answersHere(t, address, 6379)
	return address
}

// hostListener gives the port of something on loopback that answers as a Redis does.
func hostListener(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("+PONG\r\n"))
			_ = conn.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// TestNetworkOptions has the network that is there be one that keeps instances apart.
func TestNetworkOptions(t *testing.T) {
	local := newRealEngine(t)
	r := local.runtime(t)
	errs := testenv.Together(4, func(int) error { // also where several make it at once
		other, err := New(Config{Deployment: local.deployment}).Runtime(local.host)
		if err != nil {
			return err
		}
		return other.(*Runtime).ensureNetwork(t.Context())
	})
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	n, err := r.engine.inspectNetwork(t.Context(), networkName)
	if err != nil || n.Internal || n.EnableIPv6 || n.Labels[labelNetwork] == "" {
		t.Fatalf("the network is %+v (%v)", n, err)
	}
	if err := r.acceptNetwork(n); err != nil {
		t.Error(err)
	}
	n.Options["com.docker.network.bridge.enable_icc"] = "true"
	if err := r.acceptNetwork(n); fault.CodeOf(err) != fault.CodeHostRefused || !strings.Contains(err.Error(), "keep instances apart") {
		t.Errorf("a network that keeps nobody apart: %v", err)
	}
}

// TestNetworkGone has a start fail for want of the network in a way that a second try mends.
func TestNetworkGone(t *testing.T) {
	r := newRealEngine(t).runtime(t)
	r.engine.networked.Store(true)
	gone := translate("h", "start", errNoNetwork{})
	if err := r.networkGone(gone); err == nil || !fault.CodeOf(err).Retryable() || r.engine.networked.Load() {
		t.Errorf("got %v", err)
	}
	other := translate("h", "start", errNoContainer{})
	if err := r.networkGone(other); fault.CodeOf(err) != fault.CodeNotFound {
		t.Errorf("got %v", err)
	}
}

type (
	errNoNetwork   struct{}
	errNoContainer struct{}
)

func (errNoNetwork) Error() string   { return "network berth-instances not found" }
func (errNoNetwork) NotFound()       {}
func (errNoContainer) Error() string { return "No such container: x" }
func (errNoContainer) NotFound()     {}

// TestBridgeTaken has the engine give the bridge of the network to nobody: it was killed while
// it made the network, or the bridge is somebody else's.
func TestBridgeTaken(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var there *network.Inspect
	asked := map[string]int{}
	r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		answer, status := any(map[string]string{"message": "network " + networkName + " not found"}), http.StatusNotFound
		switch _, path, _ := strings.Cut(r.URL.Path, "/networks"); {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
			w.Header().Set("Api-Version", "1.41")
			return
		case strings.HasSuffix(r.URL.Path, "/version") || strings.HasSuffix(r.URL.Path, "/info"):
			answer, status = map[string]string{"ID": "e1"}, http.StatusOK
		case path == "/create":
			var body network.CreateRequest
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			bridge := body.Options[bridgeOption]
			asked[bridge]++
			if bridge == "berth0" {
				answer, status = map[string]string{"message": "cannot create network a (berth0): conflicts with network b (berth0): networks have same bridge name"}, http.StatusForbidden
				break
			}
			there = &network.Inspect{Name: body.Name, Driver: body.Driver, Options: body.Options}
			answer, status = map[string]string{"Id": "n1"}, http.StatusCreated
		case there != nil:
			answer, status = there, http.StatusOK
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}), Config{})
	if err := r.ensureNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	if there == nil || there.Options[bridgeOption] != "berth1" || asked["berth0"] < 2 || asked["berth1"] != 1 {
		t.Errorf("asked for %v, there is %+v", asked, there)
	}
	for option, want := range networkOptions(1) {
		if there.Options[option] != want {
			t.Errorf("%s is %q, want %q", option, there.Options[option], want)
		}
	}
}
