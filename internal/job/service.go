package job

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

// Service is what clients can ask of jobs.
type Service struct {
	*Engine
	store   Store
	waiters *waiters
	limits  limits
}

// NewService makes a Service. At most maxPerTenant accepted jobs of a tenant, and max in
// all, may not have ended; zero: the defaults.
func NewService(engine *Engine, store Store, maxPerTenant, maxInAll int) *Service {
	if maxPerTenant == 0 {
		maxPerTenant = DefaultMaxPerTenant
	}
	if maxInAll == 0 {
		maxInAll = DefaultMax
	}
	return &Service{
		Engine: engine, store: store, waiters: newWaiters(store, engine.Bell), limits: limits{perTenant: maxPerTenant, inAll: maxInAll},
	}
}

// Job returns one job of the tenant.
func (s *Service) Job(ctx context.Context, p tenant.Principal, job id.Job) (Job, error) {
	if err := p.May(tenant.Read); err != nil {
		return Job{}, err
	}
	if !id.WellFormed(job) {
		return Job{}, fault.Errorf(fault.CodeNotFound, nil, "the job does not exist")
	}
	j, err := s.store.Job(ctx, job)
	if errors.Is(err, fault.ErrNotFound) && p.May(tenant.Operate) == nil && p.Limits.Empty() {
		if j, err = s.store.Job(tenant.Within(ctx, tenant.Pool), job); err == nil {
			return j, nil // of the pool, which operators run from wherever they are
		}
	}
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return Job{}, err
	}
	unknown := fault.Errorf(fault.CodeNotFound, nil, "there is no job %s", job)
	if err != nil || j.Tenant != p.Tenant {
		return Job{}, unknown
	}
	if p.Limits.Empty() {
		return j, nil
	}
	subject, err := s.Kinds.subject(j.Subject)
	if err != nil {
		return Job{}, err
	}
	within, err := subject.Within(ctx, p.Limits, j.Subject)
	if errors.Is(err, fault.ErrNotFound) || err == nil && !within {
		err = unknown
	}
	if err != nil {
		return Job{}, err
	}
	return j, nil
}

// Jobs returns a page of jobs, newest first, and the cursor of the next page.
func (s *Service) Jobs(ctx context.Context, p tenant.Principal, filter Filter, list page.Page) ([]Job, string, error) {
	if err := p.MayAll(tenant.Read); err != nil {
		return nil, "", err
	}
	filter.Tenant = p.Tenant
	return page.Fetch(ctx, page.List{Prefix: Prefix, Filter: filter}, list,
		func(ctx context.Context, list page.Page) ([]Job, error) { return s.store.Jobs(ctx, filter, list) },
		func(j Job) string { return string(j.ID) })
}

// WaitJob returns the job as soon as it has ended, or as it is when the time is up or the
// context ends.
func (s *Service) WaitJob(ctx context.Context, p tenant.Principal, job id.Job, wait time.Duration) (Job, error) {
	j, err := s.Job(ctx, p, job)
	if err != nil || j.State.Ended() || wait <= 0 {
		return j, err
	}
	me := s.waiters.join(ctx, job)
	defer me.Leave()
	timeUp := time.NewTimer(wait)
	defer timeUp.Stop()
	for {
		// It may have ended between the last look and the joining.
		if j, err = s.Job(ctx, p, job); err != nil || j.State.Ended() {
			return j, err
		}
		select {
		case <-ctx.Done():
			return j, nil
		case <-timeUp.C:
			return j, nil
		case <-me.Woken():
		}
	}
}

// CancelJob stops a job that may be canceled: the worker that has it is cut off by a higher
// fence, and the job is taken up again to be rolled back. It then ends as canceled.
func (s *Service) CancelJob(ctx context.Context, p tenant.Principal, job id.Job) (Job, error) {
	refused := p.May(tenant.Change)
	if refused != nil && p.MayAll(tenant.Operate) != nil {
		return Job{}, refused
	}
	j, err := s.Job(ctx, p, job)
	switch {
	case err == nil && j.Tenant == tenant.Pool:
		ctx = tenant.Within(ctx, tenant.Pool)
	case refused != nil:
		return Job{}, refused
	case err != nil:
		return Job{}, err
	}
	err = fault.Redecide(func() error {
		return s.store.Tx(ctx, func(tx Tx) (err error) {
			if j, err = tx.Job(job); err != nil {
				return err
			}
			def, err := s.Kinds.find(j.Kind)
			switch {
			case err != nil:
				return err
			case j.State.Ended():
				return fault.Errorf(fault.CodeNotCancelable, nil, "job %s has ended: it is %s", job, j.State)
			case !def.cancelable:
				return fault.Errorf(fault.CodeNotCancelable, nil, "a job of kind %s cannot be canceled", j.Kind)
			case j.Undoing:
				return nil // its rollback is under way already
			}
			if j, err = s.Cancel(tx, j, "canceled on request"); err != nil {
				return err
			}
			return tenant.Auditor{NewID: s.NewID, Now: s.Now}.Note(tx, p, tenant.Deed{Action: tenant.ActJobCancel, On: string(j.Subject), Job: j.ID})
		})
	})
	if err != nil {
		return Job{}, err
	}
	return j, nil
}
