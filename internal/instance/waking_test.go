package instance_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
)

// The queue hears of each job and each delivery that was inserted and committed, and of
// nothing else.
func TestQueueHearsAfterTheCommit(t *testing.T) {
	inWorld(t, func(w *world) {
		engine, at := w.service.Engine, clock.System()
		inst := w.created()
		w.queue.Take()
		insert := func(name id.Job, state job.State) func(rooms.Tx) error {
			return func(tx rooms.Tx) error {
				return engine.Insert(tx, job.Job{
					ID: name, Tenant: inst.Tenant, Subject: id.Subject(inst.ID), Class: inst.Spec.Engine, Kind: instance.JobDelete, State: state,
					Generation: 1, CreatedAt: at, UpdatedAt: at, WakeAt: at, Deadline: at,
				})
			}
		}
		callback := func(tx rooms.Tx) error {
			return engine.Events.Announce(tx, event.Announcement{
				Event:    event.Event{Tenant: inst.Tenant, Type: "test", Subject: id.Subject(inst.ID), At: at},
				Callback: &event.Callback{URL: "https://example.com", Secret: secret.New("whsec_x")},
			})
		}
		onPurpose := errors.New("on purpose")
		for _, c := range []struct {
			what string
			do   []func(tx rooms.Tx) error
			err  error
			want []bell.Pool
		}{
			{"rolled back", []func(tx rooms.Tx) error{insert("job_1", job.Queued), callback, func(rooms.Tx) error { return onPurpose }}, onPurpose, nil},
			{"one that has ended", []func(tx rooms.Tx) error{insert("job_2", job.Succeeded)}, nil, nil},
			{"a job and two deliveries", []func(tx rooms.Tx) error{insert("job_3", job.Queued), callback, callback}, nil, []bell.Pool{bell.PoolUpkeep, bell.PoolWebhooks, bell.PoolWebhooks}},
		} {
			err := w.store.Tx(w.ctx, func(tx rooms.Tx) error {
				for _, do := range c.do {
					if err := do(tx); err != nil {
						return err
					}
				}
				return nil
			})
			if !errors.Is(err, c.err) {
				w.Errorf("%s: %v", c.what, err)
			}
			var got []bell.Pool
			for _, task := range w.queue.Take() {
				got = append(got, task.Pool)
			}
			if !slices.Equal(got, c.want) {
				w.Errorf("%s: the queue was told of %v, want %v", c.what, got, c.want)
			}
		}
		w.queue.SetDown(true)
		w.must(w.store.Tx(w.ctx, callback))
	})
}
