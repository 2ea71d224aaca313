package instance_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

// act asks for something to be done with a server.
func (w *world) act(verb job.Kind, which instance.ID, a instance.Action) (instance.Accepted, error) {
	w.Helper()
	do := map[job.Kind]func() (instance.Accepted, error){
		instance.JobRestart: func() (instance.Accepted, error) {
			return w.service.Restart(w.request(tenant.Default), tenanttest.Owner(tenant.Default), instancetest.EngineName, which, a)
		},
		instance.JobStop: func() (instance.Accepted, error) {
			return w.service.Stop(w.request(tenant.Default), tenanttest.Owner(tenant.Default), instancetest.EngineName, which, a)
		},
		instance.JobStart: func() (instance.Accepted, error) {
			return w.service.Start(w.request(tenant.Default), tenanttest.Owner(tenant.Default), instancetest.EngineName, which, a)
		},
	}
	return do[verb]()
}

func (w *world) acted(verb job.Kind, which instance.ID) job.Job {
	w.Helper()
	a, err := w.act(verb, which, instance.Action{})
	w.must(err)
	j := w.spin(a.Job.ID)
	if j.State != job.Succeeded {
		w.Fatalf("%s is %s: %+v", verb, j.State, j.Error)
	}
	w.journalEnded(j)
	return j
}

// share gives what the instance holds of its host.
func (w *world) share(which instance.ID) host.Resources {
	w.Helper()
	held, err := w.store.Allocations(w.ctx, host.AllocationFilter{Unit: host.UnitID(which)}, "", 2)
	w.must(err)
	if len(held) != 1 {
		w.Fatalf("%d allocations", len(held))
	}
	h, err := w.store.Host(w.ctx, held[0].Host)
	w.must(err)
	if h.Used.CPUMillis != held[0].Resources.CPUMillis || h.Used.MemoryBytes != held[0].Resources.MemoryBytes {
		w.Errorf("the host has %+v in use, the allocation is %+v", h.Used, held[0].Resources)
	}
	return held[0].Resources
}

// runs fails unless the instance runs as it did before, on the same port and data.
func (w *world) runs(before instance.Instance) {
	w.Helper()
	now, u := w.instance(before.ID), w.unit(before.ID)
	switch {
	case now.State != instance.StateRunning || now.Status.Port != before.Status.Port || now.Status.DataLost:
		w.Errorf("it is %s (%s) at %+v, and was at %+v", now.State, now.Reason, now.Status, before.Status)
	case u == nil || !u.Running || !u.Volume || u.Fence > now.Fence || u.Ports[instancetest.EngineName] != before.Status.Port:
		w.Errorf("unit %+v, fence %d", u, now.Fence)
	case w.share(before.ID) != before.Spec.Resources:
		w.Errorf("it holds %+v of %+v", w.share(before.ID), before.Spec.Resources)
	}
}

// rests fails unless the instance is stopped, and holds its data, disk and port only.
func (w *world) rests(before instance.Instance) {
	w.Helper()
	now, u := w.instance(before.ID), w.unit(before.ID)
	switch {
	case now.State != instance.StateStopped || now.Status.Port != before.Status.Port:
		w.Errorf("it is %s (%s) at %+v", now.State, now.Reason, now.Status)
	case u == nil || u.Running || u.Container || !u.Volume:
		w.Errorf("unit %+v", u)
	case w.share(before.ID) != host.Resources{DiskBytes: before.Spec.Resources.DiskBytes}:
		w.Errorf("it holds %+v", w.share(before.ID))
	case w.port(before.ID) != before.Status.Port:
		w.Errorf("it holds port %d", w.port(before.ID))
	}
}

