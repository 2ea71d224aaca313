package instance_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/authority/authoritytest"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	subject "github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

// inSecureWorld has servers with certificates, and an authority.
func inSecureWorld(t *testing.T, ports int, run func(*world)) {
	t.Helper()
	s := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s, ports)
		w.authority = authoritytest.New(t, clock.System)
		w.catalog = instance.Catalog{instancetest.Secure{Engine: instancetest.Engine{Runtime: w.runtime}}}
		w.service = w.serviceOn(s)
		w.runner = w.runnerOn(s, w.runtimes, "w1", clock.System)
		w.relay = w.relaysOf("w1")
		run(w)
		w.noSecretLogged()
	})
}

// served gives the certificate that is in the server's files, and proves that clients can
// verify it by what `config` shows, now and at the instance's address.
func (w *world) served(id instance.ID) *x509.Certificate {
	w.Helper()
	certificate, _, ok := w.runtime.File(host.UnitID(id), instancetest.CertificateFile)
	key, _, _ := w.runtime.File(host.UnitID(id), instancetest.KeyFile)
	if !ok {
		w.Fatal("the server has no certificate")
	}
	pair, err := tls.X509KeyPair([]byte(certificate.Content.Reveal()), []byte(key.Content.Reveal()))
	w.must(err)
	inst, c, err := w.service.Config(w.ctx, tenanttest.Owner(tenant.Default), instancetest.EngineName, id)
	w.must(err)
	roots := x509.NewCertPool()
	if c.TLS == nil || !roots.AppendCertsFromPEM([]byte(c.TLS.CA)) {
		w.Fatalf("config shows %+v", c.TLS)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: inst.Status.Address, CurrentTime: time.Now()}); err != nil {
		w.Error(err)
	}
	if !pair.Leaf.NotAfter.Equal(inst.Status.CertifiedUntil) {
		w.Errorf("it ends %s, and the instance says %s", pair.Leaf.NotAfter, inst.Status.CertifiedUntil)
	}
	return pair.Leaf
}

func (w *world) ask(req instance.CreateRequest) instance.Accepted {
	w.Helper()
	req.Engine = instancetest.EngineName
	a, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), req)
	w.must(err)
	return a
}

func TestCertifiedCreate(t *testing.T) {
	for name, require := range map[string]bool{"with and without TLS": false, "TLS required": true} {
		t.Run(name, func(t *testing.T) {
			inSecureWorld(t, 100, func(w *world) {
				a := w.ask(instance.CreateRequest{RequireTLS: require})
				w.spin(a.Job.ID)
				w.usable(a.Job.ID)
				inst := w.instance(a.Instance.ID)
				w.served(inst.ID)
				published := w.unit(inst.ID).Ports
				switch {
				case inst.Spec.RequireTLS != require:
					t.Errorf("it requires TLS: %v", inst.Spec.RequireTLS)
				case require && (inst.Status.TLSPort != 0 || len(published) != 1):
					t.Errorf("it has the ports %v", published)
				case !require && (inst.Status.TLSPort == 0 || published[instancetest.EngineName+"-tls"] != inst.Status.TLSPort):
					t.Errorf("it has the ports %v, and says %d", published, inst.Status.TLSPort)
				}
				if want := time.Now().Add(authority.Term); want.Sub(inst.Status.CertifiedUntil).Abs() > time.Minute {
					t.Errorf("its certificate ends %s", inst.Status.CertifiedUntil)
				}
				w.spin(w.delete(inst.ID).Job.ID)
				w.gone(inst.ID)
				w.pass(instance.DefaultQuarantine)
				if free, err := w.store.PortsFree(w.ctx, w.host, time.Now()); err != nil || free != 100 {
					t.Errorf("%d of 100 ports are free, %v", free, err)
				}
			})
		})
	}
}

// TestRequireTLSWithoutCertificates is refused by an engine that has none.
func TestRequireTLSWithoutCertificates(t *testing.T) {
	inWorld(t, func(w *world) {
		_, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: instancetest.EngineName, RequireTLS: true})
		var refused *fault.Error
		if !errors.As(err, &refused) || len(refused.Fields) != 1 || refused.Fields[0].Field != "require_tls" {
			t.Errorf("%v", err)
		}
	})
}

// TestTooFewPorts refuses an instance that needs two where one is left.
func TestTooFewPorts(t *testing.T) {
	inSecureWorld(t, 3, func(w *world) {
		first := w.ask(instance.CreateRequest{})
		w.spin(first.Job.ID)
		_, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: instancetest.EngineName})
		if fault.CodeOf(err) != fault.CodeCapacity {
			t.Fatalf("the second: %v", err)
		}
		third := w.ask(instance.CreateRequest{RequireTLS: true}) // which needs one
		if j := w.spin(third.Job.ID); j.State != job.Succeeded {
			t.Errorf("the third is %s: %+v", j.State, j.Error)
		}
	})
}

