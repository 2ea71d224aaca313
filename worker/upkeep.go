package worker

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
)

// Upkeep keeps instances as they should be, apart from any job that was asked for.
// Parts that are nil are left out.
type Upkeep struct {
	Reconciler *host.Reconciler
	Watcher    *host.Watcher
	Enroller   *host.Enroller
	Health     *instance.Health
	Pool       *instance.Pool
	Renewer    *instance.Renewer
}

// start runs the parts until the context ends.
func (u Upkeep) start(ctx context.Context, group *errgroup.Group, log *slog.Logger) {
	if u.Reconciler != nil {
		group.Go(func() error { return duty.Every("reconciler", u.Reconciler.Every, u.Reconciler.RunOnce).Run(ctx, log) })
	}
	if u.Watcher != nil {
		group.Go(func() error { return u.Watcher.Run(ctx) })
	}
	if u.Enroller != nil {
		group.Go(func() error { return duty.Every("enroller", u.Enroller.Every, u.Enroller.RunOnce).Run(ctx, log) })
	}
	if u.Pool != nil {
		group.Go(func() error { return duty.Every("pool", u.Pool.Every(), u.Pool.RunOnce).Run(ctx, log) })
	}
	if u.Renewer != nil {
		group.Go(func() error { return duty.Every("renewal", instance.RenewEvery, u.Renewer.RunOnce).Run(ctx, log) })
	}
	if u.Health != nil {
		group.Go(func() error { return u.Health.Run(ctx) })
	}
}
