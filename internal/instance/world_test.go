package instance_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/bell/belltest"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
	"github.com/berth-project/berth/internal/testenv"
	"github.com/berth-project/berth/internal/webhook"
)

// world is a whole Berth without HTTP, Redis and Docker. Its time is that of a
// synctest bubble: it passes only when everybody waits, so that hours of backoff
// take no time and nothing depends on how fast the machine is.
type world struct {
	*testing.T
	ctx      context.Context
	store    *store.Store
	service  *instance.Service
	runtime  *hosttest.Runtime
	runtimes *hosttest.Runtimes
	queue    *belltest.Queue
	sender   *sender
	vault    *secret.Keyring
	catalog  instance.Catalog
	// authority certifies servers; nil: they have no certificates.
	authority instance.Authority
	newID     id.Maker
	host      host.Host
	runner    *job.Runner
	relay     relays
	courier   *webhook.Courier
	log       *slog.Logger
	logged    *testenv.Log
	contact   *job.Contact // of the runners; nil: none
}

// inWorld runs the test in a world of its own.
func inWorld(t *testing.T, run func(*world)) {
	t.Helper()
	inWorldOf(t, 100, run)
}

func inWorldOf(t *testing.T, ports int, run func(*world)) {
	t.Helper()
	s := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s, ports)
		run(w)
		w.noSecretLogged()
	})
}

func newWorld(t *testing.T, s *store.Store, ports int) *world {
	vault, err := secret.NewKeyring(secret.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		T: t, ctx: t.Context(), store: s, vault: vault, queue: belltest.NewQueue(), sender: &sender{},
		runtime: hosttest.NewRuntime("dep"), newID: id.NewSource().New, logged: &testenv.Log{},
	}
	w.log = slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.runtimes = hosttest.NewRuntimes(w.runtime)
	w.catalog = instance.Catalog{instancetest.Engine{Runtime: w.runtime}}
	w.service = w.serviceOn(s)
	w.runner = w.runnerOn(s, w.runtimes, "w1", clock.System)
	w.relay = w.relaysOf("w1")
	w.courier = webhook.NewCourier(w.courierConfig())
	w.tx(func(tx rooms.Tx) error {
		var err error
		w.host, err = host.Put(tx, host.Host{
			ID: host.ID(w.newID(host.Prefix)), Name: "local", Endpoint: "unix:///x", Advertise: "127.0.0.1", Bind: "127.0.0.1",
			PortLow: 20000, PortHigh: 20000 + ports - 1,
		})
		return err
	})
	return w
}

func (w *world) relaysOf(owner string) relays {
	return relays{
		job.NewRelay(w.service.Engine, rooms.Jobs(w.store), owner),
		&webhook.Relay{Store: rooms.Webhooks(w.store), Queue: w.queue, Now: clock.System, Log: w.log, Owner: owner},
	}
}

// relays wakes what each of them finds due.
type relays []interface {
	RunOnce(context.Context) (int, error)
}

func (r relays) RunOnce(ctx context.Context) (woken int, err error) {
	for _, one := range r {
		n, err := one.RunOnce(ctx)
		if woken += n; err != nil {
			return woken, err
		}
	}
	return woken, nil
}

func (w *world) courierConfig() webhook.CourierConfig {
	return webhook.CourierConfig{
		Store: rooms.Webhooks(w.store), Queue: w.queue, Vault: w.vault, Sender: w.sender, Events: w.service.Engine.Events, Now: clock.System, Log: w.log,
	}
}

func (w *world) serviceOn(s rooms.Store) *instance.Service {
	return rooms.NewService(w.serviceConfig(s))
}

func (w *world) serviceConfig(s rooms.Store) rooms.ServiceConfig {
	return rooms.ServiceConfig{
		Store: s, Queue: w.queue, Ports: hosttest.Ports{Store: rooms.Hosts(s), Now: clock.System}, Vault: w.vault, Authority: w.authority, Secrets: secret.Random{},
		Sender: w.sender, Catalog: w.catalog, NewID: w.newID, Log: w.log, DeleteDeadline: time.Hour,
	}
}

func (w *world) runnerOn(s rooms.Store, runtimes host.Runtimes, owner string, now clock.Clock) *job.Runner {
	return rooms.NewRunner(w.runnerConfig(s, runtimes, owner, now))
}

// ringingRunner is a runner of a process that has the bell.
func (w *world) ringingRunner(ringer bell.Bell) *job.Runner {
	cfg := w.runnerConfig(w.store, w.runtimes, "w1", clock.System)
	cfg.Bell = ringer
	return rooms.NewRunner(cfg)
}

