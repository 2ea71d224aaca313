package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/config"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/swarm"
	"github.com/berth-project/berth/internal/engine"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/password"
	"github.com/berth-project/berth/internal/ports"
	"github.com/berth-project/berth/internal/queue"
	"github.com/berth-project/berth/internal/ratelimit"
	"github.com/berth-project/berth/internal/redisserver"
	"github.com/berth-project/berth/internal/requestid"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/sender"
	"github.com/berth-project/berth/internal/simulated"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
	"github.com/berth-project/berth/worker"
)

// node is one process and its parts, in the order in which they are opened.
type node struct {
	cfg   config.Config
	log   *slog.Logger
	out   io.Writer
	owner string // names this process in jobs and logs

	store      *store.Store
	deployment string
	fresh      bool // nothing had worked on the database when this process began
	vault      *secret.Keyring
	sealing    *sealing.Follower
	authority  *authority.Authority // of instances' certificates
	keySource  string               // where the master key is, in words
	adminKey   secret.Secret
	redis      redis.UniversalClient
	embedded   *redisserver.Server // nil: the Redis is another process
	bell       *queue.Bell
	contact    *job.Contact
	rows       rooms.Store // the store, whose answers the contact hears of
	queue      bell.Queue
	behind     *bell.BehindQueue // the queue, for those who answer clients
	ports      *ports.Allocator
	runtimes   host.Runtimes
	hosts      *host.Known    // the runtimes, of hosts that are who they were
	machines   host.Machines  // the machines of hosts, by SSH
	access     *host.Access   // what hosts are reached with
	roots      *x509.CertPool // whom receivers may be vouched for by; nil: the system's
	sender     *sender.Sender
	catalog    instance.Catalog
	newID      id.Maker

	closers []func() error
}

func newNode(cfg config.Config, out io.Writer) (*node, error) {
	var handler slog.Handler = slog.NewTextHandler(out, &slog.HandlerOptions{Level: cfg.Level})
	if cfg.LogFormat == "json" {
		handler = slog.NewJSONHandler(out, &slog.HandlerOptions{Level: cfg.Level})
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read the host name of this machine: %w", err)
	}
	tail := make([]byte, 3)
	_, _ = rand.Read(tail) // never fails: it ends the program first
	n := &node{cfg: cfg, out: out, owner: fmt.Sprintf("%s:%d:%s", name, os.Getpid(), hex.EncodeToString(tail)), newID: id.NewSource().New}
	n.contact = job.NewContact(clock.System, cfg.LeaseTTL)
	n.log = requestid.Logger(slog.New(handler))
	return n, nil
}

// trustReceivers reads whom receivers of webhooks may be vouched for by, besides the
// system's authorities.
func (n *node) trustReceivers() error {
	if n.cfg.CallbackCAFile == "" {
		return nil
	}
	var err error
	if n.roots, err = sender.Roots(n.cfg.CallbackCAFile); err != nil {
		return fmt.Errorf("BERTH_CALLBACK_CA_FILE: %w", err)
	}
	return nil
}

// close closes what was opened, the last first.
func (n *node) close() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	return errors.Join(errs...)
}

func (n *node) openStore() error {
	s, err := store.Open(n.cfg.DatabaseURL)
	if err != nil {
		return err
	}
	n.store, n.closers = s, append(n.closers, s.Close)
	return nil
}

// openAll opens everything that api and worker need, and waits for it. The order
// in which the processes are started does not matter.
func (n *node) openAll(ctx context.Context) error {
	if err := n.readMasterKey(); err != nil {
		return err
	}
	schema, err := n.awaitSchema(ctx, "the database and its schema (created by `berth migrate`)", store.Schema.Current)
	if err != nil {
		return err
	}
	n.fresh = !schema.Used
	if err := n.guardKey(ctx); err != nil {
		return err
	}
	if err := n.openStore(); err != nil {
		return err
	}
	return n.openRest(ctx)
}

