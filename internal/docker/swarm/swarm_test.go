package swarm

import (
	"crypto/rand"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

var redisImages = []string{"redis:8", "berth/redis:8"}

// bed is a swarm of three managers, with a deployment of its own.
type bed struct {
	nodes      []testenv.SwarmNode
	hosts      *docker.Hosts
	deployment string
}

func newBed(t *testing.T, images ...string) *bed {
	t.Helper()
	b := &bed{nodes: testenv.Swarm(t, 3, images...), deployment: "test-" + rand.Text()}
	b.hosts = b.of(t, b.deployment)
	return b
}

func (b *bed) of(t *testing.T, deployment string) *docker.Hosts {
	t.Helper()
	hosts := docker.New(docker.Config{Deployment: deployment, Swarm: New, CallLimit: 10 * time.Second})
	t.Cleanup(func() {
		if err := hosts.Close(); err != nil {
			t.Error(err)
		}
	})
	return hosts
}

func (b *bed) runtime(t *testing.T, hosts *docker.Hosts, n int) *Runtime {
	t.Helper()
	r, err := hosts.Runtime(host.Host{Name: b.nodes[n].Name, Endpoint: b.nodes[n].SwarmEndpoint})
	if err != nil {
		t.Fatal(err)
	}
	return r.(*Runtime)
}

var nextPort atomic.Int64

func freePort(*testing.T) int { return 20000 + int(nextPort.Add(1)) }

func redisWorkload(t *testing.T) host.Workload {
	return host.Workload{
		Unit: host.UnitID("ins_" + rand.Text()), Tenant: tenant.Default, Engine: "redis", Fence: 1, Image: redisImages[1],
		Command: []string{"redis-server", "/data/redis.conf"}, User: "4711:4712", // one that the image does not have
		Resources: host.Resources{CPUMillis: 500, MemoryBytes: 64 << 20}, PidsLimit: 64,
		Ports: []host.PortBinding{{Name: "redis", Container: 6379, Host: freePort(t)}}, Bind: "0.0.0.0",
		DataPath: "/data", Scratch: map[string]int64{"/tmp": 1 << 20},
		Files: []host.File{{
			Path: "/data/redis.conf", Mode: 0o400,
			Content: secret.New("requirepass " + password + "\ndir /data\nprotected-mode no\nappendonly yes\n"),
		}},
		StopGrace: 2 * time.Second,
	}
}

func portOf(w host.Workload) string { return strconv.Itoa(w.Ports[0].Host) }

const password = "Tell-Nobody-4711"

func TestRuntimeContract(t *testing.T) {
	b := newBed(t, "redis:8")
	r := b.runtime(t, b.hosts, 1) // the first one's is the leader
	dead, err := b.hosts.Runtime(host.Host{Name: "dead", Endpoint: "swarm://127.0.0.1:1?node=none"})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("contract", func(t *testing.T) {
		hosttest.RuntimeContract(t, hosttest.Subject{
			Runtime: r, Other: b.runtime(t, b.of(t, b.deployment+"-other"), 1), Unreachable: dead,
			Images: redisImages, Missing: "localhost:1/nobody/none:1",
			Workload: redisWorkload, Port: freePort,
			EndAtOnce: func(w host.Workload, words string, exitCode int) host.Workload {
				w.Command = []string{"/bin/sh", "-c", fmt.Sprintf("echo '%s' >&2; exit %d", words, exitCode)}
				return w
			},
			AddForeign:   func(t *testing.T, id host.UnitID) { addForeign(t, r, id) },
			ForeignThere: func(t *testing.T, id host.UnitID) bool { return foreignThere(t, r, id) },
			File: func(t *testing.T, id host.UnitID, name string) (host.File, string) {
				return fileOn(t, b.nodes[1], id, name)
			},
		})
	})
	b.nothingLeft(t)
}

func api(t *testing.T, r *Runtime) *client.Client {
	t.Helper()
	m, err := r.cluster.manager(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m.API()
}

func addForeign(t *testing.T, r *Runtime, id host.UnitID) {
	t.Helper()
	labels := map[string]string{docker.LabelInstance: string(id), "berth.test": "foreign"}
	name := swarm.Annotations{Name: nameOn(id, r.at.node), Labels: labels}
	if _, err := api(t, r).ConfigCreate(t.Context(), swarm.ConfigSpec{Annotations: name, Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	_, err := api(t, r).ServiceCreate(t.Context(), swarm.ServiceSpec{
		Annotations:  name,
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: redisImages[1], Command: []string{"sleep", "600"}}, Placement: pinned(r.at.node)},
	}, swarm.ServiceCreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func foreignThere(t *testing.T, r *Runtime, id host.UnitID) bool {
	t.Helper()
	s, _, err := api(t, r).ServiceInspectWithRaw(t.Context(), nameOn(id, r.at.node), swarm.ServiceInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := api(t, r).ConfigInspectWithRaw(t.Context(), nameOn(id, r.at.node))
	if err != nil {
		t.Fatal(err)
	}
	return s.Spec.Labels["berth.test"] == "foreign" && c.Spec.Labels["berth.test"] == "foreign" && *s.Spec.Mode.Replicated.Replicas == 1
}

// fileOn reads a file of the unit in the folder of the node, which is on this machine.
func fileOn(t *testing.T, n testenv.SwarmNode, id host.UnitID, name string) (host.File, string) {
	t.Helper()
	file := path.Join(n.Data, string(id), "data", strings.TrimPrefix(name, "/data"))
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return host.File{Path: name, Mode: uint32(info.Mode().Perm()), Content: secret.New(string(content))}, fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
}

// nothingLeft sees that neither the swarm nor a node has anything of an instance.
func (b *bed) nothingLeft(t *testing.T) {
	t.Helper()
	for _, n := range b.nodes {
		if left, _ := filepath.Glob(filepath.Join(n.Data, "*")); len(left) > 0 {
			t.Errorf("node %s has still %v", n.Name, left)
		}
	}
	for _, kind := range []string{"service", "config", "secret"} {
		out, err := b.nodes[0].Docker(t.Context(), kind, "ls", "--quiet", "--filter", "label="+docker.LabelDeployment+"="+b.deployment)
		if err != nil || out != "" {
			t.Errorf("there is still a %s: %s %v", kind, out, err)
		}
	}
}
