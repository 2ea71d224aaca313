package host_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

func TestImportByPassword(t *testing.T) {
	inWorld(t, func(w *world) {
		made := w.accept(host.ImportOptions{Prepare: []host.Fix{host.FixSysctls}}, w.candidate(1))
		if which := made.Hosts[0]; !w.secretKept(which) {
			w.Error("the password is not kept until it is needed")
		}
		w.noPassword("accepted,")
		j := w.spin(made.Job.ID)
		h := w.host(made.Hosts[0])
		if j.State != job.Succeeded || h.State != host.StateOnline || h.Engine == "" || h.Found.CPUMillis != 8000 || h.Arch != "amd64" || h.HostKey == "" {
			w.Fatalf("job %s (%+v), host %+v", j.State, j.Error, h)
		}
		if w.secretKept(h.ID) {
			w.Error("the password is still kept")
		}
		if keys := w.machines.Keys(sshAddress(1)); len(keys) != 1 {
			w.Errorf("keys there: %v", keys)
		}
		if sent := w.machines.Passwords(sshAddress(1)); len(sent) != 1 {
			w.Errorf("the password was sent %d times", len(sent))
		}
		if units := w.unitsAt(1); len(units) != 0 {
			w.Errorf("the proof left %+v", units)
		}
		if got := w.events(id.Subject(h.ID)); !slices.Contains(got, "host.importing") || !slices.Contains(got, "host.online") {
			w.Errorf("events: %v", got)
		}
		_, _, err := w.hosts.Import(w.ctx, operator, []host.Candidate{w.candidate(1)}, nil, host.ImportOptions{}, nil)
		if fault.CodeOf(err) != fault.CodeHostExists {
			w.Errorf("imported again: %v", err)
		}
		if inst := w.created(host.Where{}); inst.Status.Host != h.ID {
			w.Errorf("an instance is on %s", inst.Status.Host)
		}
	})
}

// The sealed password is gone as soon as Berth's key works, before anything else is done.
func TestPasswordIsForgottenAtTheLogin(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		kept := true
		w.runtimeAt(1).Fail(hosttest.MethodEnsureImage, hosttest.Fault{Before: true})
		made := w.accept(host.ImportOptions{}, c)
		for range 10 {
			_, err := w.relay.RunOnce(w.ctx)
			w.must(err)
			w.runTasks()
			w.queue.Done()
			w.noPassword("meanwhile")
			if len(w.machines.Keys(sshAddress(1))) > 0 {
				kept = w.secretKept(made.Hosts[0])
				break
			}
			w.pass(job.RelayEvery)
		}
		if kept {
			w.Error("the login has worked, and the password is kept")
		}
		w.runtimeAt(1).Heal()
		if j := w.spin(made.Job.ID); j.State != job.Succeeded {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
	})
}

func TestWrongPassword(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		w.machines.Set(sshAddress(1), func(m *hosttest.Machine) { m.Password = "another" })
		made := w.accept(host.ImportOptions{}, c)
		j := w.spin(made.Job.ID)
		h := w.host(made.Hosts[0])
		if j.State != job.Failed || j.Error.Code != fault.CodeLoginRefused || h.State != host.StateFailed || !strings.Contains(h.Reason, "login") {
			w.Errorf("job %s: %+v; host %s: %s", j.State, j.Error, h.State, h.Reason)
		}
		if w.secretKept(h.ID) {
			w.Error("the password of a failed import is kept")
		}
		w.noPassword("failed,")
		w.machines.Set(sshAddress(1), func(m *hosttest.Machine) { m.Password = password })
		again := w.accept(host.ImportOptions{}, w.candidate(1))
		if j := w.spin(again.Job.ID); j.State != job.Succeeded || again.Hosts[0] != h.ID {
			w.Errorf("again: %s: %+v, host %s", j.State, j.Error, again.Hosts[0])
		}
		if h := w.host(h.ID); h.State != host.StateOnline || h.Reason != "" {
			w.Errorf("host %s: %s", h.State, h.Reason)
		}
	})
}

