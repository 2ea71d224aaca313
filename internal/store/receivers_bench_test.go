package store

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkDueDeliveries is what the relay asks every second, with so much waiting for
// one receiver beside 200 that have a few each.
func BenchmarkDueDeliveries(b *testing.B) {
	benchBoth(b, func(b *testing.B, s *Store) {
		const others = 200
		now, have := time.UnixMilli(1_000_000), 0
		row := func(n, receiver int) deliveryRow {
			return deliveryRow{
				ID: fmt.Sprintf("dlv_%026d", n), TenantID: "t", WebhookID: "whk", Receiver: fmt.Sprintf("whk_%03d", receiver), Body: make([]byte, 500), Ciphertext: []byte{},
				State: "pending", DueAt: int64(n), WakeAt: nullable(int64(n + 1)), Generation: 1,
			}
		}
		for _, backlog := range []int{0, 20_000, 200_000} {
			var rows []deliveryRow
			for ; have < backlog+5*others; have++ {
				receiver := others / 2
				if have < 5*others {
					receiver = have % others
				}
				rows = append(rows, row(have, receiver))
			}
			if err := s.db.CreateInBatches(rows, 500).Error; err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("backlog=%d", backlog), func(b *testing.B) {
				for b.Loop() {
					due, last, err := s.DueDeliveries(b.Context(), now, "", 500)
					if err != nil || last != "" || len(due) != others {
						b.Fatal(len(due), last, err)
					}
				}
			})
		}
	})
}
