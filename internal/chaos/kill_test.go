package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// The kinds of jobs.
const (
	kindCreate = "instance.create"
	kindDelete = "instance.delete"
	kindRepair = "instance.repair"
)

// recoveryLimit is how long a job may stand still after a fault, and more than twice what is
// promised of a quiet machine, because the tests share theirs. Asynq by itself needs more
// than thrice as long.
const recoveryLimit = 30 * time.Second

// TestKillAtEachStep ends a worker right after the work of every step of a create, a repair
// and a delete, found from the jobs' own steps; in the long form also right before it.
func TestKillAtEachStep(t *testing.T) {
	t.Parallel()
	result := &table{}
	t.Cleanup(func() { t.Log(result) })
	for _, sh := range []shape{production, pooled} {
		for _, kind := range []string{kindCreate, kindRepair, kindDelete} {
			if sh == pooled && kind != kindCreate {
				continue // taken over, an instance is as any other
			}
			t.Run(sh.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				newWorld(t, sh).atEach(kind, "SIGKILL", newPlan(t).sides(), result, (*world).killAt)
			})
		}
	}
}

// The sides of a step's work.
const before, after = "before", "after"

// atEach does something at the given sides of every step of a job of the kind.
func (w *world) atEach(kind, what string, sides []string, result *table, do func(w *world, kind, point string) (took, still time.Duration, v verdict)) {
	w.Helper()
	w.warmUp()
	o := w.create("redis")
	w.settle()
	w.trigger(kind, o)
	w.await(kind, o)
	steps := w.lastJob(kind, o).Steps
	w.stopWorkers()
	for _, s := range steps {
		for _, side := range sides {
			point := fmt.Sprintf("%s/%s/%s", kind, s.Name, side)
			took, still, v := do(w, kind, point)
			v.leaked = append(v.leaked, w.unexpectedly()...)
			result.add(what+" at "+point, took, v)
			if still > testenv.Limit(recoveryLimit) {
				w.Errorf("%s: the job stood still for %s", point, still)
			}
			for _, text := range slices.Concat(v.lost, v.leaked) {
				w.Errorf("%s: %s", point, text)
			}
		}
	}
}

// trigger gives a reason for a job of the kind. A create has it already.
func (w *world) trigger(kind string, o *order) {
	w.Helper()
	switch kind {
	case kindRepair:
		w.dockerCLI("kill", "berth-"+o.instance.ID)
	case kindDelete:
		w.delete(o)
	}
}

// await waits until the job has ended well.
func (w *world) await(kind string, o *order) {
	w.Helper()
	w.settle()
	if kind == kindRepair {
		w.dealtWith(o.instance, client.InstanceRunning)
	}
}

// lastJob gives the instance's youngest job of the kind.
func (w *world) lastJob(kind string, o *order) client.Job {
	w.Helper()
	page, err := w.client.Jobs(w.Context(), client.JobFilter{InstanceID: o.instance.ID})
	i := slices.IndexFunc(page.Items, func(j client.Job) bool { return j.Kind == kind })
	if err != nil || i < 0 {
		w.Fatalf("no job %s of %s: %v", kind, o.instance.ID, err)
	}
	return page.Items[i]
}

// victimOf gives a running instance, and none for a create. No worker is left then.
func (w *world) victimOf(kind string) (o *order) {
	w.Helper()
	if kind == kindCreate && w.shape.warm == "" {
		return nil
	}
	healthy := w.startWorker()
	testenv.Eventually(w.T, "a worker is ready", time.Minute, func(context.Context) error {
		if len(healthy.Logged("worker ready")) == 0 {
			return errors.New("it has not said so")
		}
		return nil
	})
	w.warmUp()
	if kind != kindCreate {
		o = w.create("redis")
		w.settle()
	}
	w.stopWorkers()
	return o
}

// warmUp waits until an instance is there to be taken over, if there are to be any.
func (w *world) warmUp() {
	w.Helper()
	if w.shape.warm == "" {
		return
	}
	testenv.Eventually(w.T, "an instance is warm", time.Minute, func(ctx context.Context) error {
		var id string
		return w.rows.QueryRowContext(ctx, "SELECT id FROM instances WHERE tenant_id = '-' AND state = 'warm' LIMIT 1").Scan(&id)
	})
}

// startWatching starts a worker and waits until it hears of what ends on the host. What ends
// before is found by a sweep, which the one that was killed before it may still have to do.
func (w *world) startWatching(extra ...string) *testenv.Process {
	w.Helper()
	before := w.docker.watches.Load()
	p := w.startWorker(extra...)
	testenv.Eventually(w.T, "a worker watches the host", time.Minute, func(context.Context) error {
		if w.docker.watches.Load() == before {
			return errors.New("no stream of events was asked for")
		}
		return nil
	})
	return p
}

// killAt lets one worker take a job and end itself at the point, and another one take
// it up. It gives the time from the death to the end of the job, and how long the job stood still.
func (w *world) killAt(kind, point string) (took, still time.Duration, v verdict) {
	w.Helper()
	o := w.victimOf(kind)
	mortal := w.startWatching("BERTH_CHAOS_KILL=" + point)
	if o == nil {
		o = w.create("redis")
	}
	w.trigger(kind, o)
	select {
	case <-mortal.Done():
	case <-time.After(testenv.Limit(time.Minute)):
		w.Fatalf("no worker died at %s", point)
	}
	begun := time.Now()
	w.workers = nil
	w.startWorker()
	w.await(kind, o)
	took, still = time.Since(begun), standstill(w.lastJob(kind, o).Steps, begun)
	v = w.check()
	w.stopWorkers()
	return took, still, v
}