// An engine that does not answer while its machine is checked may be on its way back; a machine without a
// socket has none.
func TestEngineThatDoesNotAnswerTheChecks(t *testing.T) {
	for name, tt := range map[string]struct {
		socket string
		times  int
		state  job.State
		code   fault.Code
	}{
		"for a moment": {"accessible", 2, job.Succeeded, ""},
		"ever":         {"accessible", 0, job.Failed, fault.CodeHostUnavailable},
		"not there":    {"missing", 0, job.Failed, fault.CodeChecksFailed},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				c := w.candidate(1)
				w.machines.Set(sshAddress(1), func(m *hosttest.Machine) {
					m.Inventory = func() string {
						return strings.Replace(hosttest.SoundInventory(), "docker_socket=accessible", "docker_socket="+tt.socket, 1)
					}
				})
				w.runtimeAt(1).Fail(hosttest.MethodFacts, hosttest.Fault{Before: true, Times: tt.times})
				made := w.accept(host.ImportOptions{}, c)
				j := w.spin(w.jobAt(made.Hosts[0]))
				if j.State != tt.state || tt.code != "" && j.Error.Code != tt.code {
					t.Errorf("the import is %s: %+v", j.State, j.Error)
				}
			})
		})
	}
}

// The key of the machine is another one than the one that was given with it: nothing is sent there.
func TestSwappedHostKey(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		w.machines.Set(sshAddress(1), func(m *hosttest.Machine) { c.HostKey = m.HostKey })
		w.machines.SwapHostKey(sshAddress(1))
		made := w.accept(host.ImportOptions{}, c)
		j := w.spin(made.Job.ID)
		if j.State != job.Failed || j.Error.Code != fault.CodeHostKeyChanged {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
		if sent := w.machines.Passwords(sshAddress(1)); len(sent) > 0 || len(w.machines.Runs(sshAddress(1))) > 0 {
			w.Errorf("it was sent %v", sent)
		}
		if w.secretKept(made.Hosts[0]) {
			w.Error("the password is kept")
		}
	})
}

// The machine is swapped after it was pinned, in the middle of a job.
func TestHostKeySwappedMeanwhile(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		w.machines.Set(sshAddress(1), func(m *hosttest.Machine) { m.Cut = hosttest.ScriptInstallKey })
		made := w.accept(host.ImportOptions{}, c)
		for range 4 {
			_, err := w.relay.RunOnce(w.ctx)
			w.must(err)
			w.runTasks()
			if len(w.machines.Runs(sshAddress(1))) > 0 {
				break
			}
			w.pass(job.RelayEvery)
		}
		w.machines.SwapHostKey(sshAddress(1))
		j := w.spin(made.Job.ID)
		if j.State != job.Failed || j.Error.Code != fault.CodeHostKeyChanged || len(w.machines.Passwords(sshAddress(1))) != 1 {
			w.Errorf("%s: %+v, sent %d", j.State, j.Error, len(w.machines.Passwords(sshAddress(1))))
		}
	})
}

func TestMachineFaultsThatPass(t *testing.T) {
	for name, test := range map[string]func(m *hosttest.Machine){
		"cut while the key is installed":    func(m *hosttest.Machine) { m.Cut = hosttest.ScriptInstallKey },
		"cut while it is prepared":          func(m *hosttest.Machine) { m.Cut = hosttest.ScriptPrepare },
		"cut while the inventory is taken":  func(m *hosttest.Machine) { m.Cut = hosttest.ScriptInventory },
		"away, and back after half a while": func(m *hosttest.Machine) { m.Away = true },
		"hangs, and goes on":                func(m *hosttest.Machine) { m.Hang = true },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				c := w.candidate(1)
				w.machines.Set(sshAddress(1), test)
				made := w.accept(host.ImportOptions{Prepare: []host.Fix{host.FixSysctls}}, c)
				time.AfterFunc(20*time.Second, func() {
					w.machines.Set(sshAddress(1), func(m *hosttest.Machine) { m.Away, m.Hang = false, false })
				})
				if j := w.spin(made.Job.ID); j.State != job.Succeeded {
					w.Errorf("%s: %+v", j.State, j.Error)
				}
			})
		})
	}
}

