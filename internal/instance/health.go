package instance

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
)

// Health probes running instances on a schedule: by an account of Berth's own where the
// engine has one, and whether the tenant gets in.
// Any number of workers share the instances: each claims a few that are due by putting
// their next probe off, so that a probe that finds nothing new writes nothing more.
//
// It marks, and never restarts: a tenant who has filled his memory or used up all his
// connections has an instance that does not answer, and would lose it to a restart.
type Health struct {
	Store   Store
	Hosts   host.Reader
	Vault   secret.Vault
	Catalog Catalog
	// Authority is whom servers are verified by; nil: by nobody.
	Authority Authority
	// Runtimes says what became of a server that does not answer; nil: nobody is asked.
	Runtimes host.Runtimes
	NewID    id.Maker
	Jobs     *job.Engine
	Now      clock.Clock
	Log      *slog.Logger
	Every    time.Duration // between two probes of one instance, give or take a tenth
}

const (
	// DefaultProbeEvery is how often an instance is probed.
	DefaultProbeEvery = 30 * time.Second
	// HealthEvery is how often is looked for instances that are due.
	HealthEvery = 500 * time.Millisecond
	// ProbesAtOnce bounds the probes of one worker.
	ProbesAtOnce = 64
	maxMisses    = 3
	// afterMiss is how soon is probed again after a miss.
	afterMiss = 5 * time.Second
)

// firstProbe gives how long after it is known to run an instance is probed. It is
// random, so that what was created together is not probed together ever after.
func firstProbe() time.Duration {
	return afterMiss + rand.N(2*afterMiss) //nolint:gosec // jitter, not a secret
}

