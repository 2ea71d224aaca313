package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/engine"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// way is one way to get a usable server and to be rid of it again.
type way struct {
	name string
	// turn does so, the i-th of those at once, and gives how long each took.
	turn func(ctx context.Context, i int) (usable, removed time.Duration, err error)
	// before is not measured: what the way needs to be there.
	before func(context.Context) error
	// all, where it is set, does several at once by itself.
	all func(ctx context.Context, count int) (usable, removed []time.Duration, err error)
}

// The names of the ways, by which they are compared.
const (
	byBerth       = "Berth"
	byBerthCold   = "Berth without golden data"
	byBerthWarm   = "Berth warm"
	byBare        = "bare Docker, from nothing"
	byInitialised = "bare Docker, initialised directory"
	byEntrypoint  = "official entrypoint, initialising"
	byContainers  = "testcontainers-go"
)

// aims are what is aimed at for POST to usable.
func aims(engineName string) (pairs []pair, warm float64) {
	if engineName == "mysql" {
		return []pair{{byInitialised, 1.25}, {byEntrypoint, 0.25}, {byContainers, 0.3}}, 150
	}
	return []pair{{byInitialised, 1.25}, {byContainers, 1.0}}, 60
}

type pair struct {
	with   string
	target float64
}

// berths are the servers that are measured beside one another; those that are not asked
// have nothing to do.
type berths struct{ golden, cold, warm *dev }

func (b *bench) startBerths(ctx context.Context, warm int) (_ *berths, closed func() error, err error) {
	all := &berths{}
	closed = func() (err error) {
		for _, d := range []*dev{all.golden, all.cold, all.warm} {
			if d != nil {
				err = errors.Join(err, d.close(ctx))
			}
		}
		return err
	}
	pool := fmt.Sprintf("BERTH_WARM_POOL=redis:small=%d,mysql:small=%d", warm, warm)
	name := runID()
	for _, one := range []struct {
		to       **dev
		name     string
		ports    string
		settings []string
	}{
		{&all.golden, "golden", "26000-26299", nil}, {&all.cold, "cold", "26300-26599", []string{"BERTH_GOLDEN=false"}}, {&all.warm, "warm", "26600-26899", []string{pool}},
	} {
		if one.name == "warm" && warm == 0 {
			continue
		}
		if *one.to, err = b.startDev(ctx, name+one.name, one.ports, one.settings...); err != nil {
			return nil, nil, errors.Join(err, closed())
		}
	}
	return all, closed, nil
}

// waysOf gives every way to have the engine's server.
func (b *bench) waysOf(ctx context.Context, e instance.Engine, all *berths, warm int) ([]way, error) {
	name := e.Describe().Name
	bare, err := b.newBare(ctx, e)
	if err != nil {
		return nil, err
	}
	list := []way{{name: byBerth, turn: all.golden.turn(name)}}
	if warm > 0 {
		list = append(list, way{name: byBerthWarm, turn: all.warm.turn(name), before: func(ctx context.Context) error { return all.warm.waitWarm(ctx, name, warm) }})
	}
	if name == "mysql" {
		list = append(list, way{name: byBerthCold, turn: all.cold.turn(name)}, way{name: byEntrypoint, turn: bare.byEntrypoint})
	} else {
		list = append(list, way{name: byBare, turn: bare.onEmpty})
	}
	list = append(list, way{name: byInitialised, turn: bare.onInitialised})
	tcs, err := b.testcontainers(ctx)
	if err != nil {
		b.say("  without testcontainers-go: %v", err)
		return list, nil
	}
	ask := func(ctx context.Context, count int) (usable, removed []time.Duration, err error) {
		return tcs.ask(ctx, name, bare.image, count)
	}
	return append(list, way{name: byContainers, all: ask, turn: func(ctx context.Context, _ int) (usable, removed time.Duration, err error) {
		u, r, err := ask(ctx, 1)
		if err != nil {
			return 0, 0, err
		}
		return u[0], r[0], nil
	}}), nil
}

