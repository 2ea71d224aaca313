package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// fault is one thing that can go wrong. It comes back when the fault is over.
type fault struct {
	name  string
	short bool // part of the short form
	do    func(*world, *rand.Rand)
}

func faults() []fault {
	return []fault{
		{"SIGKILL of a worker", true, killWorker},
		{"SIGKILL of the API", true, killAPI},
		{"SIGSTOP beyond the lease, SIGCONT", true, freezeWorker},
		{"FLUSHALL", true, flush},
		{"Redis away", true, func(w *world, r *rand.Rand) { redisAway(w, 3*time.Second+upTo(r, 5*time.Second)) }},
		{"Redis away for 45 s", false, func(w *world, _ *rand.Rand) { redisAway(w, 45*time.Second) }},
		{"metadata MySQL away", true, databaseAway},
		{"ports taken by another process", true, takePorts},
		{"Docker calls fail", true, func(w *world, r *rand.Rand) { breakDocker(w, refuse, r) }},
		{"Docker calls hang", false, func(w *world, r *rand.Rand) { breakDocker(w, hang, r) }},
		{"Docker answers are lost", true, func(w *world, r *rand.Rand) { breakDocker(w, lose, r) }},
	}
}

// upTo draws a time below the limit.
func upTo(r *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(limit)))
}

// pause lets the load get to a random point.
func pause(w *world, d time.Duration) {
	select {
	case <-w.Context().Done():
	case <-time.After(d):
	}
}

func killWorker(w *world, r *rand.Rand) {
	i := r.IntN(len(w.workers))
	w.workers[i].Kill()
	w.workers = append(w.workers[:i], w.workers[i+1:]...)
	w.startWorker()
}

func killAPI(w *world, _ *rand.Rand) {
	w.api.Kill()
	w.startAPI()
}

func freezeWorker(w *world, r *rand.Rand) {
	pid := w.workers[r.IntN(len(w.workers))].Pid()
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	pause(w, 14*time.Second) // the lease is 10 s
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

func flush(w *world, _ *rand.Rand) {
	options, err := redis.ParseURL(w.redisURL)
	if err != nil {
		w.Fatal(err)
	}
	c := redis.NewClient(options)
	defer c.Close() //nolint:errcheck // nothing depends on it
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
	defer cancel()
	if err := c.FlushAll(ctx).Err(); err != nil {
		w.Fatal(err)
	}
}

func redisAway(w *world, length time.Duration) {
	w.redis.Cut()
	pause(w, length)
	w.redis.Restore(w.T)
}

func databaseAway(w *world, r *rand.Rand) {
	w.database.Cut()
	pause(w, time.Second+upTo(r, 4*time.Second))
	w.database.Restore(w.T)
}

// takePorts listens on a stretch of the range, most of which no instance has.
func takePorts(w *world, r *rand.Rand) {
	var taken []net.Listener
	for port := w.ports; port < w.ports+400; port++ {
		if r.IntN(3) == 0 {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(w.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			taken = append(taken, l)
		}
	}
	pause(w, 5*time.Second)
	for _, l := range taken {
		_ = l.Close()
	}
}

func breakDocker(w *world, m mode, r *rand.Rand) {
	w.docker.set(m)
	pause(w, time.Second+upTo(r, 4*time.Second))
	w.docker.set(pass)
}
