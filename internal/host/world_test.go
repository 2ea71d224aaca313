package host_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/bell/belltest"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
	"github.com/berth-project/berth/internal/testenv"
)

// TestMain gives the tests one processor, for the reason that package instance's does.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

const password = "hunter2-correct-horse"

// operator runs the platform.
var operator = tenant.Principal{Tenant: tenant.Default, Role: tenant.Owner, Operator: true, Name: "an operator"}

// world is a pool without HTTP, Redis, SSH and Docker, in the time of a synctest bubble.
type world struct {
	*testing.T
	ctx       context.Context
	store     *store.Store
	file      string
	raw       *sql.DB // the same database
	hosts     *host.Service
	instances *instance.Service
	machines  *hosttest.Machines
	fleet     *fleet
	queue     *belltest.Queue
	vault     *secret.Keyring
	newID     id.Maker
	runner    *job.Runner
	relay     *job.Relay
	log       *slog.Logger
	logged    *testenv.Log
	lastHost  host.ID // of which holdsNothing asks, too
}

// fleet has the runtimes by the endpoints of their engines.
type fleet struct {
	mu sync.Mutex
	at map[string]*hosttest.Runtime
}

// Runtime implements host.Runtimes.
func (f *fleet) Runtime(h host.Host) (host.Runtime, error) {
	r := f.of(h)
	if r == nil {
		return nil, fault.Errorf(fault.CodeHostUnavailable, nil, "host %s does not answer", h.Name)
	}
	return r, nil
}

func (f *fleet) of(h host.Host) *hosttest.Runtime {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[h.Endpoint]
}

func (f *fleet) set(endpoint string, r *hosttest.Runtime) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at[endpoint] = r
}

// proofEngine is a fake engine whose servers are on any host, under the name of the one that hosts
// are proven with.
type proofEngine struct {
	instancetest.Engine
	w *world
}

func (e proofEngine) Describe() instance.EngineInfo {
	info := e.Engine.Describe()
	info.Name = "redis"
	return info
}

func (e proofEngine) Probe(ctx context.Context, inst instance.Instance, _ instance.Credentials) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := e.w.store.Host(ctx, inst.Status.Host)
	if err != nil {
		return err
	}
	r := e.w.fleet.of(h)
	if r == nil {
		return fault.Errorf(fault.CodeProbeFailed, nil, "connection refused")
	}
	return r.Probe(host.UnitID(inst.ID))
}

func inWorld(t *testing.T, run func(*world)) {
	t.Helper()
	s, file := storetest.SQLiteFile(t)
	raw := openRaw(t, file)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s, file)
		w.raw = raw
		run(w)
		w.noPassword("in the end")
		w.books()
	})
}

