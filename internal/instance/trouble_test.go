package instance_test

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

func TestRefusedPorts(t *testing.T) {
	inWorld(t, func(w *world) {
		for port := 20000; port < 20007; port++ {
			w.runtime.TakePort(port)
		}
		a := w.create()
		w.spin(a.Job.ID)
		w.usable(a.Job.ID)
		if inst := w.instance(a.Instance.ID); inst.Status.Port != 20007 {
			w.Errorf("got port %d", inst.Status.Port)
		}
	})
}

func TestEveryPortRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		for port := 20000; port < 20100; port++ {
			w.runtime.TakePort(port)
		}
		a := w.create()
		w.spin(a.Job.ID)
		why := w.clean(a.Job.ID, job.Failed, instance.StateFailed)
		if why.Code != fault.CodePortRefused || !why.Retryable || why.Step != "start" {
			w.Errorf("%+v", why)
		}
	})
}

// A start that ran out of ports goes on only with a port that is its own: the one
// that the host refused last was given back.
func TestRefusedPortIsNotKept(t *testing.T) {
	inWorldOf(t, 2, func(w *world) {
		w.runtime.TakePort(20000)
		w.runtime.TakePort(20001)
		a := w.create()
		w.runTasks()
		if j := w.job(a.Job.ID); j.State != job.Queued || j.Error == nil || j.Error.Code != fault.CodePortsExhausted {
			w.Fatalf("%s, %+v", j.State, j.Error)
		}
		w.runtime.FreePort(20000)
		w.runtime.FreePort(20001)
		if w.spin(a.Job.ID).State == job.Succeeded {
			w.usable(a.Job.ID) // the row and the host agree
			return
		}
		w.clean(a.Job.ID, job.Failed, instance.StateFailed)
	})
}

func TestPortsExhausted(t *testing.T) {
	inWorldOf(t, 1, func(w *world) {
		// Two are accepted while there is a port; the second finds it taken.
		a, b := w.create(), w.create()
		w.spin(a.Job.ID)
		w.spin(b.Job.ID)
		why := w.clean(b.Job.ID, job.Failed, instance.StateFailed)
		if why.Code != fault.CodePortsExhausted || why.Step != "reserve" || !strings.Contains(why.Message, "20000") || !why.Retryable {
			w.Errorf("%+v", why)
		}
		_, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: instancetest.EngineName})
		var refusal *fault.Error
		if !errors.As(err, &refusal) || refusal.Code != fault.CodeCapacity || refusal.RetryAfter == 0 {
			w.Errorf("a third is answered %v", err)
		}
		// A freed port comes back after its rest.
		w.spin(w.delete(a.Instance.ID).Job.ID)
		w.pass(instance.DefaultQuarantine)
		c := w.create()
		if j := w.spin(c.Job.ID); j.State != job.Succeeded {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
	})
}

// What the host refuses to do it would refuse again: a create ends at once, and a delete
// goes on, because only the operator can say that nothing is left.
func TestHostRefuses(t *testing.T) {
	refusal := fault.Errorf(fault.CodeHostRefused, nil, "the engine refuses it")
	inWorld(t, func(w *world) {
		w.runtime.Fail(hosttest.MethodCreate, hosttest.Fault{Before: true, Err: refusal})
		a := w.create()
		j := w.spin(a.Job.ID)
		why := w.clean(a.Job.ID, job.Failed, instance.StateFailed)
		if why.Code != fault.CodeHostRefused || why.Retryable || j.Attempt > 1 {
			w.Errorf("%+v after %d attempts", why, j.Attempt)
		}
		w.runtime.Heal()
		a = w.create()
		w.spin(a.Job.ID)
		w.runtime.Fail(hosttest.MethodRemove, hosttest.Fault{Before: true, Err: refusal, Times: 5})
		d := w.delete(a.Instance.ID)
		if j := w.spin(d.Job.ID); j.State != job.Succeeded || j.Attempt < 5 {
			w.Errorf("the delete %s after %d attempts: %+v", j.State, j.Attempt, j.Error)
		}
	})
}

