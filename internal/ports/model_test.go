package ports_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/testenv"
)

const (
	modelPorts     = 5
	modelInstances = 7
	refusedFor     = 10 * time.Minute // ports.refusedFor
)

// model is what the allocator should do, in the simplest words.
type model struct {
	holder map[int]int       // of a port: the instance
	rests  map[int]time.Time // of a port that nobody has: until when
}

// choose gives the ports that the next holder may get; which of several that began
// to rest for equally long is left open.
func (m *model) choose(now time.Time) []int {
	var best []int
	for port := 20000; port < 20000+modelPorts; port++ {
		_, held := m.holder[port]
		until, used := m.rests[port]
		switch {
		case held:
		case !used:
			return []int{port} // fresh ones first, the lowest of them
		}
		if held || until.After(now) {
			continue
		}
		switch {
		case len(best) == 0 || until.Before(m.rests[best[0]]):
			best = []int{port}
		case until.Equal(m.rests[best[0]]):
			best = append(best, port)
		}
	}
	return best
}

// left counts the ports that a holder could get.
func (m *model) left(now time.Time) (n int) {
	for port := 20000; port < 20000+modelPorts; port++ {
		if _, held := m.holder[port]; !held && !m.rests[port].After(now) {
			n++
		}
	}
	return n
}

func (m *model) portOf(instance int) (int, bool) {
	for port, holder := range m.holder {
		if holder == instance {
			return port, true
		}
	}
	return 0, false
}

// TestAgainstModel does the same to the allocator and to the model, in any order.
func TestAgainstModel(t *testing.T) {
	q := newQuay(t, testenv.Redis(t))
	ctx := t.Context()
	var runs atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		run := &modelRun{quay: q, ctx: ctx, model: model{map[int]int{}, map[int]time.Time{}}}
		var err error
		if run.host, err = q.side(ctx, fmt.Sprint("run-", runs.Add(1)), modelPorts); err != nil {
			rt.Fatal(err)
		}
		for i := range run.claims {
			if run.claims[i], err = q.claim(ctx, fmt.Sprintf("%s-%d", run.host.Name, i)); err != nil {
				rt.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"allocate": run.allocate, "release": run.release, "refuse": run.refuse, "time passes": run.timePasses, "fenced": run.fenced,
			"": run.available,
		})
	})
}

type modelRun struct {
	*quay
	ctx    context.Context //nolint:containedctx // of the test
	host   host.Host
	model  model
	claims [modelInstances]job.Claim
}

func (r *modelRun) instance(t *rapid.T) int {
	return rapid.IntRange(0, modelInstances-1).Draw(t, "instance")
}

func (r *modelRun) allocate(t *rapid.T) {
	i := r.instance(t)
	got, err := r.one(r.ctx, r.claims[i], r.host, "redis")
	if port, ok := r.model.portOf(i); ok {
		if err != nil || got != port {
			t.Fatalf("asked again it gives %d, %v, not %d", got, err, port)
		}
		return
	}
	allowed := r.model.choose(r.now)
	if len(allowed) == 0 {
		if fault.CodeOf(err) != fault.CodePortsExhausted {
			t.Fatalf("none is left, but it gives %d, %v", got, err)
		}
		return
	}
	for _, port := range allowed {
		if err == nil && got == port {
			r.model.holder[port] = i
			delete(r.model.rests, port)
			return
		}
	}
	t.Fatalf("it gives %d, %v, want one of %v", got, err, allowed)
}

func (r *modelRun) release(t *rapid.T) {
	i := r.instance(t)
	until := r.now.Add(time.Duration(rapid.IntRange(0, 180).Draw(t, "rest")) * time.Second)
	if err := r.quay.release(r.ctx, r.claims[i], until); err != nil {
		t.Fatal(err)
	}
	r.model.free(i, until)
}

func (m *model) free(instance int, until time.Time) {
	if port, ok := m.portOf(instance); ok {
		delete(m.holder, port)
		m.rests[port] = until
	}
}

// refuse gives up the port that the instance has, or one that it has not.
func (r *modelRun) refuse(t *rapid.T) {
	i := r.instance(t)
	port := rapid.IntRange(20000, 20000+modelPorts-1).Draw(t, "port")
	if err := r.Refused(r.ctx, r.claims[i], r.host, port); err != nil {
		t.Fatal(err)
	}
	if held, ok := r.model.portOf(i); ok && held == port {
		r.model.free(i, r.now.Add(refusedFor))
	}
}

func (r *modelRun) timePasses(t *rapid.T) {
	r.now = r.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second)
}

func (r *modelRun) fenced(t *rapid.T) {
	stale := r.claims[r.instance(t)]
	stale.Fence--
	if port, err := r.one(r.ctx, stale, r.host, "redis"); fault.CodeOf(err) != fault.CodeFenced {
		t.Fatalf("a lost lease gets %d, %v", port, err)
	}
}

// available is asked after every step.
func (r *modelRun) available(t *rapid.T) {
	for n := 1; n <= modelPorts+1; n++ {
		left, err := r.Available(r.ctx, r.host, n)
		if want := r.model.left(r.now) >= n; err != nil || left != want {
			t.Fatalf("%d available: %v, %v, want %v", n, left, err, want)
		}
	}
}
