package instance_test

import (
	"testing"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

// hostHealth fails unless the world's host has the health, and counts the events of the kind.
func (w *world) hostHealth(want host.Health, kind string, events int) {
	w.Helper()
	h, err := w.store.Host(w.ctx, w.host.ID)
	w.must(err)
	if h.Health != want || (want == host.Healthy) != h.HealthSince.IsZero() || (want == host.Healthy) != (h.HealthNote == "") {
		w.Fatalf("the host is %s (%q) since %s, want %s", h.Health, h.HealthNote, h.HealthSince, want)
	}
	w.sequence(w.sequencer("w1"))
	all, err := w.store.Events(w.ctx, event.Filter{Tenant: tenant.Pool, Types: []string{kind}}, 0, 100)
	w.must(err)
	if len(all) != events {
		w.Fatalf("%d events %s, want %d", len(all), kind, events)
	}
}

// looked sweeps once, whatever comes of it.
func (w *world) looked(r *host.Reconciler) {
	w.pass(host.DefaultReconcileEvery)
	_, _ = r.RunOnce(w.ctx)
}

// A host that does not answer takes nothing where there is another one, and where there is none a
// job waits for it. Nothing of it is lost.
func TestUnreachableHost(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.reconciler()
		r.Jobs = w.service.Engine
		there := w.created()
		w.runtime.Fail(hosttest.MethodList, hosttest.Fault{Before: true})
		w.looked(r)
		w.hostHealth(host.Healthy, host.EventUnreachable, 0) // it may have been restarted
		w.looked(r)
		w.looked(r)
		w.hostHealth(host.Unreachable, host.EventUnreachable, 1)
		w.state(there.ID, instance.StateRunning, "")
		waiting := w.create() // the only host there is: it waits
		w.runTasks()
		if j := w.job(waiting.Job.ID); j.State != job.Queued || j.Error == nil || j.Error.Code != fault.CodeHostUnavailable {
			t.Errorf("the job is %s, %+v", j.State, j.Error)
		}
		w.runtime.Heal()
		w.looked(r)
		w.hostHealth(host.Healthy, host.EventReachable, 1)
		if j := w.spin(waiting.Job.ID); j.State != job.Succeeded {
			t.Errorf("the job is %s, %+v", j.State, j.Error)
		}
	})
}

// A host that does not let Berth in any more, or may be another machine, takes nothing either.
func TestHostThatRefusesTheLogin(t *testing.T) {
	for _, code := range []fault.Code{fault.CodeLoginRefused, fault.CodeHostKeyChanged} {
		inWorld(t, func(w *world) {
			r := w.reconciler()
			r.Jobs = w.service.Engine
			w.runtime.Fail(hosttest.MethodList, hosttest.Fault{Before: true, Err: fault.Errorf(code, nil, "it is not let in")})
			w.looked(r)
			w.looked(r)
			w.hostHealth(host.Unreachable, host.EventUnreachable, 1)
			w.runtime.Heal()
			w.looked(r)
			w.hostHealth(host.Healthy, host.EventReachable, 1)
		})
	}
}

// A disk that is full closes its host, and opens it again. What is there goes on.
func TestFullDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.reconciler()
		r.Jobs = w.service.Engine
		there := w.created()
		const gib = 1 << 30
		for _, step := range []struct {
			free int64
			want host.Health
			kind string
			told int
		}{
			{50 * gib, host.Healthy, host.EventDiskFull, 0}, {gib - 1, host.DiskFull, host.EventDiskFull, 1}, {gib - 1, host.DiskFull, host.EventDiskFull, 1},
			{2*gib - 1, host.DiskFull, host.EventDiskOK, 0}, {2 * gib, host.Healthy, host.EventDiskOK, 1}, {gib + 1, host.Healthy, host.EventDiskFull, 1},
		} {
			w.runtime.SetSpace(host.Space{SizeBytes: 100 * gib, FreeBytes: step.free})
			for range 4 { // disks are looked at less often than hosts
				w.looked(r)
			}
			w.hostHealth(step.want, step.kind, step.told)
			w.state(there.ID, instance.StateRunning, "")
			_, err := w.service.Create(w.request(tenant.Default), tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: instancetest.EngineName})
			if full := step.want == host.DiskFull; full != (err != nil && fault.CodeOf(err) == fault.CodeNoCapacity) {
				t.Errorf("with %d bytes free a create is answered %v", step.free, err)
			}
		}
		disks, err := w.store.Disks(w.ctx, w.host.ID)
		w.must(err)
		if len(disks) != 1 || disks[0].State != host.DiskAvailable || disks[0].FreeBytes != gib+1 || disks[0].SeenAt.IsZero() {
			t.Errorf("the disks are %+v", disks)
		}
	})
}

// filled fills the disk of the instance's host.
func (w *world) filled(r *host.Reconciler) {
	w.Helper()
	r.Jobs = w.service.Engine
	w.runtime.SetSpace(host.Space{SizeBytes: 100 << 30, FreeBytes: 0})
	w.lookedOften(r)
	w.hostHealth(host.DiskFull, host.EventDiskFull, 1)
}

// lookedOften looks so often that disks are looked at, too.
func (w *world) lookedOften(r *host.Reconciler) {
	for range 4 {
		w.looked(r)
	}
}

// What has filled a disk is deleted, and with it all that could tell that there is space again.
func TestFullDiskThatIsEmptied(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.reconciler()
		there := w.created()
		w.filled(r)
		if j := w.spin(w.delete(there.ID).Job.ID); j.State != job.Succeeded {
			t.Fatalf("the delete is %s: %+v", j.State, j.Error)
		}
		w.lookedOften(r)
		w.hostHealth(host.Healthy, host.EventDiskOK, 1)
		disks, err := w.store.Disks(w.ctx, w.host.ID)
		w.must(err)
		if len(disks) != 1 || disks[0].State != host.DiskAvailable {
			t.Errorf("the disks are %+v", disks)
		}
		w.created()
		w.lookedOften(r) // it is full after all
		w.hostHealth(host.DiskFull, host.EventDiskFull, 2)
	})
}

// The same where the servers there were stopped.
func TestFullDiskOfStoppedServers(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.reconciler()
		there := w.created()
		w.filled(r)
		w.acted(instance.JobStop, there.ID)
		w.lookedOften(r)
		w.hostHealth(host.Healthy, host.EventDiskOK, 1)
		w.acted(instance.JobStart, there.ID)
		w.lookedOften(r) // it is full after all
		w.hostHealth(host.DiskFull, host.EventDiskFull, 2)
		w.state(there.ID, instance.StateRunning, "")
	})
}

// What a host is is found by itself, and again when that has changed.
func TestFactsOfAHost(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.reconciler()
		w.looked(r)
		for _, cpus := range []int{8, 16} {
			w.runtime.SetFacts(host.EngineFacts{Version: "28.5.2", CPUs: cpus, MemoryBytes: 1 << 30, Arch: "x86_64"})
			for range 40 {
				w.looked(r)
			}
			h, err := w.store.Host(w.ctx, w.host.ID)
			w.must(err)
			if h.Found.CPUMillis != int64(cpus)*1000 || h.Found.EngineVersion != "28.5.2" || h.Arch != "amd64" || time.Since(h.Found.At) > 6*time.Minute {
				t.Errorf("found was %+v, %s", h.Found, h.Arch)
			}
		}
	})
}