// Run probes until the context ends, and then waits for the probes under way.
func (h *Health) Run(ctx context.Context) error {
	pool := probePool{slots: make(chan struct{}, ProbesAtOnce)}
	defer pool.all.Wait()
	ticker := time.NewTicker(HealthEvery)
	defer ticker.Stop()
	failing := false
	for {
		_, err := h.round(ctx, &pool)
		if err != nil && ctx.Err() == nil && !failing {
			h.Log.WarnContext(ctx, "health checks fail; retrying", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// RunOnce probes what is due now, and reports how many that were.
func (h *Health) RunOnce(ctx context.Context) (int, error) {
	pool := probePool{slots: make(chan struct{}, ProbesAtOnce)}
	defer pool.all.Wait()
	return h.round(ctx, &pool)
}

// probePool is the probes under way, which take a slot each.
type probePool struct {
	slots chan struct{}
	all   sync.WaitGroup
}

// round begins probes until nothing is due, no more at once than there are slots, so
// that instances that hang delay nobody but themselves.
func (h *Health) round(ctx context.Context, pool *probePool) (int, error) {
	for begun := 0; ; {
		select {
		case pool.slots <- struct{}{}:
			<-pool.slots // nobody else takes one
		case <-ctx.Done():
			return begun, ctx.Err()
		}
		batch, err := h.claim(ctx, cap(pool.slots)-len(pool.slots))
		if err != nil || len(batch) == 0 {
			return begun, err
		}
		for _, watch := range batch {
			pool.slots <- struct{}{}
			pool.all.Go(func() {
				defer func() { <-pool.slots }()
				h.look(ctx, watch)
			})
		}
		begun += len(batch)
	}
}

func (h *Health) claim(ctx context.Context, limit int) ([]Watch, error) {
	now := h.Now()
	due, err := h.Store.WatchesDue(ctx, now)
	if err != nil || !due {
		return nil, err
	}
	var batch []Watch
	err = h.Store.Tx(ctx, func(tx Tx) error {
		spread := h.Every / 5
		batch, err = tx.ClaimWatches(h.NewID(prefixClaim), now, now.Add(h.Every-spread/2), spread, limit)
		return err
	})
	return batch, err
}

// prefixClaim is of ids that nobody sees.
const prefixClaim = "clm"

// look probes one instance and writes what is new.
func (h *Health) look(ctx context.Context, watch Watch) {
	inst, err := h.Store.Instance(ctx, watch.Instance)
	if err == nil && inst.State != StateRunning && inst.State != StateUnhealthy {
		return // whoever makes it run again starts the watch
	}
	if err == nil {
		var seen sighting
		if seen, err = h.probe(ctx, inst); ctx.Err() != nil {
			return
		}
		if err == nil {
			if seen.miss != nil && watch.Misses+1 >= maxMisses {
				seen.miss = h.cause(ctx, inst, seen.miss)
			}
			err = h.record(ctx, inst, watch, seen)
		}
	}
	if fault.IgnoreLostRace(err) != nil {
		h.Log.WarnContext(ctx, "could not check the health of an instance", "instance", watch.Instance, "error", err)
	}
}

// sighting is what one probe has seen.
type sighting struct {
	miss   error         // why the instance cannot be used; nil: it can
	notice string        // what its tenant should know of it all the same
	disk   time.Duration // until its disk is to be measured again
}

// probe looks at the instance. The error says that it could not be asked, which tells
// nothing of its health.
func (h *Health) probe(ctx context.Context, inst Instance) (sighting, error) {
	engine, err := h.Catalog.Find(inst.Spec.Engine)
	if err != nil {
		return sighting{}, err
	}
	sealed, err := h.Store.Credentials(ctx, inst.ID)
	if err != nil {
		return sighting{}, err
	}
	creds, err := OpenCredentials(h.Vault, inst.ID, sealed)
	if err != nil {
		return sighting{}, err
	}
	creds = creds.verifiable(inst, h.Authority)
	// It must have ended before it is claimed again, or what it found would not count.
	ctx, cancel := context.WithTimeout(ctx, min(probeTimeout, h.Every/2))
	defer cancel()
	seen := h.use(ctx, inst, engine, creds)
	if seen.disk, err = h.keepDisk(ctx, inst, engine, creds); err != nil && seen.miss == nil && ctx.Err() == nil {
		h.Log.WarnContext(ctx, "the disk of an instance could not be measured; retrying with the next probe", "instance", inst.ID, "error", err)
	}
	return seen, nil
}

// use sees whether the instance can be used.
func (h *Health) use(ctx context.Context, inst Instance, engine Engine, creds Credentials) sighting {
	caretaker, ok := engine.(Caretaker)
	if !ok {
		return sighting{miss: engine.Probe(ctx, inst, creds)}
	}
	found, err := caretaker.Look(ctx, inst, creds)
	if found.Upkeep != nil && ctx.Err() == nil {
		h.Log.WarnContext(ctx, "maintenance of a server failed; retrying with the next probe", "instance", inst.ID, "error", found.Upkeep)
	}
	return sighting{miss: err, notice: found.Notice}
}

// causeWithin bounds the question what became of a server.
const causeWithin = 3 * time.Second

// cause asks the host why a server does not answer, where the host knows better.
func (h *Health) cause(ctx context.Context, inst Instance, miss error) error {
	if h.Runtimes == nil {
		return miss
	}
	ctx, cancel := context.WithTimeout(ctx, causeWithin)
	defer cancel()
	on, err := h.Hosts.Host(ctx, inst.Status.Host)
	if err != nil {
		return miss
	}
	runtime, err := h.Runtimes.Runtime(on)
	if err != nil {
		return miss
	}
	unit, err := runtime.Inspect(ctx, host.UnitID(inst.ID))
	switch {
	case err != nil:
		return miss
	case unit.Paused:
		return fault.Errorf(fault.CodeProbeFailed, miss, "its container is paused on host %s; resume it with docker unpause", on.Name)
	case !unit.Running:
		return fault.Errorf(fault.CodeProbeFailed, miss, "%s", unit.Ending())
	}
	return miss
}

// failedInARow begins the reason of an instance that probes have found unusable.
var failedInARow = fmt.Sprintf("it failed %d times in a row: ", maxMisses)

// record writes what a probe has seen, if that is anything new.
func (h *Health) record(ctx context.Context, inst Instance, watch Watch, seen sighting) error {
	now := h.Now()
	soon := seen.disk < h.Every-h.Every/10 // sooner than the claim has put it off to
	if soon {
		watch.ProbeAt = now.Add(seen.disk)
	}
	if seen.miss == nil && watch.Misses == 0 && inst.State == StateRunning && inst.Reason == seen.notice && !soon {
		return nil
	}
	next, said := StateRunning, verdict{kept: seen.notice, message: "it answers again", event: EventRunning}
	if seen.miss == nil {
		watch.Misses = 0
		if seen.notice != "" {
			said.message += "; " + seen.notice
		}
	} else {
		watch.Misses++
		if watch.Misses <= maxMisses {
			watch.ProbeAt = now.Add(min(afterMiss, seen.disk))
		}
		reason := failedInARow + fault.Explain(seen.miss)
		next, said = StateUnhealthy, verdict{kept: reason, message: reason, event: EventUnhealthy}
	}
	turned := inst.State != next && (seen.miss == nil || watch.Misses >= maxMisses)
	if !turned && inst.State == next && said.another(inst) {
		turned = true
		if next == StateRunning {
			said.event, said.message = EventNotice, seen.notice
			if seen.notice == "" {
				said.message = "it matches Berth's record again"
			}
		}
	}
	err := h.Store.Tx(ctx, func(tx Tx) error {
		if turned {
			if err := h.turn(tx, inst, next, said, now); err != nil {
				return err
			}
		}
		return tx.UpdateWatch(watch)
	})
	if err == nil && turned {
		h.Log.InfoContext(ctx, "health changed", "instance", inst.ID, "state", next, "reason", said.message)
	}
	return err
}

// verdict is what is said of an instance whose health has changed.
type verdict struct{ kept, message, event string }

// another reports whether the reason of an instance that stays in its state is another one
// now. What a repair has said stays: it says more than a probe.
func (v verdict) another(inst Instance) bool {
	if inst.State == StateUnhealthy && !strings.HasPrefix(inst.Reason, failedInARow) {
		return false
	}
	return inst.Reason != v.kept
}

// turn changes the state or the reason of an instance that has no job: a job knows better.
func (h *Health) turn(tx Tx, inst Instance, next State, said verdict, now time.Time) error {
	if err := job.Idle(tx, id.Subject(inst.ID)); err != nil {
		return err
	}
	if inst.State == next {
		inst.Reason, inst.UpdatedAt = said.kept, now
	} else if err := inst.Move(next, said.kept, now); err != nil {
		return err
	}
	if err := tx.UpdateInstance(inst); err != nil {
		return err
	}
	return announce(h.Jobs, tx, said.event, inst, "", said.message, now)
}
