package worker

import (
	"context"
	"log/slog"
	"time"

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
	releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if released := sequencer.Release(releaseCtx); released != nil {
		log.InfoContext(ctx, "the sequencer's lease was not released; it expires by itself", "error", released)
	}
	return err
}
