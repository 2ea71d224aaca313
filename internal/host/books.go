package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
)

// BooksReader reads what the books of a host are compared with.
type BooksReader interface {
	// Unbooked gives what units hold of the host that have a port of it and no allocation: a
	// worker of an earlier release has placed them.
	Unbooked(ctx context.Context, of ID, limit int) ([]Allocation, error)
	// Unheld gives units with an allocation of the host, taken before, that have no port of it: a
	// worker of an earlier release has given that back.
	Unheld(ctx context.Context, of ID, before time.Time, limit int) ([]UnitID, error)
}

// BooksRows mend the books of a host in a transaction.
type BooksRows interface {
	// Book is Allocate for what is there already, whatever the host's state.
	Book(Allocation) error
	// Recount makes what is used of the host and its disks the sum of the allocations, and
	// reports whether it was not.
	Recount(ID) (bool, error)
}

// books compares what is written of a host with itself, and mends it.
type books struct {
	store Store
	now   clock.Clock
	log   *slog.Logger
}

// booksGrace is how old an allocation is at least that is taken for left over.
const booksGrace = time.Minute

// settle mends the books of the host, and says what was not right.
func (b *books) settle(ctx context.Context, h Host) (mended []string, err error) {
	unbooked, err := b.store.Unbooked(ctx, h.ID, reconcileBatch)
	if err != nil {
		return nil, err
	}
	for _, a := range unbooked {
		a.CreatedAt = b.now()
		err := b.store.Tx(ctx, func(tx Tx) error {
			if a.Disk == "" {
				return tx.Book(a)
			}
			d, err := tx.Disk(a.Disk)
			if err != nil {
				return err
			}
			booked := a
			booked.Resources.DiskBytes = d.share(a.Resources)
			return tx.Book(booked)
		})
		switch {
		case errors.Is(err, ErrNoShare):
			b.log.WarnContext(ctx, "a unit is on a host that is full by the books", "host", h.Name, "instance", a.Unit)
		case err != nil && !errors.Is(err, fault.ErrConflict):
			return mended, err
		case err == nil:
			mended = append(mended, fmt.Sprintf("%s was not in the books", a.Unit))
		}
	}
	left, err := b.store.Unheld(ctx, h.ID, b.now().Add(-booksGrace), reconcileBatch)
	if err != nil {
		return mended, err
	}
	for _, unit := range left {
		err := b.store.Tx(ctx, func(tx Tx) error {
			if err := job.Idle(tx, id.Subject(unit)); err != nil {
				return err
			}
			return tx.Release(unit)
		})
		if fault.IgnoreLostRace(err) != nil {
			return mended, err
		}
		if err == nil {
			mended = append(mended, fmt.Sprintf("%s had given its port back", unit))
		}
	}
	return mended, nil
}
