package provision

import (
	"context"
	"log/slog"
	"sync"
)

// behindLimit is how many calls nobody waits for at once. A queue that is slow must not
// have them pile up.
const behindLimit = 64

// BehindQueue is a queue whose callers do not wait: a client has an answer as soon as the
// database has what it asked for, however the queue is. What does not reach the queue, the
// relay finds.
type BehindQueue struct {
	Queue
	log   *slog.Logger
	slots chan struct{}

	mu    sync.Mutex
	over  bool
	calls sync.WaitGroup
}

// NewBehindQueue puts the queue behind its callers.
func NewBehindQueue(queue Queue, log *slog.Logger) *BehindQueue {
	return &BehindQueue{Queue: queue, log: log, slots: make(chan struct{}, behindLimit)}
}

// Enqueue implements Queue. Where too many calls are under way, or the end has come, this
// one is a call like any other, which may fail.
func (q *BehindQueue) Enqueue(ctx context.Context, t Task) error {
	if !q.behind(func() { wake(ctx, q.Queue, q.log, t) }) {
		return q.Queue.Enqueue(ctx, t)
	}
	return nil
}

// behind makes the call while the caller goes on, and reports whether it does.
func (q *BehindQueue) behind(call func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over {
		return false
	}
	select {
	case q.slots <- struct{}{}:
	default:
		return false
	}
	q.calls.Go(func() {
		defer func() { <-q.slots }()
		call()
	})
	return true
}

// Wait returns when no call is under way any more. From then on callers wait themselves.
func (q *BehindQueue) Wait() {
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
	q.calls.Wait()
}
