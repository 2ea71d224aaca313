// Package queue wakes workers through Asynq. It owns the kinds of tasks and the
// names of the queues; worker serves them. A task carries ids and nothing else, and
// losing one costs time only: the database knows what is to be done.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
)

// The queues, one for each pool of workers.
const (
	Creates  = "creates"
	Upkeep   = "upkeep"
	Webhooks = "webhooks"
)

// names says which queue a kind of task goes to.
var names = map[bell.Pool]string{
	bell.PoolCreates:  Creates,
	bell.PoolUpkeep:   Upkeep,
	bell.PoolWebhooks: Webhooks,
}

const (
	// maxRetry is for handlers that could not write their outcome; what a job's own
	// retries are is in the database.
	maxRetry = 5
	// taskTimeout is above every job's deadline, which is what really bounds it.
	taskTimeout = 2 * time.Hour
	// redisTimeout bounds one call, so that nobody waits for a Redis that is away.
	redisTimeout = 2 * time.Second
)

// payload is all that is in Redis.
type payload struct {
	ID         string `json:"id"`
	Generation int64  `json:"generation"`
}

// Decode reads the id out of a task.
func Decode(t *asynq.Task) (string, error) {
	var p payload
	if err := json.Unmarshal(t.Payload(), &p); err != nil || p.ID == "" || !id.WellFormed(p.ID) {
		return "", fmt.Errorf("task %s has no id: %w", t.Type(), asynq.SkipRetry)
	}
	return p.ID, nil
}

// Queue implements bell.Queue.
type Queue struct {
	rdb       redis.UniversalClient
	client    *asynq.Client
	inspector *asynq.Inspector
}

// known is where Asynq keeps the names of the queues.
const known = "asynq:queues"

// New makes a Queue on a Redis client, which stays the caller's to close.
func New(rdb redis.UniversalClient) *Queue {
	return &Queue{rdb: rdb, client: asynq.NewClientFromRedisClient(rdb), inspector: asynq.NewInspectorFromRedisClient(rdb)}
}

// Enqueue implements bell.Queue. The task's id holds the generation, so that a
// reply lost on the way, or a second caller, makes no second task.
func (q *Queue) Enqueue(ctx context.Context, t bell.Task) error {
	body, err := json.Marshal(payload{t.ID, t.Generation})
	if err != nil {
		return fmt.Errorf("encode task: %w", err)
	}
	queue, taskID := names[t.Pool], fmt.Sprintf("%s:%d", t.ID, t.Generation)
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	// A client of Asynq does this only once in its life: a Redis that has lost everything
	// would take the tasks, but neither the Inspector nor the operators' pages show them.
	registered := make(chan error, 1)
	go func() { registered <- q.rdb.SAdd(ctx, known, queue).Err() }() // at the same time: it is a round trip
	_, err = q.client.EnqueueContext(ctx, asynq.NewTask(string(t.Pool), body),
		asynq.Queue(queue), asynq.TaskID(taskID), asynq.MaxRetry(maxRetry), asynq.Timeout(taskTimeout))
	unregistered := <-registered
	switch {
	case err == nil && unregistered == nil:
		return nil
	case err == nil:
		return fault.Errorf(fault.CodeUnavailable, unregistered, "the queue does not answer")
	case !errors.Is(err, asynq.ErrTaskIDConflict):
		return fault.Errorf(fault.CodeUnavailable, err, "the queue does not answer")
	}
	info, err := q.inspector.GetTaskInfo(queue, taskID)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound):
		return fault.ErrConflict // it went this very moment
	case err != nil:
		return fault.Errorf(fault.CodeUnavailable, err, "the queue does not answer")
	case info.State == asynq.TaskStatePending:
		return nil
	}
	// Active, retried or archived: its worker may be gone, and Asynq would take a
	// minute and a half to find out.
	return fault.ErrConflict
}

// Ping reports whether Redis answers.
func (q *Queue) Ping() error { return q.client.Ping() }