// TestPortsRefused tries others in the place of those that the host does not give.
func TestPortsRefused(t *testing.T) {
	inSecureWorld(t, 20, func(w *world) {
		w.runtime.TakePort(20001)
		w.runtime.TakePort(20002)
		a := w.ask(instance.CreateRequest{})
		if j := w.spin(a.Job.ID); j.State != job.Succeeded {
			t.Fatalf("%s: %+v", j.State, j.Error)
		}
		inst := w.instance(a.Instance.ID)
		if inst.Status.Port != 20000 || inst.Status.TLSPort != 20003 {
			t.Errorf("it is at %d and %d", inst.Status.Port, inst.Status.TLSPort)
		}
	})
}

// TestRenewalsTakeTurns begins a few at a time, and leaves those that failed alone for a while.
func TestRenewalsTakeTurns(t *testing.T) {
	inSecureWorld(t, 100, func(w *world) {
		var last instance.Instance
		for range 25 {
			a := w.ask(instance.CreateRequest{})
			w.spin(a.Job.ID)
			last = w.instance(a.Instance.ID)
		}
		w.pass(time.Until(last.Status.CertifiedUntil) - 30*24*time.Hour)
		w.runtime.Fail(hosttest.MethodAdopt, hosttest.Fault{Before: true, Err: fault.Errorf(fault.CodeHostRefused, nil, "refused")})
		r, looks := w.renewer(), []int(nil)
		for range 4 {
			n, err := r.RunOnce(w.ctx)
			w.must(err)
			looks = append(looks, n)
			for range 5 { // workers
				_, err := w.relay.RunOnce(w.ctx)
				w.must(err)
				w.runTasks()
				w.queue.Done()
				w.pass(10 * time.Second)
			}
			w.pass(instance.RenewEvery)
		}
		if !slices.Equal(looks, []int{20, 5, 0, 0}) {
			t.Errorf("the looks have begun %v", looks)
		}
		w.pass(6 * time.Hour)
		if n, err := r.RunOnce(w.ctx); err != nil || n != 20 {
			t.Errorf("hours later %d are begun, %v", n, err)
		}
	})
}

func (w *world) renewer() *instance.Renewer {
	return &instance.Renewer{Store: rooms.Instances(w.store), Jobs: w.service.Engine, Now: clock.System, Log: w.log, Owner: "w1"}
}

// renewed looks for certificates to renew, and gives the job; "": none.
func (w *world) renewed(id instance.ID) (j job.Job, begun bool) {
	w.Helper()
	n, err := w.renewer().RunOnce(w.ctx)
	w.must(err)
	if n == 0 {
		return job.Job{}, false
	}
	active, err := w.store.ActiveJob(w.ctx, subject.Subject(id))
	w.must(err)
	return w.spin(active.ID), true
}

func TestRenewal(t *testing.T) {
	inSecureWorld(t, 100, func(w *world) {
		a := w.ask(instance.CreateRequest{})
		w.spin(a.Job.ID)
		before, first := w.instance(a.Instance.ID), w.served(a.Instance.ID)
		if _, begun := w.renewed(before.ID); begun {
			t.Fatal("a certificate is renewed that was just made")
		}
		w.pass(time.Until(before.Status.CertifiedUntil) - 30*24*time.Hour)
		starts := w.runtime.Calls(hosttest.MethodStart)
		j, begun := w.renewed(before.ID)
		if !begun || j.Kind != instance.JobRenew || j.State != job.Succeeded {
			t.Fatalf("renewal %v: %s: %+v", begun, j.State, j.Error)
		}
		after, second := w.instance(before.ID), w.served(before.ID)
		if after.State != instance.StateRunning || !second.NotAfter.After(first.NotAfter.AddDate(0, 10, 0)) || w.runtime.Calls(hosttest.MethodStart) != starts {
			t.Errorf("it is %s, its certificate ends %s", after.State, second.NotAfter)
		}
		w.pass(2 * instance.RenewEvery)
		if _, begun := w.renewed(before.ID); begun {
			t.Error("it is renewed again")
		}
	})
}

