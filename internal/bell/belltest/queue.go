// Package belltest holds what tests of the queue share: a Queue in memory, and the contract
// that every Queue has to keep.
package belltest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/fault"
)

// Queue is a bell.Queue in memory that can be down, forget, and be full of
// dead tasks.
type Queue struct {
	mu    sync.Mutex
	down  bool
	tasks []bell.Task
	known map[string]bool // ids of tasks, also of those that were taken
}

var _ bell.Queue = (*Queue)(nil)

// NewQueue makes an empty queue.
func NewQueue() *Queue { return &Queue{known: map[string]bool{}} }

// Enqueue makes a task.
func (q *Queue) Enqueue(_ context.Context, t bell.Task) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.down {
		return fault.Errorf(fault.CodeUnavailable, errors.New("down"), "the queue does not answer")
	}
	id := fmt.Sprintf("%s:%d", t.ID, t.Generation)
	if q.known[id] {
		for _, waiting := range q.tasks {
			if waiting.ID == t.ID && waiting.Generation == t.Generation {
				return nil
			}
		}
		return fault.ErrConflict
	}
	q.known[id] = true
	q.tasks = append(q.tasks, t)
	return nil
}

// Take gives the waiting tasks and takes them out of the queue. Their ids stay
// blocked, as those of tasks that a worker has begun do.
func (q *Queue) Take() []bell.Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := q.tasks
	q.tasks = nil
	return tasks
}

// Done makes the ids of all tasks that were taken free again.
func (q *Queue) Done() {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.known)
	for _, t := range q.tasks {
		q.known[fmt.Sprintf("%s:%d", t.ID, t.Generation)] = true
	}
}

// Flush forgets everything.
func (q *Queue) Flush() {
	q.Take()
	q.Done()
}

// SetDown says whether the queue answers.
func (q *Queue) SetDown(down bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.down = down
}
