package instance

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Get gives one instance of the tenant; an empty engine means any.
func (s *Service) Get(ctx context.Context, p tenant.Principal, engine string, which ID) (Instance, error) {
	if err := p.May(tenant.Read); err != nil {
		return Instance{}, err
	}
	if engine != "" {
		if _, err := s.cfg.Catalog.Find(engine); err != nil {
			return Instance{}, err
		}
	}
	if !id.WellFormed(which) {
		return Instance{}, fault.Errorf(fault.CodeNotFound, nil, "the instance does not exist")
	}
	inst, err := s.cfg.Store.Instance(ctx, which)
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return Instance{}, err
	}
	// Another tenant's instance is answered like one that never was.
	if err != nil || inst.Tenant != p.Tenant || !p.Limits.Allow(inst.Spec.Engine, inst.Labels) || (engine != "" && inst.Spec.Engine != engine) {
		return Instance{}, fault.Errorf(fault.CodeNotFound, nil, "there is no instance %s", which)
	}
	return inst, nil
}

// List gives a page of instances, newest first, and the cursor of the next page,
// empty on the last.
func (s *Service) List(ctx context.Context, p tenant.Principal, filter Filter, list page.Page) ([]Instance, string, error) {
	if err := p.May(tenant.Read); err != nil {
		return nil, "", err
	}
	if filter.Engine != "" {
		if _, err := s.cfg.Catalog.Find(filter.Engine); err != nil {
			return nil, "", err
		}
	}
	filter, some := filter.within(p.Limits)
	if !some {
		return nil, "", nil
	}
	filter.Tenant = p.Tenant
	return page.Fetch(ctx, page.List{Prefix: Prefix, Filter: filter}, list, func(ctx context.Context, list page.Page) ([]Instance, error) {
		return s.cfg.Store.Instances(ctx, filter, list)
	},
		func(i Instance) string { return string(i.ID) })
}

// Config says how to connect to an instance. A deleted one is CodeGone; one that
// never ran is CodeNotReady.
func (s *Service) Config(ctx context.Context, p tenant.Principal, engine string, id ID) (Instance, Connection, error) {
	grant, err := s.cfg.Grants.MayCredentials(ctx, p)
	if err != nil {
		return Instance{}, Connection{}, err
	}
	inst, err := s.Get(ctx, p, engine, id)
	if err != nil {
		return Instance{}, Connection{}, err
	}
	switch inst.State {
	case StateRunning, StateUnhealthy, StateStopped, StateUpdating:
	case StateDeleted:
		return Instance{}, Connection{}, gone(inst)
	case StateFailed, StateDeleting:
		return Instance{}, Connection{}, fault.Errorf(fault.CodeNotReady, nil, "instance %s is %s; its configuration is no longer available", id, inst.State)
	default:
		refusal := fault.Errorf(fault.CodeNotReady, nil, "instance %s is %s; its configuration is available once it is running", id, inst.State)
		if job, err := s.cfg.Store.ActiveJob(ctx, subjectOf(id)); err == nil {
			refusal.Job, refusal.RetryAfter = job.ID, time.Second
		}
		return Instance{}, Connection{}, refusal
	}
	e, err := s.cfg.Catalog.Find(inst.Spec.Engine)
	if err != nil {
		return Instance{}, Connection{}, err
	}
	sealed, err := s.cfg.Store.Credentials(ctx, id)
	if err != nil {
		return Instance{}, Connection{}, err
	}
	creds, err := OpenCredentials(s.cfg.Vault, id, sealed)
	if err != nil {
		return Instance{}, Connection{}, err
	}
	err = s.cfg.Store.Tx(ctx, func(tx Tx) error { // nobody sees them of whom that is not written down
		detail := "name " + inst.Name
		if grant != "" {
			detail += ", by grant " + string(grant)
		}
		return s.note(tx, p, tenant.Deed{Action: tenant.ActInstanceCredentials, On: string(id), Detail: detail})
	})
	if err != nil {
		return Instance{}, Connection{}, err
	}
	return inst, e.Connection(inst, creds.verifiable(inst, s.cfg.Authority)), nil
}

// CallbackSecret gives what callbacks about an instance are signed with, for the
// repetition of the answer that showed it. Empty once the instance is gone.
func (s *Service) CallbackSecret(ctx context.Context, p tenant.Principal, id ID) (secret.Secret, error) {
	if err := p.May(tenant.Change); err != nil {
		return secret.Secret{}, err
	}
	if _, err := s.Get(ctx, p, "", id); err != nil {
		return secret.Secret{}, fault.IgnoreNotFound(err)
	}
	sealed, err := s.cfg.Store.Credentials(ctx, id)
	if err != nil {
		return secret.Secret{}, fault.IgnoreNotFound(err)
	}
	creds, err := OpenCredentials(s.cfg.Vault, id, sealed)
	if err != nil {
		return secret.Secret{}, err
	}
	err = s.cfg.Store.Tx(ctx, func(tx Tx) error {
		return s.note(tx, p, tenant.Deed{Action: tenant.ActInstanceCreate, On: string(id), Detail: "the secret of its callbacks", Result: tenant.Replayed})
	})
	return creds.CallbackSecret, err
}
