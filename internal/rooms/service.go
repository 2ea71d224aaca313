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
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// ServiceConfig is what a Service needs.
type ServiceConfig struct {
	Store Store
	Queue bell.Queue
	Ports host.Ports
	Vault secret.Vault
	// Authority is whom clients verify servers by; nil: servers have no certificates.
	Authority instance.Authority
	Secrets   secret.Generator
	Sender    webhook.Sender
	Catalog   instance.Catalog
	NewID     id.Maker
	Now       clock.Clock
	Log       *slog.Logger
	// Bell wakes those who wait for a job or follow the feed; nil: what other processes
	// do is found by looking.
	Bell bell.Bell
	// CreateDeadline and DeleteDeadline bound the jobs, from accept to end.
	CreateDeadline time.Duration
	DeleteDeadline time.Duration
	// Quotas limit what tenants may have; nil: nothing does but what operators set.
	Quotas *tenant.Quotas
	// MaxJobsPerTenant and MaxJobs bound the accepted jobs that have not ended.
	MaxJobsPerTenant int
	MaxJobs          int
}

// NewService makes the service that clients talk to.
func NewService(cfg ServiceConfig) *instance.Service {
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	if cfg.Bell == nil {
		cfg.Bell = &bell.Local{}
	}
	if cfg.Quotas == nil {
		cfg.Quotas = NewQuotas(cfg.Store, cfg.NewID, cfg.Now, nil)
	}
	engine := NewEngine(EngineConfig{
		Store: cfg.Store, Queue: cfg.Queue, Bell: cfg.Bell, Vault: cfg.Vault, NewID: cfg.NewID, Now: cfg.Now, Log: cfg.Log,
	})
	return instance.NewService(instance.ServiceConfig{
		Store: Instances(cfg.Store), Hosts: cfg.Store, Answers: cfg.Store,
		Jobs: job.NewService(engine, Jobs(cfg.Store), cfg.MaxJobsPerTenant, cfg.MaxJobs),
		Feed: event.NewFeed(Events(cfg.Store), cfg.Bell),
		Hooks: webhook.NewHooks(webhook.HooksConfig{
			Store: Webhooks(cfg.Store), Queue: cfg.Queue, Vault: cfg.Vault, Secrets: cfg.Secrets, Sender: cfg.Sender, NewID: cfg.NewID,
			Now: cfg.Now, Log: cfg.Log, Signer: engine.Kinds.CallbackSecret,
		}),
		Grants: tenant.NewGrants(tenant.Config{Store: Tenants(cfg.Store), Vault: cfg.Vault, NewID: cfg.NewID, Now: cfg.Now}),
		Quotas: cfg.Quotas, Ports: cfg.Ports, Vault: cfg.Vault, Authority: cfg.Authority, Secrets: cfg.Secrets, Sender: cfg.Sender, Catalog: cfg.Catalog, NewID: cfg.NewID, Now: cfg.Now, Log: cfg.Log,
		CreateDeadline: cfg.CreateDeadline, DeleteDeadline: cfg.DeleteDeadline,
	})
}

// meteredKinds are the kinds of jobs that a quota of jobs per hour counts: those that clients
// start, but for the ways out.
var meteredKinds = []string{string(instance.JobCreate)}

// NewQuotas makes the quotas of a process.
func NewQuotas(s Store, newID id.Maker, now clock.Clock, byDefault tenant.Amounts) *tenant.Quotas {
	return tenant.NewQuotas(tenant.QuotaConfig{Store: Tenants(s), NewID: newID, Now: now, Default: byDefault, Kinds: meteredKinds})
}
