package bell

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// Queue wakes one worker of a pool. It is not trusted with anything: a task lost, doubled
// or late costs time and nothing else.
type Queue interface {
	// Enqueue makes a task. A task that is already waiting is success. Where an older
	// task of the same generation blocks it without being live, it fails with
	// CodeConflict: take a new generation. CodeUnavailable when the queue is down.
	Enqueue(context.Context, Task) error
}

// Task is a wake-up call. It carries ids only.
type Task struct {
	Pool       Pool
	ID         string // of the job or the delivery
	Generation int64
}

// Pool says which workers are woken.
type Pool string

// The pools. None is the prefix of another.
const (
	PoolCreates  Pool = "job:create" // a storm of these never delays the next
	PoolUpkeep   Pool = "job:upkeep" // deletes, and all that nobody waits for
	PoolWebhooks Pool = "hook:deliver"
)

// RingTask is rung for every task; the ID is its Pool.
const RingTask Kind = "task"

// wakeTimeout limits a wake-up call. The relay makes good what is missed here.
const wakeTimeout = 500 * time.Millisecond

// WakeAll makes the tasks for what was committed. Its failure is no failure of whoever
// committed: the relay finds the rows. The first one is enough to leave the rest to it.
func WakeAll(ctx context.Context, queue Queue, log *slog.Logger, tasks ...Task) {
	for _, task := range tasks {
		if err := queue.Enqueue(ctx, task); err != nil && !errors.Is(err, fault.ErrConflict) {
			log.WarnContext(ctx, "cannot wake a worker; the relay retries", "task", task.Pool, "id", task.ID, "error", err)
			return
		}
	}
}

// Wake makes the task for what was changed before, so that nobody waits for the relay.
func Wake(ctx context.Context, queue Queue, log *slog.Logger, task Task) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wakeTimeout)
	defer cancel()
	WakeAll(ctx, queue, log, task)
}

// Rewake makes the task, under a new generation where an old task blocks it, and returns
// the generation that it took.
func Rewake(ctx context.Context, queue Queue, task Task) (int64, error) {
	err := queue.Enqueue(ctx, task)
	if errors.Is(err, fault.ErrConflict) {
		task.Generation++
		err = queue.Enqueue(ctx, task)
	}
	if errors.Is(err, fault.ErrConflict) {
		err = nil // two are there: the next look takes the generation after
	}
	return task.Generation, err
}

// RingingQueue returns the queue with a bell that wakes the workers for every task.
func RingingQueue(queue Queue, ringer Bell) Queue { return ringingQueue{queue, ringer} }

type ringingQueue struct {
	queue Queue
	bell  Bell
}

// Enqueue implements Queue.
func (q ringingQueue) Enqueue(ctx context.Context, t Task) error {
	err := q.queue.Enqueue(ctx, t)
	// Without an answer the task may be there all the same.
	if err == nil || fault.CodeOf(err) == fault.CodeUnavailable {
		q.bell.Ring(Ring{Kind: RingTask, ID: string(t.Pool)})
	}
	return err
}

// behindLimit is how many calls nobody waits for at once. A queue that is slow must not
// have them pile up.
const behindLimit = 64

// headStart is how much sooner a client has its answer than others hear of what it asked for.
// To wake them takes the processor from whoever writes the answer, and from whoever reads it
// on the same machine.
const headStart = time.Millisecond

// BehindQueue is a queue whose callers do not wait: a client has an answer as soon as the
// database has what it asked for, however the queue is. What does not reach the queue, the
// relay finds.
type BehindQueue struct {
	queue Queue
	log   *slog.Logger
	slots chan struct{}

	mu    sync.Mutex
	over  bool
	calls sync.WaitGroup
}

// NewBehindQueue puts the queue behind its callers.
func NewBehindQueue(queue Queue, log *slog.Logger) *BehindQueue {
	return &BehindQueue{queue: queue, log: log, slots: make(chan struct{}, behindLimit)}
}

// Enqueue implements Queue. Where too many calls are under way, or the end has come, this
// one is a call like any other, which may fail.
func (q *BehindQueue) Enqueue(ctx context.Context, t Task) error {
	if !q.behind(func() { Wake(ctx, q.queue, q.log, t) }) {
		return q.queue.Enqueue(ctx, t)
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
	q.calls.Add(1)
	time.AfterFunc(headStart, func() {
		defer q.calls.Done()
		defer func() { <-q.slots }()
		call()
	})
	return true
}

// Behind returns the bell for those who answer clients: it rings once they have.
func Behind(b Bell) Bell { return behindBell{b} }

type behindBell struct{ Bell }

// Ring implements Bell.
func (b behindBell) Ring(r Ring) { time.AfterFunc(headStart, func() { b.Bell.Ring(r) }) }

// Wait returns when no call is under way any more. From then on callers wait themselves.
func (q *BehindQueue) Wait() {
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
	q.calls.Wait()
}
