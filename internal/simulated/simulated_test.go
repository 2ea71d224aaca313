package simulated_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/simulated"
	"github.com/berth-project/berth/internal/tenant"
)

var serial atomic.Int64

func sample(*testing.T) host.Workload {
	n := serial.Add(1)
	return host.Workload{
		Unit: host.UnitID(fmt.Sprintf("ins_%d", n)), Tenant: tenant.Default, Engine: "redis", Fence: 1, Image: "redis:8",
		Ports: []host.PortBinding{{Name: "redis", Container: 6379, Host: int(18000 + n)}},
		Files: []host.File{{Path: "/data/redis.conf", Mode: 0o400, Content: secret.New("requirepass x\n")}},
	}
}

func runtimeOf(t *testing.T, endpoint, deployment string) host.Runtime {
	t.Helper()
	hosts, err := simulated.New(endpoint, deployment)
	if err != nil {
		t.Fatal(err)
	}
	r, err := hosts.Runtime(host.Host{Name: "h", Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRuntimeContract(t *testing.T) {
	dir := t.TempDir()
	r := runtimeOf(t, "simulated://"+dir, "one")
	file := func(id host.UnitID) string { return filepath.Join(dir, string(id)+".json") }
	const foreign = `{"deployment":"","volume":{"fence":0}}`
	hosttest.RuntimeContract(t, hosttest.Subject{
		Runtime: r, Other: runtimeOf(t, "simulated://"+dir, "two"), Unreachable: runtimeOf(t, "simulated://"+dir+"?failures=1", "one"),
		Images: []string{"redis:8"}, Workload: sample,
		Port: func(*testing.T) int { return int(18000 + serial.Add(1)) },
		AddForeign: func(t *testing.T, id host.UnitID) {
			if err := os.WriteFile(file(id), []byte(foreign), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		ForeignThere: func(_ *testing.T, id host.UnitID) bool {
			content, err := os.ReadFile(file(id))
			return err == nil && string(content) == foreign
		},
	})
}

// What one process has made is there for another one, and two at once lose nothing.
func TestSharedByProcesses(t *testing.T) {
	endpoint := "simulated://" + t.TempDir()
	one, other := runtimeOf(t, endpoint, "dep"), runtimeOf(t, endpoint, "dep")
	var all sync.WaitGroup
	const each = 50
	w := sample(t)
	if err := one.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * each {
		all.Go(func() {
			r := []host.Runtime{one, other}[i%2]
			same := w
			same.Fence = int64(i + 1)
			if _, err := r.Start(t.Context(), same); err != nil {
				t.Error(err)
			}
			mine := sample(t)
			if err := r.Create(t.Context(), mine); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, r := range []host.Runtime{one, other} {
		if units, err := r.List(t.Context()); err != nil || len(units) != 2*each+1 {
			t.Errorf("%d units, %v", len(units), err)
		}
	}
}

// Calls take their time, and the share of them that was asked for fails.
func TestLatencyAndFailures(t *testing.T) {
	r := runtimeOf(t, "simulated://"+t.TempDir()+"?latency=20ms&jitter=5ms", "dep")
	begun := time.Now()
	if err := r.Ping(t.Context()); err != nil || time.Since(begun) < 15*time.Millisecond {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
	r = runtimeOf(t, "simulated://"+t.TempDir()+"?failures=0.2&seed=7", "dep")
	failed := 0
	for range 1000 {
		if err := r.Ping(t.Context()); fault.CodeOf(err) == fault.CodeHostUnavailable && err != nil {
			failed++
		}
	}
	if failed < 150 || failed > 250 {
		t.Errorf("%d of 1000 calls failed", failed)
	}
}

func TestEndpoints(t *testing.T) {
	for _, bad := range []string{
		"simulated://", "simulated://host/folder", "unix:///var/run/docker.sock", "simulated:///f?latency=x", "simulated:///f?speed=1",
		"simulated:///f?failures=2", "simulated:///f?jitter=1s", "simulated:///f?latency=-1s",
	} {
		if _, err := simulated.New(bad, "dep"); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	list, err := simulated.Each(host.Host{Name: "sim", Endpoint: "simulated:///tmp/x?latency=1ms"}, 2)
	if err != nil || len(list) != 2 || list[1].Name != "sim-0002" || list[1].Advertise != "sim-0002" || list[1].Endpoint != "simulated:///tmp/x/sim-0002?latency=1ms" {
		t.Errorf("%+v, %v", list, err)
	}
}

// The proof looks at the host that the tenant would be told of.
func TestProbe(t *testing.T) {
	endpoint := "simulated://" + t.TempDir()
	hosts, err := simulated.New(endpoint, "dep")
	if err != nil {
		t.Fatal(err)
	}
	list, err := simulated.Each(host.Host{Name: "sim", Endpoint: endpoint}, 1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := hosts.Runtime(list[0])
	if err != nil {
		t.Fatal(err)
	}
	e := hosts.Catalog(instance.Catalog{instancetest.Engine{}})[0]
	w := sample(t)
	inst := instance.Instance{ID: instance.ID(w.Unit), Status: instance.Status{Address: list[0].Advertise, Port: w.Ports[0].Host}}
	probe := func() error { return e.Probe(t.Context(), inst, instance.Credentials{}) }
	if err := probe(); fault.CodeOf(err) != fault.CodeProbeFailed {
		t.Errorf("of nothing: %v", err)
	}
	if err := r.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if err := probe(); err == nil {
		t.Error("it does not run")
	}
	if _, err := r.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if err := probe(); err != nil {
		t.Error(err)
	}
	if inst.Status.Port++; probe() == nil {
		t.Error("at another port")
	}
}
