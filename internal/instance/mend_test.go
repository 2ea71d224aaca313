package instance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
)

func (w *world) known() *host.Known {
	return &host.Known{Runtimes: w.runtimes, Store: rooms.Hosts(w.store), Now: clock.System, Log: w.log}
}

// An engine that comes up without its disk has nothing: that is not believed, and no
// repair that was under way gives anything up either.
func TestMuchMissingAtOnceIsNotBelieved(t *testing.T) {
	for _, many := range []int{2, 8} {
		t.Run(fmt.Sprint(many), func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.T
				var all []instance.Instance
				for range many {
					all = append(all, w.created())
				}
				w.pass(time.Minute)
				w.runtime.Crash(host.UnitID(all[0].ID), hosttest.Behavior{ExitCode: 1})
				r := w.reconciler()
				w.reconcile(r, 1) // a repair has begun
				away := w.runtime.LoseAll()
				for range 10 {
					w.reconcile(r, 0)
				}
				job, err := w.store.ActiveJob(w.ctx, id.Subject(all[0].ID))
				w.must(err)
				w.must(w.runner.Run(w.ctx, job.ID))
				if job = w.job(job.ID); job.State.Ended() || job.Error == nil || job.Error.Code != fault.CodeHostUnavailable {
					t.Fatalf("the repair is %s: %+v", job.State, job.Error)
				}
				if n := strings.Count(w.logged.String(), "missing at once"); n != 1 {
					t.Errorf("it was said %d times", n)
				}
				w.runtime.Back(away)
				w.spin(job.ID)
				w.reconcile(r, 0)
				for _, inst := range all {
					w.state(inst.ID, instance.StateRunning, "")
				}
				if host, err := w.store.Host(w.ctx, w.host.ID); err != nil || !host.MissingSince.IsZero() {
					t.Errorf("the host is %+v, %v", host, err)
				}
			})
		})
	}
}

// What is missing for long is given up, and repaired when it is there again. A delete
// removes it as ever.
func TestLostDataThatComesBackIsRepaired(t *testing.T) {
	inWorld(t, func(w *world) {
		one, other := w.created(), w.created()
		w.pass(time.Minute)
		away, r := w.runtime.LoseAll(), w.reconciler()
		w.reconcile(r, 0)
		w.pass(10 * time.Minute)
		w.reconcile(r, 2)
		if job := w.repaired(one.ID); job.Error == nil || job.Error.Code != fault.CodeDataLost {
			t.Fatalf("the repair is %s: %+v", job.State, job.Error)
		}
		w.state(one.ID, instance.StateFailed, "gone")
		w.state(other.ID, instance.StateFailed, "gone")
		w.pass(time.Hour)
		w.runtime.Back(away)
		w.reconcile(r, 2)
		w.state(one.ID, instance.StateUnhealthy, "is back")
		if j := w.repaired(one.ID); j.State != job.Succeeded {
			t.Fatalf("the repair is %s: %+v", j.State, j.Error)
		}
		w.state(one.ID, instance.StateRunning, "")
		if inst := w.instance(one.ID); inst.Status.DataLost || inst.Status.Port != w.port(one.ID) || w.unit(one.ID).Ports[instancetest.EngineName] != inst.Status.Port {
			t.Errorf("it is at port %d and holds %d, lost %v", inst.Status.Port, w.port(one.ID), inst.Status.DataLost)
		}
		w.spin(w.delete(other.ID).Job.ID)
		w.gone(other.ID)
	})
}

// Without its volume, the container of one whose data was lost is an orphan like others.
func TestLeftOverOfLostDataIsRemovedWithoutIt(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.pass(time.Minute)
		r := w.reconciler()
		w.runtime.Lose(host.UnitID(inst.ID), true)
		w.reconcile(r, 1)
		w.repaired(inst.ID)
		if d := w.delete(inst.ID); w.spin(d.Job.ID).State != job.Succeeded {
			t.Error("it cannot be deleted")
		}
	})
}

// Where another engine answers nothing is concluded and nothing is done.
func TestAnotherEngineAnswers(t *testing.T) {
	inWorld(t, func(w *world) {
		known := w.known()
		r := w.reconciler()
		r.Runtimes = known
		inst := w.created()
		w.pass(time.Minute)
		w.reconcile(r, 0)
		first, err := w.runtime.Identity(w.ctx)
		w.must(err)
		if host, err := w.store.Host(w.ctx, w.host.ID); err != nil || host.Engine != first {
			t.Fatalf("the host is known by %q, %v", host.Engine, err)
		}
		wrong := hosttest.NewRuntime("dep")
		w.runtimes.Set(w.host.ID, wrong)
		w.pass(time.Hour)
		if n, err := r.RunOnce(w.ctx); n != 0 || fault.CodeOf(err) != fault.CodeHostUnavailable || !strings.Contains(err.Error(), "BERTH_ACCEPT_ENGINE=") {
			t.Errorf("%d, %v", n, err)
		}
		w.state(inst.ID, instance.StateRunning, "")

		d := w.delete(inst.ID)
		runner := w.runnerOn(w.store, known, "w1", clock.System)
		w.must(runner.Run(w.ctx, d.Job.ID))
		if job := w.job(d.Job.ID); job.State.Ended() || job.Error == nil || job.Error.Code != fault.CodeHostUnavailable {
			t.Fatalf("the delete is %s: %+v", job.State, job.Error)
		}
		elsewhere := w.host
		elsewhere.Endpoint = "tcp://elsewhere"
		w.must(known.Register(w.ctx, elsewhere))
		if host, _ := w.store.Host(w.ctx, w.host.ID); host.Endpoint != w.host.Endpoint {
			t.Error("the host has moved to another engine")
		}

		w.runtimes.Set(w.host.ID, w.runtime)
		w.spin(d.Job.ID)
		w.gone(inst.ID)
		w.pass(time.Hour)
		w.runtimes.Set(w.host.ID, wrong)
		w.reconcile(r, 0) // nothing to lose: it is the host's engine from now on
		second, _ := wrong.Identity(w.ctx)
		if host, _ := w.store.Host(w.ctx, w.host.ID); host.Engine != second {
			t.Errorf("the host is known by %q, not %q", host.Engine, second)
		}
	})
}

