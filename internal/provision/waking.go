package provision

import (
	"context"
	"errors"
	"log/slog"

	"github.com/berth-project/berth/internal/fault"
)

// WakingStore gives the store with a queue that is told, after each commit, of the jobs and
// the deliveries that were inserted. No use case has to think of it. What the queue does not
// take the relay finds.
func WakingStore(store Store, queue Queue, log *slog.Logger) Store {
	return wakingStore{store, queue, log}
}

type wakingStore struct {
	Store
	queue Queue
	log   *slog.Logger
}

// Tx implements Store.
func (s wakingStore) Tx(ctx context.Context, do func(Tx) error) error {
	return s.Store.Tx(ctx, func(tx Tx) error { return do(&wakingTx{Tx: tx, store: s}) })
}

// wakingTx notes whom to wake.
type wakingTx struct {
	Tx
	store wakingStore
	tasks []Task
}

func (t *wakingTx) wake(task Task) {
	if t.tasks = append(t.tasks, task); len(t.tasks) > 1 {
		return
	}
	t.OnCommit(func(ctx context.Context) { wakeAll(ctx, t.store.queue, t.store.log, t.tasks) })
}

// InsertJob implements Tx.
func (t *wakingTx) InsertJob(job Job) error {
	if !job.State.Ended() {
		t.wake(job.task())
	}
	return t.Tx.InsertJob(job)
}

// InsertDelivery implements Tx.
func (t *wakingTx) InsertDelivery(d Delivery) error {
	t.wake(d.task())
	return t.Tx.InsertDelivery(d)
}

// wakeAll makes the tasks for what was committed. Its failure is no failure of whoever
// committed: the relay finds the rows. The first one is enough to leave the rest to it.
func wakeAll(ctx context.Context, queue Queue, log *slog.Logger, tasks []Task) {
	for _, task := range tasks {
		if err := queue.Enqueue(ctx, task); err != nil && !errors.Is(err, fault.ErrConflict) {
			log.WarnContext(ctx, "the queue could not be told; the relay will", "kind", task.Kind, "id", task.ID, "of", len(tasks), "error", err)
			return
		}
	}
}

// wake makes the task for what was changed before, so that nobody waits for the relay.
func wake(ctx context.Context, queue Queue, log *slog.Logger, task Task) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enqueueTimeout)
	defer cancel()
	wakeAll(ctx, queue, log, []Task{task})
}
