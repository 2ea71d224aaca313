package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

const (
	cleanBatch = 500
	// cleanBatches limits how many batches of deliveries one call gives up.
	cleanBatches = 20
)

// Clean forgets the standings of receivers that nothing was sent to for long, and gives
// up deliveries that are too old, tried or not: what waits for a receiver that takes nothing
// must not wait for ever. It returns how many deliveries that were.
func Clean(ctx context.Context, store Store, now time.Time) (given int, err error) {
	err = store.Tx(ctx, func(tx Tx) error {
		_, err := tx.DeleteStandings(now.Add(-standingAge), cleanBatch)
		return err
	})
	if err != nil {
		return 0, err
	}
	for range cleanBatches {
		old, err := store.ExpiredDeliveries(ctx, now.Add(-deliveryGrace), now, cleanBatch)
		if err != nil {
			return given, err
		}
		err = store.Tx(ctx, func(tx Tx) error {
			for _, d := range old {
				err := tx.UpdateDelivery(d.expired(now), d)
				if err != nil && !errors.Is(err, fault.ErrConflict) { // a conflict: a courier has it by now
					return err
				}
			}
			return nil
		})
		if given += len(old); err != nil || len(old) < cleanBatch {
			return given, err
		}
	}
	return given, nil
}
