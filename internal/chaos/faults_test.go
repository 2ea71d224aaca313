package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/queue"
	"github.com/berth-project/berth/internal/testenv"
)

// fault is one thing that can go wrong. It comes back when the fault is over.
type breakage struct {
	name  string
	in    []shape
	short []shape // where it is part of the short form
	// late says that a call to Docker may have its effect after whoever made it is
	// gone, so that the reconciler may find something to clear away.
	late bool
	do   func(*world, *rand.Rand)
}

var (
	onOneEngine = []shape{production, oneFile, alone, pooled} // which is this machine's
	everywhere  = append(onOneEngine, spread)
	separate    = []shape{production, oneFile, pooled, spread} // API, workers and Redis are processes of their own
	onServer    = []shape{production, spread}                  // the metadata are in a MySQL
	onMySQL     = []shape{production}
	onSQLite    = []shape{oneFile, alone, pooled}
	onWarm      = []shape{pooled}
	// In the short form each fault comes once, in one of its shapes.
	onOneFile    = []shape{oneFile}
	onOneProcess = []shape{alone}
	onItsOwn     = []shape{ashore}
	onHosts      = []shape{spread}
)

func faults(in shape) []breakage {
	all := []breakage{
		{"SIGKILL of a worker", separate, onOneFile, false, killWorker},
		{"SIGKILL of the API", everywhere, onOneProcess, false, killAPI},
		{"SIGKILL of every process at once", separate, onMySQL, false, powerCut},
		{"SIGSTOP beyond the lease, SIGCONT", everywhere, onMySQL, false, freeze},
		{"FLUSHALL", separate, onOneFile, false, flush},
		{"Redis away", separate, onMySQL, false, func(w *world, r *rand.Rand) { redisAway(w, 3*time.Second+upTo(r, 5*time.Second)) }},
		{"Redis away for 45 s", separate, nil, false, func(w *world, _ *rand.Rand) { redisAway(w, 45*time.Second) }},
		{"Redis restarted, empty", separate, nil, false, restartRedis},
		{"metadata MySQL away", onServer, nil, false, databaseAway},
		{"metadata MySQL killed and restarted", onServer, onMySQL, false, restartDatabase},
		{"metadata SQLite locked by another", onSQLite, onOneFile, false, lockDatabase},
		{"each task doubled", separate, onWarm, false, doubleTasks},
		{"ports taken by another process", onOneEngine, onWarm, false, takePorts},
		{"Docker calls fail", onOneEngine, onOneFile, true, func(w *world, r *rand.Rand) { breakDocker(w, w.docker, refuse, r) }},
		{"Docker calls hang", onOneEngine, nil, true, func(w *world, r *rand.Rand) { breakDocker(w, w.docker, hang, r) }},
		{"Docker answers are lost", onOneEngine, onOneProcess, true, func(w *world, r *rand.Rand) { breakDocker(w, w.docker, lose, r) }},
		{"container killed by hand", everywhere, onWarm, false, func(w *world, r *rand.Rand) { damage(w, r, client.InstanceRunning, "kill") }},
		{"container removed by hand", everywhere, nil, false, func(w *world, r *rand.Rand) { damage(w, r, client.InstanceRunning, "rm", "-f") }},
		{"container and volume removed by hand", everywhere, onMySQL, false, loseData},
		{"warm container removed by hand", onWarm, onWarm, false, loseWarm},
		{"webhooks are not answered", everywhere, nil, false, func(w *world, _ *rand.Rand) { upset(w, silent) }},
		{"webhooks are answered with 500", everywhere, onMySQL, false, func(w *world, _ *rand.Rand) { upset(w, failing) }},
		{"webhooks are redirected inside", everywhere, onOneFile, false, func(w *world, _ *rand.Rand) { upset(w, sideways) }},
		{"webhooks get an endless answer", everywhere, onOneProcess, false, func(w *world, _ *rand.Rand) { upset(w, babbling) }},
		{"webhooks are answered with 410", everywhere, onWarm, false, leave},
		{"dockerd restarted", onItsOwn, onItsOwn, true, func(w *world, r *rand.Rand) { restartEngine(w, r, w.engine.Stop, w.engine.Start) }},
		{"dockerd killed", onItsOwn, onItsOwn, true, func(w *world, r *rand.Rand) { restartEngine(w, r, w.engine.Kill, w.engine.Start) }},
	}
	all = append(all, hostFaults()...)
	return slices.DeleteFunc(all, func(f breakage) bool { return !slices.Contains(f.in, in) })
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

// busy gives a worker that is at a job, as soon as there is one.
func (w *world) busy(r *rand.Rand) int {
	w.Helper()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); pause(w, 2*time.Millisecond) {
		i := -1
		err := w.each(w.Context(), "SELECT owner FROM jobs WHERE live_instance_id IS NOT NULL AND state = 'running'", func(scan func(...any) error) error {
			var owner string
			if err := scan(&owner); err != nil {
				return err
			}
			i = max(i, slices.IndexFunc(w.workers, func(p *testenv.Process) bool { return strings.Contains(owner, fmt.Sprintf(":%d:", p.Pid())) }))
			return nil
		})
		if err == nil && i >= 0 {
			return i
		}
	}
	return r.IntN(len(w.workers))
}

