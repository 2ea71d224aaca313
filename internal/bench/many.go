package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/engine"
)

// measureMany has several asked for at the same moment: a storm of one engine, and fewer
// of each, way by way.
func measureMany(ctx context.Context, b *bench) error {
	if err := measureStorm(ctx, b); err != nil {
		return fmt.Errorf("%d at once: %w", b.storm, err)
	}
	return measureSeveral(ctx, b)
}

// measureSeveral gives the time from the one moment until each of them is usable.
func measureSeveral(ctx context.Context, b *bench) (err error) {
	all, closed, err := b.startBerths(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	for _, e := range engine.Catalog(engine.Config{}) {
		name := e.Describe().Name
		list, err := b.waysOf(ctx, e, all, 0)
		if err != nil {
			return err
		}
		if _, _, err := all.golden.turn(name)(ctx, 0); err != nil { // golden data is there
			return err
		}
		rows := map[string]row{}
		for _, w := range list {
			if w.name == byBerthCold {
				continue // it is that of one, and as slow as the entrypoint
			}
			r, err := b.manyBy(ctx, name, w)
			switch {
			case err == nil:
				rows[w.name] = r
			case w.name == byContainers && ctx.Err() == nil: // a peer that fails is shown, and ends nothing
				b.add(failed(fmt.Sprintf("%s, %d at once, to usable: %s", name, b.many, w.name), err))
			default:
				return fmt.Errorf("%d of %s by %s: %w", b.many, name, w.name, err)
			}
		}
		if err := b.manyWarm(ctx, name); err != nil {
			return fmt.Errorf("%d of %s from a warm pool: %w", b.many, name, err)
		}
		for _, w := range list[1:] {
			if r, ok := rows[w.name]; ok {
				r.Beside = ""
				mine := rows[byBerth].beside(r)
				mine.Beside = w.name
				b.add(mine)
			}
		}
	}
	return nil
}

// manyWarm has a pool of as many, in a Berth of its own, which is gone when the others are
// measured.
func (b *bench) manyWarm(ctx context.Context, name string) (err error) {
	d, err := b.startDev(ctx, "many-warm-"+name, "26600-26899", fmt.Sprintf("BERTH_WARM_POOL=%s:small=%d", name, b.many))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close(ctx)) }()
	if err := d.waitWarm(ctx, name, b.many); err != nil {
		return err
	}
	_, err = b.manyBy(ctx, name, way{name: byBerthWarm, turn: d.turn(name)})
	return err
}

func (b *bench) manyBy(ctx context.Context, name string, w way) (row, error) {
	usable, removed, err := several(ctx, w, b.many)
	if err != nil {
		return row{}, err
	}
	r := times(fmt.Sprintf("%s, %d at once, to usable: %s", name, b.many, w.name), usable)
	b.add(r)
	if w.name == byBerth || w.name == byContainers {
		b.add(times(fmt.Sprintf("%s, %d at once, to deleted: %s", name, b.many, w.name), removed))
	}
	return r, nil
}

// several does so many turns at once. Those that were initialised before are so by now.
func several(ctx context.Context, w way, count int) (usable, removed []time.Duration, err error) {
	if w.all != nil {
		return w.all(ctx, count)
	}
	rounds := 1
	if w.name == byInitialised {
		rounds = 2 // the first initialises
	}
	for range rounds {
		usable, removed = make([]time.Duration, count), make([]time.Duration, count)
		errs := make([]error, count)
		var all sync.WaitGroup
		for i := range count {
			all.Go(func() { usable[i], removed[i], errs[i] = w.turn(ctx, i) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, nil, err
		}
	}
	return usable, removed, nil
}