// openRest opens what stands on the database.
func (n *node) openRest(ctx context.Context) error {
	var err error
	if n.deployment, err = n.store.Deployment(ctx, n.newID("dep")); err != nil {
		return err
	}
	n.sealing = &sealing.Follower{
		Store: n.store, Keyring: n.vault, Deployment: n.deployment, Owner: n.owner, Fresh: n.fresh, Lost: n.cfg.LostKeys, Now: clock.System, Log: n.log,
	}
	n.closers = append(n.closers, func() error {
		n.sealing.Leave(context.WithoutCancel(ctx))
		return nil
	})
	if err := n.sealing.Start(ctx); err != nil {
		return n.otherKey(err)
	}
	n.authority, err = authority.Open(ctx, authority.Config{Store: n.store, Vault: n.vault, Deployment: n.deployment, Lost: n.cfg.LostKeys, Now: clock.System})
	if err != nil {
		return err
	}
	if err := n.openRedis(ctx); err != nil {
		return err
	}
	n.ports = ports.New(rooms.Hosts(n.store), n.redis, clock.System, n.log)
	n.sender = sender.New(n.cfg.CallbackAllowPrivate, clock.System)
	if n.roots != nil {
		n.sender.Trust(n.roots)
	}
	n.closers = append(n.closers, func() error { n.sender.Close(); return nil })
	n.catalog = engine.Catalog(engine.Config{MySQLImage: n.cfg.ImageMySQL, RedisImage: n.cfg.ImageRedis, NoGolden: !n.cfg.Golden})
	if err := n.openHosts(); err != nil {
		return err
	}
	n.hosts = &host.Known{Runtimes: n.runtimes, Store: rooms.Hosts(n.rows), Now: clock.System, Log: n.log, Accept: n.cfg.AcceptEngine}
	if n.cfg.Warm, err = n.catalog.CheckWarm(n.cfg.Warm); err != nil {
		return fmt.Errorf("BERTH_WARM_POOL: %w", err)
	}
	return nil
}

// openHosts opens the way to Docker engines, or to hosts that do not exist.
func (n *node) openHosts() error {
	if n.cfg.SimulatedHosts == 0 {
		reach := n.openReach()
		hosts := docker.New(docker.Config{
			Deployment: n.deployment, Log: n.log, CertPath: os.Getenv("DOCKER_CERT_PATH"), Dial: reach.dial, Shell: reach.shell, Swarm: swarm.New,
		})
		n.runtimes, n.closers = hosts, append(n.closers, hosts.Close)
		return nil
	}
	hosts, err := simulated.New(n.cfg.DockerHost, n.deployment)
	if err != nil {
		return fmt.Errorf("BERTH_DOCKER_HOST: %w", err)
	}
	n.openReach() // of which simulated hosts need nothing
	n.runtimes, n.catalog = hosts, hosts.Catalog(n.catalog)
	return nil
}

func (n *node) openRedis(ctx context.Context) error {
	options, err := redis.ParseURL(n.cfg.RedisURL)
	if err != nil {
		return errors.New("BERTH_REDIS_URL: want redis://[:PASSWORD@]HOST:PORT/DB") // the URL may hold a password
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = time.Second, 3*time.Second, 3*time.Second
	options.ContextTimeoutEnabled = true
	options.DialerRetries = 1 // a Redis that is away is found out about at once
	logging.Disable()         // go-redis writes around our log; whoever calls it reports
	client := redis.NewClient(options)
	n.redis, n.closers = client, append(n.closers, client.Close)
	n.hangBell(ctx)
	n.queue, n.rows = bell.RingingQueue(queue.New(client), n.bell), rooms.WithContact(n.store, n.contact)
	n.behind = bell.NewBehindQueue(n.queue, n.log)
	n.closers = append(n.closers, func() error {
		n.behind.Wait()
		return nil
	})
	return nil
}

// hangBell connects the bell. It outlives ctx: the parts that ring it stop first.
func (n *node) hangBell(ctx context.Context) {
	n.bell = queue.NewBell(n.redis, n.deployment)
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.bell.Run(ctx)
	}()
	n.closers = append(n.closers, func() error {
		stop()
		<-done
		return nil
	})
}

// looks are the pauses between two looks at something that is not there yet.
var looks = backoff.Exponential{First: 200 * time.Millisecond, Most: 3 * time.Second}

// errToldToStop says that a process has not begun its work, because its time was over
// before.
var errToldToStop = errors.New("stopped by a signal")

// waitFor asks until the answer is good, or refuses, and says what it is waiting for.
func (n *node) waitFor(ctx context.Context, what string, ask func(context.Context) error) error {
	for failures := 1; ; failures++ {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		var no *refusal
		if errors.As(err, &no) {
			return err
		}
		n.log.InfoContext(ctx, "waiting for "+what, "error", err)
		if looks.Wait(ctx, failures) != nil {
			return fmt.Errorf("%w while waiting for %s: %w", errToldToStop, what, err)
		}
	}
}

// engine makes what writes jobs and events besides the jobs themselves.
func (n *node) engine() *job.Engine {
	return rooms.NewEngine(rooms.EngineConfig{Store: n.rows, Queue: n.queue, Bell: n.bell, Vault: n.vault, NewID: n.newID, Log: n.log})
}

