package worker

import (
	"context"
	"log/slog"
	"time"
)

// duty is what is done again and again.
type duty struct {
	name    string
	runOnce func(context.Context) (int, error)
	pause   func() time.Duration // between two looks
	// rung cuts the pause short, but for the gap.
	rung <-chan struct{}
	gap  time.Duration
}

// every runs a duty at fixed intervals until the context ends.
func every(ctx context.Context, log *slog.Logger, name string, pause time.Duration, runOnce func(context.Context) (int, error)) error {
	return duty{name: name, runOnce: runOnce, pause: func() time.Duration { return pause }}.run(ctx, log)
}

// run runs the duty now and then again and again until the context ends. It says
// once that the duty fails, and once that it is well again.
func (d duty) run(ctx context.Context, log *slog.Logger) error {
	for failing := false; ; {
		begun := time.Now()
		n, err := d.runOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			log.WarnContext(ctx, "duty fails; trying on", "duty", d.name, "error", err)
		case err == nil && failing:
			log.InfoContext(ctx, "duty is well again", "duty", d.name)
		case n > 0:
			log.DebugContext(ctx, "duty done", "duty", d.name, "count", n)
		}
		failing = err != nil
		if !sleep(ctx, d.gap, nil) || !sleep(ctx, d.pause()-time.Since(begun), d.rung) {
			return nil
		}
	}
}

// sleep waits until the time is up or it rings, and reports false when the context
// has ended.
func sleep(ctx context.Context, d time.Duration, rung <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rung:
		return true
	case <-timer.C:
		return true
	}
}