// measureUsable goes through the ways turn by turn.
func measureUsable(ctx context.Context, b *bench) (err error) {
	all, closed, err := b.startBerths(ctx, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	for _, e := range engine.Catalog(engine.Config{}) {
		list, err := b.waysOf(ctx, e, all, 1)
		if err != nil {
			return err
		}
		usable, removed, broken := map[string][]time.Duration{}, map[string][]time.Duration{}, map[string]bool{}
		for turn := range b.runs + 1 {
			for i := range list {
				w := list[(turn+i)%len(list)] // nobody always goes first
				if broken[w.name] {
					continue
				}
				u, r, err := once(ctx, w)
				if err != nil && w.name == byContainers && ctx.Err() == nil { // a peer that fails is shown, and ends nothing
					broken[w.name] = true
					b.add(failed(e.Describe().Name+", to usable: "+w.name, err))
					continue
				}
				if err != nil {
					return fmt.Errorf("%s by %s: %w", e.Describe().Name, w.name, err)
				}
				if turn > 0 { // the first warms up
					usable[w.name], removed[w.name] = append(usable[w.name], u), append(removed[w.name], r)
				}
			}
		}
		list = slices.DeleteFunc(list, func(w way) bool { return broken[w.name] })
		b.compare(e.Describe().Name, list, usable, removed)
	}
	return nil
}

func once(ctx context.Context, w way) (usable, removed time.Duration, err error) {
	if w.before != nil {
		if err := w.before(ctx); err != nil {
			return 0, 0, err
		}
	}
	usable, removed, err = w.turn(ctx, 0)
	if err == nil && w.before != nil {
		err = w.before(ctx) // so that what it makes for the next does not disturb the others
	}
	return usable, removed, err
}

// compare adds the rows of all ways, and Berth's beside the others'.
func (b *bench) compare(name string, list []way, usable, removed map[string][]time.Duration) {
	rows := map[string]row{}
	for _, w := range list {
		rows[w.name] = times(name+", to usable: "+w.name, usable[w.name]).inTurns()
	}
	pairs, warm := aims(name)
	b.add(rows[byBerth])
	for _, p := range pairs {
		if other, ok := rows[p.with]; ok {
			r := rows[byBerth].beside(other).aim("ratio", p.target)
			r.Beside = p.with
			b.add(r)
		}
	}
	for _, w := range list {
		switch w.name {
		case byBerth:
		case byBerthWarm:
			b.add(rows[w.name].aim("median", warm))
		default:
			b.add(rows[w.name])
		}
	}
	mine := times(name+", to deleted: "+byBerth, removed[byBerth]).inTurns()
	for _, w := range list[1:] {
		if w.name == byBerthWarm || w.name == byBerthCold || w.name == byInitialised {
			continue // the last is ended in peace, which is another thing
		}
		other := times(w.name, removed[w.name]).inTurns()
		b.add(mine.beside(other))
	}
}

// turn makes an instance through the API and deletes it again.
func (d *dev) turn(engineName string) func(context.Context, int) (time.Duration, time.Duration, error) {
	return func(ctx context.Context, _ int) (usable, removed time.Duration, err error) {
		begun := time.Now()
		made, err := d.client.Create(ctx, engineName, secret.APIKey(), client.CreateRequest{})
		if err != nil {
			return 0, 0, err
		}
		if err := waitFor(ctx, d.client, made.Job.ID); err != nil {
			return 0, 0, err
		}
		usable = time.Since(begun)
		begun = time.Now()
		gone, err := d.client.Delete(ctx, made.Instance)
		if err != nil {
			return 0, 0, err
		}
		err = waitFor(ctx, d.client, gone.Job.ID)
		return usable, time.Since(begun), err
	}
}

func waitFor(ctx context.Context, c *client.Client, id string) error {
	for {
		job, err := c.Job(ctx, id, 30*time.Second)
		switch {
		case err != nil:
			return err
		case job.State == client.JobSucceeded:
			return nil
		case job.Ended():
			return fmt.Errorf("job %s %s: %+v", id, job.State, job.Error)
		}
	}
}

// waitWarm waits until so many instances wait for their tenants.
func (d *dev) waitWarm(ctx context.Context, engineName string, count int) error {
	return until(ctx, 5*time.Minute, 20*time.Millisecond, func() error {
		filter := instance.Filter{Tenant: tenant.Nobody, State: instance.StateWarm, Engine: engineName}
		list, err := d.store.Instances(ctx, filter, page.Page{Limit: count})
		if err == nil && len(list) < count {
			err = fmt.Errorf("%d of %d %s are warm", len(list), count, engineName)
		}
		return err
	})
}