func TestMachineThatNeverAnswers(t *testing.T) {
	for name, test := range map[string]func(m *hosttest.Machine){
		"away": func(m *hosttest.Machine) { m.Away = true }, "hangs": func(m *hosttest.Machine) { m.Hang = true },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				c := w.candidate(1)
				w.machines.Set(sshAddress(1), test)
				made := w.accept(host.ImportOptions{}, c)
				j := w.spin(made.Job.ID)
				if h := w.host(made.Hosts[0]); j.State != job.Failed || h.State != host.StateFailed || w.secretKept(h.ID) {
					w.Errorf("%s: %+v, %s", j.State, j.Error, h.State)
				}
			})
		})
	}
}

func TestSkipInit(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		c.Password = secret.Secret{}
		made := w.accept(host.ImportOptions{SkipInit: true}, c)
		if j := w.spin(made.Job.ID); j.State != job.Succeeded {
			w.Fatalf("%s: %+v", j.State, j.Error)
		}
		if runs := w.machines.Runs(sshAddress(1)); len(runs) > 0 {
			w.Errorf("somebody logged in: %v", runs)
		}
	})
}

// A password that is sent with a machine that nobody logs in to is kept no longer than the import.
func TestSkipInitWithPassword(t *testing.T) {
	inWorld(t, func(w *world) {
		made := w.accept(host.ImportOptions{SkipInit: true}, w.candidate(1))
		w.spin(made.Job.ID)
		if w.secretKept(made.Hosts[0]) {
			w.Error("the password is kept")
		}
	})
}

func TestChecksOfAnImport(t *testing.T) {
	replaced := func(from, to string) func() string {
		return func() string { return strings.Replace(hosttest.SoundInventory(), from, to, 1) }
	}
	for name, test := range map[string]struct {
		inventory func() string
		ignore    bool
		code      fault.Code
	}{
		"warns":            {replaced("swap_bytes=0", "swap_bytes=4096"), false, fault.CodeChecksFailed},
		"warns, ignored":   {replaced("swap_bytes=0", "swap_bytes=4096"), true, ""},
		"fails":            {replaced("docker.free=96636764160", "docker.free=1000"), false, fault.CodeChecksFailed},
		"fails, ignored":   {replaced("docker.free=96636764160", "docker.free=1000"), true, fault.CodeChecksFailed},
		"cannot be read":   {func() string { return "Welcome!\n" }, false, fault.CodeInternal},
		"clock is far off": {replaced("clock_ms=", "clock_ms=1"), false, fault.CodeChecksFailed},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				c := w.candidate(1)
				w.machines.Set(sshAddress(1), func(m *hosttest.Machine) { m.Inventory = test.inventory })
				made := w.accept(host.ImportOptions{IgnoreWarnings: test.ignore}, c)
				j := w.spin(made.Job.ID)
				h := w.host(made.Hosts[0])
				switch {
				case test.code == "" && (j.State != job.Succeeded || h.State != host.StateOnline):
					w.Errorf("%s: %+v, host %s", j.State, j.Error, h.State)
				case test.code != "" && (j.State != job.Failed || j.Error.Code != test.code || h.State != host.StateFailed):
					w.Errorf("%s: %+v, host %s", j.State, j.Error, h.State)
				}
				if test.code != fault.CodeInternal && len(h.Checks) == 0 {
					w.Error("the checks are not kept")
				}
			})
		})
	}
}

