package swarm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/testenv"
)

// TestAway takes parts of a swarm away: a node, and the manager that leads.
func TestAway(t *testing.T) {
	b := newBed(t, "redis:8")
	t.Run("nodes", func(t *testing.T) { lists(t, b) })
	t.Run("instances are apart", func(t *testing.T) { instancesApart(t, b) })
	t.Run("a node that nobody calls isolated", func(t *testing.T) { notIsolated(t, b) })
	t.Run("a folder that is gone", func(t *testing.T) { folderGone(t, b) })
	t.Run("the node", func(t *testing.T) { nodeAway(t, b) })
	t.Run("the node's power", func(t *testing.T) { powerAway(t, b) })
	t.Run("the leader", func(t *testing.T) { leaderAway(t, b) })
	b.nothingLeft(t)
	b.noContainers(t, b.nodes)
}

// noContainers sees that none of the nodes has a container of a service, in whatever state.
func (b *bed) noContainers(t *testing.T, nodes []testenv.SwarmNode) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, "node "+n.Name+" has no containers", func(ctx context.Context) error {
			out, err := n.Docker(ctx, "ps", "--all", "--filter", "label=com.docker.swarm.service.name", "--format", "{{.Names}} {{.Status}}")
			if err == nil && out != "" {
				err = errors.New(out)
			}
			return err
		})
	}
}