// openRaw opens the database once more, outside of the bubble: a pool has goroutines.
func openRaw(t *testing.T, file string) *sql.DB {
	raw, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)")
	if err == nil {
		err = raw.PingContext(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	return raw
}

func newWorld(t *testing.T, s *store.Store, file string) *world {
	vault, err := secret.NewKeyring(secret.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		T: t, ctx: t.Context(), store: s, file: file, vault: vault, queue: belltest.NewQueue(), machines: hosttest.NewMachines(),
		fleet: &fleet{at: map[string]*hosttest.Runtime{}}, newID: id.NewSource().New, logged: &testenv.Log{},
	}
	w.log = w.logged.Logger()
	w.instances = rooms.NewService(rooms.ServiceConfig{
		Store: s, Queue: w.queue, Ports: w.ports(s), Vault: vault, Secrets: secret.Random{}, Catalog: w.catalog(), NewID: w.newID, Log: w.log,
	})
	w.hosts = host.NewService(host.ServiceConfig{
		Store: rooms.Hosts(s), Answers: s, Jobs: w.instances.JobEngine(), Ports: w.ports(s), Vault: vault, NewID: w.newID, Log: w.log,
		Evict: w.instances.Evict,
	})
	w.runner = rooms.NewRunner(w.runnerConfig(s, w.fleet, w.machines, "w1"))
	w.relay = job.NewRelay(w.instances.JobEngine(), rooms.Jobs(s), "w1")
	_, err = w.hosts.AddPlace(w.ctx, operator, "eu", "", []string{"a", "b"})
	w.must(err)
	return w
}

func (w *world) ports(s rooms.Store) host.Ports {
	return hosttest.Ports{Store: rooms.Hosts(s), Now: clock.System}
}

func (w *world) catalog() instance.Catalog { return instance.Catalog{proofEngine{w: w}} }

func (w *world) runnerConfig(s rooms.Store, fleet host.Runtimes, machines host.Machines, owner string) rooms.RunnerConfig {
	return rooms.RunnerConfig{
		Store: s, Queue: w.queue, Ports: w.ports(s), Runtimes: w.known(s, fleet), Vault: w.vault, Adapters: fleet, Machines: machines,
		Access:  &host.Access{Store: rooms.Hosts(s), Vault: w.vault, Machines: machines, Deployment: "dep"},
		Catalog: w.catalog(), NewID: w.newID, Now: clock.System, Log: w.log, Owner: owner,
	}
}

func (w *world) known(s rooms.Store, fleet host.Runtimes) host.Runtimes {
	return &host.Known{Runtimes: fleet, Store: rooms.Hosts(s), Now: clock.System, Log: w.log}
}

// sweep has the reconciler look at every host once.
func (w *world) sweep() {
	w.Helper()
	known := w.known(w.store, w.fleet)
	mender := &instance.Mender{
		Store: rooms.Instances(w.store), Hosts: w.store, Runtimes: known, Jobs: w.instances.JobEngine(), Now: clock.System, Log: w.log,
	}
	r := &host.Reconciler{
		Store: rooms.Hosts(w.store), Runtimes: known, Residents: mender, Now: clock.System, Log: w.log, Owner: "w1",
		Every: host.DefaultReconcileEvery, Grace: host.DefaultReconcileGrace,
	}
	_, err := r.RunOnce(w.ctx)
	w.must(err)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// exec writes to the database behind everybody's back.
func (w *world) exec(statement string) {
	w.Helper()
	_, err := w.raw.ExecContext(context.Background(), statement) // a context that ends would need a goroutine
	w.must(err)
}

func (w *world) tx(do func(rooms.Tx) error) {
	w.Helper()
	w.must(w.store.Tx(w.ctx, do))
}

func address(n int) string { return fmt.Sprintf("10.0.0.%d", n) }

// candidate is the nth machine, which is there from now on, with an engine of its own.
func (w *world) candidate(n int) host.Candidate {
	at := address(n)
	if w.fleet.of(host.Host{Endpoint: "ssh://root@" + at + ":22"}) == nil {
		w.machines.Add(at+":22", password)
		w.fleet.set("ssh://root@"+at+":22", hosttest.NewRuntime("dep"))
	}
	return host.Candidate{
		Name: fmt.Sprintf("h%d", n), Address: at, User: "root", Password: secret.New(password), Region: "eu", Zone: "a", Rack: fmt.Sprintf("r%d", n),
	}
}

func sshAddress(n int) string { return address(n) + ":22" }

// runtimeAt gives the engine of the nth machine.
func (w *world) runtimeAt(n int) *hosttest.Runtime {
	return w.fleet.of(host.Host{Endpoint: "ssh://root@" + sshAddress(n)})
}

func (w *world) accept(o host.ImportOptions, list ...host.Candidate) host.Imported {
	w.Helper()
	made, _, err := w.hosts.Import(w.ctx, operator, list, nil, o, nil)
	w.must(err)
	return made
}

// imported gives the nth machine as a host that is online.
func (w *world) imported(n int) host.Host {
	w.Helper()
	made := w.accept(host.ImportOptions{}, w.candidate(n))
	if j := w.spin(made.Job.ID); j.State != job.Succeeded {
		w.Fatalf("import is %s: %+v", j.State, j.Error)
	}
	h := w.host(made.Hosts[0])
	if h.State != host.StateOnline {
		w.Fatalf("it is %s: %s", h.State, h.Reason)
	}
	return h
}

func (w *world) host(which host.ID) host.Host {
	w.Helper()
	h, err := w.store.Host(w.ctx, which)
	w.must(err)
	return h
}

func (w *world) gone(which host.ID) {
	w.Helper()
	if _, err := w.store.Host(w.ctx, which); !errors.Is(err, fault.ErrNotFound) {
		w.Errorf("host %s is still there: %v", which, err)
	}
}

func (w *world) job(which id.Job) job.Job {
	w.Helper()
	j, err := w.store.Job(w.ctx, which)
	w.must(err)
	return j
}

// spin is the worker process: relay and runner go on until the job has ended.
func (w *world) spin(which id.Job) job.Job {
	w.Helper()
	for range 3000 {
		_, err := w.relay.RunOnce(w.ctx)
		w.must(err)
		w.runTasks()
		w.queue.Done()
		j := w.job(which)
		if j.State.Ended() {
			return j
		}
		w.pass(max(job.RelayEvery, min(time.Until(j.WakeAt), 5*time.Second)))
	}
	w.Fatalf("job %s never ends: %+v", which, w.job(which))
	return job.Job{}
}

func (w *world) runTasks() {
	for _, task := range w.queue.Take() {
		if task.Pool != bell.PoolWebhooks {
			w.must(w.runner.Run(w.ctx, id.Job(task.ID)))
		}
	}
}

func (w *world) pass(d time.Duration) { <-time.After(d) }

// create asks for an instance, and gives it and its job.
func (w *world) create(where host.Where) instance.Accepted {
	w.Helper()
	a, err := w.tryCreate(where)
	w.must(err)
	return a
}

func (w *world) tryCreate(where host.Where) (instance.Accepted, error) {
	return w.instances.Create(tenant.Within(w.ctx, tenant.Default), tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: "redis", Placement: where})
}

// created gives an instance that runs.
func (w *world) created(where host.Where) instance.Instance {
	w.Helper()
	a := w.create(where)
	if j := w.spin(a.Job.ID); j.State != job.Succeeded {
		w.Fatalf("create is %s: %+v", j.State, j.Error)
	}
	return w.instance(a.Instance.ID)
}

func (w *world) instance(which instance.ID) instance.Instance {
	w.Helper()
	inst, err := w.store.Instance(w.ctx, which)
	w.must(err)
	return inst
}

func (w *world) unitsAt(n int) []host.Unit {
	w.Helper()
	units, err := w.runtimeAt(n).List(w.ctx)
	w.must(err)
	return units
}

// noPassword fails where the password of the first login is in the database in clear, or in the log.
func (w *world) noPassword(when string) {
	w.Helper()
	for _, form := range []string{password, base64.StdEncoding.EncodeToString([]byte(password)), fmt.Sprintf("%x", password)} {
		for _, file := range []string{w.file, w.file + "-wal"} {
			text, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				w.Fatal(err)
			}
			if at := strings.Index(string(text), form); at >= 0 {
				w.Errorf("%s the password is in the database: %q", when, text[max(0, at-200):min(len(text), at+60)])
			}
		}
		if at := strings.Index(w.logged.String(), form); at >= 0 {
			w.Errorf("%s the password is in the log: %q", when, w.logged.String()[max(0, at-300):at+30])
		}
	}
}

