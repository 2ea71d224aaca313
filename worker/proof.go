package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/bell"
)

const (
	// proofTime bounds the proof, which takes some 50 ms where it succeeds.
	proofTime = 2 * time.Second
	// proofAgain is Asynq's pause between two questions meanwhile.
	proofAgain = 10 * time.Millisecond
	// polling is Asynq's pause between two questions where answers cannot be held back.
	polling = time.Second
)

// proveHolding fails where the answer "none" cannot be held back: where Asynq does not ask
// for tasks in a way that asks recognises, or does not ask again after such an answer. What
// blockingClient knows of Asynq is no part of Asynq's promises, and with a pause of askAgain
// an Asynq that is not held would ask thousands of times a second.
//
// An Asynq server is started for that on a queue that nobody uses. It leaves nothing there.
// A Redis that does not answer disproves nothing: Asynq's questions are recognised all the
// same, and errors are held back like the answer "none".
func proveHolding(ctx context.Context, rdb redis.UniversalClient, log asynq.Logger, asks func([]string) bool) error {
	seen, stopping := make(chan moment, 16), make(chan struct{})
	client := &blockingClient{UniversalClient: rdb, bell: &bell.Local{}, stopping: stopping, asks: asks, witness: func(m moment) {
		select {
		case seen <- m:
		default: // enough was seen
		}
	}}
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency: 1, Queues: map[string]int{"proof-" + rand.Text(): 1}, TaskCheckInterval: proofAgain,
		ShutdownTimeout: proofTime, Logger: log, LogLevel: asynq.FatalLevel,
	})
	if err := server.Start(asynq.NotFoundHandler()); err != nil {
		return fmt.Errorf("start an Asynq server: %w", err)
	}
	defer func() {
		close(stopping)
		server.Shutdown()
	}()
	late := time.NewTimer(proofTime)
	defer late.Stop()
	questions, answered := 0, false
	for {
		select {
		case m := <-seen:
			if m == held {
				answered = true
			} else if questions++; answered {
				return nil // it was held back, and asked again
			}
		case <-ctx.Done():
			return nil // nobody is going to ask
		case <-late.C:
			switch {
			case questions == 0:
				return errors.New("no question for a task is recognised")
			case answered:
				return errors.New("no task is asked for again")
			}
			return nil // Redis does not answer
		}
	}
}
