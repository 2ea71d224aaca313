package worker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/bell"
)

const (
	// askAgain is Asynq's pause before it asks again, which it does after each of our
	// answers.
	askAgain = 100 * time.Microsecond
	// An idle pool looks unasked this often, for rings that were lost and for tasks that
	// Asynq itself brings back; and so often while the bell is not connected.
	unasked     = time.Second
	unaskedDeaf = 30 * time.Millisecond
	// away is the pause after a look that failed.
	away = 100 * time.Millisecond
)

// blockingClient is the Redis client of one pool. Asynq has no way to be woken: it asks for
// a task, and when there is none it sleeps and asks again. So the answer "none" is
// held back here until the bell rings for the pool's queue. A ring between question
// and answer is in the channel by then, so none is missed.
type blockingClient struct {
	redis.UniversalClient
	bell     bell.Bell
	rung     <-chan struct{}
	stopping <-chan struct{}
	polls    bool                     // nothing is held back; Asynq pauses by itself, but not after an error
	asks     func(keys []string) bool // asksForTask; tests have others
	witness  func(moment)             // sees what is asked and held, for the proof; nil: nobody does
}

// EvalSha runs a script of Asynq.
func (p *blockingClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	p.see(asked, keys)
	return p.hold(ctx, keys, p.UniversalClient.EvalSha(ctx, sha, keys, args...))
}

// Eval runs a script that Redis does not know yet, or not any more.
func (p *blockingClient) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	p.see(asked, keys)
	return p.hold(ctx, keys, p.UniversalClient.Eval(ctx, script, keys, args...))
}

// hold holds the answer to a question for a task back, where there is none. It delays errors,
// too: Asynq asks again at once after them.
func (p *blockingClient) hold(ctx context.Context, keys []string, answer *redis.Cmd) *redis.Cmd {
	err, pause := answer.Err(), away
	switch {
	case err == nil, redis.HasErrorPrefix(err, "NOSCRIPT"):
		return answer
	case p.polls:
		if errors.Is(err, redis.Nil) {
			return answer
		}
	case !p.asks(keys):
		return answer
	case errors.Is(err, redis.Nil):
		p.see(held, keys)
		pause = bell.Interval(p.bell, unasked, unaskedDeaf)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-p.stopping:
	case <-p.rung:
	case <-timer.C:
	}
	return answer
}

// moment is one of the life of a question for a task.
type moment int

const (
	asked moment = iota // it is on its way
	held                // its answer is "none", and is held back
)

func (p *blockingClient) see(m moment, keys []string) {
	if p.witness != nil && p.asks(keys) {
		p.witness(m)
	}
}

// asksForTask recognises the script that takes a task: its first two keys are
// asynq:{QUEUE}:pending and asynq:{QUEUE}:paused.
func asksForTask(keys []string) bool {
	return len(keys) > 1 && strings.HasSuffix(keys[0], "}:pending") && strings.HasSuffix(keys[1], "}:paused")
}