// service makes the use cases.
func (n *node) service(quotas *tenant.Quotas) *instance.Service {
	return rooms.NewService(rooms.ServiceConfig{
		Store: n.rows, Queue: n.behind, Ports: n.ports, Vault: n.vault, Authority: n.authority, Secrets: secret.Random{}, Sender: n.sender,
		Catalog: n.catalog, NewID: n.newID, Log: n.log, Bell: bell.Behind(n.bell), MaxJobsPerTenant: n.cfg.MaxJobsPerTenant, MaxJobs: n.cfg.MaxJobs, Quotas: quotas,
	})
}

// handler makes the API. With docker, the local engine counts as a part of it.
func (n *node) handler(ctx context.Context, withDocker bool) (http.Handler, error) {
	queues, err := n.queuePages()
	if err != nil {
		return nil, err
	}
	checks := map[string]func(context.Context) error{
		"database": n.store.Ping,
		"redis":    n.pingRedis,
	}
	if withDocker {
		checks["docker"] = n.pingDocker
	}
	tenants := tenant.Config{Store: rooms.Tenants(n.rows), Vault: n.vault, NewID: n.newID, Now: clock.System, Engines: n.catalog.Names(), CheckLabels: instance.CheckLabels}
	quotas := rooms.NewQuotas(n.rows, n.newID, clock.System, n.cfg.Quota)
	terms := tenant.SessionTerms{Idle: n.cfg.SessionIdle, MaxAge: n.cfg.SessionMaxAge}
	accounts := tenant.AccountConfig{Config: tenants, Passwords: password.New(password.Params), SignUp: tenant.SignUp(n.cfg.SignUp), Terms: terms}
	instances := n.service(quotas)
	return api.New(api.Config{
		Service: instances, Hosts: n.pool(instances.JobEngine(), instances.Evict), Sheets: sheets{}, Quotas: quotas, Tenants: tenant.NewTenants(tenants), Keys: tenant.NewKeys(tenants),
		Accounts: tenant.NewAccounts(accounts), Members: tenant.NewMembers(tenants),
		Grants:   tenant.NewGrants(tenants),
		Audit:    &audit.Log{Store: rooms.Audit(n.rows), Auditor: tenant.Auditor{NewID: n.newID, Now: clock.System}},
		Callers:  &tenant.Authenticator{Store: tenants.Store, Now: clock.System, Log: n.log, Terms: terms},
		AdminKey: n.adminKey, Checks: checks, Queues: queues, Log: n.log, Version: version,
		Gzip: n.cfg.Gzip, CORSOrigins: n.cfg.CORSOrigins, TrustedProxies: n.cfg.Proxies, Limits: n.rateLimits(), Stopping: ctx,
	}), nil
}

// pool makes the use cases of hosts. A process that deletes none by force needs no evict.
func (n *node) pool(jobs *job.Engine, evict func(context.Context, tenant.Principal, host.ID) error) *host.Service {
	env := n.cfg.Host()
	return host.NewService(host.ServiceConfig{
		Store: rooms.Hosts(n.rows), Answers: n.rows, Jobs: jobs, Ports: n.ports, Vault: n.vault, NewID: n.newID, Log: n.log,
		PlainTCP: n.cfg.PlainTCP, Access: n.access, Evict: evict, PortLow: env.PortLow, PortHigh: env.PortHigh,
	})
}

// rateLimits makes what counts requests, in all API processes together.
func (n *node) rateLimits() api.RateLimits {
	limiter := func(of string, perMinute int) tenant.RateLimiter {
		if perMinute == 0 {
			return nil
		}
		return ratelimit.New(ratelimit.Config{Redis: n.redis, Name: n.deployment + ":" + of, PerMinute: perMinute, Now: clock.System, Log: n.log})
	}
	return api.RateLimits{Callers: limiter("caller", n.cfg.RateLimit), Addresses: limiter("address", n.cfg.AddressRateLimit)}
}

func (n *node) pingRedis(ctx context.Context) error { return queue.Explain(n.redis.Ping(ctx).Err()) }

func (n *node) pingDocker(ctx context.Context) error {
	runtime, err := n.runtimes.Runtime(n.cfg.Host())
	if err != nil {
		return err
	}
	return runtime.Ping(ctx)
}

func (n *node) queuePages() (http.Handler, error) {
	connection, err := asynq.ParseRedisURI(n.cfg.RedisURL)
	if err != nil {
		return nil, errors.New("BERTH_REDIS_URL: the web UI of the queues does not support this URL")
	}
	pages := asynqmon.New(asynqmon.Options{RootPath: api.QueuesPath, RedisConnOpt: connection})
	n.closers = append(n.closers, pages.Close)
	if n.embedded == nil {
		return pages, nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == api.QueuesPath+"/api/redis_info" {
			n.embedded.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	}), nil
}

