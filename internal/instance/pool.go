package instance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Kind says which creates a warm instance fits.
type Kind struct{ Engine, Version, Plan string }

func (k Kind) String() string { return k.Engine + "@" + k.Version + ":" + k.Plan }

func kindOf(i Instance) Kind { return Kind{i.Spec.Engine, i.Spec.Version, i.Spec.Plan} }

// Warm is how many warm instances of a kind each host is to have.
type Warm struct {
	Kind
	Count int
}

// Pool keeps warm instances: it has as many made as are wanted on each host, replaces
// those that get old, and has deleted what is too much. It fills slowly, and not at all
// where ports run short, because nobody waits for it. Any number of processes may have
// one; a duty lets one of them work at a time.
type Pool struct {
	Store Store
	Hosts host.Reader
	Ports host.Ports
	Vault secret.Vault
	// Authority certifies servers; nil: they have no certificates.
	Authority Authority
	Secrets   secret.Generator
	Catalog   Catalog
	NewID     id.Maker
	Jobs      *job.Engine
	Now       clock.Clock
	Log       *slog.Logger
	Owner     string
	Want      []Warm
	MaxAge    time.Duration // older ones are replaced
}

const (
	// poolEvery is how often a pool looks what it lacks; one that wants nothing looks
	// whether something is left of what was wanted before.
	poolEvery      = time.Second
	emptyPoolEvery = time.Minute
	// DefaultWarmMaxAge keeps what waits near to what would be started now.
	DefaultWarmMaxAge = 6 * time.Hour
	poolDuty          = "pool"
	poolHold          = 5 * time.Second
	// fillsAtOnce bounds the creates under way for nobody, for each host.
	fillsAtOnce = 2
	// fillPause is how long nothing is made of a kind after it has failed.
	fillPause = time.Minute
	// fillDeadline is for a host that has to pull an image first.
	fillDeadline = 15 * time.Minute
	// spareShare of a host's ports stays free of warm instances: one in so many.
	spareShare = 10
	// leastSpare is how many at least, however few ports there are.
	leastSpare = 2
	poolPage   = 1000
)

// Every is how often RunOnce is due.
func (p *Pool) Every() time.Duration {
	if len(p.Want) == 0 {
		return emptyPoolEvery
	}
	return poolEvery
}

// CheckWarm completes what is wanted with the engines' defaults, and says what there is
// not.
func (c Catalog) CheckWarm(want []Warm) ([]Warm, error) {
	checked := slices.Clone(want)
	for i, k := range want {
		engine, err := c.Find(k.Engine)
		if err != nil {
			return nil, err
		}
		info := engine.Describe()
		version, ok := info.Version(k.Version)
		if !ok {
			return nil, fmt.Errorf("%s has no version %q; it has: %s", k.Engine, k.Version, names(info.Versions, func(v Version) string { return v.Name }))
		}
		plan, ok := info.Plan(k.Plan)
		if !ok {
			return nil, fmt.Errorf("%s has no plan %q; it has: %s", k.Engine, k.Plan, names(info.Plans, func(p Plan) string { return p.Name }))
		}
		if _, ok := engine.(Adopter); !ok {
			return nil, fmt.Errorf("instances of %s cannot be kept warm", k.Engine)
		}
		checked[i].Kind = Kind{info.Name, version.Name, plan.Name}
	}
	return checked, nil
}

// RunOnce brings each host nearer to what is wanted, and reports how many instances
// were begun or retired.
func (p *Pool) RunOnce(ctx context.Context) (int, error) {
	mine, err := (&duty.Duty{Store: p.Store, Now: p.Now, Name: poolDuty, Owner: p.Owner, Hold: poolHold}).Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	hosts, err := p.Hosts.Hosts(ctx)
	if err != nil {
		return 0, err
	}
	all, err := p.all(ctx)
	if err != nil {
		return 0, err
	}
	done := 0
	for _, host := range hosts {
		mine := slices.DeleteFunc(slices.Clone(all), func(i Instance) bool { return i.Status.Host != host.ID })
		n, err := p.keep(ctx, host, mine)
		if done += n; err != nil {
			return done, fmt.Errorf("host %s: %w", host.Name, err)
		}
	}
	return done, nil
}

// all gives every instance that is nobody's, the youngest first.
func (p *Pool) all(ctx context.Context) (all []Instance, err error) {
	for page := (page.Page{Limit: poolPage}); ; page.Before = string(all[len(all)-1].ID) {
		some, err := p.Store.Instances(ctx, Filter{Tenant: tenant.Nobody}, page)
		if all = append(all, some...); err != nil || len(some) < poolPage {
			return all, err
		}
	}
}

// stock is what a host has of one kind, the oldest first.
type stock struct {
	ready, failed []Instance
	filling       int
}

