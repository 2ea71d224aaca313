package rooms

import (
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/webhook"
)

// EngineConfig is what the job engine of a process is made of.
type EngineConfig struct {
	Store Store
	Queue bell.Queue
	Bell  bell.Bell // nil: nobody in other processes is told
	Vault secret.Vault
	NewID id.Maker
	Now   clock.Clock
	Log   *slog.Logger
	Works *instance.Works // nil: the process does no jobs
	Hosts *host.Works     // as Works
}

// NewEngine makes the job engine of a process, with the kinds of jobs that there are, and
// the log of events with its webhooks.
func NewEngine(cfg EngineConfig) *job.Engine {
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	if cfg.Bell == nil {
		cfg.Bell = &bell.Local{}
	}
	if cfg.Works == nil {
		cfg.Works = instance.NewWorks(instance.WorksConfig{Store: Instances(cfg.Store), Hosts: cfg.Store, Vault: cfg.Vault, Now: cfg.Now})
	}
	if cfg.Hosts == nil {
		cfg.Hosts = host.NewWorks(host.WorksConfig{Store: Hosts(cfg.Store), Now: cfg.Now})
	}
	kinds := &job.Registry{}
	cfg.Works.Register(kinds)
	cfg.Hosts.Register(kinds)
	sink := &webhook.Fanout{Store: Webhooks(cfg.Store), Vault: cfg.Vault, Queue: cfg.Queue, NewID: cfg.NewID, Log: cfg.Log}
	events := &event.Log{NewID: cfg.NewID, Bell: cfg.Bell, Sink: sink}
	sink.Events = events
	return &job.Engine{Kinds: kinds, Events: events, Queue: cfg.Queue, Bell: cfg.Bell, NewID: cfg.NewID, Now: cfg.Now, Log: cfg.Log}
}

// RunnerConfig is what a runner of the jobs of instances needs.
type RunnerConfig struct {
	Store    Store
	Queue    bell.Queue
	Bell     bell.Bell
	Ports    host.Ports
	Runtimes host.Runtimes
	Vault    secret.Vault
	// Adapters are the Runtimes without regard to whose engine answers, Machines the way to the
	// machines of hosts, and Access what they are reached with; nil: hosts have no jobs here.
	Adapters host.Runtimes
	Machines host.Machines
	Access   *host.Access
	// Authority certifies servers; nil: they have no certificates.
	Authority instance.Authority
	Catalog   instance.Catalog
	NewID     id.Maker
	Now       clock.Clock
	Log       *slog.Logger
	// Owner names this worker, for people who look at a job.
	Owner string
	// LeaseTTL is how long a worker that vanished keeps its jobs.
	LeaseTTL time.Duration
	// Quarantine is how long a freed port rests.
	Quarantine time.Duration
	// KeepFailed is how long a failed create is kept where that was asked for.
	KeepFailed time.Duration
	// Contact excuses workers that lost a job while the database was away; nil: each has
	// crashed.
	Contact *job.Contact
	// OnStep, if set, is told of every step: where faults are injected.
	OnStep func(kind job.Kind, step string, after bool)
}

// NewRunner makes a runner of the jobs of instances.
func NewRunner(cfg RunnerConfig) *job.Runner {
	works := instance.NewWorks(instance.WorksConfig{
		Store: Instances(cfg.Store), Hosts: cfg.Store, Ports: cfg.Ports, Runtimes: cfg.Runtimes, Vault: cfg.Vault, Authority: cfg.Authority, Catalog: cfg.Catalog, Now: cfg.Now,
		Quarantine: cfg.Quarantine, KeepFailed: cfg.KeepFailed,
	})
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	if cfg.Adapters == nil {
		cfg.Adapters = cfg.Runtimes
	}
	hosts := host.NewWorks(host.WorksConfig{
		Store: Hosts(cfg.Store), Adapters: cfg.Adapters, Known: cfg.Runtimes, Machines: cfg.Machines, Access: cfg.Access, Now: cfg.Now,
		Fitter:    &instance.Fitter{Catalog: cfg.Catalog, Secrets: secret.Random{}, Now: cfg.Now, Log: cfg.Log},
		Residents: &instance.Mender{Store: Instances(cfg.Store), Hosts: cfg.Store, Now: cfg.Now, Log: cfg.Log},
	})
	engine := NewEngine(EngineConfig{
		Store: cfg.Store, Queue: cfg.Queue, Bell: cfg.Bell, Vault: cfg.Vault, NewID: cfg.NewID, Now: cfg.Now, Log: cfg.Log, Works: works, Hosts: hosts,
	})
	return job.NewRunner(job.RunnerConfig{
		Engine: engine, Store: Jobs(cfg.Store), Owner: cfg.Owner, LeaseTTL: cfg.LeaseTTL, Contact: cfg.Contact, OnStep: cfg.OnStep,
	})
}
