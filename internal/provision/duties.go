package provision

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
)

// dutyStore keeps duties by the transactions of a Store.
type dutyStore struct{ Store }

// TakeDuty implements duty.Store.
func (s dutyStore) TakeDuty(ctx context.Context, name, owner string, now, until time.Time) (mine bool, err error) {
	err = s.Tx(ctx, func(tx Tx) error {
		mine, err = tx.TakeDuty(name, owner, now, until)
		return err
	})
	return mine, err
}

func newDuty(store Store, now clock.Clock, name, owner string, hold time.Duration) *duty.Duty {
	return &duty.Duty{Store: dutyStore{store}, Now: now, Name: name, Owner: owner, Hold: hold}
}
