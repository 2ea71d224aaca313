package instance_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

var fakeKind = instance.Kind{Engine: instancetest.EngineName, Version: "1", Plan: "small"}

func (w *world) warmPool(count int) *instance.Pool {
	return &instance.Pool{
		Store: rooms.Instances(w.store), Hosts: w.store, Vault: w.vault, Secrets: secret.Random{}, Catalog: w.catalog, NewID: w.newID, Jobs: w.service.Engine,
		Now: clock.System, Log: w.log, Owner: "w1", Want: []instance.Warm{{Kind: fakeKind, Count: count}}, MaxAge: time.Hour,
	}
}

// tend lets the pool and the workers go on until nothing more is to do.
func (w *world) tend(p *instance.Pool) {
	w.Helper()
	for range 100 {
		n, err := p.RunOnce(w.ctx)
		w.must(err)
		_, err = w.relay.RunOnce(w.ctx)
		w.must(err)
		w.runTasks()
		w.queue.Done()
		if n == 0 && len(w.nobodys()) == len(w.warm()) {
			return
		}
		w.pass(p.Every())
	}
	w.Fatalf("the pool does not come to rest: %+v", w.nobodys())
}

func (w *world) nobodys() []instance.Instance {
	w.Helper()
	list, err := w.store.Instances(w.ctx, instance.Filter{Tenant: tenant.Nobody}, page.Page{Limit: 100})
	w.must(err)
	return list
}

func (w *world) warm() []instance.Instance {
	w.Helper()
	return slices.DeleteFunc(w.nobodys(), func(i instance.Instance) bool { return i.State != instance.StateWarm })
}

func (w *world) credentials(id instance.ID) instance.Credentials {
	w.Helper()
	sealed, err := w.store.Credentials(w.ctx, id)
	w.must(err)
	creds, err := instance.OpenCredentials(w.vault, id, sealed)
	w.must(err)
	return creds
}

func stepNames(job job.Job) (names []string) {
	for _, s := range job.Steps {
		names = append(names, s.Name)
	}
	return names
}

func TestCreateTakesAWarmInstance(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.warmPool(1)
		w.tend(p)
		warm := w.warm()[0]
		before := w.credentials(warm.ID)
		list, _, err := w.service.List(w.ctx, tenanttest.Owner(tenant.Default), instance.Filter{}, page.Page{Limit: 10})
		if w.must(err); len(list) != 0 {
			t.Errorf("a tenant sees %+v", list)
		}
		if _, err := w.service.Get(w.ctx, tenanttest.Owner(tenant.Default), instancetest.EngineName, warm.ID); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("a tenant gets what is nobody's: %v", err)
		}
		w.pass(time.Minute)
		starts := w.runtime.Calls(hosttest.MethodStart)
		a := w.create()
		if a.Instance.ID != warm.ID || a.Instance.State != instance.StatePending || !a.Instance.CreatedAt.After(warm.CreatedAt) {
			t.Fatalf("accepted %+v, warm was %+v", a.Instance, warm)
		}
		j := w.spin(a.Job.ID)
		if got := stepNames(j); !slices.Equal(got, []string{"adopt"}) || j.State != job.Succeeded {
			t.Fatalf("job is %s with %v: %+v", j.State, got, j.Error)
		}
		inst, creds := w.instance(warm.ID), w.credentials(warm.ID)
		if inst.State != instance.StateRunning || inst.Tenant != tenant.Default || inst.Status.Port != warm.Status.Port || w.port(inst.ID) != warm.Status.Port {
			t.Errorf("instance is %+v, warm was %+v", inst, warm)
		}
		if n := w.runtime.Calls(hosttest.MethodStart) - starts; n != 0 {
			t.Errorf("%d starts for one that ran", n)
		}
		if creds.Password == before.Password || creds.WarmPassword != before.Password {
			t.Error("the password is not the tenant's own")
		}
		_, err = w.service.Events(w.ctx, tenanttest.Owner(tenant.Default), event.Filter{}, 0, 10)
		w.must(err)
		w.spin(w.delete(inst.ID).Job.ID)
		w.gone(inst.ID)
	})
}

