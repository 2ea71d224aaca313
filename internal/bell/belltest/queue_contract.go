package belltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/testenv"
)

const queueLimit = 2 * time.Minute

// QueueSubject is a Queue under contract, with what the suite needs around it.
type QueueSubject struct {
	// Queue is the one that is tested, empty; Unreachable is one that is down.
	Queue, Unreachable bell.Queue
	// Waiting gives the tasks that no worker has taken, in any order.
	Waiting func(*testing.T) []bell.Task
	// Begin has a worker take the task, which waits, and comes back when it is at work.
	// The worker goes on until it is told how it ends: well, or for good with an error.
	Begin func(*testing.T, bell.Task) (end func(error))
	// Lose makes the queue forget everything.
	Lose func(*testing.T)
}

// QueueContract tests that a Queue keeps the promises of bell.Queue.
func QueueContract(t *testing.T, open func(*testing.T) QueueSubject) {
	for _, test := range []struct {
		name string
		run  func(line)
	}{
		{"tasks wait", tasksWait},
		{"one that waits is success", waitingIsSuccess},
		{"one that many make at once", manyMakeOne},
		{"one at work is in the way", workIsInTheWay},
		{"one that died is in the way", deathIsInTheWay},
		{"one that is done is not", doneIsNot},
		{"everything may be lost", everythingLost},
		{"a queue that is down", queueDown},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), queueLimit)
			defer cancel()
			test.run(line{T: t, QueueSubject: open(t), ctx: ctx})
		})
	}
}

// line is one test's view of the Queue.
type line struct {
	*testing.T
	QueueSubject
	ctx context.Context
}

func (l line) enqueue(tasks ...bell.Task) {
	l.Helper()
	for _, task := range tasks {
		if err := l.Queue.Enqueue(l.ctx, task); err != nil {
			l.Fatalf("Enqueue %v: %v", task, err)
		}
	}
}

func (l line) refused(task bell.Task) {
	l.Helper()
	if err := l.Queue.Enqueue(l.ctx, task); !errors.Is(err, fault.ErrConflict) {
		l.Fatalf("Enqueue %v: %v, want %s", task, err, fault.CodeConflict)
	}
}

func (l line) waiting(want ...bell.Task) {
	l.Helper()
	byText := func(a, b bell.Task) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
	got := slices.SortedFunc(slices.Values(l.Waiting(l.T)), byText)
	slices.SortFunc(want, byText)
	if !slices.Equal(got, want) {
		l.Fatalf("what waits is %v, want %v", got, want)
	}
}

var (
	create  = bell.Task{Pool: bell.PoolCreates, ID: "job_01J9ZQ4T8E4W2Y6N0G5R7K3M1C", Generation: 1}
	upkeep  = bell.Task{Pool: bell.PoolUpkeep, ID: "job_01J9ZQ4T8E4W2Y6N0G5R7K3M1D", Generation: 7}
	deliver = bell.Task{Pool: bell.PoolWebhooks, ID: "dlv_01J9ZQ4T8E4W2Y6N0G5R7K3M1E", Generation: 1}
)

// next gives the task's next generation.
func next(task bell.Task) bell.Task {
	task.Generation++
	return task
}

func tasksWait(l line) {
	l.waiting()
	l.enqueue(create, upkeep, deliver)
	l.waiting(create, upkeep, deliver)
	l.enqueue(next(create))
	l.waiting(create, next(create), upkeep, deliver)
}

func waitingIsSuccess(l line) {
	for range 3 {
		l.enqueue(create, upkeep, deliver)
	}
	l.waiting(create, upkeep, deliver)
}

func manyMakeOne(l line) {
	for _, err := range testenv.Together(10, func(int) error { return l.Queue.Enqueue(l.ctx, create) }) {
		if err != nil {
			l.Fatal(err)
		}
	}
	l.waiting(create)
}

// workIsInTheWay has a worker that may be gone for all the queue knows.
func workIsInTheWay(l line) {
	for _, task := range []bell.Task{create, upkeep, deliver} {
		l.enqueue(task)
		end := l.Begin(l.T, task)
		l.waiting()
		l.refused(task)
		l.waiting()
		l.enqueue(next(task))
		l.waiting(next(task))
		l.Begin(l.T, next(task))(nil)
		end(nil)
	}
}

func deathIsInTheWay(l line) {
	l.enqueue(create)
	l.Begin(l.T, create)(errors.New("for good"))
	l.refused(create)
	l.enqueue(next(create))
	l.waiting(next(create))
}

func doneIsNot(l line) {
	l.enqueue(create)
	l.Begin(l.T, create)(nil)
	l.enqueue(create)
	l.waiting(create)
}

func everythingLost(l line) {
	l.enqueue(create, upkeep, deliver)
	l.Lose(l.T)
	l.waiting()
	for range 2 { // the second time it waits already
		l.enqueue(create, upkeep, deliver)
	}
	l.waiting(create, upkeep, deliver)
	l.Begin(l.T, create)(nil)
	l.waiting(upkeep, deliver)
}

func queueDown(l line) {
	began := time.Now()
	if err := l.Unreachable.Enqueue(l.ctx, create); fault.CodeOf(err) != fault.CodeUnavailable {
		l.Errorf("Enqueue: %v, want %s", err, fault.CodeUnavailable)
	}
	if took := time.Since(began); took > 10*time.Second {
		l.Errorf("it took %s to find out", took)
	}
}
