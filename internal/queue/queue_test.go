package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/bell/belltest"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/redisserver"
	"github.com/berth-project/berth/internal/testenv"
)

func TestMain(m *testing.M) {
	code := testenv.Run(m)
	if err := goleak.Find(); code == 0 && err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// servers gives an empty Redis of each kind.
var servers = map[string]func(*testing.T) string{
	"redis":    func(t *testing.T) string { return testenv.Redis(t) },
	"embedded": embedded,
}

func embedded(t *testing.T) string {
	t.Helper()
	server, err := redisserver.Start("test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return server.URL()
}

// connect makes a client with the patience that cmd gives its own.
func connect(t *testing.T, redisURL string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.ContextTimeoutEnabled = time.Second, 3*time.Second, 3*time.Second, true
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func TestContract(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			belltest.QueueContract(t, func(t *testing.T) belltest.QueueSubject {
				rdb := connect(t, server(t))
				return belltest.QueueSubject{
					Queue: New(rdb), Unreachable: New(connect(t, "redis://"+closedPort(t))),
					Waiting: func(t *testing.T) []bell.Task { return waiting(t, rdb) },
					Begin:   func(t *testing.T, task bell.Task) func(error) { return begin(t, rdb, task) },
					Lose: func(t *testing.T) {
						if err := rdb.FlushDB(t.Context()).Err(); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// pending gives the tasks that wait in a queue.
func pending(t *testing.T, rdb *redis.Client, queue string) []*asynq.TaskInfo {
	t.Helper()
	tasks, err := asynq.NewInspectorFromRedisClient(rdb).ListPendingTasks(queue)
	if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		t.Fatal(err)
	}
	return tasks
}

func waiting(t *testing.T, rdb *redis.Client) []bell.Task {
	t.Helper()
	var out []bell.Task
	for _, queue := range []string{Creates, Upkeep, Webhooks} {
		for _, info := range pending(t, rdb, queue) {
			var p payload
			if err := json.Unmarshal(info.Payload, &p); err != nil {
				t.Fatal(err)
			}
			out = append(out, bell.Task{Pool: bell.Pool(info.Type), ID: p.ID, Generation: p.Generation})
		}
	}
	return out
}

// begin runs a worker on the task's queue until it is told how the task ends.
func begin(t *testing.T, rdb *redis.Client, want bell.Task) (end func(error)) {
	t.Helper()
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Queues: map[string]int{names[want.Pool]: 1}, Concurrency: 1, TaskCheckInterval: 5 * time.Millisecond, LogLevel: asynq.FatalLevel,
		ShutdownTimeout: 10 * time.Second,
	})
	began, outcome, ended := make(chan string), make(chan error, 1), make(chan struct{})
	handler := asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		id, err := Decode(task)
		if err != nil {
			id = err.Error()
		}
		began <- id
		return <-outcome
	})
	if err := server.Start(handler); err != nil {
		t.Fatal(err)
	}
	if id := <-began; id != want.ID {
		t.Errorf("the worker got %s, want %s", id, want.ID)
	}
	server.Stop() // it takes no other one
	end = func(err error) {
		select {
		case <-ended:
			return
		default:
		}
		if err != nil {
			err = fmt.Errorf("%w: %w", err, asynq.SkipRetry)
		}
		outcome <- err
		server.Shutdown()
		close(ended)
	}
	t.Cleanup(func() { end(nil) })
	return end
}

// TestTaskInRedis looks at everything that a task puts into Redis.
func TestTaskInRedis(t *testing.T) {
	rdb := connect(t, testenv.Redis(t))
	if err := New(rdb).Enqueue(t.Context(), bell.Task{Pool: bell.PoolCreates, ID: "job_1", Generation: 3}); err != nil {
		t.Fatal(err)
	}
	infos := pending(t, rdb, Creates)
	if len(infos) != 1 {
		t.Fatalf("%d tasks wait", len(infos))
	}
	info := infos[0]
	if string(info.Payload) != `{"id":"job_1","generation":3}` {
		t.Errorf("its payload is %s, want ids only", info.Payload)
	}
	if info.Type != "job:create" || info.Queue != Creates || info.ID != "job_1:3" || info.MaxRetry != maxRetry || info.Timeout != taskTimeout {
		t.Errorf("it is %+v", info)
	}
	keys, err := rdb.Keys(t.Context(), "*").Result()
	slices.Sort(keys)
	if want := []string{"asynq:queues", "asynq:{creates}:pending", "asynq:{creates}:t:job_1:3"}; err != nil || !slices.Equal(keys, want) {
		t.Errorf("the keys are %v, %v, want %v", keys, err, want)
	}
}

func TestKindsHaveQueues(t *testing.T) {
	kinds := []bell.Pool{bell.PoolCreates, bell.PoolUpkeep, bell.PoolWebhooks}
	for _, kind := range kinds {
		if names[kind] == "" {
			t.Errorf("%s goes nowhere", kind)
		}
	}
	if len(names) != len(kinds) {
		t.Errorf("there are %d queues for %d kinds", len(names), len(kinds))
	}
}

func TestDecode(t *testing.T) {
	for payload, want := range map[string]string{
		`{"id":"job_1","generation":2}`: "job_1", `{"id":""}`: "", `{}`: "", ``: "", `[]`: "", `nonsense`: "", `{"id":5}`: "",
	} {
		id, err := Decode(asynq.NewTask("job:create", []byte(payload)))
		if id != want || (err == nil) != (want != "") || (err != nil && !errors.Is(err, asynq.SkipRetry)) {
			t.Errorf("%q: %q, %v, want %q and no second try", payload, id, err, want)
		}
	}
}

// TestQueueComesBack takes Redis away and gives it back.
func TestQueueComesBack(t *testing.T) {
	t.Parallel()
	proxied, proxy := testenv.NewProxy(t, testenv.Redis(t))
	q := New(connect(t, proxied))
	task := bell.Task{Pool: bell.PoolCreates, ID: "job_1", Generation: 1}
	for _, away := range []bool{false, true, false} {
		if away {
			proxy.Cut()
		} else if task.Generation > 1 {
			proxy.Restore(t)
		}
		err := errors.Join(q.Enqueue(t.Context(), task), q.Ping())
		if away != (err != nil) || (away && fault.CodeOf(err) != fault.CodeUnavailable) {
			t.Fatalf("away: %v, got %v", away, err)
		}
		task.Generation++
	}
}

// TestQueueHangs has a Redis that takes connections and says nothing.
func TestQueueHangs(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test is over
	q := New(connect(t, "redis://"+l.Addr().String()))
	took := testenv.Quickest(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := q.Enqueue(ctx, bell.Task{Pool: bell.PoolCreates, ID: "job_1"}); fault.CodeOf(err) != fault.CodeUnavailable {
			t.Errorf("got %v", err)
		}
	})
	if took > time.Second {
		t.Errorf("it took %s", took)
	}
}