func TestEngineOfAnotherHost(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.imported(1)
		c := w.candidate(2)
		w.runtimeAt(2).SetIdentity(first.Engine)
		made := w.accept(host.ImportOptions{}, c)
		j := w.spin(made.Job.ID)
		h := w.host(made.Hosts[0])
		if j.State != job.Failed || j.Error.Code != fault.CodeEngineKnown || h.State != host.StateFailed || h.Engine != "" || !strings.Contains(j.Error.Message, first.Name) {
			w.Errorf("%s: %+v; host %s, engine %q", j.State, j.Error, h.State, h.Engine)
		}
	})
}

// A sweep while an import is under way does not make an engine the host's that is another one's.
func TestSweepDuringAnImport(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.imported(1)
		running := w.created(host.Where{})
		c := w.candidate(2)
		w.fleet.set("ssh://root@"+sshAddress(2), w.runtimeAt(1)) // the same engine by another address
		made := w.accept(host.ImportOptions{}, c)
		w.pass(2 * host.DefaultReconcileGrace)
		w.sweep()
		if h := w.host(made.Hosts[0]); h.Engine != "" {
			w.Errorf("a sweep made %s the engine of a host that is being imported", h.Engine)
		}
		if j := w.spin(made.Job.ID); j.State != job.Failed || j.Error.Code != fault.CodeEngineKnown {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
		w.pass(2 * host.DefaultReconcileGrace)
		w.sweep()
		if h := w.host(made.Hosts[0]); h.Engine != "" {
			w.Errorf("a sweep made %s the engine of a host that has failed", h.Engine)
		}
		if j := w.spin(w.remove(made.Hosts[0], false).ID); j.State != job.Succeeded {
			w.Errorf("delete of the failed one: %s: %+v", j.State, j.Error)
		}
		if units := w.unitsAt(1); len(units) != 1 || units[0].ID != host.UnitID(running.ID) || w.host(first.ID).Engine == "" {
			w.Errorf("what runs is %+v", units)
		}
	})
}

func TestAnotherArch(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		c.Arch = "aarch64"
		made := w.accept(host.ImportOptions{}, c)
		if j := w.spin(made.Job.ID); j.State != job.Failed || j.Error.Code != fault.CodeChecksFailed || !strings.Contains(j.Error.Message, "arm64") {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
	})
}

func TestProofThatFails(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		w.runtimeAt(1).SetProbe(func(host.UnitID) error { return fault.Errorf(fault.CodeProbeFailed, nil, "connection timed out") })
		made := w.accept(host.ImportOptions{}, c)
		j := w.spin(made.Job.ID)
		h := w.host(made.Hosts[0])
		if j.State != job.Failed || h.State != host.StateFailed || !strings.Contains(h.Reason, "firewall") {
			w.Errorf("%s: %+v; host %s: %s", j.State, j.Error, h.State, h.Reason)
		}
		if units := w.unitsAt(1); len(units) > 0 {
			w.Errorf("left on the host: %+v", units)
		}
		w.runtimeAt(1).SetProbe(nil)
		again := w.accept(host.ImportOptions{}, w.candidate(1))
		if j := w.spin(again.Job.ID); j.State != job.Succeeded {
			w.Errorf("again: %s: %+v", j.State, j.Error)
		}
	})
}

