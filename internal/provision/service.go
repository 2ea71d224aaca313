package provision

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
)

// Service is what clients can ask for. It accepts and answers; the work itself is
// the Runner's.
type Service struct {
	cfg       ServiceConfig
	followers followers
	waiters   waiters
	// noWarmUntil is when to look for warm instances again, in milliseconds since 1970.
	noWarmUntil atomic.Int64
	// plentyUntil is until when nobody need ask whether a port is left, and plentyAsk when
	// to look again whether there are plenty; as above.
	plentyUntil, plentyAsk atomic.Int64
	hosts                  hostList
	counts                 jobCounts
}

// ServiceConfig is what a Service needs.
type ServiceConfig struct {
	Store   Store
	Queue   Queue
	Ports   Ports
	Vault   secret.Vault
	Secrets secret.Generator
	Sender  Sender
	Catalog Catalog
	NewID   id.Maker
	Now     clock.Clock
	Log     *slog.Logger
	// Bell wakes those who wait for a job or follow the feed; nil: what other processes
	// do is found by looking.
	Bell bell.Bell
	// CreateDeadline and DeleteDeadline bound the jobs, from accept to end.
	CreateDeadline time.Duration
	DeleteDeadline time.Duration
	// MaxJobsPerTenant and MaxJobs bound the accepted jobs that have not ended.
	MaxJobsPerTenant int
	MaxJobs          int
}

// The time limits of jobs where the configuration says nothing. A create may have
// to pull an image; a delete outlasts a host that is away for a day.
const (
	DefaultCreateDeadline = 15 * time.Minute
	DefaultDeleteDeadline = 24 * time.Hour
)

// enqueueTimeout bounds the wake-up call within a request. The relay makes good
// what is missed here.
const enqueueTimeout = 500 * time.Millisecond

// relayGrace is how long the relay leaves a new job to the one who wrote it.
const relayGrace = 2 * time.Second

// NewService makes a Service.
func NewService(cfg ServiceConfig) *Service {
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	if cfg.CreateDeadline == 0 {
		cfg.CreateDeadline = DefaultCreateDeadline
	}
	if cfg.DeleteDeadline == 0 {
		cfg.DeleteDeadline = DefaultDeleteDeadline
	}
	if cfg.MaxJobsPerTenant == 0 {
		cfg.MaxJobsPerTenant = DefaultMaxJobsPerTenant
	}
	if cfg.MaxJobs == 0 {
		cfg.MaxJobs = DefaultMaxJobs
	}
	if cfg.Bell == nil {
		cfg.Bell = &bell.Local{}
	}
	cfg.Store = WakingStore(cfg.Store, cfg.Queue, cfg.Log)
	return &Service{cfg: cfg, followers: followers{store: cfg.Store, bell: cfg.Bell}, waiters: waiters{store: cfg.Store, bell: cfg.Bell}}
}

// Accepted is the answer to a request that started a job.
type Accepted struct {
	Instance Instance
	Job      Job
	// CallbackSecret is what callbacks about the instance are signed with. Shown once,
	// in the answer to the create.
	CallbackSecret secret.Secret
	// Replay is the stored answer, where the request was a repetition. The other
	// fields are empty then.
	Replay []byte
}

// Catalog gives the engines.
func (s *Service) Catalog() Catalog { return s.cfg.Catalog }

// newJob makes a queued job for the instance.
func (s *Service) newJob(kind JobKind, inst Instance, limit time.Duration, callbackURL string, now time.Time) Job {
	return newJob(s.cfg.NewID, kind, inst, limit, callbackURL, now)
}

func newJob(newID id.Maker, kind JobKind, inst Instance, limit time.Duration, callbackURL string, now time.Time) Job {
	return Job{
		ID: id.Job(newID(PrefixJob)), Tenant: inst.Tenant, Instance: inst.ID, Engine: inst.Engine, Kind: kind,
		State: JobQueued, Steps: waiting(stepsOf(kind)), Generation: 1, WakeAt: now.Add(relayGrace),
		CallbackURL: callbackURL, Deadline: now.Add(limit), CreatedAt: now, UpdatedAt: now,
	}
}

// wake tells the workers of a job that was changed.
func (s *Service) wake(ctx context.Context, job Job) { wake(ctx, s.cfg.Queue, s.cfg.Log, job.task()) }

// decide runs a transaction that depends on what a worker may be changing at the
// same moment. Where the worker was faster, it is run again and sees the change.
func (s *Service) decide(ctx context.Context, do func(Tx) error) error {
	return fault.Redecide(func() error { return s.cfg.Store.Tx(ctx, do) })
}

// newEvent makes an event about the instance.
func newEvent(newID id.Maker, kind string, inst Instance, job id.Job, message string, now time.Time) Event {
	return Event{
		ID: EventID(newID(PrefixEvent)), Tenant: inst.Tenant, Type: kind, Instance: inst.ID, Job: job, Message: message, At: now,
	}
}
