package belltest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/berth-project/berth/internal/bell"
)

// TestQueueContract keeps the fake honest.
func TestQueueContract(t *testing.T) {
	QueueContract(t, func(*testing.T) QueueSubject {
		q, down := NewQueue(), NewQueue()
		down.SetDown(true)
		return QueueSubject{
			Queue: q, Unreachable: down, Lose: func(*testing.T) { q.Flush() },
			Waiting: func(*testing.T) []bell.Task {
				q.mu.Lock()
				defer q.mu.Unlock()
				return slices.Clone(q.tasks)
			},
			Begin: func(_ *testing.T, task bell.Task) func(error) {
				q.mu.Lock()
				defer q.mu.Unlock()
				q.tasks = slices.DeleteFunc(q.tasks, func(t bell.Task) bool { return t == task })
				return func(err error) {
					q.mu.Lock()
					defer q.mu.Unlock()
					if err == nil {
						delete(q.known, fmt.Sprintf("%s:%d", task.ID, task.Generation))
					}
				}
			},
		}
	})
}
