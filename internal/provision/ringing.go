package provision

import (
	"context"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/fault"
)

// The kinds of rings.
const (
	RingTask     bell.Kind = "task"     // a task waits; the ID is its TaskKind
	RingEnded    bell.Kind = "ended"    // the job with the ID has ended
	RingWritten  bell.Kind = "written"  // events were written that have no number yet
	RingNumbered bell.Kind = "numbered" // events can be read
)

// RingingStore gives the store with a bell that is rung after each commit that
// somebody may wait for. No use case has to think of it.
func RingingStore(store Store, ringer bell.Bell) Store { return ringingStore{store, ringer} }

type ringingStore struct {
	Store
	bell bell.Bell
}

// Tx implements Store.
func (s ringingStore) Tx(ctx context.Context, do func(Tx) error) error {
	return s.Store.Tx(ctx, func(tx Tx) error { return do(&ringingTx{Tx: tx, bell: s.bell}) })
}

// ringingTx rings for what is written that somebody may wait for.
type ringingTx struct {
	Tx
	bell  bell.Bell
	wrote bool
}

func (t *ringingTx) ring(r bell.Ring) {
	t.OnCommit(func(context.Context) { t.bell.Ring(r) })
}

// AppendEvent implements Tx.
func (t *ringingTx) AppendEvent(e Event) error {
	if !t.wrote {
		t.wrote = true
		t.ring(bell.Ring{Kind: RingWritten})
	}
	return t.Tx.AppendEvent(e)
}

// NumberEvents implements EventTx.
func (t *ringingTx) NumberEvents(list []UnnumberedEvent) error {
	t.ring(bell.Ring{Kind: RingNumbered})
	return t.Tx.NumberEvents(list)
}

// UpdateJob implements Tx.
func (t *ringingTx) UpdateJob(job Job, fence int64) error {
	if job.State.Ended() {
		t.ring(bell.Ring{Kind: RingEnded, ID: string(job.ID)})
	}
	return t.Tx.UpdateJob(job, fence)
}

// RingingQueue gives the queue with a bell that wakes the workers for every task.
func RingingQueue(queue Queue, ringer bell.Bell) Queue { return ringingQueue{queue, ringer} }

type ringingQueue struct {
	Queue
	bell bell.Bell
}

// Enqueue implements Queue.
func (q ringingQueue) Enqueue(ctx context.Context, t Task) error {
	err := q.Queue.Enqueue(ctx, t)
	// Without an answer the task may be there all the same.
	if err == nil || fault.CodeOf(err) == fault.CodeUnavailable {
		q.bell.Ring(bell.Ring{Kind: RingTask, ID: string(t.Kind)})
	}
	return err
}
