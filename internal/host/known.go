package host

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/ttl"
)

// Known gives the Runtimes of hosts as long as the engines that answer are the ones
// that the hosts are known by. Another one, at a mistyped address for example, has
// nothing of their instances, and what is missing there says nothing: every call to it
// fails with CodeHostUnavailable.
//
// A host is known by the first engine that answers for it, one of the pool by the engine that its
// import has found. It may change to another one while it has no instances, or when the operator
// says which one (Accept).
type Known struct {
	Runtimes Runtimes
	Store    Store
	Now      clock.Clock
	Log      *slog.Logger
	Accept   string // an engine that any host may change to

	seen ttl.Map[seenAt, struct{}] // where the right engine has answered
}

// seenAt is a host at an address.
type seenAt struct {
	host     ID
	endpoint string
}

// KnownFor is how long an engine that keeps answering is taken for the same one. Where
// a conclusion is drawn from what it does not have, it is always asked.
const KnownFor = 5 * time.Second

// Runtime implements Runtimes.
func (k *Known) Runtime(host Host) (Runtime, error) {
	runtime, err := k.Runtimes.Runtime(host)
	if err != nil {
		return nil, err
	}
	return knownRuntime{next: runtime, known: k, host: host}, nil
}

// Register writes the host, unless the engine that answers at its address may not be
// its: then it stays as it was, and the log says so.
func (k *Known) Register(ctx context.Context, host Host) error {
	if runtime, err := k.Runtimes.Runtime(host); err == nil {
		if _, err := runtime.Identity(ctx); fault.CodeOf(err) == fault.CodeHostRefused {
			return err // what answers there is no Docker engine; silence is no reason
		}
	}
	all, err := k.Store.Hosts(ctx)
	if err != nil {
		return err
	}
	for _, h := range all {
		if h.Name == host.Name && h.Source == FromPool {
			return fault.Errorf(fault.CodeHostExists, nil, "the pool has a host named %s already; choose another name for this worker's (BERTH_HOST_NAME)", h.Name)
		}
		if h.Name != host.Name || h.Endpoint == host.Endpoint {
			continue
		}
		h.Endpoint = host.Endpoint
		if err := k.another(ctx, h); err != nil {
			k.Log.ErrorContext(ctx, "the address of the host was not changed", "host", h.Name, "error", err)
			return nil
		}
	}
	return k.Store.Tx(ctx, func(tx Tx) error {
		_, err := Put(tx, host)
		return err
	})
}

// Put writes a host that is registered by a worker's settings. A new one has one disk.
func Put(tx Tx, h Host) (Host, error) {
	h, err := tx.PutHost(h)
	if err != nil {
		return Host{}, err
	}
	disks, err := tx.HostDisks(h.ID)
	if err != nil || len(disks) > 0 {
		return h, err
	}
	return h, tx.InsertDisk(engineDisk(h))
}

// engineDisk returns the disk of a host of which nobody has named one. Whoever makes it, its id
// is the same.
func engineDisk(h Host) Disk {
	return Disk{ID: DiskID(DiskPrefix + strings.TrimPrefix(string(h.ID), Prefix)), Host: h.ID, State: DiskAvailable, Enforcement: EnforcedByNone}
}

// another fails where an engine answers that may not be the host's.
func (k *Known) another(ctx context.Context, host Host) error {
	runtime, err := k.Runtimes.Runtime(host)
	if err != nil {
		return err
	}
	id, err := runtime.Identity(ctx)
	if err != nil || id == host.Engine {
		return nil //nolint:nilerr // one that does not answer may be the right one
	}
	return k.mayBe(ctx, host, id)
}

// mayBe fails unless the host may change to the engine.
func (k *Known) mayBe(ctx context.Context, host Host, id string) error {
	if host.Engine == "" && host.Source == FromPool {
		return fault.Errorf(fault.CodeHostUnavailable, nil, "host %s is not a host yet: its import says which engine is its own", host.Name)
	}
	if host.Engine == "" || id == k.Accept {
		return nil
	}
	occupied, err := k.Store.Occupied(ctx, host.ID)
	if err != nil || !occupied {
		return err
	}
	return fault.Errorf(fault.CodeHostUnavailable, nil, "host %s: another Docker engine answers at %s: %s instead of %s. Berth changes nothing there. Check that BERTH_DOCKER_HOST "+
		"is correct and that the engine has its data; if this engine replaces the other one, restart the workers with BERTH_ACCEPT_ENGINE=%s",
		host.Name, host.Endpoint, id, host.Engine, id)
}

// ofPool fails where the engine is that of a host of the pool: what it has would be sold twice.
func (k *Known) ofPool(ctx context.Context, host Host, engine string) error {
	all, err := k.Store.Hosts(ctx)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Source == FromPool && other.Engine == engine && other.ID != host.ID {
			return fault.Errorf(fault.CodeHostUnavailable, nil, "host %s: the engine at %s is that of host %s of the pool already; give this worker "+
				"an engine of its own (BERTH_DOCKER_HOST), or delete host %s", host.Name, host.Endpoint, other.Name, other.Name)
		}
	}
	return nil
}

// check fails unless the engine that answers is the host's.
func (k *Known) check(ctx context.Context, runtime Runtime, host Host, fresh bool) error {
	if _, recent := k.seen.Get(seenAt{host.ID, host.Endpoint}, k.Now()); recent && !fresh {
		return nil
	}
	k.forget(host)
	id, err := runtime.Identity(ctx)
	if err != nil {
		return err
	}
	for {
		stored, err := k.Store.Host(ctx, host.ID)
		if errors.Is(err, fault.ErrNotFound) {
			return fault.Errorf(fault.CodeHostUnavailable, err, "host %s is not registered", host.Name)
		}
		if err != nil {
			return err
		}
		if stored.Engine != id {
			stored.Endpoint = host.Endpoint
			err = k.change(ctx, stored, id)
		}
		if errors.Is(err, fault.ErrConflict) {
			continue // somebody else has met it at the same moment
		}
		if err == nil {
			k.seen.Put(seenAt{host.ID, host.Endpoint}, struct{}{}, k.Now(), KnownFor)
		}
		return err
	}
}

func (k *Known) change(ctx context.Context, host Host, id string) error {
	if err := k.mayBe(ctx, host, id); err != nil {
		return err
	}
	if err := k.ofPool(ctx, host, id); err != nil {
		return err
	}
	after := host
	after.Engine = id
	if err := k.Store.Tx(ctx, func(tx Tx) error { return tx.MarkHost(after, host) }); err != nil {
		return err
	}
	if host.Engine != "" {
		k.Log.WarnContext(ctx, "a host changed to another engine", "host", host.Name, "engine", id, "before", host.Engine)
	}
	return nil
}

func (k *Known) forget(host Host) { k.seen.Delete(seenAt{host.ID, host.Endpoint}) }
