package smoke

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// TestSwarm has Berth use a node of a swarm as its host: a tenant's whole story, with the node's engine
// killed in the middle.
func TestSwarm(t *testing.T) {
	t.Parallel()
	nodes := testenv.Swarm(t, 3)
	node := nodes[1] // the first one is the leader
	dev := startDev(t, "BERTH_DOCKER_HOST="+node.SwarmEndpoint, "BERTH_ADVERTISE_HOST="+node.Address, "BERTH_BIND_HOST=0.0.0.0",
		"BERTH_RECONCILE_EVERY=2s", "BERTH_RECONCILE_GRACE=10s", "BERTH_PROBE_EVERY=2s")
	my, re := create(t, dev.server, "mysql", "", nil), create(t, dev.server, "redis", "", nil)
	for _, s := range []*service{my, re} {
		began := time.Now()
		if err := dev.await(t.Context(), s.created, 4*time.Minute); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s was created after %s", s.Engine, time.Since(began).Round(time.Millisecond))
		var err error
		if s.conn, err = dev.Connection(t.Context(), s.Instance); err != nil {
			t.Fatal(err)
		}
	}
	if err := workMySQL(t.Context(), openMySQL(t, my.conn), "kept"); err != nil {
		t.Fatalf("use MySQL: %v", err)
	}
	if err := workRedis(t.Context(), openRedis(t, re.conn), "kept"); err != nil {
		t.Fatalf("use Redis: %v", err)
	}

	node.Stop(t)
	testenv.Eventually(t, "the swarm misses the node", time.Minute, func(ctx context.Context) error {
		out, err := nodes[0].Docker(ctx, "node", "ls", "--filter", "id="+node.ID, "--format", "{{.Status}}")
		if err == nil && out != "Down" {
			err = errNotYet(out)
		}
		return err
	})
	node.Start(t)
	began := time.Now()
	testenv.Eventually(t, "both have their data again", 3*time.Minute, func(ctx context.Context) error {
		if err := readMySQL(ctx, openMySQL(t, my.conn), "kept"); err != nil {
			return err
		}
		return readRedis(ctx, openRedis(t, re.conn), "kept")
	})
	t.Logf("both were repaired %s after the node was back", time.Since(began).Round(time.Millisecond))
	for _, s := range []*service{my, re} {
		awaitState(t, dev, s, "running", time.Minute)
		if err := dev.remove(t.Context(), client.Instance{ID: s.ID, Engine: s.Engine}); err != nil {
			t.Errorf("delete %s: %v", s.ID, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(node.Data, "*")); len(left) > 0 {
		t.Errorf("on the node there is still %v", left)
	}
	for _, kind := range []string{"service", "config", "secret"} {
		if out, err := nodes[0].Docker(t.Context(), kind, "ls", "--quiet"); err != nil || out != "" {
			t.Errorf("in the swarm there is still a %s: %s %v", kind, out, err)
		}
	}
}

// errNotYet is what was seen while something else is waited for.
type errNotYet string

func (e errNotYet) Error() string { return "it is " + string(e) }
