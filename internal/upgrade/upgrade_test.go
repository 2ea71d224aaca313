//go:build upgrade

package upgrade

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

var (
	before = os.Getenv("BERTH_BEFORE") // the binary of the earlier release
	after  = os.Getenv("BERTH_AFTER")  // the one of this tree
)

func TestMain(m *testing.M) {
	if before == "" || after == "" {
		fmt.Fprintln(os.Stderr, "upgrade: BERTH_BEFORE and BERTH_AFTER must name the two binaries; run make upgrade")
		os.Exit(1)
	}
	os.Exit(testenv.Run(m))
}

const limit = 3 * time.Minute

// TestRollingUpgrade replaces every process of the earlier release by one of this release
// while instances are created and deleted through both.
func TestRollingUpgrade(t *testing.T) {
	for _, dialect := range []string{"sqlite", "mysql"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, dialect)
			w.run(before, "migrate").Finish(time.Minute)
			oldAPI := w.api(before)
			oldWorkers := []*testenv.Process{w.run(before, "worker"), w.run(before, "worker")}
			kept := w.create(oldAPI, 10) // run under the old release, and go on under the new one
			w.ends(oldAPI, kept)

			inFlight := w.create(oldAPI, 30)
			w.run(after, "migrate").Finish(time.Minute)
			newAPI := w.api(after)
			newWorker := w.run(after, "worker")
			inFlight = append(inFlight, w.create(newAPI, 30)...)
			inFlight = append(inFlight, w.create(oldAPI, 30)...)
			oldWorkers[0].Kill() // in the middle of what it has
			inFlight = append(inFlight, w.delete(oldAPI, kept[:3])...)
			inFlight = append(inFlight, w.delete(newAPI, kept[3:6])...)
			oldWorkers[1].Stop()
			oldAPI.process.Stop()
			w.run(after, "worker")
			inFlight = append(inFlight, w.create(newAPI, 10)...)
			w.ends(newAPI, inFlight)
			w.told(newAPI, append(kept, inFlight...))
			w.envelopes(newAPI, kept[6:])
			if claimed := len(newWorker.Logged("job claimed")); claimed == 0 {
				t.Error("the new worker has done nothing")
			}
		})
	}
}

type world struct {
	*testing.T
	settings []string
	adminKey string
}

// api is a process that answers.
type api struct {
	*client.Client
	process *testenv.Process
}

// order is a job that was accepted.
type order struct{ job, instance string }

func newWorld(t *testing.T, dialect string) *world {
	t.Helper()
	w := &world{T: t, adminKey: rand.Text() + rand.Text()}
	folder := filepath.Join(t.TempDir(), "data")
	databaseURL := "sqlite://" + filepath.Join(folder, "berth.db")
	if dialect == "mysql" {
		databaseURL = testenv.MySQL(t)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	w.settings = []string{
		"BERTH_DATABASE_URL=" + databaseURL, "BERTH_REDIS_URL=" + testenv.Redis(t), "BERTH_MASTER_KEY=" + base64.StdEncoding.EncodeToString(key),
		"BERTH_ADMIN_KEY=" + w.adminKey, "BERTH_DATA_DIR=" + folder, "BERTH_LOG_FORMAT=json", "BERTH_SIMULATED_HOSTS=1",
		"BERTH_DOCKER_HOST=simulated://" + t.TempDir(), "BERTH_PORT_RANGE=" + testenv.PortRange(t, 400), "BERTH_WORKER_CONCURRENCY=2",
	}
	return w
}

func (w *world) run(binary, mode string, more ...string) *testenv.Process {
	w.Helper()
	return testenv.Start(w.T, binary, slices.Concat(w.settings, more), mode)
}

func (w *world) api(binary string) api {
	w.Helper()
	addr := testenv.FreeAddress(w)
	p := w.run(binary, "api", "BERTH_HTTP_ADDR="+addr)
	testenv.Eventually(w, p.Name()+" answers", time.Minute, func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return errors.New(answer.Status)
		}
		return nil
	})
	c, err := client.New(client.Config{URL: "http://" + addr, APIKey: w.adminKey})
	if err != nil {
		w.Fatal(err)
	}
	return api{c, p}
}

// each has n things asked for, a few at once.
func (w *world) each(n int, ask func(context.Context, int) (client.Accepted, error)) []order {
	w.Helper()
	orders := make([]order, n)
	group, ctx := errgroup.WithContext(w.Context())
	group.SetLimit(8)
	for i := range n {
		group.Go(func() error {
			a, err := ask(ctx, i)
			orders[i] = order{a.Job.ID, a.Instance.ID}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		w.Fatal(err)
	}
	return orders
}

func (w *world) create(from api, n int) []order {
	w.Helper()
	return w.each(n, func(ctx context.Context, _ int) (client.Accepted, error) {
		return from.Create(ctx, "redis", "", client.CreateRequest{})
	})
}

func (w *world) delete(from api, kept []order) []order {
	w.Helper()
	return w.each(len(kept), func(ctx context.Context, i int) (client.Accepted, error) {
		inst, err := from.Instance(ctx, kept[i].instance)
		if err != nil {
			return client.Accepted{}, err
		}
		return from.Delete(ctx, inst)
	})
}

// ends waits until every job has succeeded.
func (w *world) ends(from api, orders []order) {
	w.Helper()
	for _, o := range orders {
		testenv.Eventually(w, "job "+o.job+" ends", limit, func(ctx context.Context) error {
			j, err := from.Job(ctx, o.job, 30*time.Second)
			if err == nil && j.State != client.JobSucceeded {
				err = fmt.Errorf("it is %s: %+v", j.State, j.Error)
			}
			return err
		})
	}
}

// envelopes says that no process of the earlier release runs any more, and reads what that
// has encrypted.
func (w *world) envelopes(from api, kept []order) {
	w.Helper()
	p := testenv.Start(w.T, after, w.settings, "keys", "rotate")
	p.Finish(time.Minute)
	if !strings.Contains(p.Log(), "Nothing needs another key") {
		w.Errorf("the rotation said %q", p.Log())
	}
	fresh := w.create(from, 5)
	w.ends(from, fresh)
	for _, o := range append(fresh, kept...) {
		inst, err := from.Instance(w.Context(), o.instance)
		if err != nil {
			w.Fatal(err)
		}
		if c, err := from.Connection(w.Context(), inst); err != nil || c.Password == "" {
			w.Errorf("%s: %v", inst.ID, err)
		}
	}
}

// told checks that the end of each job is in the feed once, and that the feed has no gaps.
// Events are numbered a moment after their commit.
func (w *world) told(from api, orders []order) {
	w.Helper()
	testenv.Eventually(w, "the feed tells of the end of every job", limit, func(ctx context.Context) error {
		ends := map[string]int{}
		next := int64(1)
		_, err := from.EachEvent(ctx, client.EventFilter{}, 0, func(e client.Event) error {
			if e.Number != next {
				w.Errorf("event %d follows %d", e.Number, next-1)
			}
			next = e.Number + 1
			if e.Type == "job.succeeded" {
				ends[e.JobID]++
			}
			return nil
		})
		for _, o := range orders {
			if n := ends[o.job]; err == nil && n != 1 {
				err = fmt.Errorf("the end of job %s was told %d times", o.job, n)
			}
		}
		return err
	})
}
