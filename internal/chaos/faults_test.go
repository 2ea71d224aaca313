package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
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
		{"container killed by hand", true, func(w *world, r *rand.Rand) { damage(w, r, client.InstanceRunning, "kill") }},
		{"container removed by hand", true, func(w *world, r *rand.Rand) { damage(w, r, client.InstanceRunning, "rm", "-f") }},
		{"container and volume removed by hand", true, loseData},
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

// victim gives a running instance that nobody is deleting, a fresh one if need be.
func victim(w *world, r *rand.Rand) client.Instance {
	w.Helper()
	w.settle()
	var found []client.Instance
	for _, o := range w.known() {
		inst, err := w.client.Instance(w.Context(), o.instance.ID)
		if err != nil {
			w.Fatal(err)
		}
		// Of a Redis the test can tell whether it works again.
		if inst.State == client.InstanceRunning && inst.Engine == "redis" {
			found = append(found, inst)
		}
	}
	if len(found) > 0 {
		return found[r.IntN(len(found))]
	}
	o := w.create("redis")
	w.settle()
	return o.instance
}

// damage does something to an instance's container and waits until Berth has dealt
// with it.
func damage(w *world, r *rand.Rand, want string, args ...string) {
	w.Helper()
	inst := victim(w, r)
	w.dockerCLI(append(args, "berth-"+inst.ID)...)
	w.dealtWith(inst, want)
}

func loseData(w *world, r *rand.Rand) {
	w.Helper()
	inst := victim(w, r)
	// In one go, before anybody mends the first half.
	w.dockerCLI("rm", "-f", "-v", "berth-"+inst.ID)
	_ = exec.CommandContext(w.Context(), "docker", "--host", w.dockerURL(), "volume", "rm", "-f", "berth-"+inst.ID).Run() // or it was quicker
	testenv.Eventually(w.T, inst.ID+" was dealt with", time.Minute, func(ctx context.Context) error {
		seen, err := w.client.Instance(ctx, inst.ID)
		if err == nil && seen.State == client.InstanceRunning {
			err = w.works(ctx, seen) // the volume was in use again: mended on its data
		} else if err == nil && seen.State != "failed" && seen.State != "deleted" {
			err = fmt.Errorf("it is %s: %s", seen.State, seen.Reason)
		}
		return err
	})
}

// dealtWith waits until the instance is in the state, and works if it runs.
func (w *world) dealtWith(inst client.Instance, want string) {
	w.Helper()
	testenv.Eventually(w.T, inst.ID+" was dealt with", time.Minute, func(ctx context.Context) error {
		seen, err := w.client.Instance(ctx, inst.ID)
		if err != nil {
			return err
		}
		if seen.State == "deleted" {
			return nil // the load wanted that meanwhile, and a delete wins
		}
		if seen.State != want {
			return fmt.Errorf("it is %s: %s", seen.State, seen.Reason)
		}
		return w.works(ctx, seen)
	})
}

func breakDocker(w *world, m mode, r *rand.Rand) {
	w.docker.set(m)
	pause(w, time.Second+upTo(r, 4*time.Second))
	w.docker.set(pass)
}
