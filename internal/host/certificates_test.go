package host_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/testenv"
)

func certificatesOf(t *testing.T, a *testenv.Authority) host.Certificates {
	t.Helper()
	ca, err := os.ReadFile(a.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := a.Pair(1)
	return host.Certificates{CA: string(ca), Cert: string(cert), Key: secret.New(string(key))}
}

// How a host is logged in to changes while something is on it, where it is does not.
func TestLoginOfAHostInUse(t *testing.T) {
	inWorld(t, func(w *world) {
		one, two := certificatesOf(t, testenv.NewAuthority(t)), certificatesOf(t, testenv.NewAuthority(t))
		c := w.candidate(1)
		c.User, c.Password, c.Endpoint = "", secret.Secret{}, "tcp://10.0.0.1:2376"
		for _, wrong := range []host.Certificates{{}, {CA: one.CA, Cert: one.Cert, Key: two.Key}, {Cert: one.Cert, Key: one.Key}, {CA: one.CA}} {
			c.Certificates = wrong
			_, _, err := w.hosts.Import(w.ctx, operator, []host.Candidate{c}, nil, host.ImportOptions{SkipInit: true}, nil)
			w.invalid("certificates", err)
		}
		w.fleet.set(c.Endpoint, hosttest.NewRuntime("dep"))
		c.Certificates = one
		made := w.accept(host.ImportOptions{SkipInit: true}, c)
		if j := w.spin(made.Job.ID); j.State != job.Succeeded {
			w.Fatalf("%s: %+v", j.State, j.Error)
		}
		h := w.host(made.Hosts[0])
		w.created(host.Where{})

		change := func(c host.Change) error { _, err := w.hosts.ChangeHost(w.ctx, operator, h.ID, c); return err }
		w.invalid("certificates", change(host.Change{Certificates: &host.Certificates{CA: two.CA, Cert: two.Cert, Key: one.Key}}))
		w.invalid("certificates", change(host.Change{Certificates: &host.Certificates{}}))
		w.must(change(host.Change{Certificates: &two}))
		access := host.Access{Store: rooms.Hosts(w.store), Vault: w.vault}
		if got, err := access.Certificates(w.ctx, w.host(h.ID)); err != nil || got.Cert != two.Cert || got.Key.Reveal() != two.Key.Reveal() {
			w.Errorf("the host is reached with %v, %v", got.Cert, err)
		}
		port, elsewhere := "tcp://10.0.0.1:2377", "tcp://10.0.0.2:2376"
		w.must(change(host.Change{Endpoint: &port}))
		if err := change(host.Change{Endpoint: &elsewhere}); fault.CodeOf(err) != fault.CodeHostInUse {
			w.Errorf("another machine: %v", err)
		}
		if strings.Contains(w.logged.String(), one.Key.Reveal()[40:80]) {
			w.Error("a key is in the log")
		}
	})
}

// An engine is never reached by TCP without certificates, by any way to say so.
func TestNoPlainTCP(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		for _, endpoint := range []string{"tcp://10.0.0.1:2375", "tcp://10.0.0.9:2376"} {
			_, err := w.hosts.ChangeHost(w.ctx, operator, h.ID, host.Change{Endpoint: &endpoint})
			w.invalid("certificates", err)
		}
		ours := certificatesOf(t, testenv.NewAuthority(t))
		_, err := w.hosts.ChangeHost(w.ctx, operator, h.ID, host.Change{Certificates: &ours})
		w.invalid("certificates", err)
		if got := w.host(h.ID); got.Endpoint != h.Endpoint {
			w.Errorf("it is at %s", got.Endpoint)
		}
	})
}

// An engine of the pool is not a worker's own host, too: what it has would be sold twice.
func TestEngineOfThePoolIsNoOther(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		own := host.Host{ID: "host_0000000000000000000000own", Name: "own", Endpoint: "unix:///own", Advertise: "192.0.2.9", Bind: "0.0.0.0", PortLow: 20000, PortHigh: 20100}
		w.fleet.set(own.Endpoint, w.runtimeAt(1))
		known := w.known(w.store, w.fleet)
		w.must(known.(*host.Known).Register(w.ctx, own))
		hosts, err := w.store.Hosts(w.ctx)
		w.must(err)
		for _, other := range hosts {
			if other.ID == h.ID {
				continue
			}
			r, err := known.Runtime(other)
			w.must(err)
			if _, err := r.Inspect(w.ctx, "inst_x"); fault.CodeOf(err) != fault.CodeHostUnavailable || !strings.Contains(err.Error(), h.Name) {
				w.Errorf("host %s: %v", other.Name, err)
			}
		}
		if len(hosts) != 2 {
			w.Errorf("%d hosts", len(hosts))
		}
	})
}

// invalid fails unless the request was refused for the field.
func (w *world) invalid(field string, err error) {
	w.Helper()
	var refused *fault.Error
	if !errors.As(err, &refused) || refused.Code != fault.CodeInvalid || len(refused.Fields) != 1 || !strings.HasSuffix(refused.Fields[0].Field, field) {
		w.Errorf("not refused for %s: %v, %+v", field, err, refused)
	}
}
