package swarm

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/host"
)

// watchEvery is how often the tasks are listed: a manager tells no events of containers.
const watchEvery = time.Second

// Watch tells of instances that have ended or were removed. What a node did while it could not be
// reached is told when it can be again.
func (r *Runtime) Watch(ctx context.Context, ended func(host.UnitID)) error {
	ran, err := r.runs(ctx)
	if err != nil {
		return err
	}
	away := false
	for {
		if err := backoff.Wait(ctx, watchEvery); err != nil {
			return err
		}
		now, err := r.runs(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			if !away {
				r.log.InfoContext(ctx, "the node cannot be watched; trying again", "error", err)
			}
			away = true
			continue
		}
		for id, running := range ran {
			if still, there := now[id]; !there || running && !still {
				ended(id)
			}
		}
		if away {
			for id, running := range now {
				if !running {
					ended(id)
				}
			}
			ended("")
		}
		ran, away = now, false
	}
}

// runs gives the units that have a service, and whether each runs.
func (r *Runtime) runs(ctx context.Context) (map[host.UnitID]bool, error) {
	units, err := r.List(ctx)
	runs := map[host.UnitID]bool{}
	for _, u := range units {
		if u.Container {
			runs[u.ID] = u.Running
		}
	}
	return runs, err
}