func (w *world) runnerConfig(s rooms.Store, runtimes host.Runtimes, owner string, now clock.Clock) rooms.RunnerConfig {
	return rooms.RunnerConfig{
		Store: s, Queue: w.queue, Ports: hosttest.Ports{Store: rooms.Hosts(s), Now: now}, Runtimes: runtimes, Vault: w.vault, Authority: w.authority, Catalog: w.catalog, NewID: w.newID,
		Now: now, Log: w.log, Owner: owner, Contact: w.contact,
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) tx(do func(rooms.Tx) error) {
	w.Helper()
	w.must(w.store.Tx(w.ctx, do))
}

// create asks for an instance. Its callback makes every end of a job leave a
// delivery behind.
func (w *world) create() instance.Accepted {
	w.Helper()
	a, err := w.service.Create(w.request(tenant.Default), tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: instancetest.EngineName, CallbackURL: "https://example.com/hook"})
	w.must(err)
	return a
}

func (w *world) delete(id instance.ID) instance.Accepted {
	w.Helper()
	a, err := w.service.Delete(w.request(tenant.Default), tenanttest.Owner(tenant.Default), instancetest.EngineName, id, "")
	w.must(err)
	return a
}

// created gives an instance that runs.
func (w *world) created() instance.Instance {
	w.Helper()
	a := w.create()
	if j := w.spin(a.Job.ID); j.State != job.Succeeded {
		w.Fatalf("create is %s: %+v", j.State, j.Error)
	}
	return w.instance(a.Instance.ID)
}

// spin is the worker process: relay and runner go on until the job has ended.
func (w *world) spin(id id.Job) job.Job {
	w.Helper()
	for range 2000 {
		_, err := w.relay.RunOnce(w.ctx)
		w.must(err)
		w.runTasks()
		w.queue.Done()
		j := w.job(id)
		if j.State.Ended() {
			return j
		}
		w.pass(max(job.RelayEvery, time.Until(j.WakeAt)))
	}
	w.Fatalf("job %s never ends: %+v", id, w.job(id))
	return job.Job{}
}

func (w *world) runTasks() {
	for _, task := range w.queue.Take() {
		if task.Pool == bell.PoolWebhooks {
			w.must(w.courier.Deliver(w.ctx, webhook.DeliveryID(task.ID)))
			continue
		}
		w.must(w.runner.Run(w.ctx, id.Job(task.ID)))
	}
}

// pass lets time pass. It is the bubble's, so nobody waits for it.
func (w *world) pass(d time.Duration) { <-time.After(d) }

func (w *world) job(id id.Job) job.Job {
	w.Helper()
	job, err := w.store.Job(w.ctx, id)
	w.must(err)
	return job
}

func (w *world) instance(id instance.ID) instance.Instance {
	w.Helper()
	inst, err := w.store.Instance(w.ctx, id)
	w.must(err)
	return inst
}

// unit gives what the host has for the instance; nil: nothing.
func (w *world) unit(id instance.ID) *host.Unit {
	w.Helper()
	units, err := w.runtime.List(w.ctx)
	w.must(err)
	for _, u := range units {
		if u.ID == host.UnitID(id) {
			return &u
		}
	}
	return nil
}

// port gives the port that the instance holds; 0: none.
func (w *world) port(id instance.ID) (port int) {
	w.Helper()
	w.tx(func(tx rooms.Tx) error {
		has, err := tx.Situation(w.host.ID, host.UnitID(id))
		port = has.Ports[instancetest.EngineName]
		return err
	})
	return port
}

// usable checks that a create succeeded, once in effect.
func (w *world) usable(id id.Job) {
	w.Helper()
	j := w.job(id)
	inst := w.instance(instance.ID(j.Subject))
	if j.State != job.Succeeded || inst.State != instance.StateRunning || j.Error != nil {
		w.Fatalf("job is %s, instance %s, error %+v", j.State, inst.State, j.Error)
	}
	for _, s := range j.Steps {
		if s.State != job.StepDone || s.StartedAt.IsZero() || s.FinishedAt.IsZero() {
			w.Errorf("step %+v of a job that succeeded", s)
		}
	}
	units, err := w.runtime.List(w.ctx)
	w.must(err)
	if len(units) != 1 {
		w.Fatalf("%d units instead of one: %+v", len(units), units)
	}
	u := units[0]
	if !u.Running || !u.Volume || u.Fence != j.Fence || inst.Fence != j.Fence {
		w.Errorf("unit %+v, job's fence %d, instance's %d", u, j.Fence, inst.Fence)
	}
	if held := w.port(inst.ID); held == 0 || held != inst.Status.Port || u.Ports[instancetest.EngineName] != held {
		w.Errorf("row holds port %d, instance says %d, host publishes %v", held, inst.Status.Port, u.Ports)
	}
	w.journalEnded(j)
}

