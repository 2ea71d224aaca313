package docker

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

const howToGet = "run scripts/docker.sh and scripts/images.sh"

var redisImages = []string{"redis:8", "berth/redis:8"}

// realEngine is the Docker engine of this machine, with a deployment of its own.
type realEngine struct {
	api        *client.Client
	hosts      *Hosts
	host       host.Host
	deployment string
}

func newRealEngine(t *testing.T) *realEngine {
	t.Helper()
	needsDocker(t)
	endpoint := os.Getenv("BERTH_DOCKER_HOST")
	if endpoint == "" {
		endpoint = client.DefaultDockerHost
	}
	api, err := client.NewClientWithOpts(client.WithHost(endpoint), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatalf("%v; %s", err, howToGet)
	}
	t.Cleanup(func() { _ = api.Close() })
	r := &realEngine{api: api, host: host.Host{Name: "local", Endpoint: endpoint}, deployment: "test-" + rand.Text()}
	r.hosts = New(Config{Deployment: r.deployment})
	t.Cleanup(func() {
		if err := r.hosts.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.runtime(t).Ping(t.Context()); err != nil {
		t.Fatalf("%v; %s", err, howToGet)
	}
	if _, err := r.runtime(t).EnsureImage(t.Context(), redisImages, nil); err != nil {
		t.Fatalf("%v; %s", err, howToGet)
	}
	t.Cleanup(func() { r.removeAll(t) })
	return r
}

func (r *realEngine) runtime(t *testing.T) *Runtime {
	t.Helper()
	runtime, err := r.hosts.Runtime(r.host)
	if err != nil {
		t.Fatalf("%v; %s", err, howToGet)
	}
	return runtime.(*Runtime)
}

// removeAll removes by label whatever the tests have left.
func (r *realEngine) removeAll(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, label := range []string{labelDeployment + "=" + r.deployment, "berth.test=" + r.deployment} {
		labeled := filters.NewArgs(filters.Arg("label", label))
		containers, err := r.api.ContainerList(ctx, container.ListOptions{All: true, Filters: labeled})
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
		for _, c := range containers {
			if err := r.api.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
		volumes, err := r.api.VolumeList(ctx, volume.ListOptions{Filters: labeled})
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
		for _, v := range volumes.Volumes {
			if err := r.api.VolumeRemove(ctx, v.Name, true); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
	}
}

func (r *realEngine) workload(t *testing.T) host.Workload {
	return host.Workload{
		Unit:    host.UnitID("ins_" + rand.Text()),
		Tenant:  tenant.Default,
		Engine:  "redis",
		Fence:   1,
		Image:   redisImages[1],
		Command: []string{"redis-server", "/data/redis.conf"},
		User:    "4711:4712", // one that the image does not have
		Resources: host.Resources{
			CPUMillis: 500, MemoryBytes: 64 << 20,
		},
		PidsLimit: 64,
		Ports:     []host.PortBinding{{Name: "redis", Container: 6379, Host: freePort(t)}},
		Bind:      "127.0.0.1",
		DataPath:  "/data",
		Scratch:   map[string]int64{"/tmp": 1 << 20},
		Files: []host.File{{
			Path: "/data/redis.conf", Mode: 0o400,
			Content: secret.New("requirepass " + testPassword + "\ndir /data\nprotected-mode no\n"),
		}},
		StopGrace: 2 * time.Second,
	}
}

const testPassword = "Tell-Nobody-4711"

// Ports of the tests lie below the kernel's ephemeral ones and apart from Berth's
// own; several runs at once begin at random places.
const lowPort, highPort = 18000, 18999

var nextPort atomic.Int64

func freePort(t *testing.T) int {
	t.Helper()
	if nextPort.Load() == 0 {
		n, err := rand.Int(rand.Reader, big.NewInt(highPort-lowPort+1))
		if err != nil {
			t.Fatal(err)
		}
		nextPort.CompareAndSwap(0, n.Int64()+1)
	}
	for range highPort - lowPort {
		port := lowPort + int(nextPort.Add(1))%(highPort-lowPort+1)
		var config net.ListenConfig
		if l, err := config.Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatalf("no port is free in %d-%d", lowPort, highPort)
	return 0
}

func TestRuntimeContract(t *testing.T) {
	t.Parallel()
	r := newRealEngine(t)
	t.Run("files are copied", func(t *testing.T) { runtimeContract(t, r, r.workload) })
	t.Run("files are handed over", func(t *testing.T) {
		runtimeContract(t, r, func(t *testing.T) host.Workload { return ownData(r.workload(t)) })
	})
}

// ownData makes the workload one whose user has the data folder of the image.
func ownData(w host.Workload) host.Workload {
	w.User, w.UserOwnsData = "999:999", true
	return w
}

func runtimeContract(t *testing.T, r *realEngine, workload func(*testing.T) host.Workload) {
	t.Helper()
	other := New(Config{Deployment: r.deployment + "-other"})
	t.Cleanup(func() { _ = other.Close() })
	otherRuntime, err := other.Runtime(r.host)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := r.hosts.Runtime(host.Host{Name: "dead", Endpoint: "unix://" + path.Join(t.TempDir(), "none.sock")})
	if err != nil {
		t.Fatal(err)
	}
	hosttest.RuntimeContract(t, hosttest.Subject{
		Runtime: r.runtime(t), Other: otherRuntime, Unreachable: dead,
		Images: redisImages, Missing: "localhost:1/nobody/none:1",
		Golden: r.goldenData,
		FailGolden: func(g host.Golden, words string, exitCode int) host.Golden {
			g.Command = []string{"/bin/sh", "-c", fmt.Sprintf("echo '%s' >&2; exit %d", words, exitCode)}
			return g
		},
		RemoveGolden: r.removeGolden,
		Workload:     workload,
		Port:         freePort,
		EndAtOnce: func(w host.Workload, words string, exitCode int) host.Workload {
			w.Command = []string{"/bin/sh", "-c", fmt.Sprintf("echo '%s' >&2; exit %d", words, exitCode)}
			return w
		},
		AddForeign:   r.addForeign,
		ForeignThere: r.foreignThere,
		File:         r.file,
	})
}

func (r *realEngine) addForeign(t *testing.T, id host.UnitID) {
	t.Helper()
	// Of the same deployment even, but not of the instance.
	labels := map[string]string{"berth.test": r.deployment, labelInstance: string(id)}
	if _, err := r.api.VolumeCreate(t.Context(), volume.CreateOptions{Name: nameOf(id), Labels: labels}); err != nil {
		t.Fatal(err)
	}
	_, err := r.api.ContainerCreate(t.Context(),
		&container.Config{Image: redisImages[1], Entrypoint: []string{"sleep", "600"}, Labels: labels},
		&container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: nameOf(id), Target: "/x"}}},
		nil, nil, nameOf(id))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.api.ContainerStart(t.Context(), nameOf(id), container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (r *realEngine) foreignThere(t *testing.T, id host.UnitID) bool {
	t.Helper()
	c, err := r.api.ContainerInspect(t.Context(), nameOf(id))
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.api.VolumeInspect(t.Context(), nameOf(id))
	if err != nil {
		t.Fatal(err)
	}
	return c.State.Running && c.Config.Labels["berth.test"] == r.deployment && v.Labels["berth.test"] == r.deployment
}

func (r *realEngine) file(t *testing.T, id host.UnitID, name string) (host.File, string) {
	t.Helper()
	c, err := r.api.ContainerInspect(t.Context(), nameOf(id))
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); c.Config.OpenStdin; {
		taken, _, err := r.fileNow(t, id, "/data/.berth")
		if err == nil && taken.Content.Reveal() == c.Config.Labels[labelFence]+"\n" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the files are not in place: %v", err)
		}
		if err := backoff.Wait(t.Context(), 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	f, owner, err := r.fileNow(t, id, name)
	if err != nil {
		t.Fatal(err)
	}
	return f, owner
}

func (r *realEngine) fileNow(t *testing.T, id host.UnitID, name string) (host.File, string, error) {
	t.Helper()
	stream, _, err := r.api.CopyFromContainer(t.Context(), nameOf(id), name)
	if err != nil {
		return host.File{}, "", err
	}
	defer func() { _ = stream.Close() }()
	archive := tar.NewReader(stream)
	header, err := archive.Next()
	if err != nil {
		return host.File{}, "", err
	}
	content, err := io.ReadAll(archive)
	if err != nil {
		return host.File{}, "", err
	}
	f := host.File{
		Path: name, Content: secret.New(string(content)),
		Mode: uint32(header.Mode & 0o7777), //nolint:gosec // twelve bits
	}
	return f, fmt.Sprintf("%d:%d", header.Uid, header.Gid), nil
}
