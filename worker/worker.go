// Package worker listens to the queues and does what they wake it for. It owns the
// Asynq servers, their pools and the periodic duties; what a job or a delivery
// means is the domain's business.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/queue"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/webhook"
)

// Config is what a worker needs.
type Config struct {
	Redis   redis.UniversalClient
	Bell    bell.Bell // wakes idle pools
	Runner  *job.Runner
	Courier *webhook.Courier
	Relays  []Relay // each wakes what is due of one room
	Janitor *rooms.Janitor
	Upkeep  Upkeep
	Log     *slog.Logger
	// Concurrency is how many creates are done at once. Deletes and upkeep have a pool
	// of their own, half as big, so that a storm of creates never delays them.
	Concurrency int
	// ShutdownTimeout is how long begun work may go on once the worker is told to stop.
	ShutdownTimeout time.Duration

	asks func(keys []string) bool // asksForTask; tests have others
}

const (
	// handBackTimeout is how long interrupted jobs may take to write where they are.
	handBackTimeout = 12 * time.Second
)

// Relay wakes what is due and has no live task.
type Relay interface {
	RunOnce(context.Context) (woken int, err error)
}

// Run works until the context ends, then finishes or hands back what it has begun.
func Run(ctx context.Context, cfg Config) error {
	// Begun work outlives ctx by the shutdown timeout.
	base, interrupt := context.WithCancel(context.WithoutCancel(ctx))
	defer interrupt()
	begun := &underway{}
	stopping := make(chan struct{})
	if cfg.asks == nil {
		cfg.asks = asksForTask
	}
	unheld := proveHolding(ctx, cfg.Redis, asynqLog{cfg.Log}, cfg.asks)
	if unheld != nil {
		cfg.Log.WarnContext(ctx, "idle workers poll for tasks: Asynq does not wait for an answer as it should", "error", unheld, "every", polling.String())
	}
	servers, forget := cfg.servers(base, begun, stopping, unheld == nil)
	defer forget()
	for i, s := range servers {
		if err := s.start(); err != nil {
			close(stopping)
			for _, started := range servers[:i] {
				started.server.Shutdown()
			}
			return fmt.Errorf("listen to queue %s: %w", s.queue, err)
		}
	}
	group, dutyCtx := errgroup.WithContext(ctx)
	for _, relay := range cfg.Relays {
		group.Go(func() error { return duty.Every("relay", job.RelayEvery, relay.RunOnce).Run(dutyCtx, cfg.Log) })
	}
	group.Go(func() error {
		return duty.Every("janitor", rooms.JanitorEvery, cfg.Janitor.RunOnce).Run(dutyCtx, cfg.Log)
	})
	cfg.Upkeep.start(dutyCtx, group, cfg.Log)
	cfg.Log.InfoContext(ctx, "worker ready", "concurrency", cfg.Concurrency)
	err := group.Wait()

	close(stopping)
	begun.close()
	for _, s := range servers {
		s.server.Stop() // take nothing new
	}
	if !begun.wait(cfg.ShutdownTimeout) {
		cfg.Log.Info("handing back unfinished work")
		interrupt()
		begun.wait(handBackTimeout)
	}
	for _, s := range servers {
		s.server.Shutdown()
	}
	return err
}

// pool is an Asynq server with its one queue and one handler.
type pool struct {
	queue  string
	kind   bell.Pool
	server *asynq.Server
	handle asynq.HandlerFunc
}

func (p pool) start() error {
	mux := asynq.NewServeMux()
	mux.HandleFunc(string(p.kind), p.handle)
	return p.server.Start(mux)
}

func (cfg Config) servers(base context.Context, begun *underway, stopping <-chan struct{}, hold bool) (pools []pool, forget func()) {
	runJob := func(ctx context.Context, which string) error { return cfg.Runner.Run(ctx, id.Job(which)) }
	deliver := func(ctx context.Context, id string) error { return cfg.Courier.Deliver(ctx, webhook.DeliveryID(id)) }
	var stops []func()
	addPool := func(name string, kind bell.Pool, concurrency int, do func(context.Context, string) error) {
		rung, stop := bell.Signals(cfg.Bell, bell.RingTask, string(kind))
		stops = append(stops, stop)
		client, again := &blockingClient{UniversalClient: cfg.Redis, bell: cfg.Bell, rung: rung, stopping: stopping, polls: !hold, asks: cfg.asks}, askAgain
		if !hold {
			again = polling
		}
		pools = append(pools, pool{queue: name, kind: kind, handle: handler(begun, do), server: asynq.NewServerFromRedisClient(client, asynq.Config{
			Concurrency: concurrency, Queues: map[string]int{name: 1}, TaskCheckInterval: again,
			BaseContext: func() context.Context { return base },
			// Only an outcome that could not be written comes back here.
			RetryDelayFunc: func(n int, _ error, _ *asynq.Task) time.Duration { return time.Duration(min(n+1, 10)) * time.Second },
			IsFailure:      func(error) bool { return false },
			ErrorHandler: asynq.ErrorHandlerFunc(func(ctx context.Context, task *asynq.Task, err error) {
				if errors.Is(err, context.Canceled) {
					return // asynq's word for a handler that is handing back; it goes on
				}
				cfg.Log.WarnContext(ctx, "the outcome of a task could not be stored", "task", task.Type(), "error", err)
			}),
			ShutdownTimeout: time.Second, // Run has waited by then
			Logger:          asynqLog{cfg.Log},
			LogLevel:        asynq.WarnLevel,
		})})
	}
	addPool(queue.Creates, bell.PoolCreates, cfg.Concurrency, runJob)
	addPool(queue.Upkeep, bell.PoolUpkeep, max(2, cfg.Concurrency/2), runJob)
	addPool(queue.Webhooks, bell.PoolWebhooks, webhook.CourierPlaces, deliver)
	return pools, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// handler decodes, and calls the one use case.
func handler(begun *underway, do func(context.Context, string) error) asynq.HandlerFunc {
	return func(ctx context.Context, task *asynq.Task) error {
		if !begun.begin() {
			return nil
		}
		defer begun.done()
		id, err := queue.Decode(task)
		if err != nil {
			return err
		}
		return do(ctx, id)
	}
}
