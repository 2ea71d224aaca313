package instance_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

// request gives the context of a request of the tenant, as the API makes it.
func (w *world) request(of tenant.ID) context.Context { return tenant.Within(w.ctx, of) }

// A request takes over a warm instance, which is not its tenant's until then.
func TestWarmWithinTheFence(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tend(w.warmPool(2))
		warm := w.warm()
		for _, of := range []tenant.ID{"ten_a", "ten_b"} {
			a, err := w.service.Create(w.request(of), tenanttest.Owner(of), instance.CreateRequest{Engine: instancetest.EngineName})
			w.must(err)
			if got := w.instance(a.Instance.ID); got.Tenant != of || (got.ID != warm[0].ID && got.ID != warm[1].ID) {
				t.Errorf("%s got %+v", of, got)
			}
			if j := w.spin(a.Job.ID); j.State != job.Succeeded {
				t.Errorf("the job of %s is %s: %+v", of, j.State, j.Error)
			}
			_, _, err = w.service.Config(w.request("ten_c"), tenanttest.Owner("ten_c"), "", a.Instance.ID)
			if fault.CodeOf(err) != fault.CodeNotFound {
				t.Errorf("another tenant: %v", err)
			}
		}
	})
}

// fencedLooks counts the looks for many that are within the fence of one.
type fencedLooks struct {
	rooms.Store
	looks, fenced atomic.Int32
}

func (s *fencedLooks) look(ctx context.Context) {
	s.looks.Add(1)
	if _, is := tenant.Fence(ctx); is {
		s.fenced.Add(1)
	}
}

func (s *fencedLooks) EndedJobs(ctx context.Context, ids []id.Job) ([]id.Job, error) {
	s.look(ctx)
	return s.Store.EndedJobs(ctx, ids)
}

// Who is the first to wait in a process has it look for jobs of other tenants, too.
func TestWaitersBeyondTheFence(t *testing.T) {
	inWorld(t, func(w *world) {
		store := &fencedLooks{Store: w.store}
		s := w.serviceOn(store)
		a, err := s.Create(w.request("ten_a"), tenanttest.Owner("ten_a"), instance.CreateRequest{Engine: instancetest.EngineName})
		w.must(err)
		j, err := s.WaitJob(w.request("ten_a"), tenanttest.Owner("ten_a"), a.Job.ID, time.Second)
		if w.must(err); j.State != job.Queued || store.looks.Load() == 0 || store.fenced.Load() > 0 {
			t.Errorf("%s after %d looks, %d of them within a fence", j.State, store.looks.Load(), store.fenced.Load())
		}
		if _, err := s.WaitJob(w.request("ten_b"), tenanttest.Owner("ten_a"), a.Job.ID, 0); fault.CodeOf(err) != fault.CodeNotFound {
			t.Errorf("within another tenant's fence: %v", err)
		}
	})
}
