package instance_test

import (
	"context"
	"testing"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
)

// TestDiskContract has the fake keep the promises that the real engines keep.
func TestDiskContract(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		const stored = 1 << 20
		write := func(n int64) func(context.Context) error {
			return func(context.Context) error { return w.runtime.Write(host.UnitID(inst.ID), n) }
		}
		instancetest.DiskContract(w.T, instancetest.DiskSubject{
			Keeper: w.catalog[0].(instance.DiskKeeper), Instance: inst, Grain: stored / 4,
			Write: write(stored), Small: write(1), Read: write(0), Delete: write(-stored),
		})
	})
}
