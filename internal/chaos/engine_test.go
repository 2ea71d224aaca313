package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

const (
	// engineAway is the longest that the engine stays away.
	engineAway = 6 * time.Second
	// backLimit is how long an instance may take to be usable again once its engine is
	// back. One that was killed with its engine again and again waits for five minutes.
	backLimit = 6 * time.Minute
	// reactLimit is how long Berth may take to say that a container has died: one second
	// in which it may come back by itself, and what a busy machine takes.
	reactLimit = 8 * time.Second
)

// restartEngine takes the engine away and gives it back. What ran must come back with
// its data, and Berth must hear of containers as quickly as before.
func restartEngine(w *world, r *rand.Rand, end, start func()) {
	w.Helper()
	kept := w.keep()
	end()
	pause(w, upTo(r, engineAway))
	start()
	begun := time.Now()
	for _, inst := range kept {
		w.usableAgain(inst)
	}
	w.Logf("%d instances were usable again %s after their engine was back", len(kept), time.Since(begun).Round(time.Millisecond))
	w.reacts()
}

const keptKey = "kept"

// keep writes to each running instance what it must not lose, and gives those that
// have taken it.
func (w *world) keep() (kept []client.Instance) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	for _, o := range w.known() {
		inst, err := w.client.Instance(ctx, o.instance.ID)
		if err != nil || inst.State != client.InstanceRunning {
			continue
		}
		err = w.redisOf(ctx, inst, func(rdb *redis.Client) error { return rdb.Set(ctx, keptKey, inst.ID, 0).Err() })
		if err == nil { // or it is being deleted
			kept = append(kept, inst)
		}
	}
	return kept
}

// usableAgain waits until the instance runs and has what keep has written, unless the
// load has deleted it.
func (w *world) usableAgain(inst client.Instance) {
	w.Helper()
	testenv.Eventually(w.T, inst.ID+" is usable again", backLimit, func(ctx context.Context) error {
		seen, err := w.client.Instance(ctx, inst.ID)
		if err != nil || seen.State == "deleting" || seen.State == "deleted" {
			return err
		}
		if seen.State != client.InstanceRunning {
			return fmt.Errorf("it is %s: %s", seen.State, seen.Reason)
		}
		return w.redisOf(ctx, inst, func(rdb *redis.Client) error {
			got, err := rdb.Get(ctx, keptKey).Result()
			if errors.Is(err, redis.Nil) || (err == nil && got != inst.ID) {
				w.Fatalf("%s has lost its data: it has %q", inst.ID, got)
			}
			return err
		})
	})
}

func (w *world) redisOf(ctx context.Context, inst client.Instance, do func(*redis.Client) error) error {
	conn, err := w.client.Connection(ctx, inst)
	if err != nil {
		return err
	}
	options, err := redis.ParseURL(conn.URI)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(options)
	defer rdb.Close() //nolint:errcheck // nothing depends on it
	return do(rdb)
}

// reacts kills a container and sees how soon Berth says so. It is a new one's, which
// had no repair before that it would have to wait for.
func (w *world) reacts() {
	w.Helper()
	o := w.create("redis")
	if o == nil {
		w.Fatal("a create was refused with everything there")
	}
	inst := o.instance
	w.settle()
	if seen, err := w.client.Instance(w.Context(), inst.ID); err != nil || seen.State != client.InstanceRunning {
		w.Fatalf("created with the engine back, %s is %s: %s (%v)", inst.ID, seen.State, seen.Reason, err)
	}
	before := w.saidDown(w.Context(), inst)
	w.dockerAt(w.engineOf(inst.ID), "kill", "berth-"+inst.ID)
	begun := time.Now()
	testenv.Eventually(w.T, "Berth says that "+inst.ID+" is down", reactLimit, func(ctx context.Context) error {
		if n := w.saidDown(ctx, inst); n <= before {
			return fmt.Errorf("it was said %d times, all of them before", n)
		}
		return nil
	})
	w.Logf("Berth said after %s that a container had died", time.Since(begun).Round(time.Millisecond))
	w.dealtWith(inst, client.InstanceRunning)
}

// saidDown gives how often an event said that the instance is down.
func (w *world) saidDown(ctx context.Context, inst client.Instance) int {
	w.Helper()
	page, err := w.client.Events(ctx, client.EventFilter{Types: []string{"instance.unhealthy"}, InstanceID: inst.ID}, 0)
	if err != nil {
		w.Fatal(err)
	}
	return len(page.Items)
}
