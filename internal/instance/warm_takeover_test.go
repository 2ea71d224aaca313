package instance_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
)

// A worker that is about to remove a warm instance that would not do is slow for longer
// than its lease. What the next one has made of it meanwhile is a tenant's.
func TestLostLeaseLeavesTheAdopted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tend(w.warmPool(1))
		warm := w.warm()[0]
		a := w.create()
		if a.Instance.ID != warm.ID {
			t.Fatalf("it got %s", a.Instance.ID)
		}
		var taken atomic.Bool
		takeOver := func() {
			later := func() time.Time { return clock.System().Add(2 * job.DefaultLeaseTTL) }
			w.must(w.runnerOn(w.store, w.runtimes, "w2", later).Run(w.ctx, a.Job.ID))
			w.usable(a.Job.ID)
		}
		w.runtime.SetProbe(func(host.UnitID) error {
			if taken.Load() {
				return nil
			}
			return errors.New("not yet")
		})
		w.runtime.OnCall(func(_ context.Context, m hosttest.Method, _ host.UnitID) {
			if m != hosttest.MethodRemove || taken.Swap(true) {
				return
			}
			takeOver()
		})
		w.must(w.runner.Run(w.ctx, a.Job.ID))
		if !taken.Load() {
			t.Fatal("nothing was removed")
		}
		w.usable(a.Job.ID)
	})
}

// More warm instances than a page has are all seen.
func TestPoolOfManyPages(t *testing.T) {
	inWorldOf(t, 2500, func(w *world) {
		const count = 1010
		p := w.warmPool(count)
		w.tend(w.warmPool(1))
		labels := w.warm()[0].Labels
		for range count - 1 {
			id := instance.ID(w.newID(instance.Prefix))
			w.must(w.store.Tx(w.ctx, func(tx rooms.Tx) error {
				return tx.InsertInstance(instance.Instance{
					ID: id, Tenant: tenant.Nobody, Spec: instance.Spec{Engine: fakeKind.Engine, Version: fakeKind.Version, Plan: fakeKind.Plan},
					Name: strings.ToLower(string(id)), State: instance.StateWarm, Status: instance.Status{Host: w.host.ID}, Labels: labels, CreatedAt: time.Now(), UpdatedAt: time.Now(),
				})
			}))
		}
		if n, err := p.RunOnce(w.ctx); err != nil || n != 0 {
			t.Errorf("%d were made or retired, error %v", n, err)
		}
	})
}

// What was started from images that are not in force any more is replaced.
func TestPoolReplacesOldImages(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.warmPool(2)
		w.tend(p)
		before := w.warm()
		w.must(w.store.Tx(w.ctx, func(tx rooms.Tx) error {
			old := before[0]
			old.Labels = map[string]string{"berth/images": "others"}
			return tx.ReplaceInstance(old)
		}))
		w.tend(p)
		after := w.warm()
		if len(after) != 2 || !slices.ContainsFunc(after, func(i instance.Instance) bool { return i.ID == before[1].ID }) ||
			slices.ContainsFunc(after, func(i instance.Instance) bool { return i.ID == before[0].ID }) {
			t.Errorf("there are %+v, were %+v", after, before)
		}
	})
}