func killWorker(w *world, r *rand.Rand) {
	w.createSoon()
	i := w.busy(r)
	w.workers[i].Kill()
	w.workers = append(w.workers[:i], w.workers[i+1:]...)
	w.startWorker()
}

// killAPI ends the process that answers; in a Berth of one process that is all of it.
func killAPI(w *world, _ *rand.Rand) {
	w.api.Kill()
	w.startAPI()
}

// createSoon gives the workers something to do, whatever the load is at.
func (w *world) createSoon() { w.create("redis") }

func powerCut(w *world, _ *rand.Rand) {
	w.api.Kill()
	for _, p := range w.workers {
		p.Kill()
	}
	w.workers = nil
	for range w.shape.workers {
		w.startWorker()
	}
	w.startAPI()
}

func freeze(w *world, r *rand.Rand) {
	pid := w.api.Pid()
	if len(w.workers) > 0 {
		w.createSoon()
		pid = w.workers[w.busy(r)].Pid()
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	pause(w, w.lease+4*time.Second)
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

// queueClient gives a client of the world's Redis, past the proxy.
func (w *world) queueClient() *redis.Client {
	w.Helper()
	options, err := redis.ParseURL(w.redisServer.URL)
	if err != nil {
		w.Fatal(err)
	}
	return redis.NewClient(options)
}

// flush empties Redis while tasks wait in it: nobody takes them at that moment.
func flush(w *world, _ *rand.Rand) {
	c := w.queueClient()
	defer c.Close() //nolint:errcheck // nothing depends on it
	signal := func(s syscall.Signal) {
		for _, p := range w.workers {
			_ = syscall.Kill(p.Pid(), s) // it may have ended
		}
	}
	defer signal(syscall.SIGCONT)
	testenv.Eventually(w.T, "all stand still, and none in a write", time.Minute, func(ctx context.Context) error {
		signal(syscall.SIGSTOP)
		tx, err := w.rows.BeginTx(ctx, nil) // which takes SQLite's one lock
		if err != nil {
			signal(syscall.SIGCONT)
			pause(w, time.Second) // or whoever had the lock is stopped again before it can let go
			return err
		}
		return tx.Rollback()
	})
	for range 2 {
		w.create("redis")
	}
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
	defer cancel()
	if err := c.FlushAll(ctx).Err(); err != nil {
		w.Fatal(err)
	}
}

func restartRedis(w *world, r *rand.Rand) {
	w.redisServer.Kill()
	pause(w, upTo(r, 3*time.Second))
	w.redisServer.Start()
}

func restartDatabase(w *world, r *rand.Rand) {
	w.databaseServer.Kill()
	pause(w, upTo(r, 3*time.Second))
	w.databaseServer.Start()
}

// lockDatabase writes and does not commit, for longer than Berth waits for a lock.
func lockDatabase(w *world, r *rand.Rand) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	var tx *sql.Tx
	testenv.Eventually(w.T, "the database is locked", 30*time.Second, func(context.Context) (err error) {
		tx, err = w.rows.BeginTx(ctx, nil)
		return err
	})
	pause(w, 4*time.Second+upTo(r, 4*time.Second))
	_ = tx.Rollback()
}

// doubleTasks has every job that has not ended done by several workers at once.
func doubleTasks(w *world, r *rand.Rand) {
	c := w.queueClient()
	defer c.Close() //nolint:errcheck // nothing depends on it
	q := queue.New(c)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); pause(w, 20*time.Millisecond) {
		for _, o := range w.known() {
			jobs := w.jobsOf(o)
			job := jobs[len(jobs)-1]
			kind := bell.PoolCreates
			if len(jobs) > 1 {
				kind = bell.PoolUpkeep
			}
			for range 3 {
				task := bell.Task{Pool: kind, ID: job.id, Generation: r.Int64()}
				if err := q.Enqueue(w.Context(), task); err != nil && !errors.Is(err, fault.ErrConflict) {
					w.Errorf("double a task: %v", err)
				}
			}
		}
	}
}

