package hosttest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

var serial atomic.Int64

func sample() host.Workload {
	n := serial.Add(1)
	return host.Workload{
		Unit: host.UnitID(fmt.Sprintf("ins_%d", n)), Tenant: tenant.Default, Engine: "redis", Fence: 1,
		Image: "redis:8", Command: []string{"redis-server", "/data/redis.conf"}, User: "999:999", DataPath: "/data",
		Ports: []host.PortBinding{{Name: "redis", Container: 6379, Host: int(18000 + n)}},
		Files: []host.File{{Path: "/data/redis.conf", Mode: 0o400, Content: secret.New("requirepass x\n")}},
	}
}

func TestRuntimeContract(t *testing.T) {
	r := NewRuntime("one")
	r.AddImages("berth/redis:8")
	r.NoRegistry()
	r.Behave(func(w host.Workload) Behavior {
		if w.Command[0] != "end" {
			return Behavior{}
		}
		return Behavior{Ends: true, ExitCode: len(w.Command[2]), Output: w.Command[1] + "\n"}
	})
	dead := NewRuntime("one")
	for _, m := range Methods() {
		dead.Fail(m, Fault{Before: true})
	}
	RuntimeContract(t, Subject{
		Runtime: r, Other: r.Beside("two"), Unreachable: dead,
		Images: []string{"redis:8", "berth/redis:8"}, Missing: "nobody/none:1",
		Golden: func(*testing.T) host.Golden {
			return host.Golden{Name: "redis", Command: []string{"make", fmt.Sprint(serial.Add(1))}, User: "999:999", Path: "/golden"}
		},
		FailGolden: func(g host.Golden, words string, exitCode int) host.Golden {
			g.Command = []string{"end", words, strings.Repeat("x", exitCode)}
			return g
		},
		RemoveGolden: func(_ *testing.T, reference string) { r.RemoveImage(reference) },
		Workload:     func(*testing.T) host.Workload { return sample() },
		Port:         func(*testing.T) int { return int(18000 + serial.Add(1)) },
		EndAtOnce: func(w host.Workload, words string, exitCode int) host.Workload {
			w.Command = []string{"end", words, strings.Repeat("x", exitCode)}
			return w
		},
		AddForeign:   func(_ *testing.T, id host.UnitID) { r.AddForeign(id) },
		ForeignThere: func(_ *testing.T, id host.UnitID) bool { return r.ForeignThere(id) },
		File: func(t *testing.T, id host.UnitID, path string) (host.File, string) {
			f, owner, ok := r.File(id, path)
			if !ok {
				t.Fatalf("there is no file %s", path)
			}
			return f, owner
		},
	})
}

func TestFaults(t *testing.T) {
	r := NewRuntime("one")
	w := sample()
	r.AddImages(w.Image)

	r.Fail(MethodCreate, Fault{Before: true, Times: 1})
	if err := r.Create(t.Context(), w); !errors.Is(err, ErrFault) || fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Fatalf("fail before: %v", err)
	}
	if _, err := r.Inspect(t.Context(), w.Unit); !errors.Is(err, fault.ErrNotFound) {
		t.Fatalf("a call that failed before its effect had one: %v", err)
	}
	r.Fail(MethodCreate, Fault{After: true, Times: 1})
	if err := r.Create(t.Context(), w); !errors.Is(err, ErrFault) {
		t.Fatalf("fail after: %v", err)
	}
	if _, err := r.Inspect(t.Context(), w.Unit); err != nil {
		t.Fatalf("a call whose answer was lost had no effect: %v", err)
	}
	if err := r.Create(t.Context(), w); err != nil {
		t.Fatalf("the fault did not end: %v", err)
	}
	if n := r.Calls(MethodCreate); n != 3 {
		t.Fatalf("%d calls of Create, want 3", n)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	r.Fail(MethodStart, Fault{Hang: true})
	if _, err := r.Start(ctx, w); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("hang: %v", err)
	}
	held := make(chan struct{})
	r.Fail(MethodStart, Fault{Hold: held})
	r.OnCall(func(_ context.Context, m Method, _ host.UnitID) {
		if m == MethodStart {
			close(held)
		}
	})
	if _, err := r.Start(t.Context(), w); err != nil {
		t.Fatalf("hold: %v", err)
	}
	if err := r.Probe(w.Unit); err != nil {
		t.Fatalf("probe of one that runs: %v", err)
	}
	r.SetProbe(func(host.UnitID) error { return errors.New("deaf") })
	if err := r.Probe(w.Unit); err == nil {
		t.Fatal("the probe did not ask the test")
	}
	if !r.Crash(w.Unit, Behavior{ExitCode: 137, OOMKilled: true}) {
		t.Fatal("nothing to crash")
	}
	if u, err := r.Inspect(t.Context(), w.Unit); err != nil || u.Running || u.ExitCode != 137 || !u.OOMKilled {
		t.Fatalf("crashed, it is %+v, %v", u, err)
	}
}

func TestOnePullForMany(t *testing.T) {
	r := NewRuntime("one")
	held := make(chan struct{})
	r.HoldPulls(held)
	const askers = 8
	answers, told := make(chan error, askers), make(chan string, askers)
	for range askers {
		go func() {
			_, err := r.EnsureImage(t.Context(), []string{"redis:8"}, func(text string) { told <- text })
			answers <- err
		}()
	}
	for range askers {
		<-told // all of them wait
	}
	close(held)
	for range askers {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if n := r.Pulls(); n != 1 {
		t.Errorf("%d pulls, want 1", n)
	}
}

func TestRuntimes(t *testing.T) {
	r := NewRuntime("one")
	hosts := NewRuntimes(r)
	hosts.Set("hst_down", nil)
	if got, err := hosts.Runtime(host.Host{ID: "hst_1"}); err != nil || got != host.Runtime(r) {
		t.Errorf("any host: %v, %v", got, err)
	}
	if _, err := hosts.Runtime(host.Host{ID: "hst_down"}); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("a host that is down: %v", err)
	}
}
