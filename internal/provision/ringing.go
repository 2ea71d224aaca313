package provision

import "context"

// RingingStore gives the store with a bell that is rung after each commit that
// somebody may wait for. No use case has to think of it.
func RingingStore(store Store, bell Bell) Store { return ringingStore{store, bell} }

type ringingStore struct {
	Store
	bell Bell
}

// Tx implements Store.
func (s ringingStore) Tx(ctx context.Context, do func(Tx) error) error {
	return s.Store.Tx(ctx, func(tx Tx) error { return do(&ringingTx{Tx: tx, bell: s.bell}) })
}

// ringingTx rings for what is written that somebody may wait for.
type ringingTx struct {
	Tx
	bell  Bell
	wrote bool
}

func (t *ringingTx) ring(r Ring) {
	t.OnCommit(func(context.Context) { t.bell.Ring(r) })
}

// AppendEvent implements Tx.
func (t *ringingTx) AppendEvent(e Event) error {
	if !t.wrote {
		t.wrote = true
		t.ring(Ring{Kind: RingWritten})
	}
	return t.Tx.AppendEvent(e)
}

// NumberEvents implements EventTx.
func (t *ringingTx) NumberEvents(list []UnnumberedEvent) error {
	t.ring(Ring{Kind: RingNumbered})
	return t.Tx.NumberEvents(list)
}

// UpdateJob implements Tx.
func (t *ringingTx) UpdateJob(job Job, fence int64) error {
	if job.State.Ended() {
		t.ring(Ring{Kind: RingEnded, ID: string(job.ID)})
	}
	return t.Tx.UpdateJob(job, fence)
}

// RingingQueue gives the queue with a bell that wakes the workers for every task.
func RingingQueue(queue Queue, bell Bell) Queue { return ringingQueue{queue, bell} }

type ringingQueue struct {
	Queue
	bell Bell
}

// Enqueue implements Queue.
func (q ringingQueue) Enqueue(ctx context.Context, t Task) error {
	err := q.Queue.Enqueue(ctx, t)
	// Without an answer the task may be there all the same.
	if err == nil || CodeOf(err) == CodeUnavailable {
		q.bell.Ring(Ring{Kind: RingTask, ID: string(t.Kind)})
	}
	return err
}
