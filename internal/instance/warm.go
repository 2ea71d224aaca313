package instance

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// A warm instance is one that was started before anybody asked for it: it belongs to
// tenant.Nobody, runs with the default parameters of its plan, and waits. A create that
// fits takes it over in the transaction that accepts: the row becomes the tenant's, with
// its own name, parameters and credentials, and the job's first step brings the server
// to them. The Pool keeps the number up.

const (
	// maxClaims is how many warm instances a create tries to get, when others are faster.
	maxClaims = 3
	// warmBatch is how many of the engine's are looked at.
	warmBatch = 100
	// noWarmFor is how long a process remembers that there was none.
	noWarmFor = 200 * time.Millisecond
)

// errTaken says that somebody else has the warm instance.
var errTaken = errors.New("the warm instance is taken")

// warmOf gives warm instances of an engine, or of any, the youngest first.
func warmOf(ctx context.Context, store Store, engine string, limit int) ([]Instance, error) {
	ctx = tenant.Within(ctx, tenant.Nobody) // they are no tenant's who asks for one
	return store.Instances(ctx, Filter{Tenant: tenant.Nobody, State: StateWarm, Engine: engine}, page.Page{Limit: limit})
}

// fitting gives a few warm instances that fit what is asked for. They are drawn, so that
// many creates at once do not all go for the same one. A failure means none: there is
// the ordinary way.
func (s *Service) fitting(ctx context.Context, engine Engine, want Instance) []Instance {
	now := s.cfg.Now()
	if now.UnixMilli() < s.noWarmUntil.Load() || !want.Spec.Placement.Empty() {
		return nil
	}
	found, err := warmOf(ctx, s.cfg.Store, want.Spec.Engine, warmBatch)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "cannot look for a warm instance", "error", err)
		return nil
	}
	if len(found) == 0 {
		s.noWarmUntil.Store(now.Add(noWarmFor).UnixMilli())
	}
	found = slices.DeleteFunc(found, func(i Instance) bool {
		return kindOf(i) != kindOf(want) || i.Spec.Resources != want.Spec.Resources || i.Spec.ports() != want.Spec.ports() || i.older(engine, s.cfg.Authority)
	})
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] }) //nolint:gosec // spread, not a secret
	return found[:min(len(found), maxClaims)]
}

// claimWarm returns what is asked for in the place of a warm instance.
func (i Instance) claimWarm(warm Instance) Instance {
	i.ID, i.Status.Host, i.Status.Address, i.Status.Port, i.Fence, i.Rev = warm.ID, warm.Status.Host, warm.Status.Address, warm.Status.Port, warm.Fence, warm.Rev
	i.Status.TLSPort, i.Status.CertifiedUntil = warm.Status.TLSPort, warm.Status.CertifiedUntil
	return i
}

// older reports whether an earlier release has started the warm instance, without what an
// instance of the engine has now.
func (i Instance) older(engine Engine, by Authority) bool {
	_, certified := engine.(Certified)
	certified = certified && by != nil
	return i.Spec.ports() != engine.Ports(false) || certified && i.Status.CertifiedUntil.IsZero()
}

func (s *Service) warmPassword(ctx context.Context, id ID) (secret.Secret, error) {
	sealed, err := s.cfg.Store.Credentials(tenant.Within(ctx, tenant.Nobody), id) // not the tenant's yet
	if err != nil {
		return secret.Secret{}, errTaken // and deleted meanwhile
	}
	creds, err := OpenCredentials(s.cfg.Vault, id, sealed)
	return creds.Password, err
}

// putAccepted writes the instance of a create: a new row, or the one of the warm
// instance that it takes, which has a revision: whatever becomes of one that is warm raises it.
func putAccepted(tx Tx, inst Instance) error {
	if inst.Rev == 0 {
		return tx.InsertInstance(inst)
	}
	if err := tx.ReplaceInstance(inst); !errors.Is(err, fault.ErrConflict) {
		return err
	}
	return errTaken
}

// replace has a warm instance deleted that does not run any more; the pool makes
// another one.
func (m *Mender) replace(ctx context.Context, inst Instance, why string) (bool, error) {
	err := m.Store.Tx(ctx, func(tx Tx) error { return retire(m.Jobs, tx, inst.ID) })
	if err != nil {
		return false, fault.IgnoreLostRace(err)
	}
	m.Log.WarnContext(ctx, "replacing a warm instance", "instance", inst.ID, "host", inst.Status.Host, "reason", why)
	return true, nil
}

// makeRoom has a warm instance give way to a create that finds no port, and reports
// whether one does.
func (w *work) makeRoom(ctx context.Context) (bool, error) {
	if w.inst.Stock() {
		return false, nil
	}
	warm, err := warmOf(ctx, w.cfg.Store, "", 1)
	if err != nil || len(warm) == 0 {
		return false, err
	}
	err = w.cfg.Store.Tx(ctx, func(tx Tx) error { return retire(w.Engine(), tx, warm[0].ID) })
	if err == nil {
		w.Log().InfoContext(ctx, "evicting a warm instance to free its port", "instance", warm[0].ID, "to", w.inst.ID)
	}
	return true, fault.IgnoreLostRace(err) // or it gives way to somebody else
}
