package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/event"
)

// releaseTimeout bounds the last write of a duty.
const releaseTimeout = time.Second

// Sequence numbers events until the context ends. Processes that only serve the API
// have this duty, too: events are to be seen while no worker runs.
// It looks when the bell says that something was written.
func Sequence(ctx context.Context, log *slog.Logger, ringer bell.Bell, sequencer *event.Sequencer) error {
	rung, stop := bell.Signals(ringer, event.RingWritten, "")
	defer stop()
	err := duty.Loop{
		Name: "sequencer", RunOnce: sequencer.RunOnce, Rung: rung, Gap: event.SequencerGap,
		Pause: func() time.Duration {
			return bell.Interval(ringer, event.SequencerEvery, event.SequencerEveryDeaf)
		},
	}.Run(ctx, log)
	release(ctx, log, "sequencer", sequencer.Release)
	return err
}

// Chain puts the entries of the audit log into their chain until the context ends.
func Chain(ctx context.Context, log *slog.Logger, chainer *audit.Chainer) error {
	err := duty.Every("audit chain", audit.ChainEvery, chainer.RunOnce).Run(ctx, log)
	release(ctx, log, "audit chain", chainer.Release)
	return err
}

// release gives a duty back at the end.
func release(ctx context.Context, log *slog.Logger, name string, giveBack func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := giveBack(ctx); err != nil {
		log.InfoContext(ctx, "the lease of a duty was not released; it expires by itself", "duty", name, "error", err)
	}
}