func TestWarmThatWillNotDo(t *testing.T) {
	for name, spoil := range map[string]func(*world, instance.Instance){
		"it has died": func(w *world, i instance.Instance) {
			w.runtime.Crash(host.UnitID(i.ID), hosttest.Behavior{ExitCode: 1})
		},
		"its files do not go in": func(w *world, _ instance.Instance) {
			w.runtime.Fail(hosttest.MethodAdopt, hosttest.Fault{Before: true})
		},
		"the answer was lost": func(w *world, _ instance.Instance) {
			w.runtime.Fail(hosttest.MethodAdopt, hosttest.Fault{After: true})
		},
		"the host hangs": func(w *world, _ instance.Instance) {
			w.runtime.Fail(hosttest.MethodAdopt, hosttest.Fault{Hang: true, Times: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.tend(w.warmPool(1))
				warm := w.warm()[0]
				spoil(w, warm)
				a := w.create()
				job := w.spin(a.Job.ID)
				if a.Instance.ID != warm.ID || len(job.Steps) < 2 || job.Steps[0].Detail == "" {
					t.Fatalf("%s of %s: %+v", job.State, a.Instance.ID, job.Steps)
				}
				w.usable(job.ID)
			})
		})
	}
}

// A worker vanishes at each of its calls, before and after they have their effect.
func TestAdoptionSurvivesEveryCrash(t *testing.T) {
	calls := 0
	inWorld(t, func(w *world) {
		w.tend(w.warmPool(1))
		calls = len(w.callsOf(w.create().Job.ID))
	})
	for n := range calls {
		for _, after := range []bool{false, true} {
			inWorld(t, func(w *world) {
				w.tend(w.warmPool(1))
				a := w.create()
				w.runMortal(a.Job.ID, n+1, after)
				j := w.spin(a.Job.ID)
				if j.State != job.Succeeded {
					t.Fatalf("call %d, after it %v: %s, %+v", n+1, after, j.State, j.Error)
				}
				inst, unit := w.instance(a.Instance.ID), w.unit(a.Instance.ID)
				if inst.State != instance.StateRunning || w.port(inst.ID) != inst.Status.Port || unit == nil || !unit.Running {
					t.Errorf("call %d, after it %v: %+v on %+v", n+1, after, inst, unit)
				}
				file, _, _ := w.runtime.File(host.UnitID(inst.ID), "/data/password")
				if file.Content.Reveal() != w.credentials(inst.ID).Password.Reveal() {
					t.Errorf("call %d, after it %v: it runs with another password", n+1, after)
				}
			})
		}
	}
}

func TestOneWarmInstanceHasOneTaker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tend(w.warmPool(1))
		warm := w.warm()[0]
		first, second := w.create(), w.create()
		if first.Instance.ID != warm.ID || second.Instance.ID == warm.ID {
			t.Fatalf("warm %s, first %s, second %s", warm.ID, first.Instance.ID, second.Instance.ID)
		}
		for _, a := range []instance.Accepted{first, second} {
			if j := w.spin(a.Job.ID); j.State != job.Succeeded {
				t.Errorf("%s: %+v", j.State, j.Error)
			}
		}
	})
}

func TestTakenNameTakesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		req := instance.CreateRequest{Engine: instancetest.EngineName, Name: "mine", HasName: true}
		_, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), req)
		w.must(err)
		w.tend(w.warmPool(1))
		if _, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), req); fault.CodeOf(err) != fault.CodeInvalid {
			t.Errorf("the name is taken, and it gives %v", err)
		}
		if len(w.warm()) != 1 {
			t.Error("the warm instance is gone")
		}
		other := req
		other.Name, other.Plan = "large", "large"
		a, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), other)
		if w.must(err); len(w.warm()) != 1 || len(a.Job.Steps) == 1 {
			t.Error("another plan takes it")
		}
	})
}

func TestDeleteWinsOverAnAdoption(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tend(w.warmPool(1))
		a := w.create()
		j := w.spin(w.delete(a.Instance.ID).Job.ID)
		if j.State != job.Succeeded || w.job(a.Job.ID).State != job.Canceled {
			t.Errorf("delete is %s, create %s", j.State, w.job(a.Job.ID).State)
		}
		w.gone(a.Instance.ID)
	})
}