// One of five has another password: the others are online, and the job says so with a total.
func TestBatchWithOneBadLogin(t *testing.T) {
	inWorld(t, func(w *world) {
		var list []host.Candidate
		for n := 1; n <= 5; n++ {
			list = append(list, w.candidate(n))
		}
		w.machines.Set(sshAddress(3), func(m *hosttest.Machine) { m.Password = "another" })
		made := w.accept(host.ImportOptions{}, list...)
		j := w.spin(made.Job.ID)
		if j.State != job.Failed || j.Error.Code != fault.CodeLoginRefused || !strings.Contains(j.Error.Message, "4 of 5 hosts online") ||
			!strings.Contains(j.Error.Message, "h3") {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
		for i, which := range made.Hosts {
			want := host.StateOnline
			if i == 2 {
				want = host.StateFailed
			}
			if h := w.host(which); h.State != want || w.secretKept(which) {
				w.Errorf("%s is %s: %s", h.Name, h.State, h.Reason)
			}
		}
	})
}

// A file that is all wrong does not make the job's error larger than it can be written.
func TestBatchThatFails(t *testing.T) {
	inWorld(t, func(w *world) {
		var list []host.Candidate
		for n := 1; n <= 60; n++ {
			list = append(list, w.candidate(n))
			w.machines.Set(sshAddress(n), func(m *hosttest.Machine) { m.Password = "another" })
		}
		made := w.accept(host.ImportOptions{}, list...)
		if j := w.spin(made.Job.ID); j.State != job.Failed || !strings.Contains(j.Error.Message, "0 of 60 hosts") || len(j.Error.Message) > 4096 {
			w.Errorf("%s: %d bytes: %.200s", j.State, len(j.Error.Message), j.Error.Message)
		}
	})
}

func TestCancelOfAnImport(t *testing.T) {
	for name, parent := range map[string]bool{"of all": true, "of one": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				for n := 1; n <= 2; n++ {
					w.candidate(n)
					w.machines.Set(sshAddress(n), func(m *hosttest.Machine) { m.Away = true })
				}
				made := w.accept(host.ImportOptions{}, w.candidate(1), w.candidate(2))
				for range 3 {
					w.runTasks()
					w.pass(time.Second)
				}
				v, err := w.hosts.Host(w.ctx, operator, made.Hosts[0])
				w.must(err)
				which := v.Job
				if parent {
					which = made.Job.ID
				}
				if _, err := w.instances.CancelJob(tenant.Within(w.ctx, tenant.Default), operator, which); err != nil {
					w.Fatal(err)
				}
				w.machines.Set(sshAddress(2), func(m *hosttest.Machine) { m.Away = false })
				all, one := w.spin(made.Job.ID), w.spin(v.Job)
				if one.State != job.Canceled || w.host(made.Hosts[0]).State != host.StateFailed || w.secretKept(made.Hosts[0]) {
					w.Errorf("the one: %s, host %+v", one.State, w.host(made.Hosts[0]).State)
				}
				wantOther := host.StateOnline
				if parent {
					wantOther = host.StateFailed
				}
				if other := w.host(made.Hosts[1]); all.State != job.Canceled || other.State != wantOther {
					w.Errorf("all: %s (%+v), the other host: %s", all.State, all.Error, other.State)
				}
				for _, h := range made.Hosts {
					j := w.remove(h, false)
					w.machines.Set(sshAddress(1), func(m *hosttest.Machine) { m.Away = false })
					if j := w.spin(j.ID); j.State != job.Succeeded {
						w.Errorf("delete: %s: %+v", j.State, j.Error)
					}
					w.gone(h)
				}
			})
		})
	}
}

func TestOnlyOperators(t *testing.T) {
	inWorld(t, func(w *world) {
		owner := tenant.Principal{Tenant: tenant.Default, Role: tenant.Owner, Name: "an owner"}
		_, _, err := w.hosts.Import(w.ctx, owner, []host.Candidate{w.candidate(1)}, nil, host.ImportOptions{}, nil)
		if fault.CodeOf(err) != fault.CodeForbidden {
			w.Error(err)
		}
	})
}

// The address of a host whose import has failed is still its own, and that is said of the row.
func TestAddressOfAFailedHost(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		c.Password = secret.New("wrong")
		if j := w.spin(w.accept(host.ImportOptions{}, c).Job.ID); j.State != job.Failed {
			w.Fatalf("%s", j.State)
		}
		other := w.candidate(1)
		other.Name = "other"
		_, _, err := w.hosts.Import(w.ctx, operator, []host.Candidate{w.candidate(2), other}, nil, host.ImportOptions{}, nil)
		w.invalid("hosts[1].address", err)
		w.imported(1)
	})
}
