package host_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
)

func (w *world) remove(which host.ID, force bool) job.Job {
	w.Helper()
	jobs, err := w.hosts.Delete(w.ctx, operator, force, which)
	w.must(err)
	return jobs[0]
}

func TestDeleteOfAHost(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		if j := w.spin(w.remove(h.ID, false).ID); j.State != job.Succeeded {
			w.Fatalf("%s: %+v", j.State, j.Error)
		}
		w.gone(h.ID)
		if keys := w.machines.Keys(sshAddress(1)); len(keys) > 0 {
			w.Errorf("Berth's key is still there: %v", keys)
		}
		if got := w.events(id.Subject(h.ID)); !slices.Contains(got, "host.deleting") || !slices.Contains(got, "host.deleted") {
			w.Errorf("events: %v", got)
		}
		if w.imported(1).ID == h.ID {
			w.Error("it has the id of the one that was deleted")
		}
	})
}

func TestDeleteOfAHostInUse(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		inst := w.created(host.Where{})
		if _, err := w.hosts.Delete(w.ctx, operator, false, h.ID); fault.CodeOf(err) != fault.CodeHostInUse {
			w.Error(err)
		}
		if got := w.host(h.ID); got.State != host.StateOnline {
			w.Errorf("it is %s", got.State)
		}
		_ = inst
	})
}

// An instance that the books do not know of keeps its host from being deleted, too.

func TestDeleteOfAHostWithUnbookedInstance(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		inst := w.created(host.Where{})
		w.tx(func(tx rooms.Tx) error { return tx.Release(host.UnitID(inst.ID)) })
		j := w.spin(w.remove(h.ID, false).ID)
		if got := w.host(h.ID); j.State != job.Failed || j.Error.Code != fault.CodeHostInUse || got.State != host.StateOnline {
			w.Errorf("%s: %+v, host %s", j.State, j.Error, got.State)
		}
		if len(w.machines.Keys(sshAddress(1))) == 0 {
			w.Error("Berth's key was removed")
		}
	})
}

// Delete always wins: it stops an import, wherever that is, and nothing is left.

func TestDeleteDuringImport(t *testing.T) {
	for _, at := range []hosttest.Method{hosttest.MethodFacts, hosttest.MethodEnsureImage, hosttest.MethodCreate, hosttest.MethodStart, hosttest.MethodRemove} {
		t.Run(string(at), func(t *testing.T) {
			inWorld(t, func(w *world) {
				c := w.candidate(1)
				w.runtimeAt(1).Fail(at, hosttest.Fault{Hang: true})
				made := w.accept(host.ImportOptions{}, c)
				v, err := w.hosts.Host(w.ctx, operator, made.Hosts[0])
				w.must(err)
				go func() { _ = w.runner.Run(w.ctx, v.Job) }()
				w.pass(20 * time.Second)
				d := w.remove(made.Hosts[0], false)
				w.runtimeAt(1).Heal()
				w.pass(time.Minute)
				if j := w.spin(d.ID); j.State != job.Succeeded {
					w.Errorf("delete: %s: %+v", j.State, j.Error)
				}
				w.gone(made.Hosts[0])
				if units := w.unitsAt(1); len(units) > 0 {
					w.Errorf("left on the machine: %+v", units)
				}
				if j := w.spin(made.Job.ID); j.State == job.Succeeded {
					w.Error("the import succeeded")
				}
			})
		})
	}
}

// A delete that fails leaves the host as it was.

func TestDeleteThatFails(t *testing.T) {
	for _, before := range []host.State{host.StateOnline, host.StateCordoned, host.StateFailed} {
		t.Run(string(before), func(t *testing.T) {
			inWorld(t, func(w *world) {
				var h host.Host
				if before == host.StateFailed {
					w.candidate(1)
					w.runtimeAt(1).SetProbe(func(host.UnitID) error { return errors.New("no") })
					made := w.accept(host.ImportOptions{}, w.candidate(1))
					w.spin(made.Job.ID)
					h = w.host(made.Hosts[0])
				} else {
					h = w.imported(1)
				}
				if before == host.StateCordoned {
					_, err := w.hosts.Cordon(w.ctx, operator, true, h.ID)
					w.must(err)
				}
				w.runtimeAt(1).Fail(hosttest.MethodForget, hosttest.Fault{Before: true})
				j := w.spin(w.remove(h.ID, false).ID)
				got := w.host(h.ID)
				if j.State != job.Failed || got.State != before || got.Reason == "" || got.BeforeState != "" {
					w.Errorf("%s: %+v; host %s (%s)", j.State, j.Error, got.State, got.Reason)
				}
				w.runtimeAt(1).Heal()
				if j := w.spin(w.remove(h.ID, false).ID); j.State != job.Succeeded {
					w.Errorf("again: %s: %+v", j.State, j.Error)
				}
				w.gone(h.ID)
			})
		})
	}
}

