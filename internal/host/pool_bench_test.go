package host_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/storetest"
)

// largePool is a thousand hosts in 20 zones, with so many allocations.
func largePool(b *testing.B, allocations int) *store.Store {
	b.Helper()
	const hosts, batch = 1000, 1000
	s := storetest.SQLite(b)
	err := s.Tx(b.Context(), func(tx rooms.Tx) error {
		for n := range hosts {
			h := bare(n, 0, 1<<50, 1000)
			h.Zone, h.Advertise, h.Endpoint = fmt.Sprint("z", n%20), fmt.Sprint("m", n), fmt.Sprintf("ssh://root@m%d:22", n)
			if err := tx.InsertHost(h); err != nil {
				return err
			}
			d := host.Disk{ID: host.DiskID(fmt.Sprintf("dsk_%d", n)), Host: h.ID, Path: "/data", CapacityBytes: 1 << 50, State: host.DiskAvailable, Rev: 1}
			if err := tx.InsertDisk(d); err != nil {
				return err
			}
		}
		return nil
	})
	for from := 0; from < allocations && err == nil; from += batch {
		err = s.Tx(b.Context(), func(tx rooms.Tx) error {
			for i := from; i < from+batch; i++ {
				a := host.Allocation{
					Unit: host.UnitID(fmt.Sprintf("ins_%026d", i)), Tenant: "t", Host: bare(i%hosts, 0, 0, 1).ID, Disk: host.DiskID(fmt.Sprintf("dsk_%d", i%hosts)),
					Resources: host.Resources{CPUMillis: 100, MemoryBytes: 1 << 20, DiskBytes: 1 << 20}, Ports: 1,
				}
				if err := tx.Allocate(a); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// measured reports the 99th percentile of what is done b.N times.
func measured(b *testing.B, do func() error) {
	b.Helper()
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		begun := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

func BenchmarkPlacement(b *testing.B) {
	s := largePool(b, 0)
	p := &host.Placement{Store: s, Ports: hosttest.Ports{Store: rooms.Hosts(s), Now: clock.System}, Now: clock.System}
	need := host.Need{Tenant: "t", Ports: 1, Resources: host.Resources{MemoryBytes: 1 << 20, DiskBytes: 1 << 20}, Where: host.Where{Region: "eu", Zone: "z7"}}
	measured(b, func() error {
		_, err := p.Choose(context.Background(), need)
		return err
	})
}

func BenchmarkPool(b *testing.B) {
	s := largePool(b, 100_000)
	service := host.NewService(host.ServiceConfig{Store: rooms.Hosts(s), Ports: hosttest.Ports{Store: rooms.Hosts(s), Now: clock.System}})
	b.Run("hierarchy", func(b *testing.B) {
		measured(b, func() error {
			_, err := service.Hierarchy(context.Background(), operator, host.LevelRegion, 4)
			return err
		})
	})
	size := host.Size{Name: "s", Ports: 1, Resources: host.Resources{CPUMillis: 100, MemoryBytes: 1 << 20, DiskBytes: 1 << 20}}
	b.Run("stocks", func(b *testing.B) {
		measured(b, func() error {
			_, err := service.Stocks(context.Background(), operator, host.LevelRack, []host.Size{size})
			return err
		})
	})
	b.Run("stocks, read anew", func(b *testing.B) {
		measured(b, func() error {
			service := host.NewService(host.ServiceConfig{Store: rooms.Hosts(s), Ports: hosttest.Ports{Store: rooms.Hosts(s), Now: clock.System}})
			_, err := service.Stocks(context.Background(), operator, host.LevelRack, []host.Size{size})
			return err
		})
	})
}

func BenchmarkCheckImport(b *testing.B) {
	s := largePool(b, 0)
	if err := s.Tx(b.Context(), func(tx rooms.Tx) error { return tx.PutPlace(host.Place{Region: "eu", Zone: "a"}) }); err != nil {
		b.Fatal(err)
	}
	service := host.NewService(host.ServiceConfig{Store: rooms.Hosts(s), Vault: nil, NewID: func(p string) string { return p + "_x" }})
	list := make([]host.Candidate, 2000)
	for i := range list {
		list[i] = host.Candidate{
			Name: fmt.Sprintf("new-%d", i), Address: fmt.Sprintf("10.1.%d.%d", i/250, i%250+1), User: "root", Password: secret.New("x"), Region: "eu", Zone: "a",
			Disks: []host.DiskSpec{{Path: "/data1", Type: host.DiskSSD, CapacityBytes: 1 << 40}},
		}
	}
	measured(b, func() error {
		return service.CheckImport(context.Background(), operator, list, nil, host.ImportOptions{})
	})
}
