package startstop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// graceLimit is what docker-compose.yml and docs/operations.md tell orchestrators to grant.
const graceLimit = 40 * time.Second

func send(t testing.TB, p *testenv.Process, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(p.Pid(), s); err != nil {
		t.Errorf("%s cannot be sent %s: %v", p.Name(), s, err)
	}
}

// ends waits until the process has ended, which must be with this exit status.
func ends(t testing.TB, p *testenv.Process, want int) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(testenv.Limit(graceLimit)):
		t.Errorf("%s still runs %s after it was told to stop:\n%s", p.Name(), graceLimit, testenv.Tail(p.Log(), 20))
		p.Kill()
		return
	}
	_, err := p.Ended()
	if got := statusOf(err); got != want {
		t.Errorf("%s was told to stop and ended with %v, want exit status %d:\n%s", p.Name(), err, want, testenv.Tail(p.Log(), 20))
	}
}

// statusOf gives the exit status, -1 where a signal has ended the process.
func statusOf(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		return -1
	}
}

// silent takes connections and says nothing. It gives its address, and how many came.
func silent(t testing.TB) (addr string, came *atomic.Int64) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came = &atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var open []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
			came.Add(1)
		}
		for _, c := range open {
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String(), came
}

func someCame(t testing.TB, what string, came *atomic.Int64) {
	t.Helper()
	testenv.Eventually(t, what, startLimit, func(context.Context) error {
		if came.Load() == 0 {
			return errors.New("nobody has come")
		}
		return nil
	})
}

// phase brings a process to where it is to be told to stop.
type phase struct {
	name string
	into func(t *testing.T) *testenv.Process
}

func phases() []phase {
	said := func(name, dialect, mode, message string, settings func(t *testing.T, w *world) []string) phase {
		return phase{name, func(t *testing.T) *testenv.Process {
			w := newProduction(t, dialect)
			p := w.start(mode, settings(t, w)...)
			logs(t, p, message)
			return p
		}}
	}
	noDatabase := func(t *testing.T, _ *world) []string {
		return []string{"BERTH_DATABASE_URL=mysql://u:p@" + testenv.FreeAddress(t) + "/d"}
	}
	none := func(*testing.T, *world) []string { return nil }
	noRedis := func(t *testing.T, w *world) []string {
		w.migrated()
		return []string{"BERTH_REDIS_URL=redis://" + testenv.FreeAddress(t) + "/0"}
	}
	return []phase{
		said("api waits for the database", sqlite, "api", "waiting for the database", noDatabase),
		said("worker waits for the database", sqlite, "worker", "waiting for the database", noDatabase),
		said("api waits for the schema of MySQL", mysql, "api", "the schema is at version 0", none),
		said("worker waits for the schema of SQLite", sqlite, "worker", "the schema is at version 0", none),
		said("worker waits for Redis", sqlite, "worker", "waiting for Redis", noRedis),
		said("api runs without Redis", sqlite, "api", "listening", noRedis),
		{"api asks a database that says nothing", func(t *testing.T) *testenv.Process {
			return asksSilent(t, "api", "BERTH_DATABASE_URL=mysql://u:p@", "/d")
		}},
		{"worker asks a database that says nothing", func(t *testing.T) *testenv.Process {
			return asksSilent(t, "worker", "BERTH_DATABASE_URL=mysql://u:p@", "/d")
		}},
		{"dev asks a database that says nothing", func(t *testing.T) *testenv.Process {
			return asksSilent(t, "dev", "BERTH_DATABASE_URL=mysql://u:p@", "/d")
		}},
		{"worker asks a Redis that says nothing", func(t *testing.T) *testenv.Process { return asksSilent(t, "worker", "BERTH_REDIS_URL=redis://", "/0") }},
		{"worker asks an engine that says nothing", asksSilentEngine},
		{"dev waits for another's migration", awaitsMigration},
		{"api waits for a locked database", func(t *testing.T) *testenv.Process { return awaitsLock(t, "api") }},
		{"dev waits for a locked database", func(t *testing.T) *testenv.Process { return awaitsLock(t, "dev") }},
		{"dev runs", func(t *testing.T) *testenv.Process {
			w := newDev(t)
			p := w.start("dev")
			w.ready(p)
			return p
		}},
		{"worker's database and Redis have gone", losesAll},
		{"dev makes an instance on an engine that says nothing", func(t *testing.T) *testenv.Process {
			_, p := makesSlowly(t, "1s")
			return p
		}},
		{"dev hands back what it makes", handsBack},
	}
}

// asksSilent starts a process that asks somebody who does not answer.
func asksSilent(t *testing.T, mode, before, behind string) *testenv.Process {
	t.Helper()
	w := newProduction(t, sqlite)
	w.migrated()
	addr, came := silent(t)
	p := w.start(mode, before+addr+behind)
	someCame(t, p.Name()+" asks", came)
	return p
}

// asksSilentEngine starts a worker whose host was at another address before, so that it
// asks who answers there now.
func asksSilentEngine(t *testing.T) *testenv.Process {
	t.Helper()
	w := newProduction(t, sqlite)
	w.migrated()
	first := w.start("worker", "BERTH_SIMULATED_HOSTS=0", "BERTH_DOCKER_HOST=tcp://"+testenv.FreeAddress(t))
	logs(t, first, "worker ready")
	first.Stop()
	addr, came := silent(t)
	p := w.start("worker", "BERTH_SIMULATED_HOSTS=0", "BERTH_DOCKER_HOST=tcp://"+addr)
	someCame(t, "the worker asks", came)
	return p
}