// A host with instances is deleted by force: their rows go at once, and what is left of them is

// removed when the machine is imported again.

// An instance that has a port and a place there, and no more, is among those that go with a host.

// What has been given its share, and of which nothing says yet that it is there, goes, too.

// A port without an allocation does not outlive its host.

func TestDrain(t *testing.T) {
	inWorld(t, func(w *world) {
		h, other := w.imported(1), w.imported(2)
		_, err := w.hosts.Cordon(w.ctx, operator, true, other.ID)
		w.must(err)
		inst := w.created(host.Where{})
		_, err = w.hosts.Cordon(w.ctx, operator, false, other.ID)
		w.must(err)
		for _, which := range []host.ID{h.ID, other.ID} {
			j, err := w.hosts.Drain(w.ctx, operator, which)
			w.must(err)
			if got := w.host(which); got.State != host.StateDraining {
				w.Errorf("%s is %s", got.Name, got.State)
			}
			if again, err := w.hosts.Drain(w.ctx, operator, which); err != nil || again.ID != j.ID {
				w.Errorf("asked again: %s, %v", again.ID, err)
			}
			if j := w.spin(j.ID); j.State != job.Succeeded {
				w.Errorf("%s: %+v", j.State, j.Error)
			} else if detail := j.Steps[1].Detail; strings.Contains(detail, "1 instance stays") != (which == h.ID) {
				w.Errorf("of %s it says %q", which, detail)
			}
			if got := w.host(which); got.State != host.StateCordoned {
				w.Errorf("%s is %s", got.Name, got.State)
			}
		}
		if got := w.instance(inst.ID); got.State != instance.StateRunning || got.Status.Host != h.ID {
			w.Errorf("the instance is %s on %s", got.State, got.Status.Host)
		}
		if _, err := w.tryCreate(host.Where{Host: "h1"}); fault.CodeOf(err) != fault.CodeHostCordoned {
			w.Errorf("an instance on it: %v", err)
		}
		j, err := w.hosts.Drain(w.ctx, operator, h.ID)
		w.must(err)
		if _, err := w.hosts.Cordon(w.ctx, operator, false, h.ID); fault.CodeOf(err) != fault.CodeBusy {
			w.Errorf("uncordon while it drains: %v", err)
		}
		if _, err := w.instances.CancelJob(tenant.Within(w.ctx, tenant.Default), operator, j.ID); err != nil {
			w.Error(err)
		}
		if j := w.spin(j.ID); j.State != job.Canceled || w.host(h.ID).State != host.StateCordoned {
			w.Errorf("canceled: %s, host %s", j.State, w.host(h.ID).State)
		}
	})
}

// A create that chose a host which is cordoned before it takes its share goes elsewhere.

func TestCordonRacesWithACreate(t *testing.T) {
	inWorld(t, func(w *world) {
		one := w.imported(1)
		a := w.create(host.Where{})
		_, err := w.hosts.Cordon(w.ctx, operator, true, one.ID)
		w.must(err)
		two := w.imported(2)
		if j := w.spin(a.Job.ID); j.State != job.Succeeded {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
		if inst := w.instance(a.Instance.ID); inst.Status.Host != two.ID {
			w.Errorf("it is on %s", inst.Status.Host)
		}
		// And where it was chosen already, the share is refused.
		err = w.store.Tx(w.ctx, func(tx rooms.Tx) error { return tx.Allocate(host.Allocation{Unit: "u", Host: one.ID}) })
		if !errors.Is(err, host.ErrNoShare) {
			w.Errorf("a share of a cordoned host: %v", err)
		}
	})
}

func TestReserve(t *testing.T) {
	inWorld(t, func(w *world) {
		one := w.imported(1)
		_, err := w.hosts.Reserve(w.ctx, operator, true, one.ID)
		w.must(err)
		for _, where := range []host.Where{{}, {Host: "h1"}, {Host: string(one.ID), Reserved: true}} {
			if _, err := w.tryCreate(where); fault.CodeOf(err) != fault.CodeNoCapacity {
				w.Errorf("a tenant's create at %+v: %v", where, err)
			}
		}
		a, err := w.instances.Create(tenant.Within(w.ctx, tenant.Default), operator, instance.CreateRequest{Engine: "redis", Placement: host.Where{Host: "h1"}})
		w.must(err)
		if j := w.spin(a.Job.ID); j.State != job.Succeeded {
			w.Errorf("an operator's: %s: %+v", j.State, j.Error)
		}
	})
}

// Inspect finds what is wrong in the books, says so, and mends it.

// A host that more is given away of than it has can still be closed, by whatever the books were wrong.
