package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/provision"
)

// releaseTimeout bounds the last write of a duty.
const releaseTimeout = time.Second

// Sequence numbers events until the context ends. Processes that only serve the API
// have this duty, too: events are to be seen while no worker runs.
func Sequence(ctx context.Context, log *slog.Logger, sequencer *provision.Sequencer) error {
	err := every(ctx, log, "sequencer", provision.SequencerEvery, sequencer.RunOnce)
	releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if released := sequencer.Release(releaseCtx); released != nil {
		log.InfoContext(ctx, "the sequencer's duty was not given back; it ends by itself", "error", released)
	}
	return err
}
