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
	var noted []Ring
	err := s.Store.Tx(ctx, func(tx Tx) error {
		note := &notingTx{Tx: tx} // what an earlier try wrote was rolled back
		err := do(note)
		noted = note.rings
		return err
	})
	// An answer that was lost on the way may be that of a commit: a ring about nothing
	// costs a look.
	if err == nil || CodeOf(err) == CodeUnavailable || ctx.Err() != nil {
		for _, ring := range noted {
			s.bell.Ring(ring)
		}
	}
	return err
}

// notingTx notes what is written that somebody may wait for.
type notingTx struct {
	Tx
	rings []Ring
	wrote bool
}

// AppendEvent implements Tx.
func (t *notingTx) AppendEvent(e Event) error {
	if !t.wrote {
		t.wrote = true
		t.rings = append(t.rings, Ring{Kind: RingWritten})
	}
	return t.Tx.AppendEvent(e)
}

// NumberEvents implements EventTx.
func (t *notingTx) NumberEvents(list []UnnumberedEvent) error {
	t.rings = append(t.rings, Ring{Kind: RingNumbered})
	return t.Tx.NumberEvents(list)
}

// UpdateJob implements Tx.
func (t *notingTx) UpdateJob(job Job, fence int64) error {
	if job.State.Ended() {
		t.rings = append(t.rings, Ring{Kind: RingEnded, ID: string(job.ID)})
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
