package provision_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/provision"
)

// The queue hears of each job and each delivery that was inserted and committed, and of
// nothing else.
func TestWakingStore(t *testing.T) {
	inWorld(t, func(w *world) {
		rows := provision.WakingStore(w.store, w.queue, w.log)
		at := clock.System()
		inst := w.created()
		w.queue.Take()
		job := func(id id.Job, state provision.JobState) provision.Job {
			return provision.Job{ID: id, Tenant: inst.Tenant, Instance: inst.ID, Engine: inst.Engine, Kind: provision.JobDelete, State: state, Generation: 1, CreatedAt: at, UpdatedAt: at, WakeAt: at, Deadline: at}
		}
		delivery := func(id provision.DeliveryID) provision.Delivery {
			return provision.Delivery{ID: id, Tenant: inst.Tenant, Instance: inst.ID, URL: "https://example.com", State: provision.DeliveryPending, Body: []byte("{}"), Generation: 1, DueAt: at, WakeAt: at, ExpiresAt: at, CreatedAt: at, UpdatedAt: at}
		}
		onPurpose := errors.New("on purpose")
		for _, c := range []struct {
			what string
			do   func(tx provision.Tx) error
			err  error
			want []string
		}{
			{"rolled back", func(tx provision.Tx) error {
				return errors.Join(tx.InsertJob(job("job_1", provision.JobQueued)), tx.InsertDelivery(delivery("dlv_1")), onPurpose)
			}, onPurpose, nil},
			{"one that has ended", func(tx provision.Tx) error { return tx.InsertJob(job("job_2", provision.JobSucceeded)) }, nil, nil},
			{"a job and two deliveries", func(tx provision.Tx) error {
				return errors.Join(tx.InsertJob(job("job_3", provision.JobQueued)), tx.InsertDelivery(delivery("dlv_3")), tx.InsertDelivery(delivery("dlv_4")))
			}, nil, []string{"job_3", "dlv_3", "dlv_4"}},
		} {
			if err := rows.Tx(w.ctx, c.do); !errors.Is(err, c.err) {
				w.Errorf("%s: %v", c.what, err)
			}
			var got []string
			for _, task := range w.queue.Take() {
				got = append(got, task.ID)
			}
			if !slices.Equal(got, c.want) {
				w.Errorf("%s: the queue was told of %v, want %v", c.what, got, c.want)
			}
		}
		w.queue.SetDown(true)
		w.must(rows.Tx(w.ctx, func(tx provision.Tx) error { return tx.InsertDelivery(delivery("dlv_5")) }))
	})
}
