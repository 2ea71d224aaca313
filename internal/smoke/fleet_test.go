package smoke

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// fleet is Berth in its production shape: MySQL, Redis, an API and workers, each a
// process of its own.
type fleet struct {
	*server
	rows    *sql.DB
	label   string // of everything that it makes
	workers []*testenv.Process
}

// setSail starts a fleet whose workers do so many creates at once each.
func setSail(t *testing.T, workers, concurrency int) *fleet {
	t.Helper()
	database, addr, key := testenv.MySQL(t), testenv.FreeAddress(t), rand.Text()+rand.Text()
	settings := []string{
		"BERTH_DATABASE_URL=" + database, "BERTH_REDIS_URL=" + testenv.Redis(t), "BERTH_HTTP_ADDR=" + addr, "BERTH_ADMIN_KEY=" + key,
		"BERTH_MASTER_KEY=" + base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text())[:32]), "BERTH_PORT_RANGE=" + testenv.PortRange(t, 200),
		fmt.Sprintf("BERTH_WORKER_CONCURRENCY=%d", concurrency), "BERTH_LOG_FORMAT=json", "BERTH_LOG_LEVEL=debug", "BERTH_LEASE_TTL=10s",
	}
	f := &fleet{server: newServer(t, "http://"+addr, key), rows: testenv.OpenDatabase(t, database)}
	sweepAfter(t, &f.label)
	testenv.Start(t, binary, settings, "migrate").Finish(30 * time.Second)
	f.awaitReady(t, testenv.Start(t, binary, settings, "api"))
	f.label = "berth.deployment=" + deployment(t, f.rows)
	for range workers {
		f.workers = append(f.workers, testenv.Start(t, binary, settings, "worker"))
	}
	for _, w := range f.workers {
		testenv.Eventually(t, "the worker is ready", 30*time.Second, func(context.Context) error {
			if len(w.Logged("worker ready")) == 0 {
				return errors.New(testenv.Tail(w.Log(), 3))
			}
			return nil
		})
	}
	return f
}

// order asks for instances, all at the same time: each fifth a MySQL, the others Redis.
func (f *fleet) order(t *testing.T, n int) []*service {
	t.Helper()
	services := make([]*service, n)
	atOnce(t, n, func(ctx context.Context, i int) error {
		engine := "redis"
		if i%5 == 4 {
			engine = "mysql"
		}
		a, err := f.Create(ctx, engine, "", client.CreateRequest{Name: fmt.Sprintf("%s-%d", engine, i)})
		services[i] = &service{Instance: a.Instance, created: a.Job}
		return err
	})
	return services
}

