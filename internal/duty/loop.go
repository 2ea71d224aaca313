package duty

import (
	"context"
	"log/slog"
	"time"
)

// Loop is work that is done again and again.
type Loop struct {
	Name    string // for the log
	RunOnce func(context.Context) (int, error)
	Pause   func() time.Duration // from the begin of one run to the begin of the next
	// Rung cuts the pause short, but for the gap.
	Rung <-chan struct{}
	Gap  time.Duration
}

// Every returns a loop at a fixed interval.
func Every(name string, pause time.Duration, runOnce func(context.Context) (int, error)) Loop {
	return Loop{Name: name, RunOnce: runOnce, Pause: func() time.Duration { return pause }}
}

// Run runs the loop now, and then again and again until the context ends. It logs once that
// the work fails, and once that it has recovered.
func (l Loop) Run(ctx context.Context, log *slog.Logger) error {
	for failing := false; ; {
		begun := time.Now()
		n, err := l.RunOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			log.WarnContext(ctx, "duty fails; retrying", "duty", l.Name, "error", err)
		case err == nil && failing:
			log.InfoContext(ctx, "duty recovered", "duty", l.Name)
		case n > 0:
			log.DebugContext(ctx, "duty done", "duty", l.Name, "count", n)
		}
		failing = err != nil
		if !sleep(ctx, l.Gap, nil) || !sleep(ctx, l.Pause()-time.Since(begun), l.Rung) {
			return nil
		}
	}
}

// sleep waits until the time is up or it rings, and reports false when the context has
// ended.
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