// upset lets the receiver misbehave once for each webhook that comes meanwhile.
func upset(w *world, m mood) {
	w.receiver.set(m)
	pause(w, 3*time.Second)
	w.receiver.set(kind)
}

// leave has a webhook that says that it is gone: it must be disabled.
func leave(w *world, r *rand.Rand) {
	w.Helper()
	hook, err := w.client.AddWebhook(w.Context(), fmt.Sprint("gone-", r.Uint64()), client.WebhookRequest{URL: w.receiver.url + pathGone})
	if err != nil {
		w.Fatal(err)
	}
	w.create("redis")
	testenv.Eventually(w.T, "a webhook that is gone is disabled", time.Minute, func(ctx context.Context) error {
		page, err := w.client.Webhooks(ctx, 0, "")
		if err != nil {
			return err
		}
		if slices.ContainsFunc(page.Items, func(h client.Webhook) bool { return h.ID == hook.ID && h.Enabled }) {
			return errors.New("it is not")
		}
		return nil
	})
	if _, err := w.client.RemoveWebhook(w.Context(), hook.ID); err != nil {
		w.Error(err)
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
		if inst.State == client.InstanceRunning && !w.leaving(o) {
			found = append(found, inst)
		}
	}
	if len(found) > 0 {
		return found[r.IntN(len(found))]
	}
	var o *order
	for range 10 { // one may fail because of what was broken before
		if o = w.create("redis"); o != nil {
			w.settle()
			if inst, err := w.client.Instance(w.Context(), o.instance.ID); err == nil && inst.State == client.InstanceRunning {
				return inst
			}
		}
	}
	w.Fatal("no instance to damage")
	return client.Instance{}
}

// loseWarm removes the container of an instance that waits: another one must come.
func loseWarm(w *world, _ *rand.Rand) {
	w.Helper()
	const waiting = "SELECT id FROM instances WHERE tenant_id = '-' AND state = 'warm' ORDER BY id LIMIT 1"
	var id string
	testenv.Eventually(w.T, "an instance is warm", 2*time.Minute, func(ctx context.Context) error {
		return w.rows.QueryRowContext(ctx, waiting).Scan(&id)
	})
	// Somebody may take it at this moment: then the job notices.
	_ = exec.CommandContext(w.Context(), "docker", "--host", w.engineOf(id), "rm", "-f", "berth-"+id).Run()
}

// damage does something to an instance's container and waits until Berth has dealt
// with it.
func damage(w *world, r *rand.Rand, want string, args ...string) {
	w.Helper()
	inst := victim(w, r)
	args = slices.Concat([]string{"--host", w.engineOf(inst.ID)}, args, []string{"berth-" + inst.ID})
	if out, err := exec.CommandContext(w.Context(), "docker", args...).CombinedOutput(); err != nil {
		seen, unseen := w.client.Instance(w.Context(), inst.ID)
		if unseen != nil || (seen.State != "deleting" && seen.State != "deleted") { // which the load may do at this moment
			w.Fatalf("docker %v: %v: %s", args, err, out)
		}
	}
	w.dealtWith(inst, want)
}

// doom says that the instance may fail from now on.
func (w *world) doom(inst client.Instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders[inst.ID].doomed = true
}

func loseData(w *world, r *rand.Rand) {
	w.Helper()
	inst := victim(w, r)
	w.doom(inst)
	// In one go, before anybody mends the first half.
	engine := w.engineOf(inst.ID)
	w.dockerAt(engine, "rm", "-f", "-v", "berth-"+inst.ID)
	_ = exec.CommandContext(w.Context(), "docker", "--host", engine, "volume", "rm", "-f", "berth-"+inst.ID).Run() // or it was quicker
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

func breakDocker(w *world, p *dockerProxy, m mode, r *rand.Rand) {
	p.set(m)
	pause(w, time.Second+upTo(r, 4*time.Second))
	p.set(pass)
}
