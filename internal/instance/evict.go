package instance

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// JobEngine returns what starts jobs and announces events in this process.
func (s *Service) JobEngine() *job.Engine { return s.jobs }

// evictBatch limits how many instances are read at a time.
const evictBatch = 100

// Evict deletes by force all instances of a host that is taken out of the pool by force. Each is on
// its tenant's record, with who did so.
func (s *Service) Evict(ctx context.Context, p tenant.Principal, from host.ID) error {
	if err := p.MayAll(tenant.Operate); err != nil {
		return err
	}
	ctx = tenant.Beyond(ctx) // a host has instances of all tenants
	if err := s.evictPlaced(ctx, p, from); err != nil {
		return err
	}
	for after := ID(""); ; {
		list, err := s.cfg.Store.InstancesOn(ctx, from, after, evictBatch)
		if err != nil {
			return err
		}
		for i := range list {
			after = list[i].ID
			if err := s.evict(ctx, p, &list[i]); err != nil {
				return err
			}
		}
		if len(list) < evictBatch {
			return nil
		}
	}
}

// evictPlaced evicts those that hold a share of the host, of which some do not say yet that they are
// there.
func (s *Service) evictPlaced(ctx context.Context, p tenant.Principal, from host.ID) error {
	for after := host.UnitID(""); ; {
		held, err := s.cfg.Hosts.Allocations(ctx, host.AllocationFilter{Host: from}, after, evictBatch)
		if err != nil {
			return err
		}
		for _, a := range held {
			after = a.Unit
			inst, err := s.cfg.Store.Instance(ctx, ID(a.Unit))
			if err == nil && (inst.Status.Host == "" || inst.Status.Host == from) {
				err = s.evict(ctx, p, &inst)
			}
			if fault.IgnoreNotFound(err) != nil {
				return err
			}
		}
		if len(held) < evictBatch {
			return nil
		}
	}
}

func (s *Service) evict(ctx context.Context, p tenant.Principal, inst *Instance) error {
	err := s.decide(ctx, func(tx Tx) error {
		accepted, err := s.forceDelete(tx, inst.ID, "", p.Name)
		if fault.CodeOf(err) == fault.CodeGone && err != nil {
			return nil
		}
		if err != nil {
			return err
		}
		return s.note(tx, p, tenant.Deed{
			Action: tenant.ActInstanceForceDelete, Tenant: inst.Tenant, On: string(inst.ID), Job: accepted.Job.ID,
			Detail: fmt.Sprintf("name %s, with its host %s", inst.Name, inst.Status.Host),
		})
	})
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	return err
}