// registerHosts writes the hosts of this process. Real ones and simulated ones are never
// in one database: a worker of one kind would take the other's instances for dead.
func (n *node) registerHosts(ctx context.Context) error {
	if err := n.unmixed(ctx); err != nil {
		return err
	}
	h := n.cfg.Host()
	if n.cfg.SimulatedHosts == 0 {
		h.ID = host.ID(n.newID(host.Prefix))
		if err := n.hosts.Register(ctx, h); err != nil {
			return fmt.Errorf("register host %s: %w", h.Name, err)
		}
		return nil
	}
	hosts, err := simulated.Each(h, n.cfg.SimulatedHosts)
	if err != nil {
		return err
	}
	n.log.WarnContext(ctx, "hosts are simulated; no real instances are created", "hosts", len(hosts))
	return n.store.Tx(ctx, func(tx rooms.Tx) error {
		for _, h := range hosts {
			h.ID = host.ID(n.newID(host.Prefix))
			if _, err := host.Put(tx, h); err != nil {
				return fmt.Errorf("register host %s: %w", h.Name, err)
			}
		}
		return nil
	})
}

// unmixed fails where the database has hosts of the other sort, real or simulated.
func (n *node) unmixed(ctx context.Context) error {
	there, err := n.store.Hosts(ctx)
	if err != nil {
		return err
	}
	for _, host := range there {
		if simulated.Is(host.Endpoint) != (n.cfg.SimulatedHosts > 0) {
			return fmt.Errorf("host %s in the database is at %s: simulated and real hosts need separate databases", host.Name, host.Endpoint)
		}
	}
	return nil
}

// work registers this process's hosts and runs jobs.
func (n *node) work(ctx context.Context) error {
	if err := n.waitFor(ctx, "Redis", n.pingRedis); err != nil {
		return err
	}
	if err := n.registerHosts(ctx); err != nil {
		return err
	}
	return worker.Run(ctx, worker.Config{
		Redis: n.redis, Bell: n.bell, Log: n.log, Concurrency: n.cfg.WorkerConcurrency, ShutdownTimeout: n.cfg.ShutdownTimeout,
		Runner: rooms.NewRunner(rooms.RunnerConfig{
			Store: n.rows, Queue: n.queue, Bell: n.bell, Ports: n.ports, Runtimes: n.hosts, Adapters: n.runtimes, Machines: n.machines, Access: n.access, Vault: n.vault, Authority: n.authority, Catalog: n.catalog, NewID: n.newID, Log: n.log,
			Owner: n.owner, LeaseTTL: n.cfg.LeaseTTL, Quarantine: n.cfg.PortQuarantine, KeepFailed: n.cfg.KeepFailed, OnStep: onStep(),
			Contact: n.contact,
		}),
		Courier: webhook.NewCourier(webhook.CourierConfig{
			Store: rooms.Webhooks(n.rows), Queue: n.queue, Vault: n.vault, Sender: n.sender, Events: n.engine().Events, Now: clock.System, Log: n.log,
		}),
		Relays: []worker.Relay{
			job.NewRelay(n.engine(), rooms.Jobs(n.rows), n.owner),
			&webhook.Relay{Store: rooms.Webhooks(n.rows), Queue: n.queue, Now: clock.System, Log: n.log, Owner: n.owner},
		},
		Janitor: &rooms.Janitor{
			Store: n.rows, Now: clock.System, Owner: n.owner, Retention: n.cfg.Retention, EventRetention: n.cfg.EventRetention,
			AuditRetention: n.cfg.AuditRetention, NewID: n.newID, Service: n.service(nil),
		},
		Upkeep: n.upkeep(),
	})
}

// duties are the parts that every process has, whatever else it does.
func (n *node) duties() []func(context.Context) error {
	return []func(context.Context) error{n.sequence, n.chain, n.followKeys}
}

// chain puts the entries of the audit log into their chain while it is this process's turn.
func (n *node) chain(ctx context.Context) error {
	return worker.Chain(ctx, n.log, audit.NewChainer(rooms.Audit(n.rows), clock.System, n.owner))
}

// sequence numbers events while it is this process's turn.
func (n *node) sequence(ctx context.Context) error {
	return worker.Sequence(ctx, n.log, n.bell, event.NewSequencer(rooms.Events(n.rows), n.bell, clock.System, n.owner))
}

// followKeys seals as the deployment does.
func (n *node) followKeys(ctx context.Context) error {
	return n.otherKey(n.sealing.Run(ctx))
}

func (n *node) otherKey(err error) error {
	if !errors.Is(err, sealing.ErrOtherKey) {
		return err
	}
	return fmt.Errorf("%s has master key %s: %w", n.keySource, strings.Join(n.vault.KeyIDs(), ", "), err)
}
