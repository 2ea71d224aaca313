package worker

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/bell"
)

// scripts is a Redis that answers every script the same.
type scripts struct {
	redis.UniversalClient
	answer error
	asked  atomic.Int32
	on     func() // is called while the question is on its way
}

func (s *scripts) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	s.asked.Add(1)
	if s.on != nil {
		s.on()
	}
	answer := redis.NewCmd(ctx)
	answer.SetErr(s.answer)
	return answer
}

// connectedBell is one that would hear of other processes.
type connectedBell struct{ bell.Local }

func (*connectedBell) Connected() bool { return true }

var dequeue = []string{"asynq:{creates}:pending", "asynq:{creates}:paused", "asynq:{creates}:active", "asynq:{creates}:lease"}

// TestHolding says how long an answer is held back.
func TestHolding(t *testing.T) {
	task := bell.Ring{Kind: bell.RingTask, ID: string(bell.PoolCreates)}
	noScript := redis.NewCmd(t.Context())
	noScript.SetErr(noScriptError("NOSCRIPT No matching script"))
	for name, test := range map[string]struct {
		answer error
		keys   []string
		deaf   bool
		early  bool      // the ring comes between question and answer
		ring   bell.Ring // else a moment later
		stop   bool
		polls  bool
		want   time.Duration
	}{
		"none":                         {answer: redis.Nil, keys: dequeue, want: unasked},
		"none, and deaf":               {answer: redis.Nil, keys: dequeue, deaf: true, want: unaskedDeaf},
		"none, and it rings":           {answer: redis.Nil, keys: dequeue, ring: task, want: 5 * time.Millisecond},
		"none, and another pool's":     {answer: redis.Nil, keys: dequeue, ring: bell.Ring{Kind: bell.RingTask, ID: string(bell.PoolUpkeep)}, want: unasked},
		"none, and it may have rung":   {answer: redis.Nil, keys: dequeue, ring: bell.Ring{Kind: bell.RingTask}, want: 5 * time.Millisecond},
		"a task comes with the answer": {answer: redis.Nil, keys: dequeue, early: true, ring: task},
		"stopping":                     {answer: redis.Nil, keys: dequeue, stop: true, want: 5 * time.Millisecond},
		"a task":                       {keys: dequeue},
		"another script":               {answer: redis.Nil, keys: []string{"asynq:{creates}:t:1", "asynq:{creates}:pending"}},
		"no script":                    {answer: noScript.Err(), keys: dequeue},
		"polling: none":                {answer: redis.Nil, keys: dequeue, polls: true},
		"polling: Redis is away":       {answer: context.DeadlineExceeded, keys: dequeue, polls: true, want: away},
		"polling: an unknown script":   {answer: context.DeadlineExceeded, keys: []string{"unknown"}, polls: true, want: away},
		"polling: no script":           {answer: noScript.Err(), keys: dequeue, polls: true},
		"Redis is away":                {answer: context.DeadlineExceeded, keys: dequeue, want: away},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ringer := bell.Bell(&connectedBell{})
				if test.deaf {
					ringer = &bell.Local{}
				}
				rung, forget := bell.Signals(ringer, bell.RingTask, string(bell.PoolCreates))
				defer forget()
				server, stopping := &scripts{answer: test.answer}, make(chan struct{})
				if test.early {
					server.on = func() { ringer.Ring(test.ring) }
				}
				client := &blockingClient{UniversalClient: server, bell: ringer, rung: rung, stopping: stopping, asks: asksForTask, polls: test.polls}
				later := time.AfterFunc(5*time.Millisecond, func() {
					if test.stop {
						close(stopping)
					} else if test.ring.Kind != "" {
						ringer.Ring(test.ring)
					}
				})
				defer later.Stop()
				began := time.Now()
				err := client.EvalSha(t.Context(), "sha", test.keys).Err()
				if took := time.Since(began); took != test.want || err != test.answer { //nolint:errorlint // the very same
					t.Errorf("held for %s, %v, want %s", took, err, test.want)
				}
			})
		})
	}
}

type noScriptError string

func (e noScriptError) Error() string { return string(e) }
func (noScriptError) RedisError()     {}