// runRedis runs a Redis on the node, and gives its workload and a client.
func runRedis(t *testing.T, b *bed, n int) (host.Workload, *redis.Client) {
	t.Helper()
	r, w := b.runtime(t, b.hosts, n), redisWorkload(t)
	for what, do := range []func(context.Context) error{
		func(ctx context.Context) error { return r.CreateVolume(ctx, w) },
		func(ctx context.Context) error { return r.Create(ctx, w) },
		func(ctx context.Context) error { _, err := r.Start(ctx, w); return err },
	} {
		eventually(t, fmt.Sprintf("call %d of a create", what), func(ctx context.Context) error {
			err := do(ctx)
			if err != nil && fault.CodeOf(err) != fault.CodeHostUnavailable { // as while managers elect a leader
				t.Fatal(err)
			}
			return err
		})
	}
	rdb := redis.NewClient(&redis.Options{Addr: b.nodes[n].Address + ":" + portOf(w), Password: password, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	eventually(t, "Redis answers", func(ctx context.Context) error { return rdb.Ping(ctx).Err() })
	return w, rdb
}

func lists(t *testing.T, b *bed) {
	nodes, err := b.runtime(t, b.hosts, 0).cluster.Nodes(t.Context())
	if err != nil || len(nodes) != 3 {
		t.Fatalf("the nodes are %+v, %v", nodes, err)
	}
	for i, n := range nodes {
		want := b.nodes[i]
		if n.ID != want.ID || n.Hostname != want.Name || n.Address != want.Address || n.Availability != "active" || n.State != "ready" ||
			!n.Manager || n.CPUs <= 0 || n.Memory <= 0 || n.Arch == "" || n.EngineVersion == "" || n.Labels[host.LabelIsolated] != "true" {
			t.Errorf("node %s is listed as %+v", want.Name, n)
		}
	}
	seen, err := b.hosts.Nodes(t.Context(), "prod", b.nodes[0].Cluster)
	if err != nil || len(seen) != 3 || seen[1].ID != b.nodes[1].ID || seen[1].Address != b.nodes[1].Address || seen[1].State != host.NodeReady ||
		seen[1].Availability != host.NodeActive || seen[1].Labels[host.LabelIsolated] != "true" {
		t.Errorf("the nodes of the swarm are %+v, %v", seen, err)
	}
	if _, err := b.hosts.Nodes(t.Context(), "prod", "swarm://127.0.0.1:1"); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("where nobody answers: %v", err)
	} else {
		t.Log(err)
	}
	one, err := b.runtime(t, b.hosts, 0).Identity(t.Context())
	must(t, err)
	other, err := b.runtime(t, b.hosts, 1).Identity(t.Context())
	if err != nil || one == other || !strings.HasSuffix(other, "/"+b.nodes[1].ID) {
		t.Errorf("two nodes are %s and %s, %v", one, other, err)
	}
}

// instancesApart sees that one instance does not reach another one in the network of their node.
func instancesApart(t *testing.T, b *bed) {
	one, _ := runRedis(t, b, 1)
	two, _ := runRedis(t, b, 1)
	on := func(args ...string) string {
		out, err := b.nodes[1].Docker(t.Context(), args...)
		must(t, err)
		return out
	}
	container := func(w host.Workload) string {
		return on("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name="+nameOn(w.Unit, b.nodes[1].ID))
	}
	address := on("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container(two))
	if out, err := b.nodes[1].Docker(t.Context(), "exec", container(two), "redis-cli", "-h", address, "ping"); err != nil || out == "" {
		t.Fatalf("an instance does not reach itself at %s: %s %v", address, out, err)
	}
	limited, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if out, err := b.nodes[1].Docker(limited, "exec", container(one), "redis-cli", "-h", address, "ping"); err == nil {
		t.Errorf("an instance reaches another one: %s", out)
	}
	remove(t, b, 1, one)
	remove(t, b, 1, two)
}

func notIsolated(t *testing.T, b *bed) {
	label := func(option string) {
		_, err := b.nodes[0].Docker(t.Context(), "node", "update", option, b.nodes[2].ID)
		must(t, err)
	}
	label("--label-rm=" + host.LabelIsolated)
	w := redisWorkload(t)
	err := b.runtime(t, b.hosts, 2).Create(t.Context(), w)
	if fault.CodeOf(err) != fault.CodeHostRefused || !strings.Contains(err.Error(), "icc") {
		t.Errorf("create there: %v", err)
	}
	label("--label-add=" + host.LabelIsolated + "=true")
	remove(t, b, 2, w)
}

// folderGone takes the data of an instance away while it is stopped: nothing starts on an empty disk.
func folderGone(t *testing.T, b *bed) {
	w, _ := runRedis(t, b, 1)
	r := b.runtime(t, b.hosts, 1)
	must(t, r.Stop(t.Context(), w.Unit, w.Fence, time.Second))
	must(t, os.Rename(filepath.Join(b.nodes[1].Data, string(w.Unit)), filepath.Join(b.nodes[1].Folder, "elsewhere")))
	if _, err := r.Start(t.Context(), w); fault.CodeOf(err) != fault.CodeDataLost {
		t.Errorf("Start without its folder: %v", err)
	}
	w.Fence, w.KeepData = 2, true
	for what, err := range map[string]error{"CreateVolume": r.CreateVolume(t.Context(), w), "Create": r.Create(t.Context(), w)} {
		if fault.CodeOf(err) != fault.CodeDataLost {
			t.Errorf("%s without its folder: %v", what, err)
		}
	}
	must(t, os.Rename(filepath.Join(b.nodes[1].Folder, "elsewhere"), filepath.Join(b.nodes[1].Data, string(w.Unit))))
	must(t, r.Create(t.Context(), w))
	_, err := r.Start(t.Context(), w)
	must(t, err)
	remove(t, b, 1, w)
}

// nodeAway kills the dockerd of a node and has it back: meanwhile nothing is known of its instances and
// nothing starts elsewhere; then a claim has the data.
func nodeAway(t *testing.T, b *bed)  { away(t, b, testenv.FleetHost.Stop) }
func powerAway(t *testing.T, b *bed) { away(t, b, testenv.FleetHost.PowerOff) }

func away(t *testing.T, b *bed, off func(testenv.FleetHost, testing.TB)) {
	w, rdb := runRedis(t, b, 2)
	must(t, rdb.Set(t.Context(), "kept", "yes", 0).Err())
	r := b.runtime(t, b.hosts, 2)
	watched, heard := watch(t, r)
	began := time.Now()
	off(b.nodes[2].FleetHost, t)
	eventually(t, "the node is missed", func(ctx context.Context) error {
		if _, err := r.Inspect(ctx, w.Unit); fault.CodeOf(err) != fault.CodeHostUnavailable {
			return errors.Join(errors.New("Inspect succeeds"), err)
		}
		return nil
	})
	t.Logf("the node was missed after %s", time.Since(began).Round(time.Millisecond))
	for name, err := range hosttest.EveryCall(t.Context(), t, r, w) {
		if fault.CodeOf(err) != fault.CodeHostUnavailable {
			t.Errorf("%s, with the node away: %v", name, err)
		}
	}
	b.noContainers(t, b.nodes[:2])
	b.nodes[2].Start(t)
	began = time.Now()
	eventually(t, "the node is back", r.Ping)
	t.Logf("the node was back after %s", time.Since(began).Round(time.Millisecond))
	heard(w.Unit)
	w.Fence, w.KeepData = 2, true
	eventually(t, "a claim starts it", func(ctx context.Context) error {
		if err := r.Create(ctx, w); err != nil {
			return err
		}
		_, err := r.Start(ctx, w)
		return err
	})
	eventually(t, "its data are there", func(ctx context.Context) error { return rdb.Get(ctx, "kept").Err() })
	watched()
	remove(t, b, 2, w)
}

// leaderAway kills the dockerd of the leader. Instances on other nodes go on, and can be changed when
// another manager leads.
func leaderAway(t *testing.T, b *bed) {
	leader := b.leader(t)
	n := (leader + 1) % len(b.nodes)
	w, rdb := runRedis(t, b, n)
	r := b.runtime(t, b.hosts, n)
	b.nodes[leader].Stop(t)
	began, codes := time.Now(), map[fault.Code]int{}
	eventually(t, "another one leads", func(ctx context.Context) error {
		_, err := r.Inspect(ctx, w.Unit)
		if err != nil {
			codes[fault.CodeOf(err)]++
		}
		return err
	})
	t.Logf("without the leader, all was well after %s; meanwhile: %v", time.Since(began).Round(time.Millisecond), codes)
	if delete(codes, fault.CodeHostUnavailable); len(codes) > 0 {
		t.Errorf("meanwhile calls failed with %v", codes)
	}
	must(t, rdb.Ping(t.Context()).Err())
	other, _ := runRedis(t, b, n)
	remove(t, b, n, other)
	b.nodes[leader].Start(t)
	remove(t, b, n, w)
}

func (b *bed) leader(t *testing.T) int {
	t.Helper()
	for i, n := range b.nodes {
		if out, err := n.Docker(t.Context(), "node", "inspect", "--format", "{{.ManagerStatus.Leader}}", "self"); err == nil && out == "true" {
			return i
		}
	}
	t.Fatal("nobody leads the swarm")
	return 0
}

// watch watches the node's instances; heard waits for news of one.
func watch(t *testing.T, r *Runtime) (stop func(), heard func(host.UnitID)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	news, done := make(chan host.UnitID, 1000), make(chan error, 1)
	go func() { done <- r.Watch(ctx, func(id host.UnitID) { news <- id }) }()
	stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v", err)
		}
	}
	return stop, func(want host.UnitID) {
		eventually(t, "the end of "+string(want)+" is told", func(ctx context.Context) error {
			for {
				select {
				case id := <-news:
					if id == want {
						return nil
					}
				default:
					return errors.Join(errors.New("not yet"), ctx.Err())
				}
			}
		})
	}
}

func remove(t *testing.T, b *bed, n int, w host.Workload) {
	t.Helper()
	eventually(t, "it is removed", func(ctx context.Context) error { return b.runtime(t, b.hosts, n).Remove(ctx, w.Unit, 1<<40, true) })
}

func eventually(t *testing.T, what string, ask func(context.Context) error) {
	t.Helper()
	testenv.Eventually(t, what, 90*time.Second, ask)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