func TestPower(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.acted(instance.JobRestart, inst.ID)
		w.runs(inst)
		w.acted(instance.JobStop, inst.ID)
		w.rests(inst)
		w.pass(time.Hour)
		for range 3 {
			w.reconcile(w.reconciler(), 0)
		}
		w.watchFor(10*time.Minute, w.health())
		w.rests(inst)
		w.acted(instance.JobStart, inst.ID)
		w.runs(inst)
		want := []string{
			"instance.updating", "instance.running", "job.succeeded", "instance.updating", "instance.stopped", "job.succeeded",
			"instance.updating", "instance.running", "job.succeeded",
		}
		if got := w.eventTypes(inst.ID); !slices.Equal(got[len(got)-len(want):], want) {
			t.Errorf("%v", got)
		}
		w.acted(instance.JobStop, inst.ID)
		if j := w.spin(w.delete(inst.ID).Job.ID); j.State != job.Succeeded {
			t.Errorf("%s: %+v", j.State, j.Error)
		}
		w.gone(inst.ID)
	})
}

// A server that is to be killed gets no time.
func TestPowerForce(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		for force, step := range map[bool]string{false: "stop", true: "kill"} {
			a, err := w.act(instance.JobRestart, inst.ID, instance.Action{Force: force})
			w.must(err)
			if j := w.spin(a.Job.ID); j.State != job.Succeeded || j.Steps[0].Name != step {
				t.Errorf("force %t: %s, %+v", force, j.State, j.Steps)
			}
			if grace := w.runtime.Grace(host.UnitID(inst.ID)); (grace == 0) != force {
				t.Errorf("force %t: %s", force, grace)
			}
		}
		w.runs(inst)
	})
}

func TestPowerRefusals(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		refused := func(verb job.Kind, code fault.Code, words string) {
			t.Helper()
			_, err := w.act(verb, inst.ID, instance.Action{})
			if fault.CodeOf(err) != code || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %v", verb, err)
			}
		}
		refused(instance.JobStart, fault.CodeInstanceState, "is running, so it cannot be used for start; possible: restart, stop, delete")
		first, err := w.act(instance.JobRestart, inst.ID, instance.Action{})
		w.must(err)
		again, err := w.act(instance.JobRestart, inst.ID, instance.Action{})
		if err != nil || again.Job.ID != first.Job.ID {
			t.Errorf("%s, %v; want %s", again.Job.ID, err, first.Job.ID)
		}
		_, err = w.act(instance.JobRestart, inst.ID, instance.Action{Force: true}) // which that job does not do
		w.isCode(err, fault.CodeBusy)
		refused(instance.JobStop, fault.CodeBusy, string(first.Job.ID))
		w.spin(first.Job.ID)
		w.acted(instance.JobStop, inst.ID)
		refused(instance.JobStop, fault.CodeInstanceState, "is stopped, so it cannot be used for stop; possible: start, delete")
		w.spin(w.delete(inst.ID).Job.ID)
		refused(instance.JobStart, fault.CodeGone, "was deleted")
		_, err = w.service.Stop(w.request("ten_other"), tenanttest.Owner("ten_other"), "", inst.ID, instance.Action{})
		w.isCode(err, fault.CodeNotFound)
	})
}

// What a stopped instance has given up may be another one's by now.
func TestStartWithoutRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		one := w.created()
		w.tx(func(tx rooms.Tx) error {
			h, err := tx.HostRow(w.host.ID)
			if err != nil {
				return err
			}
			h.Capacity = host.Capacity{CPUMillis: one.Spec.Resources.CPUMillis, MemoryBytes: one.Spec.Resources.MemoryBytes}
			return tx.UpdateHost(h)
		})
		w.acted(instance.JobStop, one.ID)
		other := w.created()
		a, err := w.act(instance.JobStart, one.ID, instance.Action{})
		w.must(err)
		j := w.spin(a.Job.ID)
		if j.State != job.Failed || j.Error.Code != fault.CodeNoCapacity || w.instance(one.ID).State != instance.StateStopped {
			t.Errorf("%s: %+v; it is %s", j.State, j.Error, w.instance(one.ID).State)
		}
		if got := w.instance(one.ID).Reason; !strings.Contains(got, "could not be started") || !strings.Contains(got, "too little memory or cores left") {
			t.Errorf("%q", got)
		}
		w.spin(w.delete(other.ID).Job.ID)
		w.acted(instance.JobStart, one.ID)
		w.runs(one)
	})
}

