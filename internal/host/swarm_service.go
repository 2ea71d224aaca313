package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// SwarmReader reads swarms.
type SwarmReader interface {
	// Swarms gives all swarms with what was seen of them, by name.
	Swarms(context.Context) ([]Swarm, error)
	// Swarm gives one; CodeNotFound.
	Swarm(ctx context.Context, name string) (Swarm, error)
}

// SwarmRows are the rows of swarms in a transaction.
type SwarmRows interface {
	// InsertSwarm fails with CodeConflict where there is one of the name.
	InsertSwarm(Swarm) error
	// SeeSwarm writes Nodes, SeenAt and Error. CodeConflict unless the row has the revision.
	SeeSwarm(Swarm) error
	// DeleteSwarm fails with CodeNotFound where there is none.
	DeleteSwarm(name string) error
}

// SwarmView is a swarm, and what its nodes are to the pool.
type SwarmView struct {
	Swarm
	Nodes []NodeView
}

// Hosts counts the nodes that are hosts.
func (v SwarmView) Hosts() (n int) {
	for _, node := range v.Nodes {
		if node.Host != "" {
			n++
		}
	}
	return n
}

// AddSwarm has the nodes of a swarm become hosts. Nobody has to answer there yet.
func (s *Service) AddSwarm(ctx context.Context, p tenant.Principal, sw Swarm) (SwarmView, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return SwarmView{}, err
	}
	if wrong := sw.Check(); len(wrong) > 0 {
		return SwarmView{}, fault.Invalid(wrong)
	}
	sw.Nodes, sw.SeenAt, sw.Error, sw.Rev, sw.CreatedAt = nil, time.Time{}, "", 1, s.cfg.Now()
	err = s.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := s.checkPlaceOf(tx, sw); err != nil {
			return err
		}
		if err := tx.InsertSwarm(sw); errors.Is(err, fault.ErrConflict) {
			return fault.Invalid([]fault.FieldError{{Field: "name", Message: "is that of a swarm that is there already"}})
		} else if err != nil {
			return err
		}
		return s.note(tx, p, tenant.Deed{
			Action: tenant.ActSwarmAdd, Tenant: tenant.Pool, On: sw.Name, Detail: fmt.Sprintf("%s, region %s, zone %q", sw.Endpoint, sw.Region, sw.Zone),
		})
	})
	if err != nil {
		return SwarmView{}, err
	}
	return SwarmView{Swarm: sw}, nil
}

// checkPlaceOf refuses a region or a zone that nobody has added, and names which of them.
func (s *Service) checkPlaceOf(tx Tx, sw Swarm) error {
	known, err := tx.PlaceKnown(sw.Region, "")
	if err != nil {
		return err
	}
	if !known {
		return fault.Invalid([]fault.FieldError{{Field: "region", Message: fmt.Sprintf("there is no region %s; add it: POST /api/v1/regions", sw.Region)}})
	}
	return s.checkPlace(tx, sw.Region, sw.Zone)
}

// RemoveSwarm forgets a swarm. Its nodes that are hosts stay hosts.
func (s *Service) RemoveSwarm(ctx context.Context, p tenant.Principal, name string) error {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return err
	}
	return s.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.DeleteSwarm(name); err != nil {
			return explainSwarm(err, name)
		}
		return s.note(tx, p, tenant.Deed{Action: tenant.ActSwarmRemove, Tenant: tenant.Pool, On: name})
	})
}

// Swarms gives all swarms, by name.
func (s *Service) Swarms(ctx context.Context, p tenant.Principal) ([]SwarmView, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Store.Swarms(ctx)
	if err != nil {
		return nil, err
	}
	return s.viewSwarms(ctx, all...)
}

// Swarm gives one.
func (s *Service) Swarm(ctx context.Context, p tenant.Principal, name string) (SwarmView, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return SwarmView{}, err
	}
	sw, err := s.cfg.Store.Swarm(ctx, name)
	if err != nil {
		return SwarmView{}, explainSwarm(err, name)
	}
	views, err := s.viewSwarms(ctx, sw)
	if err != nil {
		return SwarmView{}, err
	}
	return views[0], nil
}

func explainSwarm(err error, name string) error {
	if !errors.Is(err, fault.ErrNotFound) {
		return err
	}
	if !validName(name) {
		return fault.Errorf(fault.CodeNotFound, nil, "the swarm does not exist")
	}
	return fault.Errorf(fault.CodeNotFound, nil, "there is no swarm %s", name)
}

func (s *Service) viewSwarms(ctx context.Context, all ...Swarm) ([]SwarmView, error) {
	in, err := s.neighbors(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]SwarmView, len(all))
	for i, sw := range all {
		views[i] = SwarmView{Swarm: sw, Nodes: in.viewNodes(sw)}
	}
	return views, nil
}
