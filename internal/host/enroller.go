package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// SwarmManagers asks the managers of swarms.
type SwarmManagers interface {
	// Nodes lists the nodes of the swarm, by host name. CodeHostUnavailable where no manager answers.
	Nodes(ctx context.Context, swarm, endpoint string) ([]Node, error)
}

// Enroller makes hosts of the nodes of swarms: it has a node imported that is ready, that an operator
// has labeled as isolated, and that no host is. It takes nothing back: a node that is drained, has
// lost its label or has left stays the host that it is. A node whose import has failed has a host, so
// that it is not tried again.
//
// Any number of processes may have one; a duty for each swarm lets one of them look at it at a time.
// Two that look at once all the same write the row of the swarm in the transaction that accepts the
// imports, and one of them finds that it has changed.
type Enroller struct {
	Service  *Service // accepts the imports
	Managers SwarmManagers
	Log      *slog.Logger
	Owner    string
	Every    time.Duration // how often it looks
	DryRun   bool          // only say what would be done
}

const (
	// swarmDuty and the name of the swarm name the duty of looking at it.
	swarmDuty = "swarm/"
	// askTimeout limits how long managers may take to list their nodes. Without a leader they
	// take 20 s to say so.
	askTimeout = 25 * time.Second
)

// RunOnce looks at every swarm once, and reports how many imports it has accepted.
func (e *Enroller) RunOnce(ctx context.Context) (int, error) {
	swarms, err := e.Service.cfg.Store.Swarms(ctx)
	if err != nil {
		return 0, err
	}
	var (
		accepted atomic.Int64
		all      sync.WaitGroup
		errs     = make([]error, len(swarms))
	)
	for i, sw := range swarms {
		all.Go(func() {
			n, err := e.look(ctx, sw.Name)
			accepted.Add(int64(n))
			if err != nil {
				errs[i] = fmt.Errorf("swarm %s: %w", sw.Name, err)
			}
		})
	}
	all.Wait()
	return int(accepted.Load()), errors.Join(errs...)
}

// look asks for the nodes of one swarm, unless another process has the duty.
func (e *Enroller) look(ctx context.Context, name string) (int, error) {
	store, now := e.Service.cfg.Store, e.Service.cfg.Now
	looking := &duty.Duty{Store: store, Now: now, Name: swarmDuty + name, Owner: e.Owner, Hold: 3 * e.Every}
	mine, err := looking.Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	kept, stop := looking.Keep(ctx)
	defer stop()
	sw, err := store.Swarm(kept, name)
	if err != nil {
		return 0, fault.IgnoreNotFound(err) // it was forgotten meanwhile
	}
	nodes, err := e.ask(kept, sw)
	if kept.Err() != nil {
		return 0, kept.Err()
	}
	if err != nil {
		return 0, e.unseen(kept, sw, err)
	}
	sw.Nodes, sw.SeenAt, sw.Error = nodes, now(), ""
	return e.seen(kept, sw)
}

// ask lists the nodes of the swarm.
func (e *Enroller) ask(ctx context.Context, sw Swarm) ([]Node, error) {
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	nodes, err := e.Managers.Nodes(asked, sw.Name, sw.Endpoint)
	if err != nil && asked.Err() != nil {
		err = fault.Errorf(fault.CodeHostUnavailable, err, "no manager of the swarm answered within %s", askTimeout)
	}
	return nodes, err
}

// unseen writes why the swarm could not be looked at. What was seen before stays.
func (e *Enroller) unseen(ctx context.Context, sw Swarm, why error) error {
	text := clip(fault.Explain(why), maxReason)
	if sw.Error == text {
		return nil
	}
	e.Log.WarnContext(ctx, "the nodes of a swarm cannot be listed", "swarm", sw.Name, "error", why)
	sw.Error = text
	return lostRace(e.Service.cfg.Store.Tx(ctx, func(tx Tx) error { return tx.SeeSwarm(sw) }))
}

// lostRace takes it for success that somebody else was faster, also with a host of the same name or
// address: the next look sees what they did.
func lostRace(err error) error {
	if code := fault.CodeOf(err); err != nil && (code == fault.CodeConflict || code == fault.CodeHostExists) {
		return nil
	}
	return err
}

// seen writes what was seen of the swarm, and accepts the import of each node that is to be a host.
func (e *Enroller) seen(ctx context.Context, sw Swarm) (accepted int, err error) {
	ctx = tenant.Within(ctx, tenant.Pool)
	in, err := e.Service.neighbors(ctx)
	if err != nil {
		return 0, err
	}
	wanted := len(e.Service.enrollable(in, sw, ImportOptions{}))
	if wanted > 0 && e.DryRun {
		e.Log.InfoContext(ctx, "dry run: nodes of a swarm would be imported", "swarm", sw.Name, "nodes", wanted)
		wanted = 0
	}
	err = e.Service.cfg.Store.Tx(ctx, func(tx Tx) error {
		accepted = 0
		// It comes first: of two who look at once one waits here, and then finds another revision.
		if err := tx.SeeSwarm(sw); err != nil || wanted == 0 {
			return err
		}
		accepted, err = e.Service.enroll(tx, in, sw)
		return err
	})
	if err != nil {
		return 0, lostRace(err)
	}
	if accepted > 0 {
		e.Log.InfoContext(ctx, "nodes of a swarm become hosts", "swarm", sw.Name, "nodes", accepted)
	}
	return accepted, nil
}

// enroll accepts the imports, of the nodes that no host is as the transaction sees them.
func (s *Service) enroll(tx Tx, in *neighbors, sw Swarm) (int, error) {
	there, err := tx.AllHosts()
	if err != nil {
		return 0, err
	}
	now := neighborsOf(there, nil)
	now.places = in.places
	o := ImportOptions{SkipInit: true, Reserved: sw.Reserved}
	hosts := s.enrollable(now, sw, o)
	if len(hosts) == 0 {
		return 0, nil
	}
	_, err = s.insertImport(tx, tenant.Principal{Name: "swarm " + sw.Name}, hosts, o)
	return len(hosts), err
}

// enrollable gives the nodes of the swarm that are to be hosts, as hosts that are to be imported. It
// adds them to their neighbors.
func (s *Service) enrollable(in *neighbors, sw Swarm, o ImportOptions) (hosts []newHost) {
	for _, n := range sw.Nodes {
		if in.nodes[n.ID] != nil {
			continue
		}
		c, reason := in.candidateOf(sw, n)
		if reason != "" {
			continue
		}
		made := s.newHost(c, o, in.taken)
		in.add(&made.host)
		hosts = append(hosts, made)
	}
	return hosts
}