// What stops a create for good, and what its job then says.
func TestCreateExplainsItself(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*world)
		code    fault.Code
		step    string
		says    []string
	}{
		{"no image", func(w *world) { w.runtime.NoRegistry() }, fault.CodeImageUnavailable, "image", []string{"fake:1", "scripts/"}},
		{"the server ends at once", func(w *world) {
			w.runtime.Behave(func(l host.Workload) hosttest.Behavior {
				// Servers do repeat their secrets.
				return hosttest.Behavior{Ends: true, ExitCode: 7, Output: "bad option --password=" + l.Files[0].Content.Reveal() + "\n"}
			})
		}, fault.CodeStartFailed, "ready", []string{"code 7", "bad option", "[redacted]"}},
		{"the server ends without a word", func(w *world) {
			w.runtime.Behave(func(host.Workload) hosttest.Behavior {
				return hosttest.Behavior{Ends: true, ExitCode: 1}
			})
		}, fault.CodeStartFailed, "ready", []string{"code 1", "wrote nothing"}},
		{"out of memory", func(w *world) {
			w.runtime.Behave(func(host.Workload) hosttest.Behavior {
				return hosttest.Behavior{Ends: true, ExitCode: 137, OOMKilled: true}
			})
		}, fault.CodeStartFailed, "ready", []string{"more memory", "64 MiB"}},
		{"killed", func(w *world) {
			w.runtime.Behave(func(host.Workload) hosttest.Behavior {
				return hosttest.Behavior{Ends: true, ExitCode: 137, Output: "loading\n"}
			})
		}, fault.CodeStartFailed, "ready", []string{"code 137", "perhaps", "64 MiB", "loading"}},
		{"the probe never succeeds", func(w *world) {
			w.runtime.SetProbe(func(host.UnitID) error {
				return fault.Errorf(fault.CodeProbeFailed, nil, "access denied")
			})
		}, fault.CodeProbeFailed, "ready", []string{"127.0.0.1:20000", "access denied"}},
		{"no host", func(w *world) { w.runtimes.Set(w.host.ID, nil) }, fault.CodeDeadline, "reserve", []string{"local"}},
		{"the container vanishes", func(w *world) {
			w.runtime.SetProbe(func(id host.UnitID) error {
				w.must(w.runtime.Remove(w.ctx, host.UnitID(id), 1<<60, false))
				return errors.New("refused")
			})
		}, fault.CodeStartFailed, "ready", []string{"removed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				test.prepare(w)
				a := w.create()
				password := w.password(a.Instance.ID)
				j := w.spin(a.Job.ID)
				why := w.clean(a.Job.ID, job.Failed, instance.StateFailed)
				if why.Code != test.code || why.Step != test.step || !why.Retryable {
					w.Errorf("%+v; want %s in %s", why, test.code, test.step)
				}
				for _, word := range test.says {
					if !strings.Contains(why.Message, word) {
						w.Errorf("%q does not say %q", why.Message, word)
					}
				}
				for _, s := range w.sender.all() {
					if strings.Contains(s.body, password) {
						w.Error("the callback holds the password")
					}
				}
				if strings.Contains(fmt.Sprintf("%+v %+v %s", j.Steps, why, w.instance(a.Instance.ID).Reason), password) {
					w.Error("the job holds the password")
				}
			})
		})
	}
}

func (w *world) password(id instance.ID) string {
	w.Helper()
	sealed, err := w.store.Credentials(w.ctx, id)
	w.must(err)
	creds, err := instance.OpenCredentials(w.vault, id, sealed)
	w.must(err)
	return creds.Password.Reveal()
}

// A slow server is waited for; the probe's first errors are no failure.
func TestSlowServer(t *testing.T) {
	inWorld(t, func(w *world) {
		up := time.Now().Add(90 * time.Second)
		w.runtime.SetProbe(func(host.UnitID) error {
			if time.Now().Before(up) {
				return errors.New("connection refused")
			}
			return nil
		})
		a := w.create()
		if job := w.spin(a.Job.ID); job.Attempt != 0 {
			w.Errorf("%d attempts: %+v", job.Attempt, job.Error)
		}
		w.usable(a.Job.ID)
	})
}

// A job that nobody takes up before its deadline ends by itself, as soon as
// somebody does.
func TestDeadlinePassesBeforeAnybodyBegins(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		w.queue.Flush()
		w.pass(instance.DefaultCreateDeadline + time.Second)
		w.spin(a.Job.ID)
		if why := w.clean(a.Job.ID, job.Failed, instance.StateFailed); why.Code != fault.CodeDeadline || !strings.Contains(why.Message, "15m0s") {
			w.Errorf("%+v", why)
		}
	})
}

// The deadline also ends a step that has time left.
func TestDeadlinePassesDuringAStep(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		w.pass(instance.DefaultCreateDeadline - 30*time.Second)
		w.runtime.Fail(hosttest.MethodEnsureImage, hosttest.Fault{Hang: true})
		j := w.spin(a.Job.ID)
		why := w.clean(a.Job.ID, job.Failed, instance.StateFailed)
		if why.Code != fault.CodeDeadline || why.Step != "image" || !why.Retryable {
			w.Errorf("%+v", why)
		}
		if late := j.FinishedAt.Sub(j.Deadline); late > time.Minute {
			w.Errorf("it ended %s after its deadline", late)
		}
	})
}

// A pull reports its progress in the job's step, and many at once share one.
func TestPullOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		hold := make(chan struct{})
		w.runtime.HoldPulls(hold)
		var jobs []id.Job
		done := make(chan error)
		for range 5 {
			id := w.create().Job.ID
			jobs = append(jobs, id)
			go func() { done <- w.runner.Run(w.ctx, id) }()
		}
		w.pass(5 * time.Second)
		for _, id := range jobs {
			if s := w.job(id).Steps[1]; s.State != job.StepRunning || !strings.Contains(s.Detail, "50%") {
				w.Errorf("%+v", s)
			}
		}
		close(hold)
		for range jobs {
			w.must(<-done)
		}
		if n := w.runtime.Pulls(); n != 1 {
			w.Errorf("%d pulls", n)
		}
	})
}

// A step that panics ends its worker's attempt and not the job's chance: the lease
// runs out, and another worker goes on.
func TestPanicInAStep(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		ctx, cancel := context.WithCancel(w.ctx)
		w.runtime.SetProbe(func(host.UnitID) error { panic("defect") })
		func() {
			defer cancel() // as Asynq does when a handler panics
			defer func() {
				if recover() == nil {
					w.Error("no panic")
				}
			}()
			_ = w.runner.Run(ctx, a.Job.ID)
		}()
		w.runtime.SetProbe(nil)
		w.pass(time.Second)
		job := w.spin(a.Job.ID)
		w.usable(a.Job.ID)
		if job.Crashes != 1 {
			w.Errorf("%d crashes", job.Crashes)
		}
	})
}
