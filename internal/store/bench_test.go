package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

func benchBoth(b *testing.B, run func(*testing.B, *Store)) {
	for _, name := range []string{dialectSQLite, dialectMySQL} {
		b.Run(name, func(b *testing.B) { run(b, openMigrated(b, dialects[name](b))) })
	}
}

// BenchmarkTakePort takes a port and gives it back, in one transaction, on a host
// whose 10,000 ports have all been used before.
func BenchmarkTakePort(b *testing.B) {
	const ports = 10_000
	benchBoth(b, func(b *testing.B, s *Store) {
		for _, full := range []int{10, 90, 99, 100} {
			b.Run(fmt.Sprintf("full=%d%%", full), func(b *testing.B) {
				host := host.Host{ID: host.ID(fmt.Sprint("hst_", full, "_", b.N)), PortLow: 20000, PortHigh: 20000 + ports - 1}
				rows := make([]portRow, ports)
				for i := range rows {
					rows[i] = portRow{HostID: string(host.ID), Port: host.PortLow + i, RestUntil: int64(i + 1)}
					if i%100 < full {
						rows[i].InstanceID, rows[i].RestUntil = nullable(fmt.Sprint("ins_", i)), 0
					}
				}
				if err := s.db.CreateInBatches(rows, 500).Error; err != nil {
					b.Fatal(err)
				}
				now := time.UnixMilli(ports)
				for b.Loop() {
					now = now.Add(time.Millisecond)
					err := s.Tx(b.Context(), func(tx rooms.Tx) error {
						port, err := tx.TakePort(host, "ins_bench", "redis", now)
						if err != nil {
							return err
						}
						return tx.RestPort(host.ID, port, "ins_bench", now)
					})
					if full == 100 && fault.CodeOf(err) == fault.CodePortsExhausted {
						continue
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

// BenchmarkCreateTx writes what an accepted create writes.
func BenchmarkCreateTx(b *testing.B) {
	benchBoth(b, func(b *testing.B, s *Store) {
		newID := id.NewSource().New
		create := func() error {
			now := clock.System()
			i := instance.Instance{
				ID: instance.ID(newID("ins")), Tenant: "t", Spec: instance.Spec{Engine: "redis", Version: "8", Plan: "small", Parameters: instance.Parameters{"maxclients": int64(50)}},
				State: instance.StatePending, CreatedAt: now, UpdatedAt: now,
			}
			i.Name = string(i.ID)
			j := job.Job{
				ID: id.Job(newID("job")), Tenant: "t", Subject: id.Subject(i.ID), Class: "redis", Kind: instance.JobCreate, State: job.Queued,
				Steps: make([]job.Step, 5), Generation: 1, WakeAt: now, Deadline: now, CreatedAt: now, UpdatedAt: now,
			}
			e := event.Event{ID: event.ID(newID("evt")), Tenant: "t", Type: instance.EventPending, Subject: id.Subject(i.ID), Job: j.ID, Message: "accepted", At: now}
			return s.Tx(tenant.Within(b.Context(), "t"), func(tx rooms.Tx) error {
				_, err := tx.Listeners("t")
				answer := idempotency.Record{Tenant: "t", Key: string(j.ID), Fingerprint: "f", Answer: secret.Sealed{KeyID: "k", Ciphertext: make([]byte, 900)}, CreatedAt: now}
				return errors.Join(err, tx.PutIdempotent(answer), tx.InsertInstance(i), tx.InsertJob(j),
					tx.PutCredentials(i.ID, secret.Sealed{KeyID: "k", Ciphertext: make([]byte, 300)}), tx.AppendEvent(e))
			})
		}
		b.Run("one", func(b *testing.B) {
			for b.Loop() {
				if err := create(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("parallel", func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := create(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	})
}