// atOnce does n things at the same time and fails the test with all that went wrong.
func atOnce(t *testing.T, n int, do func(ctx context.Context, i int) error) {
	t.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(t.Context(), i) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// awaitUsable waits until all run, and works on each with its own credentials.
func (f *fleet) awaitUsable(t *testing.T, services []*service, limit time.Duration) {
	t.Helper()
	atOnce(t, len(services), func(ctx context.Context, i int) error {
		s := services[i]
		if err := f.await(ctx, s.created, limit); err != nil {
			return err
		}
		var err error
		s.conn, err = f.Connection(ctx, s.Instance)
		return err
	})
	for _, s := range services {
		work := func(ctx context.Context) error { return workRedis(ctx, openRedis(t, s.conn), s.ID) }
		if s.Engine == "mysql" {
			work = func(ctx context.Context) error { return workMySQL(ctx, openMySQL(t, s.conn), s.ID) }
		}
		if err := work(t.Context()); err != nil {
			t.Errorf("use %s: %v", s.ID, err)
		}
	}
}

// checkApart looks whether each has what is its own: a port, a password, one container.
func (f *fleet) checkApart(t *testing.T, services []*service) {
	t.Helper()
	ports, passwords, want := map[int]bool{}, map[string]bool{}, 0
	for _, s := range services {
		own := map[int]bool{s.conn.Port: true, s.conn.TLS.Port: true} // a MySQL has one for both
		want += len(own)
		maps.Copy(ports, own)
		passwords[s.conn.Password] = true
		containerOf(t, s.ID)
	}
	if len(ports) != want || len(passwords) != len(services) {
		t.Errorf("%d instances have %d ports, want %d, and %d passwords", len(services), len(ports), want, len(passwords))
	}
	if n := len(containersWith(t, f.label)); n != len(services) {
		t.Errorf("there are %d containers for %d instances", n, len(services))
	}
	if n := len(volumesWith(t, f.label)); n != len(services) {
		t.Errorf("there are %d volumes for %d instances", n, len(services))
	}
	if n := one[int](t, f.rows, "SELECT COUNT(*) FROM ports WHERE instance_id IS NOT NULL"); n != want {
		t.Errorf("%d ports are held, want %d", n, want)
	}
}

// removeAll deletes all at the same time, and looks whether anything is left.
func (f *fleet) removeAll(t *testing.T, services []*service) {
	t.Helper()
	atOnce(t, len(services), func(ctx context.Context, i int) error { return f.remove(ctx, services[i].Instance) })
	if left := append(containersWith(t, f.label), volumesWith(t, f.label)...); len(left) > 0 {
		t.Errorf("all are deleted, but there is still %v", left)
	}
	checkNothingHeld(t, f.rows)
}

// claimed gives which jobs a worker has said that it claimed.
func claimed(w *testenv.Process) map[string]bool {
	jobs := map[string]bool{}
	for _, entry := range w.Logged("job claimed") {
		jobs[fmt.Sprint(entry["job"])] = true
	}
	return jobs
}

// TestTwentyAtOnce asks three workers for twenty instances at the same time.
func TestTwentyAtOnce(t *testing.T) {
	f := setSail(t, 3, 4)
	begun := time.Now()
	services := f.order(t, 20)
	t.Logf("20 accepted after %s", time.Since(begun).Round(time.Millisecond))
	f.awaitUsable(t, services, 4*time.Minute)
	t.Logf("20 usable after %s", time.Since(begun).Round(time.Millisecond))
	f.checkApart(t, services)
	busy, all := 0, map[string]int{}
	for i, w := range f.workers {
		jobs := claimed(w)
		t.Logf("worker %d claimed %d of the creates", i+1, len(jobs))
		if len(jobs) > 0 {
			busy++
		}
		for job := range jobs {
			all[job]++
		}
	}
	if busy < 2 {
		t.Errorf("%d of 3 workers did all the work", busy)
	}
	for _, s := range services {
		if all[s.created.ID] != 1 {
			t.Errorf("%s was claimed by %d workers, want one", s.created.ID, all[s.created.ID])
		}
	}
	begun = time.Now()
	f.removeAll(t, services)
	t.Logf("20 deleted after %s", time.Since(begun).Round(time.Millisecond))
}

// TestWorkerVanishes kills a worker that is in the middle of creates: others take over
// after the lease, and everything is there once.
func TestWorkerVanishes(t *testing.T) {
	t.Parallel()
	f := setSail(t, 3, 3)
	services := f.order(t, 12)
	victim := f.workers[0]
	testenv.Eventually(t, "the worker is in the middle of a create", 30*time.Second, func(context.Context) error {
		if len(claimed(victim)) <= len(victim.Logged("job ended")) {
			return errors.New("it has no job")
		}
		return nil
	})
	victim.Kill()
	died := time.Now()
	left := claimed(victim)
	for _, entry := range victim.Logged("job ended") {
		delete(left, fmt.Sprint(entry["job"]))
	}
	for job := range left { // it died between the end of one and the line about it
		if one[int](t, f.rows, "SELECT COUNT(*) FROM jobs WHERE id = ? AND state = 'succeeded'", job) == 1 {
			delete(left, job)
		}
	}
	t.Logf("the worker died with %d jobs at hand", len(left))
	f.awaitUsable(t, services, 2*time.Minute)
	t.Logf("all usable %s after its death", time.Since(died).Round(time.Millisecond))
	taken := map[string]bool{}
	for _, w := range f.workers[1:] {
		for job := range claimed(w) {
			taken[job] = true
		}
	}
	for job := range left {
		if !taken[job] {
			t.Errorf("nobody took over %s", job)
		}
	}
	f.checkApart(t, services)
	f.removeAll(t, services)
}