func TestCancelOfAnAdoption(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tend(w.warmPool(1))
		a := w.create()
		_, err := w.service.CancelJob(w.ctx, tenanttest.Owner(tenant.Default), a.Job.ID)
		w.must(err)
		w.spin(a.Job.ID)
		w.gone(a.Instance.ID)
	})
}

func TestPoolReplacesWhatIsDeadOrOld(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.warmPool(2)
		w.tend(p)
		first := w.warm()
		if len(first) != 2 {
			t.Fatalf("%d warm instances", len(first))
		}
		w.pass(time.Minute)
		w.runtime.Crash(host.UnitID(first[0].ID), hosttest.Behavior{ExitCode: 1})
		w.reconcile(w.reconciler(), 1)
		w.tend(p)
		if now := w.warm(); len(now) != 2 || slices.ContainsFunc(now, func(i instance.Instance) bool { return i.ID == first[0].ID }) {
			t.Errorf("after a death: %+v", now)
		}
		w.gone(first[0].ID)
		w.pass(2 * time.Hour)
		w.tend(p)
		for _, i := range w.warm() {
			if time.Since(i.CreatedAt) > time.Hour {
				t.Errorf("%s is %s old", i.ID, time.Since(i.CreatedAt))
			}
		}
		p.Want[0].Count = 1
		w.tend(p)
		if n := len(w.warm()); n != 1 {
			t.Errorf("%d are left, 1 is wanted", n)
		}
		p.Want = nil
		w.tend(p)
		if n := len(w.warm()); n != 0 {
			t.Errorf("%d are left, none is wanted", n)
		}
	})
}

// A host with ten ports, two of them held for nobody.
func TestWarmInstancesGiveWay(t *testing.T) {
	inWorldOf(t, 10, func(w *world) {
		p := w.warmPool(2)
		w.tend(p)
		for n := range 10 {
			a, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: instancetest.EngineName, Plan: "large"})
			if err != nil {
				t.Fatalf("create %d is refused: %v", n, err)
			}
			for job := w.job(a.Job.ID); !job.State.Ended(); job = w.job(a.Job.ID) {
				_, err := p.RunOnce(w.ctx)
				w.must(err)
				_, err = w.relay.RunOnce(w.ctx)
				w.must(err)
				w.runTasks()
				w.queue.Done()
				w.pass(time.Second)
			}
			if j := w.job(a.Job.ID); j.State != job.Succeeded {
				t.Fatalf("create %d: %+v", n, j.Error)
			}
		}
		if n := len(w.nobodys()); n != 0 {
			t.Errorf("%d are nobody's on a full host", n)
		}
	})
}

func TestPoolThatCannotFillWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runtime.SetProbe(func(host.UnitID) error { return errors.New("no") })
		w.runtime.Behave(func(host.Workload) hosttest.Behavior {
			return hosttest.Behavior{Ends: true, ExitCode: 1}
		})
		p := w.warmPool(1)
		begun := w.runtime.Calls(hosttest.MethodStart)
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); w.pass(p.Every()) {
			_, err := p.RunOnce(w.ctx)
			w.must(err)
			_, err = w.relay.RunOnce(w.ctx)
			w.must(err)
			w.runTasks()
			w.queue.Done()
		}
		if n := w.runtime.Calls(hosttest.MethodStart) - begun; n < 2 || n > 60 {
			t.Errorf("%d starts in ten minutes of failures", n)
		}
	})
}

func TestCheckWarm(t *testing.T) {
	c := instance.Catalog{instancetest.Engine{}}
	got, err := c.CheckWarm([]instance.Warm{{Kind: instance.Kind{Engine: instancetest.EngineName, Plan: "small"}, Count: 3}})
	if err != nil || got[0].Kind != fakeKind || got[0].Count != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, k := range []instance.Kind{{Engine: "none"}, {Engine: instancetest.EngineName, Version: "2"}, {Engine: instancetest.EngineName, Plan: "huge"}} {
		if _, err := c.CheckWarm([]instance.Warm{{Kind: k}}); err == nil {
			t.Errorf("%s is taken", k)
		}
	}
}
