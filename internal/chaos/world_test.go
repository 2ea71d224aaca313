package chaos

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// shortLease is what workers get in the short form: the lease is most of what is waited for
// after a worker's death.
const shortLease = 5 * time.Second

// settleLimit is how long everything that was accepted may take to end once the
// fault is over. It is a bound on hanging, not the goal: that is in the table.
const settleLimit = 6 * time.Minute

// world is Berth in its production shape, with a hand on each of its parts.
type world struct {
	*testing.T
	shape          shape
	settings       []string
	lease          time.Duration // of workers
	addr           string
	key            string // the admin's
	client         *client.Client
	databaseURL    string
	databaseServer *testenv.Own   // nil: SQLite
	database       *testenv.Proxy // nil: SQLite
	redisServer    *testenv.Own   // nil: it is in the process
	redis          *testenv.Proxy // nil: it is in the process
	docker         *dockerProxy
	engine         *testenv.Engine // that the instances are on; nil: the one that everybody shares
	hosts          []*poolHost     // of the pool, that the instances are on; none: they are on the workers' own
	api            *testenv.Process
	workers        []*testenv.Process
	receiver       *receiver
	ports          int // the first of the range
	deployment     string
	rows           *sql.DB // Berth's own database
	feed           feed

	mu       sync.Mutex
	orders   map[string]*order // by instance id
	accepted int
}

// order is what the test knows of one instance.
type order struct {
	instance client.Instance
	jobs     []ordered
	deleting bool
	// doomed says that its data were taken away: it may have failed.
	doomed bool
}

type ordered struct {
	id, callback string
	state, why   string // once it has ended, as are the steps
	steps        []client.Step
}

func newWorld(t *testing.T, sh shape) *world {
	t.Helper()
	w := &world{T: t, shape: sh, addr: testenv.FreeAddress(t), receiver: newReceiver(t), orders: map[string]*order{}}
	if sh.ownEngine {
		w.engine = testenv.NewEngine(t, "redis:8", "berth/redis:8")
	}
	if w.lease = 10 * time.Second; newPlan(t).length == 0 {
		w.lease = min(testenv.Limit(shortLease), w.lease)
	}
	w.docker = newDockerProxy(t, w.dockerURL())
	w.startHosts()
	ports := testenv.PortRange(t, 400)
	w.key = rand.Text() + rand.Text()
	_, _ = fmt.Sscanf(ports, "%d-", &w.ports)
	w.settings = []string{
		"BERTH_DATABASE_URL=" + w.openDatabase(), "BERTH_REDIS_URL=" + w.openRedis(), "BERTH_DOCKER_HOST=" + w.docker.url(),
		"BERTH_HTTP_ADDR=" + w.addr, "BERTH_ADMIN_KEY=" + w.key, "BERTH_PORT_RANGE=" + ports, "BERTH_PORT_QUARANTINE=5s",
		"BERTH_MASTER_KEY=" + base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text())[:32]),
		"BERTH_WORKER_CONCURRENCY=4", "BERTH_LEASE_TTL=" + w.lease.String(), "BERTH_LOG_FORMAT=json", "BERTH_CALLBACK_ALLOW_PRIVATE=true", "BERTH_DATA_DIR=" + t.TempDir(), "BERTH_WARM_POOL=" + sh.warm, "BERTH_RATE_LIMIT=0",
		"BERTH_HOST_PLAIN_TCP=true",
	}
	if w.engine != nil {
		w.settings = append(w.settings, "BERTH_ADVERTISE_HOST="+w.engine.Host, "BERTH_BIND_HOST="+w.engine.Host)
	}
	t.Cleanup(w.sweep)
	testenv.Start(t, binary, w.settings, "migrate").Finish(time.Minute)
	w.rows = testenv.OpenDatabase(t, w.databaseURL)
	var err error
	if w.client, err = client.New(client.Config{URL: "http://" + w.addr, APIKey: w.key, Tries: 1000}); err != nil {
		t.Fatal(err)
	}
	w.startAPI()
	for range sh.workers {
		w.startWorker()
	}
	if _, err := w.client.AddWebhook(t.Context(), rand.Text(), client.WebhookRequest{URL: w.receiver.url + pathAll}); err != nil {
		t.Fatal(err)
	}
	w.joinHosts()
	if err := w.rows.QueryRowContext(t.Context(), "SELECT value FROM settings WHERE name = 'deployment'").Scan(&w.deployment); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) startAPI() {
	w.Helper()
	w.api = testenv.Start(w.T, binary, w.settings, w.shape.api)
	testenv.Eventually(w.T, "the API is ready", 30*time.Second, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/healthz", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK { // it is starting
			return errors.New(res.Status)
		}
		return nil
	})
}

func (w *world) startWorker(extra ...string) *testenv.Process {
	w.Helper()
	p := testenv.Start(w.T, binary, slices.Concat(w.settings, extra), "worker")
	w.workers = append(w.workers, p)
	return p
}