func (p *Pool) keep(ctx context.Context, host host.Host, all []Instance) (done int, err error) {
	have := map[Kind]*stock{}
	wanted := map[Kind]int{}
	for _, w := range p.Want {
		if host.Open() { // else what is there goes
			have[w.Kind], wanted[w.Kind] = &stock{}, wanted[w.Kind]+w.Count
		}
	}
	filling := 0
	slices.Reverse(all) // a list gives the youngest first
	for _, inst := range all {
		s := have[kindOf(inst)]
		if s == nil {
			s = &stock{}
			have[kindOf(inst)] = s
		}
		switch inst.State {
		case StateWarm:
			s.ready = append(s.ready, inst)
		case StateFailed:
			s.failed = append(s.failed, inst)
		case StatePending, StateProvisioning:
			s.filling++
			filling++
		}
	}
	for kind, s := range have {
		engine, _ := p.Catalog.Find(kind.Engine)
		for _, inst := range p.toRetire(s, wanted[kind], engine) {
			if err := p.retire(ctx, inst); err != nil {
				return done, err
			}
			done++
		}
	}
	for _, w := range p.Want {
		if !host.Takes() {
			break
		}
		s := have[w.Kind]
		missing := wanted[w.Kind] - len(s.ready) - s.filling
		for ; missing > 0 && len(s.failed) == 0 && filling < fillsAtOnce; missing-- {
			hasSparePorts, err := p.hasSparePorts(ctx, host)
			if err != nil || !hasSparePorts {
				return done, err
			}
			if err := p.fill(ctx, host, w.Kind); err != nil {
				return done, err
			}
			filling++
			s.filling++
			done++
		}
	}
	return done, nil
}

// toRetire gives what is to go: the oldest that are too many, one that is too old, and
// what has failed, once that has held the next try back for long enough.
func (p *Pool) toRetire(s *stock, wanted int, engine Engine) []Instance {
	now := p.Now()
	outdated := func(i Instance) bool {
		return now.Sub(i.CreatedAt) > p.MaxAge || engine == nil || i.Labels[imagesLabel] != imagesOf(engine, i.Spec.Version) || i.older(engine, p.Authority)
	}
	out := s.ready[:max(0, min(len(s.ready), len(s.ready)+s.filling-wanted))]
	if len(out) == 0 && s.filling == 0 {
		i := slices.IndexFunc(s.ready, outdated)
		if i >= 0 { // one by one, so that some are always there
			out = s.ready[i : i+1]
		}
	}
	out = slices.Clone(out)
	for _, inst := range s.failed {
		if now.Sub(inst.UpdatedAt) > fillPause || wanted == 0 {
			out = append(out, inst)
		}
	}
	return out
}

// imagesLabel is on a warm instance as long as it is nobody's: what it was started from.
const imagesLabel = "berth/images"

// imagesOf tells the images that an instance of the version is started from now from others.
func imagesOf(engine Engine, of string) string {
	version, _ := engine.Describe().Version(of)
	sum := sha256.Sum256([]byte(strings.Join(version.Images, " ")))
	return hex.EncodeToString(sum[:8])
}

func (p *Pool) retire(ctx context.Context, inst Instance) error {
	err := p.Store.Tx(ctx, func(tx Tx) error { return retire(p.Jobs, tx, inst.ID) })
	if err == nil {
		p.Log.InfoContext(ctx, "retiring a warm instance", "instance", inst.ID, "kind", kindOf(inst).String(), "state", inst.State, "age", p.Now().Sub(inst.CreatedAt).String())
	}
	return fault.IgnoreLostRace(err)
}

// hasSparePorts reports whether the host has ports to spare.
func (p *Pool) hasSparePorts(ctx context.Context, host host.Host) (bool, error) {
	free, err := p.Hosts.PortsFree(ctx, host, p.Now())
	return free > max(leastSpare, (host.PortHigh-host.PortLow+1)/spareShare), err
}

// fill begins one instance. It is made on that host and by a job like any other.
func (p *Pool) fill(ctx context.Context, host host.Host, kind Kind) error {
	engine, err := p.Catalog.Find(kind.Engine)
	if err != nil {
		return err
	}
	plan, ok := engine.Describe().Plan(kind.Plan)
	if !ok {
		return errors.New("there is no " + kind.String())
	}
	now := p.Now()
	inst := Instance{
		ID: ID(p.NewID(Prefix)), Tenant: tenant.Nobody, Spec: Spec{Engine: kind.Engine, Version: kind.Version, Plan: kind.Plan, Resources: plan.Resources, Parameters: engine.Complete(nil, plan.Resources), Ports: engine.Ports(false)},
		Labels: map[string]string{imagesLabel: imagesOf(engine, kind.Version)},
		State:  StatePending, Status: Status{Host: host.ID}, CreatedAt: now, UpdatedAt: now,
	}
	inst.Name = strings.ToLower(string(inst.ID))
	creds := engine.NewCredentials(inst, p.Secrets)
	sealed, err := SealCredentials(p.Vault, inst.ID, creds)
	if err != nil {
		return err
	}
	j, err := newJob(p.Jobs, JobCreate, "", inst, fillDeadline, "")
	if err != nil {
		return err
	}
	err = p.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.InsertInstance(inst); err != nil {
			return err
		}
		if err := p.Jobs.Insert(tx, j); err != nil {
			return err
		}
		return tx.PutCredentials(inst.ID, sealed)
	})
	if err != nil {
		return err
	}
	p.Log.InfoContext(ctx, "creating a warm instance", "instance", inst.ID, "kind", kind.String(), "host", host.Name)
	return nil
}