// clean checks that a job that did not succeed left nothing and says why.
func (w *world) clean(id id.Job, state job.State, inst1 instance.State) job.Error {
	w.Helper()
	job := w.job(id)
	inst := w.instance(instance.ID(job.Subject))
	if job.State != state || inst.State != inst1 {
		w.Fatalf("job is %s, instance %s; want %s, %s; error %+v", job.State, inst.State, state, inst1, job.Error)
	}
	w.gone(inst.ID)
	w.journalEnded(job)
	if job.Error == nil || job.Error.Message == "" || job.Error.Code == "" || job.Error.Step == "" {
		w.Fatalf("not explained: %+v", job.Error)
	}
	if inst1 == instance.StateFailed && !strings.Contains(inst.Reason, job.Error.Message) {
		w.Errorf("reason %q does not say %q", inst.Reason, job.Error.Message)
	}
	return *job.Error
}

func (w *world) gone(id instance.ID) {
	w.Helper()
	if u := w.unit(id); u != nil {
		w.Errorf("left behind on the host: %+v", *u)
	}
	if port := w.port(id); port != 0 {
		w.Errorf("port %d is still held", port)
	}
}

// journalEnded checks what holds for every ended job.
func (w *world) journalEnded(j job.Job) {
	w.Helper()
	if j.FinishedAt.IsZero() || !j.WakeAt.IsZero() || j.Owner != "" {
		w.Errorf("ended, but finished %v, wake %v, owner %q", j.FinishedAt, j.WakeAt, j.Owner)
	}
	for _, s := range j.Steps {
		if s.State == job.StepRunning {
			w.Errorf("the job has ended and step %s is running", s.Name)
		}
		if s.State == job.StepDone && (j.State != job.Succeeded && j.Kind == instance.JobCreate) {
			w.Errorf("the job is %s and step %s still done", j.State, s.Name)
		}
	}
	if _, err := w.store.ActiveJob(w.ctx, id.Subject(instance.ID(j.Subject))); err == nil && !w.isDeleting(instance.ID(j.Subject)) {
		w.Error("the instance has an active job")
	}
}

func (w *world) isDeleting(id instance.ID) bool {
	return w.instance(id).State == instance.StateDeleting
}

// noSecretLogged checks the whole log of the world.
func (w *world) noSecretLogged() {
	w.Helper()
	list, err := w.store.Instances(w.ctx, instance.Filter{Tenant: tenant.Default, Deleted: true}, page.Page{Limit: 100})
	w.must(err)
	log := w.logged.String()
	for _, inst := range list {
		sealed, err := w.store.Credentials(w.ctx, inst.ID)
		if err != nil {
			continue // deleted with their instance
		}
		creds, err := instance.OpenCredentials(w.vault, inst.ID, sealed)
		w.must(err)
		for _, s := range []secret.Secret{creds.Password, creds.AdminPassword, creds.CallbackSecret} {
			if strings.Contains(log, s.Reveal()) {
				w.Error("a secret is in the log")
			}
		}
	}
}

// sender records callbacks.
type sender struct {
	mu     sync.Mutex
	sent   []sentCallback
	answer func(n int) (int, error) // nil: 204
	hook   func()                   // called in the middle of sending
	says   string                   // the answers' body

	receive func(webhook.Message) (webhook.Answer, error) // in place of all that
}

type sentCallback struct {
	url, id string
	body    string
	secret  string // of several: with spaces between
	at      time.Time
}

func (s *sender) Send(_ context.Context, m webhook.Message) (webhook.Answer, error) {
	if s.receive != nil {
		return s.receive(m)
	}
	secrets := make([]string, len(m.Secrets))
	for i, secret := range m.Secrets {
		secrets[i] = secret.Reveal()
	}
	s.mu.Lock()
	s.sent = append(s.sent, sentCallback{m.URL, m.ID, string(m.Body), strings.Join(secrets, " "), time.Now()})
	n, answer, hook := len(s.sent), s.answer, s.hook
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	if answer == nil {
		return webhook.Answer{Status: 204}, nil
	}
	status, err := answer(n)
	return webhook.Answer{Status: status, Body: s.says}, err
}

func (s *sender) CheckURL(_ context.Context, url string) error {
	if !strings.HasPrefix(url, "https://") {
		return errors.New("must be an http or https URL with a host")
	}
	return nil
}

func (s *sender) all() []sentCallback {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sentCallback(nil), s.sent...)
}