// stopWorkers ends all workers in order.
func (w *world) stopWorkers() {
	for _, p := range w.workers {
		p.Stop()
	}
	w.workers = nil
}

// patience is how long a request is repeated while something is broken.
const patience = 2 * time.Minute

// create asks for an instance and remembers what was accepted. A request that is
// refused has promised nothing; one without an answer is repeated under its key.
func (w *world) create(engine string) *order {
	w.mu.Lock()
	w.accepted++
	callback := fmt.Sprintf("%s/%d", w.receiver.url, w.accepted)
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(w.Context(), testenv.Limit(patience))
	defer cancel()
	a, err := w.client.Create(ctx, engine, rand.Text(), client.CreateRequest{CallbackURL: callback})
	if err != nil {
		w.refused(err)
		return nil
	}
	o := &order{instance: a.Instance, jobs: []ordered{{id: a.Job.ID, callback: callback}}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders[a.Instance.ID] = o
	return o
}

// delete asks for the end of an instance.
func (w *world) delete(o *order) {
	ctx, cancel := context.WithTimeout(w.Context(), testenv.Limit(patience))
	defer cancel()
	a, err := w.client.Delete(ctx, o.instance)
	if err != nil {
		w.refused(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	o.deleting = true
	o.jobs = append(o.jobs, ordered{id: a.Job.ID})
}

// refused tells a refusal from an answer that never came.
func (w *world) refused(err error) {
	var p *client.Problem
	if !errors.As(err, &p) {
		w.Errorf("a request was not answered within %s: %v", testenv.Limit(patience), err)
	}
}

// known gives the orders, in the order of their making.
func (w *world) known() []*order {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := slices.Sorted(maps.Keys(w.orders))
	out := make([]*order, len(ids))
	for i, id := range ids {
		out[i] = w.orders[id]
	}
	return out
}

// jobsOf gives the order's jobs as they are known at this moment.
func (w *world) jobsOf(o *order) []ordered {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(o.jobs)
}

func (w *world) ended(o *order, i int, job client.Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o.jobs[i].state, o.jobs[i].why, o.jobs[i].steps = job.State, fmt.Sprintf("%+v", job.Error), job.Steps
}

// leaving reports whether somebody asked for the instance's end.
func (w *world) leaving(o *order) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return o.deleting
}

// settle waits until every accepted job has ended.
func (w *world) settle() {
	w.Helper()
	for _, o := range w.known() {
		for i, j := range w.jobsOf(o) {
			if j.state != "" {
				continue
			}
			testenv.Eventually(w.T, "job "+j.id+" ends", settleLimit, func(ctx context.Context) error {
				job, err := w.client.Job(ctx, j.id, 0)
				if client.HasCode(err, "not_found") {
					w.Fatalf("accepted job %s is lost", j.id)
				}
				if err == nil && !job.Ended() {
					err = fmt.Errorf("it is %s: %+v", job.State, job.Error)
				}
				if err == nil {
					w.ended(o, i, job)
				}
				return err
			})
		}
	}
}

// standstill gives the longest time that one of the jobs stood still since the moment.
func (w *world) standstill(since time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.orders {
		for _, j := range o.jobs {
			longest = max(longest, standstill(j.steps, since))
		}
	}
	return longest
}

// standstill gives the longest time since the moment in which none of a job's steps was
// at work: between its cut-off and the try that counted in the end. How long the work
// itself takes is the machine's affair.
func standstill(steps []client.Step, since time.Time) (longest time.Duration) {
	for _, s := range steps {
		if s.StartedAt == nil || s.FinishedAt == nil || s.FinishedAt.Before(since) {
			continue
		}
		longest = max(longest, s.StartedAt.Sub(since)) // less than 0 beside another step
		since = *s.FinishedAt
	}
	return longest
}

// dockerURL leads to the engine that the instances are on.
func (w *world) dockerURL() string {
	if w.engine != nil {
		return w.engine.URL
	}
	return dockerSocket
}

// dockerCLI runs the docker command on the engine that the instances are on.
func (w *world) dockerCLI(args ...string) string {
	w.Helper()
	return w.dockerAt(w.dockerURL(), args...)
}

func (w *world) dockerAt(engine string, args ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.Context()), testenv.Limit(time.Minute))
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", append([]string{"--host", engine}, args...)...).CombinedOutput()
	if err != nil {
		w.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sweep removes what a failed run left.
func (w *world) sweep() {
	if w.deployment == "" || w.shape.redisOnly() { // those go with all that they have
		return
	}
	label := "label=berth.deployment=" + w.deployment
	if left := strings.Fields(w.dockerCLI("ps", "-aq", "--filter", label)); len(left) > 0 {
		w.dockerCLI(append([]string{"rm", "-fv"}, left...)...)
	}
	if left := strings.Fields(w.dockerCLI("volume", "ls", "-q", "--filter", label)); len(left) > 0 {
		w.dockerCLI(append([]string{"volume", "rm", "-f"}, left...)...)
	}
}