// awaitsMigration starts a dev beside a process that migrates its database.
func awaitsMigration(t *testing.T) *testenv.Process {
	t.Helper()
	w := newDev(t)
	if err := os.MkdirAll(w.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	lock(t, filepath.Join(w.folder, "berth.db-migrating"))
	p := w.start("dev")
	logs(t, p, "migrating the schema")
	return p
}

// lock locks an SQLite file as another process does, until the test ends.
func lock(t *testing.T, path string) {
	t.Helper()
	conn, err := testenv.OpenDatabase(t, "sqlite://"+path).Conn(t.Context())
	if err == nil {
		_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
}

func awaitsLock(t *testing.T, mode string) *testenv.Process {
	t.Helper()
	w := newProduction(t, sqlite)
	w.migrated()
	lock(t, filepath.Join(w.folder, "berth.db"))
	p := w.start(mode)
	logs(t, p, "listening")
	return p
}

// losesAll has a worker whose database and Redis have gone away.
func losesAll(t *testing.T) *testenv.Process {
	t.Helper()
	w := newProduction(t, mysql)
	w.migrated()
	databaseURL, database := testenv.NewProxy(t, w.databaseURL)
	redisURL, redis := testenv.NewProxy(t, w.redisURL)
	p := w.start("worker", "BERTH_DATABASE_URL="+databaseURL, "BERTH_REDIS_URL="+redisURL)
	logs(t, p, "worker ready")
	database.Cut()
	redis.Cut()
	logs(t, p, "duty fails")
	return p
}

// handsBack has a dev that was told to stop, and cannot write yet that it has.
func handsBack(t *testing.T) *testenv.Process {
	t.Helper()
	w, p := makesSlowly(t, "1s")
	lock(t, filepath.Join(w.folder, "berth.db"))
	send(t, p, syscall.SIGTERM)
	logs(t, p, "handing back unfinished work")
	return p
}

// makesSlowly has a dev in the middle of a create, on an engine that does not answer.
func makesSlowly(t *testing.T, shutdown string) (*world, *testenv.Process) {
	t.Helper()
	w := newDev(t)
	addr, _ := silent(t)
	p := w.start("dev", "BERTH_SIMULATED_HOSTS=0", "BERTH_DOCKER_HOST=tcp://"+addr, "BERTH_SHUTDOWN_TIMEOUT="+shutdown, "BERTH_LOG_LEVEL=debug")
	w.answers(p, "/healthz")
	if _, err := w.client().Create(t.Context(), "redis", "", client.CreateRequest{}); err != nil {
		t.Fatal(err)
	}
	logs(t, p, "job claimed")
	return w, p
}

// TestStopInEachPhase tells processes to stop wherever they may be.
func TestStopInEachPhase(t *testing.T) {
	t.Parallel()
	for _, phase := range phases() {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			t.Run(phase.name+"/"+signal.String(), func(t *testing.T) {
				t.Parallel()
				p := phase.into(t)
				begun := time.Now()
				send(t, p, signal)
				ends(t, p, 0)
				t.Logf("it took %s", time.Since(begun).Round(time.Millisecond))
			})
		}
	}
}

// TestStopAgainAndAgain repeats SIGTERM, as supervisors do.
func TestStopAgainAndAgain(t *testing.T) {
	t.Parallel()
	w, p := makesSlowly(t, "2s")
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for sent := 0; ; sent++ {
		select {
		case <-p.Done():
			ends(t, p, 0)
			if sent < 3 {
				t.Errorf("it ended after %d signals, which repeats little", sent)
			}
			if states := column(t, testenv.OpenDatabase(t, w.databaseURL), "SELECT state || ' ' || owner FROM jobs"); states[0] != "queued " {
				t.Errorf("the job was not handed back: it is %q", states)
			}
			return
		case <-ticker.C:
			_ = syscall.Kill(p.Pid(), syscall.SIGTERM)
		}
	}
}

// TestSecondInterrupt is a person who does not want to wait, which SIGTERM is not.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	for name, signals := range map[string][]syscall.Signal{
		"twice": {syscall.SIGINT, syscall.SIGINT}, "a SIGTERM between": {syscall.SIGINT, syscall.SIGTERM, syscall.SIGINT},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := makesSlowly(t, "10m")
			for _, s := range signals {
				send(t, p, s)
				w.stopping(p)
			}
			ends(t, p, 130)
		})
	}
	t.Run("after a SIGTERM", func(t *testing.T) {
		t.Parallel()
		p := handsBack(t)
		send(t, p, syscall.SIGINT)
		ends(t, p, 0)
	})
}

// stopping waits until the server has taken a signal: two that come at the same moment are one.
func (w *world) stopping(p *testenv.Process) {
	w.Helper()
	testenv.Eventually(w, p.Name()+" is stopping", startLimit, func(ctx context.Context) error {
		if status, body, err := get(ctx, "http://"+w.addr+"/readyz"); err == nil && !strings.Contains(body, "stopping") {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
}

// TestInterruptedClient has a person watch a job and give up.
func TestInterruptedClient(t *testing.T) {
	t.Parallel()
	w := newDev(t)
	addr, _ := silent(t)
	dev := w.start("dev", "BERTH_SIMULATED_HOSTS=0", "BERTH_DOCKER_HOST=tcp://"+addr, "BERTH_SHUTDOWN_TIMEOUT=1s")
	w.answers(dev, "/healthz")
	a, err := w.client().Create(t.Context(), "redis", "", client.CreateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	logs(t, dev, "job claimed")
	p := testenv.Start(t, binary, []string{"BERTH_URL=http://" + w.addr, "BERTH_API_KEY=" + w.read("admin.key")}, "wait", a.Job.ID)
	logs(t, p, "image")
	send(t, p, syscall.SIGINT)
	ends(t, p, 130)
}