// What a tenant holds of cores and memory is what does not rest.
func TestQuotaOfStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		one := w.created()
		limit := tenant.Amounts{tenant.Memory: one.Spec.Resources.MemoryBytes}
		w.tx(func(tx rooms.Tx) error {
			_, err := tx.LockQuota(tenant.Default, true)
			if err == nil {
				err = tx.PutQuota(tenant.Default, limit)
			}
			return err
		})
		w.acted(instance.JobStop, one.ID)
		w.created()
		_, err := w.act(instance.JobStart, one.ID, instance.Action{})
		w.isCode(err, fault.CodeQuota)
		w.state(one.ID, instance.StateStopped, "")
	})
}

// A server whose data is gone is not started on nothing.
func TestStartWithoutData(t *testing.T) {
	for _, verb := range []job.Kind{instance.JobStart, instance.JobRestart} {
		t.Run(string(verb), func(t *testing.T) {
			inWorld(t, func(w *world) {
				inst := w.created()
				if verb == instance.JobStart {
					w.acted(instance.JobStop, inst.ID)
				}
				away := w.runtime.LoseAll()
				w.pass(time.Hour)
				a, err := w.act(verb, inst.ID, instance.Action{})
				w.must(err)
				j := w.spin(a.Job.ID)
				got := w.instance(inst.ID)
				if j.State != job.Failed || j.Error.Code != fault.CodeDataLost || got.State != instance.StateFailed || !got.Status.DataLost {
					t.Fatalf("%s: %+v; it is %s", j.State, j.Error, got.State)
				}
				if w.unit(inst.ID) != nil {
					t.Error("something was started")
				}
				w.runtime.Back(away)
				w.pass(time.Hour)
				w.reconcile(w.reconciler(), 1)
				w.repaired(inst.ID)
				inst.Status.Port = w.instance(inst.ID).Status.Port // the other one rests
				w.runs(inst)
			})
		})
	}
}

// down has the host not answer until it heals.
func (w *world) down() {
	for _, m := range hosttest.Methods() {
		w.runtime.Fail(m, hosttest.Fault{Before: true})
	}
}

// A host that is away makes these jobs wait; where it is away for too long, the instance is
// unhealthy, and is mended when it is back.
func TestPowerWithoutHost(t *testing.T) {
	for _, verb := range []job.Kind{instance.JobStart, instance.JobRestart, instance.JobStop} {
		for long, until := range map[string]time.Duration{"shortly": 2 * time.Minute, "long": time.Hour} {
			t.Run(string(verb)+" "+long, func(t *testing.T) {
				inWorld(t, func(w *world) {
					inst := w.created()
					if verb == instance.JobStart {
						w.acted(instance.JobStop, inst.ID)
					}
					w.down()
					back := time.Now().Add(until)
					a, err := w.act(verb, inst.ID, instance.Action{})
					w.must(err)
					for !w.job(a.Job.ID).State.Ended() && time.Now().Before(back) {
						_, err := w.relay.RunOnce(w.ctx)
						w.must(err)
						w.runTasks()
						w.queue.Done()
						w.pass(job.RelayEvery)
					}
					if ended := w.job(a.Job.ID).State.Ended(); ended != (long == "long") {
						t.Fatalf("ended: %t", ended)
					}
					w.runtime.Heal()
					w.spin(a.Job.ID)
					switch {
					case long == "long" && verb == instance.JobStart:
						w.state(inst.ID, instance.StateStopped, "could not be started")
						w.rests(inst)
					case long == "long":
						w.state(inst.ID, instance.StateUnhealthy, "could not be")
						w.pass(time.Hour)
						w.reconcile(w.reconciler(), 0) // it never stopped
						w.watchFor(5*time.Minute, w.health())
						w.runs(inst)
					case verb == instance.JobStop:
						w.rests(inst)
					default:
						w.runs(inst)
					}
				})
			})
		}
	}
}

