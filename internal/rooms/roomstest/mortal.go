package roomstest

import (
	"context"

	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/rooms"
)

// MortalStore is the database as a mortal worker sees it.
type MortalStore struct {
	rooms.Store
	*hosttest.Life
}

// Tx implements rooms.Store. A commit that was begun is not taken back because the one who asked is
// gone.
func (s MortalStore) Tx(ctx context.Context, do func(rooms.Tx) error) error {
	return s.Call("Tx", func() error { return s.Store.Tx(context.WithoutCancel(ctx), do) })
}