// secretKept reports whether the host's password is kept, sealed.
func (w *world) secretKept(which host.ID) bool {
	w.Helper()
	_, err := w.store.HostSecret(w.ctx, which, "password")
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		w.Fatal(err)
	}
	return err == nil
}

// events gives the types of the events about the subject, the oldest first.
func (w *world) events(which id.Subject) (types []string) {
	w.Helper()
	_, err := event.NewSequencer(rooms.Events(w.store), &bell.Local{}, clock.System, "w1").RunOnce(w.ctx)
	w.must(err)
	list, err := w.store.Events(tenant.Beyond(w.ctx), event.Filter{Tenant: tenant.Pool, Subject: which}, 0, 1000)
	w.must(err)
	for _, e := range list {
		types = append(types, e.Type)
	}
	return types
}

// books fails unless what is used of every host and disk is the sum of the allocations and no more
// than there is, and every port of an allocation is held once.
func (w *world) books() {
	w.Helper()
	if wrong := booksOf(w.ctx, w.store); wrong != "" {
		w.Error(wrong)
	}
}

func booksOf(ctx context.Context, s *store.Store) string {
	hosts, err := s.Hosts(ctx)
	if err != nil {
		return err.Error()
	}
	for i := range hosts {
		h := &hosts[i]
		var sum host.Used
		onDisk := map[host.DiskID]int64{}
		all, err := s.Allocations(ctx, host.AllocationFilter{Host: h.ID}, "", 10000)
		if err != nil {
			return err.Error()
		}
		for _, a := range all {
			sum.CPUMillis += a.Resources.CPUMillis
			sum.MemoryBytes += a.Resources.MemoryBytes
			sum.Units++
			onDisk[a.Disk] += a.Resources.DiskBytes
		}
		c := h.Capacity
		if h.Used != sum || c.CPUMillis > 0 && sum.CPUMillis > c.CPUMillis || c.MemoryBytes > 0 && sum.MemoryBytes > c.MemoryBytes {
			return fmt.Sprintf("host %s: %+v is used, the allocations are %+v, and there is %+v", h.Name, h.Used, sum, c)
		}
		disks, err := s.Disks(ctx, h.ID)
		if err != nil {
			return err.Error()
		}
		for _, d := range disks {
			if d.UsedBytes != onDisk[d.ID] || d.CapacityBytes > 0 && d.UsedBytes > d.CapacityBytes {
				return fmt.Sprintf("disk %s: %d is used of %d, the allocations are %d", d.ID, d.UsedBytes, d.CapacityBytes, onDisk[d.ID])
			}
		}
	}
	return ""
}
