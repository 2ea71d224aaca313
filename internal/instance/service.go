package instance

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/webhook"
)

// Service is what clients can ask for. It accepts and answers; the work itself is done by
// workers.
type Service struct {
	*job.Service
	*event.Feed
	*webhook.Hooks

	cfg    ServiceConfig
	jobs   *job.Engine
	keeper idempotency.Keeper
	// noWarmUntil is when to look for warm instances again, in milliseconds since 1970.
	noWarmUntil atomic.Int64
	placement   host.Placement
}

// ServiceConfig is what a Service needs.
type ServiceConfig struct {
	Store   Store
	Queue   bell.Queue
	Ports   host.Ports
	Vault   secret.Vault
	Secrets secret.Generator
	Sender  webhook.Sender
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
	if cfg.Bell == nil {
		cfg.Bell = &bell.Local{}
	}
	engine := NewEngine(EngineConfig{
		Store: cfg.Store, Queue: cfg.Queue, Bell: cfg.Bell, Vault: cfg.Vault, NewID: cfg.NewID, Now: cfg.Now, Log: cfg.Log,
	})
	return &Service{
		Service: job.NewService(engine, Jobs(cfg.Store), cfg.MaxJobsPerTenant, cfg.MaxJobs),
		Feed:    event.NewFeed(Events(cfg.Store), cfg.Bell),
		Hooks: webhook.NewHooks(webhook.HooksConfig{
			Store: Webhooks(cfg.Store), Queue: cfg.Queue, Vault: cfg.Vault, Secrets: cfg.Secrets, Sender: cfg.Sender, NewID: cfg.NewID,
			Now: cfg.Now, Log: cfg.Log, Signer: engine.Kinds.CallbackSecret,
		}),
		cfg: cfg, jobs: engine, keeper: idempotency.Keeper{Store: cfg.Store, Vault: cfg.Vault, Now: cfg.Now},
		placement: host.Placement{Store: cfg.Store, Ports: cfg.Ports, Now: cfg.Now},
	}
}

// Accepted is the answer to a request that started a job.
type Accepted struct {
	Instance Instance
	Job      job.Job
	// CallbackSecret is what callbacks about the instance are signed with. Shown once,
	// in the answer to the create.
	CallbackSecret secret.Secret
	// Replay is the stored answer, where the request was a repetition. The other
	// fields are empty then.
	Replay []byte
}

// Catalog gives the engines.
func (s *Service) Catalog() Catalog { return s.cfg.Catalog }

// decide runs a transaction that depends on what a worker may be changing at the
// same moment. Where the worker was faster, it is run again and sees the change.
func (s *Service) decide(ctx context.Context, do func(Tx) error) error {
	return fault.Redecide(func() error { return s.cfg.Store.Tx(ctx, do) })
}
