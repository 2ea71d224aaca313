package instance

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
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
	Hosts   host.PlacementStore
	Answers idempotency.Store
	Jobs    *job.Service
	Feed    *event.Feed
	Hooks   *webhook.Hooks
	Quotas  *tenant.Quotas
	Grants  *tenant.Grants
	Ports   host.Ports
	Vault   secret.Vault
	// Authority is whom clients verify servers by; nil: servers have no certificates.
	Authority Authority
	Secrets   secret.Generator
	Sender    webhook.Sender
	Catalog   Catalog
	NewID     id.Maker
	Now       clock.Clock
	Log       *slog.Logger
	// CreateDeadline and DeleteDeadline bound the jobs, from accept to end.
	CreateDeadline time.Duration
	DeleteDeadline time.Duration
}

// The time limits of jobs where the configuration says nothing. A create may have
// to pull an image; a delete outlasts a host that is away for a day.
const (
	DefaultCreateDeadline = 15 * time.Minute
	DefaultDeleteDeadline = 24 * time.Hour
)

// NewService makes a Service.
func NewService(cfg ServiceConfig) *Service {
	if cfg.CreateDeadline == 0 {
		cfg.CreateDeadline = DefaultCreateDeadline
	}
	if cfg.DeleteDeadline == 0 {
		cfg.DeleteDeadline = DefaultDeleteDeadline
	}
	return &Service{
		Service: cfg.Jobs, Feed: cfg.Feed, Hooks: cfg.Hooks, cfg: cfg, jobs: cfg.Jobs.Engine,
		keeper:    idempotency.Keeper{Store: cfg.Answers, Vault: cfg.Vault, Now: cfg.Now},
		placement: host.Placement{Store: cfg.Hosts, Ports: cfg.Ports, Now: cfg.Now},
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

// note writes an entry of the audit log.
func (s *Service) note(tx tenant.Trail, p tenant.Principal, d tenant.Deed) error {
	return tenant.Auditor{NewID: s.cfg.NewID, Now: s.cfg.Now}.Note(tx, p, d)
}

// decide runs a transaction that depends on what a worker may be changing at the
// same moment. Where the worker was faster, it is run again and sees the change.
func (s *Service) decide(ctx context.Context, do func(Tx) error) error {
	return fault.Redecide(func() error { return s.cfg.Store.Tx(ctx, do) })
}