func TestOperatorAcceptsAnEngine(t *testing.T) {
	inWorld(t, func(w *world) {
		known := w.known()
		r := w.reconciler()
		r.Runtimes = known
		w.created()
		w.reconcile(r, 0)
		w.runtime.SetIdentity("new")
		w.pass(time.Minute)
		if _, err := r.RunOnce(w.ctx); fault.CodeOf(err) != fault.CodeHostUnavailable {
			t.Fatalf("got %v", err)
		}
		known.Accept = "new"
		w.reconcile(r, 0)
		known.Accept = ""
		w.reconcile(r, 0)
	})
}

// Orphans that cannot be removed keep nobody from anything.
func TestStuckOrphans(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		for i := range 30 {
			w.stray(instance.ID(fmt.Sprintf("ins_0stuck%02d", i)))
		}
		w.stray("ins_zfree")
		w.pass(time.Hour)
		w.runtime.Stick(func(id host.UnitID) bool { return strings.Contains(string(id), "stuck") })
		w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{ExitCode: 1})
		r := w.reconciler()
		w.reconcile(r, 1)
		w.spin(func() id.Job { job, err := w.store.ActiveJob(w.ctx, id.Subject(inst.ID)); w.must(err); return job.ID }())
		for range 3 {
			_, err := r.RunOnce(w.ctx)
			w.must(err)
			w.pass(host.DefaultReconcileEvery)
		}
		if w.unit("ins_zfree") != nil {
			t.Error("one that could be removed waits for those that cannot")
		}
		w.runtime.Stick(nil)
		for range 12 {
			w.pass(time.Minute)
			_, err := r.RunOnce(w.ctx)
			w.must(err)
		}
		if units, _ := w.runtime.List(w.ctx); len(units) != 1 {
			t.Errorf("%d units are left", len(units))
		}
	})
}

// A server that was started again by somebody else has ended all the same: it is said
// once, however many processes were told.
func TestEndIsSaidOnceThoughItRunsAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		for want := 1; want <= 2; want++ {
			w.pass(time.Minute)
			w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{ExitCode: 137})
			_, err := w.runtime.Start(w.ctx, host.Workload{Unit: host.UnitID(inst.ID), Fence: w.instance(inst.ID).Fence})
			w.must(err)
			for _, r := range []*instance.Mender{w.mender(), w.mender()} {
				if begun, err := r.Check(w.ctx, host.UnitID(inst.ID)); begun || err != nil {
					t.Errorf("a repair has begun: %v, %v", begun, err)
				}
			}
			if _, settled, _ := w.runtime.Workload(host.UnitID(inst.ID)); !settled {
				t.Error("its host may start it again by itself")
			}
			_, err = event.NewSequencer(rooms.Events(w.store), &bell.Local{}, clock.System, "w1").RunOnce(w.ctx)
			w.must(err)
			events, err := w.store.Events(w.ctx, event.Filter{Tenant: tenant.Default, Types: []string{instance.EventRestarted}}, 0, 100)
			if err != nil || len(events) != want {
				t.Errorf("it was said %d times, want %d: %v", len(events), want, err)
			}
		}
		w.state(inst.ID, instance.StateRunning, "")
	})
}

// A host that hangs holds up no news of another, and a sweep that takes longer than its
// duty keeps it.
func TestHangingHostDelaysNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		slow := hosttest.NewRuntime("dep")
		slow.Fail(hosttest.MethodList, hosttest.Fault{Hang: true})
		var other host.Host
		w.tx(func(tx rooms.Tx) (err error) {
			other, err = tx.PutHost(host.Host{ID: "hst_slow", Name: "slow", PortLow: 1, PortHigh: 2})
			return err
		})
		w.runtimes.Set(other.ID, slow)
		w.pass(time.Minute)
		r, second := w.reconciler(), w.reconciler()
		second.Owner = "w2"
		done := make(chan error)
		go func() {
			_, err := r.RunOnce(w.ctx)
			done <- err
		}()
		w.pass(50 * time.Second)
		lists := slow.Calls(hosttest.MethodList)
		w.runtime.Crash(host.UnitID(inst.ID), hosttest.Behavior{ExitCode: 1})
		if n, err := second.RunHost(w.ctx, other.ID); n != 0 || err != nil || slow.Calls(hosttest.MethodList) != lists {
			t.Errorf("two sweeps at once: %d, %v", n, err)
		}
		if n, err := second.RunHost(w.ctx, w.host.ID); n != 1 || err != nil {
			t.Errorf("%d things were mended, %v", n, err)
		}
		if err := <-done; err == nil {
			t.Error("the sweep of a host that hangs has ended well")
		}
	})
}