// What a job that gave up may have started keeps its share of the host, and is mended.
func TestHostAwayInTheMiddleOfPower(t *testing.T) {
	for _, verb := range []job.Kind{instance.JobStart, instance.JobRestart} {
		t.Run(string(verb), func(t *testing.T) {
			inWorld(t, func(w *world) {
				inst := w.created()
				if verb == instance.JobStart {
					w.acted(instance.JobStop, inst.ID)
				}
				w.runtime.OnCall(func(_ context.Context, m hosttest.Method, _ host.UnitID) {
					if m == hosttest.MethodCreate {
						w.down()
						w.runtime.Fail(hosttest.MethodStart, hosttest.Fault{After: true})
					}
				})
				a, err := w.act(verb, inst.ID, instance.Action{})
				w.must(err)
				if j := w.spin(a.Job.ID); j.State != job.Failed {
					w.Fatalf("it is %s", j.State)
				}
				w.runtime.OnCall(nil)
				w.runtime.Heal()
				w.state(inst.ID, instance.StateUnhealthy, "could not be "+map[job.Kind]string{instance.JobStart: "started", instance.JobRestart: "restarted"}[verb])
				w.pass(time.Hour)
				if _, err := w.reconciler().RunOnce(w.ctx); err != nil {
					t.Error(err)
				}
				if j, err := w.store.ActiveJob(w.ctx, id.Subject(inst.ID)); err == nil {
					w.spin(j.ID)
				}
				w.watchFor(5*time.Minute, w.health())
				w.runs(inst)
			})
		})
	}
}

// A worker that dies at any line of it, and another one that goes on.
func TestCrashDuringPower(t *testing.T) {
	for _, verb := range []job.Kind{instance.JobRestart, instance.JobStop, instance.JobStart} {
		t.Run(string(verb), func(t *testing.T) {
			begin := func(w *world) (instance.Instance, id.Job) {
				inst := w.created()
				if verb == instance.JobStart {
					w.acted(instance.JobStop, inst.ID)
				}
				a, err := w.act(verb, inst.ID, instance.Action{})
				w.must(err)
				return inst, a.Job.ID
			}
			var calls []string
			inWorld(t, func(w *world) {
				_, which := begin(w)
				calls = w.callsOf(which)
			})
			if len(calls) < 4 || !slices.Contains(calls, map[job.Kind]string{instance.JobStart: "Start"}[verb]+map[bool]string{true: "Stop"}[verb != instance.JobStart]) {
				t.Fatalf("too few calls to be true: %v", calls)
			}
			eachCrash(t, calls, func(w *world, n int, after bool) {
				inst, which := begin(w)
				w.runMortal(which, n, after)
				if j := w.spin(which); j.State != job.Succeeded || j.Attempt != 0 {
					w.Errorf("%s after %d attempts: %+v", j.State, j.Attempt, j.Error)
				}
				if verb == instance.JobStop {
					w.rests(inst)
				} else {
					w.runs(inst)
				}
				w.pass(time.Hour)
				w.reconcile(w.reconciler(), 0)
			})
		})
	}
}

// A delete wins over them, wherever they are.
func TestDeleteDuringPower(t *testing.T) {
	for _, verb := range []job.Kind{instance.JobRestart, instance.JobStop, instance.JobStart} {
		for _, at := range []hosttest.Method{hosttest.MethodStop, hosttest.MethodRemove, hosttest.MethodCreate, hosttest.MethodStart} {
			t.Run(string(verb)+" "+string(at), func(t *testing.T) {
				inWorld(t, func(w *world) {
					inst := w.created()
					if verb == instance.JobStart {
						w.acted(instance.JobStop, inst.ID)
					}
					var removal job.Job
					w.runtime.OnCall(func(_ context.Context, m hosttest.Method, _ host.UnitID) {
						if m == at && removal.ID == "" {
							removal = w.delete(inst.ID).Job //nolint:contextcheck // the test's own
						}
					})
					a, err := w.act(verb, inst.ID, instance.Action{})
					w.must(err)
					w.spin(a.Job.ID)
					if removal.ID == "" { // the verb does not come by there
						removal = w.delete(inst.ID).Job
					}
					if j := w.spin(removal.ID); j.State != job.Succeeded {
						t.Errorf("%s: %+v", j.State, j.Error)
					}
					w.gone(inst.ID)
				})
			})
		}
	}
}