// TestRenewalFails leaves the instance as it is, and is begun again.
func TestRenewalFails(t *testing.T) {
	inSecureWorld(t, 100, func(w *world) {
		a := w.ask(instance.CreateRequest{})
		w.spin(a.Job.ID)
		before := w.instance(a.Instance.ID)
		w.pass(time.Until(before.Status.CertifiedUntil) - 30*24*time.Hour)
		w.runtime.Fail(hosttest.MethodAdopt, hosttest.Fault{Before: true, Err: fault.Errorf(fault.CodeHostRefused, nil, "refused")})
		if j, begun := w.renewed(before.ID); !begun || j.State != job.Failed {
			t.Fatalf("%v, %s: %+v", begun, j.State, j.Error)
		}
		inst := w.instance(before.ID)
		if inst.State != instance.StateRunning || inst.Reason != "" || !inst.Status.CertifiedUntil.Equal(before.Status.CertifiedUntil) || !w.unit(inst.ID).Running {
			t.Errorf("%+v", inst)
		}
		w.runtime.Fail(hosttest.MethodAdopt, hosttest.Fault{After: true, Times: 1}) // its answer is lost
		w.pass(2 * instance.RenewEvery)
		if j, begun := w.renewed(before.ID); !begun || j.State != job.Succeeded {
			t.Fatalf("%v, %s: %+v", begun, j.State, j.Error)
		}
		w.served(before.ID)
	})
}

// TestWarmCertificates gives what is adopted a certificate of its own.
func TestWarmCertificates(t *testing.T) {
	inSecureWorld(t, 100, func(w *world) {
		p := w.warmPool(1)
		p.Authority = w.authority
		w.tend(p)
		warm := w.warm()[0]
		file, _, _ := w.runtime.File(host.UnitID(warm.ID), instancetest.KeyFile)
		a := w.ask(instance.CreateRequest{})
		if a.Instance.ID != warm.ID {
			t.Fatal("the warm instance was not taken")
		}
		if j := w.spin(a.Job.ID); !slices.Equal(stepNames(j), []string{"adopt"}) || j.State != job.Succeeded {
			t.Fatalf("%s with %v: %+v", j.State, stepNames(j), j.Error)
		}
		inst := w.instance(warm.ID)
		w.served(inst.ID)
		if now, _, _ := w.runtime.File(host.UnitID(warm.ID), instancetest.KeyFile); now.Content == file.Content {
			t.Error("it has the key that it had when it was nobody's")
		}
		if inst.Status.TLSPort != warm.Status.TLSPort || inst.Status.TLSPort == 0 {
			t.Errorf("its ports are %d and %d", inst.Status.Port, inst.Status.TLSPort)
		}
	})
}

// TestWarmOfAnEarlierRelease is not given to anybody, and replaced.
func TestWarmOfAnEarlierRelease(t *testing.T) {
	inSecureWorld(t, 100, func(w *world) {
		p := w.warmPool(1)
		p.Authority = w.authority
		w.tend(p)
		warm := w.warm()[0]
		warm.Status.CertifiedUntil = time.Time{}
		w.tx(func(tx rooms.Tx) error { return tx.UpdateInstance(warm) })
		w.pass(time.Minute)
		if a := w.ask(instance.CreateRequest{}); a.Instance.ID == warm.ID {
			t.Error("it was taken")
		} else {
			w.spin(a.Job.ID)
		}
		w.tend(p)
		if left := w.warm(); len(left) != 1 || left[0].ID == warm.ID {
			t.Errorf("warm are %+v", left)
		}
	})
}

// TestRepairKeepsTheCertificate repairs an instance with one, and one of an earlier release.
func TestRepairKeepsTheCertificate(t *testing.T) {
	inSecureWorld(t, 100, func(w *world) {
		a := w.ask(instance.CreateRequest{})
		w.spin(a.Job.ID)
		old := w.instance(a.Instance.ID)
		if served := w.served(old.ID); !strings.Contains(served.Subject.CommonName, string(old.ID)) {
			t.Errorf("it is of %s", served.Subject.CommonName)
		}
		earlier := w.instance(a.Instance.ID)
		for range 2 {
			w.runtime.Crash(host.UnitID(old.ID), hosttest.Behavior{ExitCode: 137})
			w.reconcile(w.reconciler(), 1)
			if j := w.repaired(old.ID); j.State != job.Succeeded {
				t.Fatalf("%s: %+v", j.State, j.Error)
			}
			inst := w.instance(old.ID)
			if inst.Status.CertifiedUntil.IsZero() != earlier.Status.CertifiedUntil.IsZero() || inst.Status.TLSPort != old.Status.TLSPort {
				t.Errorf("repaired, it is %+v", inst.Status)
			}
			if !inst.Status.CertifiedUntil.IsZero() {
				w.served(old.ID)
			}
			earlier = inst
			earlier.Status.CertifiedUntil = time.Time{} // of an earlier release
			w.tx(func(tx rooms.Tx) error { return tx.UpdateInstance(earlier) })
			w.pass(time.Hour)
		}
	})
}
