package host_test

import (
	"fmt"
	"testing"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// mortalJob is a job that workers die of: begin accepts it, and right looks at what became of it.
type mortalJob struct {
	begin func(*world) (id.Job, host.ID)
	right func(*world, job.Job, host.ID)
}

// eachCrash runs the job once for each call of its worker, with a death before it and one after it.
// The calls are found by a dry run, so that a new one is tested by itself.
func eachCrash(t *testing.T, m mortalJob) {
	t.Helper()
	var calls []string
	inWorld(t, func(w *world) {
		which, h := m.begin(w)
		calls = w.runMortal(which, -1, false).Calls()
		j := w.job(which)
		if !j.State.Ended() {
			w.Fatalf("dry run: the job is %s: %+v", j.State, j.Error)
		}
		m.right(w, j, h)
	})
	if len(calls) < 4 {
		t.Fatalf("too few calls to be true: %v", calls)
	}
	for i, name := range calls {
		for when, after := range map[string]bool{"before": false, "after": true} {
			t.Run(fmt.Sprintf("%02d %s %s", i+1, when, name), func(t *testing.T) {
				inWorld(t, func(w *world) {
					which, h := m.begin(w)
					w.runMortal(which, i+1, after)
					w.noPassword("after the crash")
					crashed := w.job(which)
					j := w.spin(which)
					m.right(w, j, h)
					if !crashed.State.Ended() && j.Fence <= crashed.Fence {
						w.Errorf("the fence did not grow: %d, %d", crashed.Fence, j.Fence)
					}
					if j.Attempt != 0 {
						w.Errorf("a crash used up %d attempts", j.Attempt)
					}
				})
			})
		}
	}
}

func (w *world) jobAt(which host.ID) id.Job {
	w.Helper()
	v, err := w.hosts.Host(w.ctx, operator, which)
	w.must(err)
	return v.Job
}

func TestCrashDuringImport(t *testing.T) {
	eachCrash(t, mortalJob{
		begin: func(w *world) (id.Job, host.ID) {
			made := w.accept(host.ImportOptions{Prepare: []host.Fix{host.FixSysctls}}, w.candidate(1))
			return w.jobAt(made.Hosts[0]), made.Hosts[0]
		},
		right: func(w *world, j job.Job, which host.ID) {
			w.Helper()
			h := w.host(which)
			if j.State != job.Succeeded || h.State != host.StateOnline || h.Engine == "" || w.secretKept(which) {
				w.Errorf("%s: %+v; host %s, engine %q", j.State, j.Error, h.State, h.Engine)
			}
			if units := w.unitsAt(1); len(units) > 0 {
				w.Errorf("left on the host: %+v", units)
			}
			if keys := w.machines.Keys(sshAddress(1)); len(keys) != 1 {
				w.Errorf("keys: %v", keys)
			}
			w.once(which, "host.online")
			parent := w.spin(j.Parent)
			if parent.State != job.Succeeded {
				w.Errorf("the parent is %s: %+v", parent.State, parent.Error)
			}
		},
	})
}

// The same for an import that is canceled while it proves the host.
func TestCrashDuringCanceledImport(t *testing.T) {
	eachCrash(t, mortalJob{
		begin: func(w *world) (id.Job, host.ID) {
			made := w.accept(host.ImportOptions{}, w.candidate(1))
			which := w.jobAt(made.Hosts[0])
			w.runtimeAt(1).SetProbe(func(host.UnitID) error {
				_, err := w.instances.CancelJob(tenant.Within(w.ctx, tenant.Default), operator, which)
				if err != nil {
					w.Error(err)
				}
				w.runtimeAt(1).SetProbe(nil)
				w.runtimeAt(1).Fail(hosttest.MethodRemove, hosttest.Fault{Before: true, Times: 1}) // it cannot tidy up itself
				return nil
			})
			w.must(w.runner.Run(w.ctx, which))
			return which, made.Hosts[0]
		},
		right: func(w *world, j job.Job, which host.ID) {
			w.Helper()
			if h := w.host(which); j.State != job.Canceled || h.State != host.StateFailed || w.secretKept(which) {
				w.Errorf("%s: %+v; host %s", j.State, j.Error, h.State)
			}
			if units := w.unitsAt(1); len(units) > 0 {
				w.Errorf("left on the host: %+v", units)
			}
			w.once(which, "host.failed")
		},
	})
}

// The same for the job of a file, one of whose hosts fails.
func TestCrashDuringImports(t *testing.T) {
	eachCrash(t, mortalJob{
		begin: func(w *world) (id.Job, host.ID) {
			list := []host.Candidate{w.candidate(1), w.candidate(2)}
			w.machines.Set(sshAddress(2), func(m *hosttest.Machine) { m.Password = "another" })
			made := w.accept(host.ImportOptions{}, list...)
			for _, h := range made.Hosts {
				w.must(w.runner.Run(w.ctx, w.jobAt(h)))
			}
			return made.Job.ID, made.Hosts[0]
		},
		right: func(w *world, j job.Job, which host.ID) {
			w.Helper()
			if j.State != job.Failed || w.host(which).State != host.StateOnline {
				w.Errorf("%s: %+v", j.State, j.Error)
			}
		},
	})
}

func TestCrashDuringDrain(t *testing.T) {
	eachCrash(t, mortalJob{
		begin: func(w *world) (id.Job, host.ID) {
			h := w.imported(1)
			w.created(host.Where{})
			j, err := w.hosts.Drain(w.ctx, operator, h.ID)
			w.must(err)
			return j.ID, h.ID
		},
		right: func(w *world, j job.Job, which host.ID) {
			w.Helper()
			if h := w.host(which); j.State != job.Succeeded || h.State != host.StateCordoned || h.Used.Units != 1 || len(w.unitsAt(1)) != 1 {
				w.Errorf("%s: %+v; host %s, %+v", j.State, j.Error, h.State, h.Used)
			}
			w.once(which, "host.cordoned")
		},
	})
}

func TestCrashDuringInspect(t *testing.T) {
	eachCrash(t, mortalJob{
		begin: func(w *world) (id.Job, host.ID) {
			h := w.imported(1)
			w.exec("UPDATE hosts SET memory_used = memory_used + 77")
			j, err := w.hosts.Inspect(w.ctx, operator, h.ID)
			w.must(err)
			return j.ID, h.ID
		},
		right: func(w *world, j job.Job, which host.ID) {
			w.Helper()
			if h := w.host(which); j.State != job.Succeeded || h.State != host.StateOnline {
				w.Errorf("%s: %+v; host %s", j.State, j.Error, h.State)
			}
		},
	})
}

func TestCrashDuringHostDelete(t *testing.T) {
	eachCrash(t, mortalJob{
		begin: func(w *world) (id.Job, host.ID) {
			h := w.imported(1)
			return w.remove(h.ID, false).ID, h.ID
		},
		right: func(w *world, j job.Job, which host.ID) {
			w.Helper()
			if j.State != job.Succeeded {
				w.Errorf("%s: %+v", j.State, j.Error)
			}
			w.gone(which)
			if keys := w.machines.Keys(sshAddress(1)); len(keys) > 0 {
				w.Errorf("keys: %v", keys)
			}
			w.once(which, "host.deleted")
		},
	})
}

// The same for a takeover: an instance whose host was lost from the books is adopted with what it
// holds, once.
func TestCrashDuringTakeover(t *testing.T) {
	eachCrash(t, mortalJob{
		begin: func(w *world) (id.Job, host.ID) {
			lost := w.imported(1)
			inst := w.created(host.Where{})
			w.exec("DELETE FROM hosts")
			w.exec("DELETE FROM disks")
			w.exec("DELETE FROM allocations")
			h, j, err := w.hosts.Takeover(w.ctx, operator, w.candidate(1))
			w.must(err)
			if h.ID == lost.ID || w.instance(inst.ID).Status.Host != lost.ID {
				w.Fatal("it is the same host")
			}
			return j.ID, h.ID
		},
		right: func(w *world, j job.Job, which host.ID) {
			w.Helper()
			h := w.host(which)
			if j.State != job.Succeeded || h.State != host.StateOnline || !h.Reserved || h.Used.Units != 1 || w.secretKept(which) {
				w.Errorf("%s: %+v; host %s, reserved %t, used %+v", j.State, j.Error, h.State, h.Reserved, h.Used)
			}
			units := w.unitsAt(1)
			if len(units) != 1 || !units[0].Running {
				w.Fatalf("%+v", units)
			}
			inst := w.instance(instance.ID(units[0].ID))
			if inst.Status.Host != which || inst.State != instance.StateRunning || inst.Status.Port != units[0].Ports["fake"] {
				w.Errorf("the instance is %s at %+v", inst.State, inst.Status)
			}
			w.once(which, "host.online")
			w.settle()
		},
	})
}

// once fails unless one event of the type tells of the host.
func (w *world) once(which host.ID, kind string) {
	w.Helper()
	n := 0
	for _, got := range w.events(id.Subject(which)) {
		if got == kind {
			n++
		}
	}
	if n != 1 {
		w.Errorf("%d events %s", n, kind)
	}
}
