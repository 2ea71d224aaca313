package worker_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/testenv"
	"github.com/berth-project/berth/worker"
)

// questions counts the scripts that a client runs.
type questions struct {
	redis.UniversalClient
	asked atomic.Int64
}

func (q *questions) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	q.asked.Add(1)
	return q.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// A worker proves that it can hold Asynq's questions back, and where it cannot it polls, as
// seldom as anybody would, and does its jobs all the same.
func TestHoldingIsProven(t *testing.T) {
	for name, server := range map[string]func(testing.TB) string{"embedded": embedded, "Redis": func(t testing.TB) string { return testenv.Redis(t) }} {
		for _, unlike := range []bool{false, true} {
			if unlike {
				name += ", another Asynq"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b, log := newBench(t, server(t)), &testenv.Log{}
				client := &questions{UniversalClient: b.cfg.Redis}
				b.cfg.Redis, b.cfg.Log = client, slog.New(slog.NewTextHandler(log, nil))
				if unlike {
					b.cfg.UnlikeAsynq()
				}
				stop := b.start()
				b.succeeded(b.create().Job.ID)
				if said := strings.Contains(log.String(), "idle workers poll"); said != unlike {
					t.Errorf("it says:\n%s", log)
				}
				before := client.asked.Load()
				<-time.After(2 * time.Second)
				if n := client.asked.Load() - before; n > 100 {
					t.Errorf("an idle worker has run %d scripts within two seconds", n)
				}
				stop()
				left, err := b.cfg.Redis.Keys(t.Context(), "*proof-*").Result()
				servers, err2 := b.cfg.Redis.ZCard(t.Context(), "asynq:servers").Result()
				if err != nil || err2 != nil || len(left) > 0 || servers > 0 {
					t.Errorf("it has left %v, %d servers, %v, %v", left, servers, err, err2)
				}
			})
		}
	}
}

// A Redis that does not answer when a worker starts disproves nothing.
func TestHoldingWithoutRedis(t *testing.T) {
	hung, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hung.Close() })
	for name, address := range map[string]string{"it is away": "127.0.0.1:1", "it hangs": hung.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, log := newBench(t, embedded(t)), &testenv.Log{}
			b.cfg.Redis, b.cfg.Log = dial(t, "redis://"+address+"/0?read_timeout=500ms&max_retries=-1"), slog.New(slog.NewTextHandler(log, nil))
			stop := b.start()
			<-time.After(2 * worker.ProofTime)
			stop()
			if strings.Contains(log.String(), "idle workers poll") {
				t.Errorf("it says:\n%s", log)
			}
		})
	}
}
