package instance_test

import (
	"slices"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/tenant"
)

// leaseless are the methods that a worker may call when its lease is over: they read, or make
// what belongs to the host. A method that is added to Runtime must be refused, or be put here.
var leaseless = []hosttest.Method{
	hosttest.MethodPing, hosttest.MethodIdentity, hosttest.MethodFacts, hosttest.MethodSpace, hosttest.MethodInspect, hosttest.MethodList, hosttest.MethodWatch, hosttest.MethodOutput,
	hosttest.MethodEnsureImage, hosttest.MethodEnsureGolden,
}

// No call that changes something reaches the host once the lease is over, and every call
// reaches it before.
func TestLeasedRuntime(t *testing.T) {
	for _, over := range []bool{false, true} {
		next := hosttest.NewRuntime("test")
		leased := host.Leased(next, func() error {
			if over {
				return fault.Errorf(fault.CodeFenced, nil, "the lease is over")
			}
			return nil
		})
		for name, err := range everyCall(t, leased, next) {
			calls, refused := next.Calls(name), fault.CodeOf(err) == fault.CodeFenced
			switch {
			case over && !slices.Contains(leaseless, name):
				if calls != 0 || !refused {
					t.Errorf("without its lease %s was called %d times, and answered %v", name, calls, err)
				}
			case calls != 1 || refused:
				t.Errorf("%s was called %d times, and answered %v (lease over: %t)", name, calls, err, over)
			}
		}
	}
}

// No call but those that tell who answers reaches an engine that is not the host's.
func TestKnownRuntime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.created()
		known, err := w.known().Runtime(w.host)
		w.must(err)
		_, err = known.List(w.ctx)
		w.must(err)
		w.runtime.SetIdentity("another")
		w.pass(host.KnownFor)
		before := map[hosttest.Method]int{}
		for _, m := range hosttest.Methods() {
			before[m] = w.runtime.Calls(m)
		}
		for name, err := range everyCall(w.T, known, w.runtime) {
			switch calls := w.runtime.Calls(name) - before[name]; name {
			case hosttest.MethodPing, hosttest.MethodIdentity:
				if calls == 0 || err != nil {
					w.Errorf("%s was called %d times, and answered %v", name, calls, err)
				}
			default:
				if calls != 0 || fault.CodeOf(err) != fault.CodeHostUnavailable {
					w.Errorf("%s was called %d times on another engine, and answered %v", name, calls, err)
				}
			}
		}
	})
}

// everyCall calls every method of the decorator; Watch ends at once.
func everyCall(t *testing.T, decorator host.Runtime, next *hosttest.Runtime) map[hosttest.Method]error {
	t.Helper()
	next.Fail(hosttest.MethodWatch, hosttest.Fault{Before: true})
	w := host.Workload{Unit: "ins_decorated", Tenant: tenant.Default, Engine: "redis", Fence: 1, Image: "redis:8"}
	return hosttest.EveryCall(t.Context(), t, decorator, w)
}
