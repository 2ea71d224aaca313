package tenant

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/ttl"
)

// What a tenant holds is counted from the rows of its things, and is kept nowhere else: there
// is no ledger that could differ from them. So that two requests cannot both get the last
// place, whoever takes something from a limited tenant has the row of the tenant's quota to
// itself until its transaction ends, and counts then. Requests of tenants without limits only
// share that row, and do not wait for one another; a change of the quota waits for all of them.

// QuotaConfig is what Quotas need.
type QuotaConfig struct {
	Store Store
	NewID id.Maker
	Now   clock.Clock
	// Default limits tenants that have no limit of their own.
	Default Amounts
	// Kinds are the kinds of jobs that JobsPerHour counts.
	Kinds []string
}

// Quotas limit what tenants may have.
type Quotas struct {
	cfg QuotaConfig
	// limited remembers whether a tenant has a limit, so that its row is locked at once in
	// the way that it takes.
	limited ttl.Map[ID, bool]
}

// NewQuotas makes Quotas.
func NewQuotas(cfg QuotaConfig) *Quotas { return &Quotas{cfg: cfg} }

// limitedFor is how long limited remembers.
const limitedFor = time.Minute

// errNotAlone says that a tenant has limits whose row was not locked in the way that takes.
var errNotAlone = errors.New("the quota was not known to have limits")

// Attempt runs a transaction that calls Reserve, and runs it again where Reserve learned only
// by it how to lock the quota.
func (q *Quotas) Attempt(transaction func() error) error {
	err := transaction()
	if errors.Is(err, errNotAlone) {
		err = transaction()
	}
	return err
}

// Reserve refuses what exceeds the tenant's quota with CodeQuota. It is called at the end of
// the transaction that writes what is added, and counts that, too. The transaction is run by
// Attempt.
func (q *Quotas) Reserve(tx QuotaRows, of ID, added Amounts) error {
	now := q.cfg.Now()
	alone, _ := q.limited.Get(of, now)
	own, err := tx.LockQuota(of, alone)
	if err != nil {
		return err
	}
	limits := limitsOf(own, q.cfg.Default)
	q.limited.Put(of, len(limits) > 0, now, limitedFor)
	switch {
	case len(limits) == 0:
		return nil
	case !alone:
		return errNotAlone
	}
	held, err := tx.Held(of, q.cfg.Kinds, now.Add(-time.Hour))
	if err != nil {
		return err
	}
	return exceeded(of, limits, held, added)
}

// Quota is what limits a tenant.
type Quota struct {
	Tenant ID
	// Own are the limits that operators have set, Limits those in force. A measure that is
	// not in Limits has none.
	Own, Limits Amounts
}

// Quota returns what limits a tenant, for its owners and for operators.
func (q *Quotas) Quota(ctx context.Context, p Principal, which ID) (Quota, error) {
	if err := q.mayManage(ctx, p, which); err != nil {
		return Quota{}, err
	}
	own, err := q.cfg.Store.Quota(ctx, which)
	return Quota{which, own, limitsOf(own, q.cfg.Default)}, err
}

func (q *Quotas) mayManage(ctx context.Context, p Principal, which ID) error {
	p, err := in(ctx, q.cfg.Store, p, which)
	if err != nil {
		return err
	}
	return p.MayAll(Manage)
}

// SetQuota replaces the limits that a tenant has of its own; a measure that is not in them
// gets the default. What the tenant holds beyond them it keeps.
func (q *Quotas) SetQuota(ctx context.Context, p Principal, which ID, own Amounts) (Quota, error) {
	p, err := in(ctx, q.cfg.Store, p, which)
	if err != nil {
		return Quota{}, err
	}
	if err := p.May(Operate); err != nil {
		return Quota{}, err
	}
	if _, err := liveTenant(ctx, q.cfg.Store, which); err != nil {
		return Quota{}, err
	}
	if wrong := CheckLimits(own); wrong != nil {
		return Quota{}, fault.Invalid(wrong)
	}
	err = q.cfg.Store.Tx(ctx, func(tx Tx) error {
		if _, err := tx.LockQuota(which, true); err != nil {
			return err
		}
		if err := tx.PutQuota(which, own); err != nil {
			return err
		}
		return Auditor{q.cfg.NewID, q.cfg.Now}.Note(tx, p, Deed{Action: ActQuotaSet, On: string(which), Detail: own.String()})
	})
	return Quota{which, own, limitsOf(own, q.cfg.Default)}, err
}

// Usage is what a tenant holds, and what limits it.
type Usage struct {
	Quota
	Held Amounts
}

// Usage returns what the principal's tenant holds.
func (q *Quotas) Usage(ctx context.Context, p Principal) (Usage, error) {
	quota, err := q.Quota(ctx, p, p.Tenant)
	if err != nil {
		return Usage{}, err
	}
	held, err := q.cfg.Store.Held(ctx, p.Tenant, q.cfg.Kinds, q.cfg.Now().Add(-time.Hour))
	return Usage{quota, held}, err
}
