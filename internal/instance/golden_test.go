package instance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// goldenEvents gives what was said of golden data that could not be made.
func (w *world) goldenEvents() (messages []string) {
	w.Helper()
	w.pass(time.Second)
	w.sequence(w.sequencer("golden"))
	events, err := w.store.Events(w.ctx, event.Filter{Tenant: tenant.Default, Types: []string{instance.EventGoldenFailed}}, 0, 1000)
	w.must(err)
	for _, e := range events {
		messages = append(messages, e.Message)
	}
	return messages
}

func (w *world) imageOf(id instance.ID) string {
	w.Helper()
	load, _, ok := w.runtime.Workload(host.UnitID(id))
	if !ok {
		w.Fatalf("no container of %s", id)
	}
	return load.Image
}

// imageStep gives what the job says of its image.
func imageStep(job job.Job) string {
	for _, s := range job.Steps {
		if s.Name == "image" {
			return s.Detail
		}
	}
	return ""
}

// Instances start from golden data, made once. A repair does without, for it has data.
func TestGolden(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.created(), w.created()
		image := w.imageOf(first.ID)
		if image == instancetest.EngineImage || w.imageOf(second.ID) != image || w.runtime.Goldens() != 1 {
			t.Errorf("they run on %s and %s, made %d times", image, w.imageOf(second.ID), w.runtime.Goldens())
		}
		calls := w.runtime.Calls(hosttest.MethodEnsureGolden)
		w.pass(time.Minute)
		w.runtime.Lose(host.UnitID(first.ID), false)
		w.reconcile(w.reconciler(), 1)
		w.repaired(first.ID)
		if got := w.imageOf(first.ID); got != instancetest.EngineImage {
			t.Errorf("repaired, it runs on %s", got)
		}
		if n := w.runtime.Calls(hosttest.MethodEnsureGolden); n != calls {
			t.Error("a repair asked for golden data")
		}
		// Somebody has removed it.
		w.runtime.RemoveImage(image)
		if third := w.created(); w.imageOf(third.ID) != image || w.runtime.Goldens() != 2 {
			t.Errorf("it was not made anew")
		}
		if said := w.goldenEvents(); len(said) > 0 {
			t.Errorf("events say %q", said)
		}
	})
}

// Every instance gets keys of its own, and keeps them when it is repaired, for they are a
// part of its data.
func TestKeys(t *testing.T) {
	inWorld(t, func(w *world) {
		key := func(id instance.ID) string {
			file, _, _ := w.runtime.File(host.UnitID(id), "/data/key")
			return file.Content.Reveal()
		}
		first, second := w.created(), w.created()
		before := key(first.ID)
		if before == "" || key(second.ID) == before {
			t.Errorf("their keys are %q and %q", before, key(second.ID))
		}
		w.pass(time.Minute)
		w.runtime.Lose(host.UnitID(first.ID), false)
		w.reconcile(w.reconciler(), 1)
		w.repaired(first.ID)
		if after := key(first.ID); after != before {
			t.Errorf("the key was %q, and after a repair it is %q", before, after)
		}
	})
}

// Whatever is wrong with golden data, a create goes on without it and says why: once,
// and the next ones do not try again for a while.
func TestGoldenDoneWithout(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				w.runtime.Fail(hosttest.MethodEnsureGolden, f.fault)
				for range 3 {
					a := w.create()
					job := w.spin(a.Job.ID)
					w.mustRun(job)
					if w.imageOf(a.Instance.ID) != instancetest.EngineImage || job.Attempt != 0 {
						t.Errorf("it runs on %s after %d attempts", w.imageOf(a.Instance.ID), job.Attempt)
					}
					if !strings.Contains(imageStep(job), instancetest.EngineImage+", without golden data: ") {
						t.Errorf("the step says %q", imageStep(job))
					}
				}
				if n := w.runtime.Calls(hosttest.MethodEnsureGolden); n != 1 {
					t.Errorf("it was tried %d times", n)
				}
				said := w.goldenEvents()
				if len(said) != 1 || !strings.Contains(said[0], instancetest.EngineImage+" on host local") || !strings.Contains(said[0], "5m0s") {
					t.Errorf("events say %q", said)
				}
				if n := strings.Count(w.logged.String(), "golden data could not be created"); n != 1 {
					t.Errorf("the log says it %d times", n)
				}
				w.runtime.Heal()
				w.pass(5 * time.Minute)
				if inst := w.created(); w.imageOf(inst.ID) == instancetest.EngineImage {
					t.Error("it is not tried again")
				}
			})
		})
	}
}

// Many creates that wait for the same golden data say once that it failed.
func TestGoldenFailsForMany(t *testing.T) {
	inWorld(t, func(w *world) {
		hold := make(chan struct{})
		w.runtime.Fail(hosttest.MethodEnsureGolden, hosttest.Fault{Hold: hold, Before: true})
		const many = 5
		done := make(chan error)
		var jobs []id.Job
		for range many {
			id := w.create().Job.ID
			jobs = append(jobs, id)
			go func() { done <- w.runner.Run(w.ctx, id) }()
		}
		w.pass(time.Second)
		close(hold)
		for range many {
			w.must(<-done)
		}
		for _, id := range jobs {
			w.mustRun(w.job(id))
		}
		if said := w.goldenEvents(); len(said) != 1 {
			t.Errorf("events say %q", said)
		}
	})
}

// A delete does not wait for golden data that is being made.
func TestDeleteWhileGoldenIsMade(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runtime.Fail(hosttest.MethodEnsureGolden, hosttest.Fault{Hang: true})
		a := w.create()
		done := make(chan error)
		go func() { done <- w.runner.Run(w.ctx, a.Job.ID) }()
		w.pass(time.Second)
		d := w.delete(a.Instance.ID)
		began := time.Now()
		if j := w.spin(d.Job.ID); j.State != job.Succeeded {
			t.Errorf("delete is %s", j.State)
		}
		w.must(<-done)
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it took %s", took)
		}
		w.gone(a.Instance.ID)
		if said := w.goldenEvents(); len(said) > 0 {
			t.Errorf("events say %q", said)
		}
	})
}

func (w *world) mustRun(j job.Job) {
	w.Helper()
	if j.State != job.Succeeded {
		w.Fatalf("job is %s: %+v", j.State, j.Error)
	}
}
