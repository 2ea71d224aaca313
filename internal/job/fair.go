package job

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

// The queue has tasks in the order in which they came: of a tenant who asked for ten thousand
// things, all are before the first of another one. But a task is only a wake-up call. As soon
// as jobs have to wait, a worker that is woken begins the job whose turn it is: one of the
// tenant that has the fewest jobs under way. The job of the task waits on, and is begun with
// the task of another job. There are as many tasks as jobs, so none is left over; where a task
// is lost, the relay makes another one.

const (
	// patience is for how long a job waits before turns matter.
	patience = time.Second
	// turnsFor is for how long it is remembered who waits.
	turnsFor = 500 * time.Millisecond
	// drawnFrom is from how many of a tenant's oldest jobs one is drawn, so that workers do
	// not all want the same one, and draws how often one is, where another worker was faster.
	drawnFrom = 16
	draws     = 4
)

// Turn is what a tenant has of one kind of job.
type Turn struct {
	Tenant  tenant.ID
	Kind    Kind
	Waiting int // jobs that nobody has begun
	Running int
}

// turns remembers who waits, and who had a turn.
type turns struct {
	mu    sync.Mutex
	until time.Time
	all   []Turn
	last  map[tenant.ID]int // number of the last turn that each tenant had, of those that wait
	count int
}

// begin claims the job of a task, or, where jobs have to wait, the one whose turn it is.
func (r *Runner) begin(ctx context.Context, woken id.Job) (*Run, error) {
	j, err := r.cfg.Store.Job(ctx, woken)
	if err != nil {
		return nil, err
	}
	waits := j.State == Queued && j.StartedAt.IsZero()
	if waits && r.Now().Sub(j.CreatedAt) < patience || !waits && !j.State.Ended() { // one that was begun goes on
		return r.claim(ctx, woken)
	}
	for range draws {
		which, err := r.turn(ctx, j, waits)
		if err != nil || which == "" {
			return nil, cmp.Or(err, errNotClaimable)
		}
		run, err := r.claim(ctx, which)
		if !errors.Is(err, errNotClaimable) && (err == nil || fault.IgnoreLostRace(err) != nil) {
			return run, err
		}
		waits = waits && which != woken // another worker was faster
	}
	return nil, errNotClaimable
}

// turn returns the job whose turn it is, for a worker that was woken for the one given, which
// may wait itself; empty: none waits.
func (r *Runner) turn(ctx context.Context, woken Job, waits bool) (id.Job, error) {
	def, err := r.Kinds.find(woken.Kind)
	if err != nil {
		return "", err
	}
	pool := def.pool(woken)
	whose, err := r.turns.next(ctx, r, pool, woken, waits)
	if err != nil || whose == "" {
		return "", err
	}
	if whose == woken.Tenant && waits {
		return woken.ID, nil
	}
	oldest, err := r.cfg.Store.WaitingJobs(ctx, whose, drawnFrom)
	if err != nil {
		return "", err
	}
	oldest = slices.DeleteFunc(oldest, func(j Job) bool {
		def, err := r.Kinds.find(j.Kind)
		return err != nil || def.pool(j) != pool
	})
	if len(oldest) == 0 {
		if waits {
			return woken.ID, nil
		}
		return "", nil
	}
	return oldest[rand.IntN(len(oldest))].ID, nil //nolint:gosec // any will do
}

// next returns the tenant whose turn it is in a pool, and notes that it has it; empty: none
// waits. Of two with as many jobs under way, the one comes first whose last turn is longer ago.
func (t *turns) next(ctx context.Context, r *Runner, pool bell.Pool, woken Job, waits bool) (tenant.ID, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := r.Now(); !now.Before(t.until) {
		all, err := r.cfg.Store.Turns(ctx)
		if err != nil {
			return "", err
		}
		last := t.last
		t.all, t.until, t.last = all, now.Add(turnsFor), map[tenant.ID]int{}
		for _, turn := range all {
			t.last[turn.Tenant] = last[turn.Tenant]
		}
	}
	waiting, running := map[tenant.ID]int{}, map[tenant.ID]int{} // places in all, and jobs
	for i, turn := range t.all {
		def, err := r.Kinds.find(turn.Kind)
		if err != nil || def.pool(Job{Kind: turn.Kind, Tenant: turn.Tenant}) != pool {
			continue
		}
		running[turn.Tenant] += turn.Running
		if turn.Waiting > 0 {
			waiting[turn.Tenant] = i
		}
	}
	if _, known := waiting[woken.Tenant]; waits && !known { // it came after we looked
		waiting[woken.Tenant] = len(t.all)
		t.all = append(t.all, Turn{Tenant: woken.Tenant, Kind: woken.Kind, Waiting: 1})
	}
	var best tenant.ID
	for whose := range waiting {
		if best == "" || cmp.Or(cmp.Compare(running[whose], running[best]), cmp.Compare(t.last[whose], t.last[best]), cmp.Compare(whose, best)) < 0 {
			best = whose
		}
	}
	if i, some := waiting[best]; some {
		t.all[i].Waiting--
		t.all[i].Running++
		t.count++
		t.last[best] = t.count
	}
	return best, nil
}
