package ports_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/ports"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/testenv"
)

func TestMain(m *testing.M) {
	code := testenv.Run(m)
	// GORM's cache of prepared statements has a goroutine for each pool that never ends.
	err := goleak.Find(goleak.IgnoreTopFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"))
	if code == 0 && err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// quay is an Allocator with a store, and a clock that stands still.
type quay struct {
	*ports.Allocator
	store rooms.Store
	now   time.Time
	log   *testenv.Log
}

func newQuay(t *testing.T, redisURL string) *quay {
	t.Helper()
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	options.DialTimeout, options.DialerRetries, options.ContextTimeoutEnabled = time.Second, 1, true
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	q := &quay{store: storetest.SQLite(t), now: epoch, log: &testenv.Log{}}
	q.Allocator = ports.New(rooms.Hosts(q.store), rdb, func() time.Time { return q.now }, slog.New(slog.NewTextHandler(q.log, nil)))
	return q
}

// side gives a host with so many ports.
func (q *quay) side(ctx context.Context, id string, count int) (host.Host, error) {
	h := host.Host{ID: host.ID("hst_" + id), Name: id, PortLow: 20000, PortHigh: 20000 + count - 1, State: host.StateOnline, Source: host.FromEnvironment}
	return h, q.store.Tx(ctx, func(tx rooms.Tx) error { return tx.InsertHost(h) })
}

func (q *quay) mustSide(t *testing.T, id string, count int) host.Host {
	t.Helper()
	h, err := q.side(t.Context(), id, count)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// withSide is newQuay with a host.
func withSide(t *testing.T, redisURL, id string, count int) (*quay, host.Host) {
	t.Helper()
	q := newQuay(t, redisURL)
	return q, q.mustSide(t, id, count)
}

// claim makes an instance with a running job and gives the claim to it.
func (q *quay) claim(ctx context.Context, theID string) (job.Claim, error) {
	c := job.Claim{Job: id.Job("job_" + theID), Subject: id.Subject(instance.ID("ins_" + theID)), Fence: 1}
	return c, q.store.Tx(ctx, func(tx rooms.Tx) error {
		return errors.Join(
			tx.InsertInstance(instance.Instance{ID: instance.ID(c.Subject), Tenant: "t", Name: theID, State: instance.StateProvisioning}),
			tx.InsertJob(job.Job{ID: c.Job, Tenant: "t", Subject: c.Subject, State: job.Running, Fence: c.Fence}),
		)
	})
}

func (q *quay) mustClaim(t *testing.T, id string) job.Claim {
	t.Helper()
	c, err := q.claim(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (q *quay) release(ctx context.Context, c job.Claim, until time.Time) error {
	return q.store.Tx(ctx, func(tx rooms.Tx) error {
		return tx.RestPorts(host.UnitID(instance.ID(c.Subject)), until)
	})
}

func wantPort(t *testing.T, got int, err error, want int) {
	t.Helper()
	if err != nil || got != want {
		t.Fatalf("got port %d, %v, want %d", got, err, want)
	}
}

func wantCode(t *testing.T, err error, want fault.Code) {
	t.Helper()
	if err == nil || fault.CodeOf(err) != want {
		t.Fatalf("got %v (code %s), want code %s", err, fault.CodeOf(err), want)
	}
}

// one gives one port.
func (q *quay) one(ctx context.Context, claim job.Claim, h host.Host, name string) (int, error) {
	held, err := q.Allocate(ctx, claim, h, host.Ask{Ports: []string{name}})
	if err != nil {
		return 0, err
	}
	return held.Ports[0], nil
}

// TestAllocateTogether takes all of several ports or none.
func TestAllocateTogether(t *testing.T) {
	q, h := withSide(t, testenv.Redis(t), "h", 5)
	both := host.Ask{Ports: []string{"redis", "redis-tls"}}
	a, b, c := q.mustClaim(t, "a"), q.mustClaim(t, "b"), q.mustClaim(t, "c")
	want := func(claim job.Claim, want ...int) {
		t.Helper()
		if held, err := q.Allocate(t.Context(), claim, h, both); err != nil || !slices.Equal(held.Ports, want) {
			t.Errorf("got %v, %v, want %v", held.Ports, err, want)
		}
	}
	for range 2 {
		want(a, 20000, 20001)
	}
	want(b, 20002, 20003)
	_, err := q.Allocate(t.Context(), c, h, both)
	wantCode(t, err, fault.CodePortsExhausted)
	port, err := q.one(t.Context(), c, h, "redis") // the last one was not kept
	wantPort(t, port, err, 20004)
	if err := q.Refused(t.Context(), b, h, 20002); err != nil {
		t.Fatal(err)
	}
	_, err = q.Allocate(t.Context(), b, h, both)
	wantCode(t, err, fault.CodePortsExhausted)
	q.now = q.now.Add(time.Hour)
	want(b, 20002, 20003)
}

func TestAllocate(t *testing.T) {
	q, h := withSide(t, testenv.Redis(t), "h", 3)
	a, b := q.mustClaim(t, "a"), q.mustClaim(t, "b")
	for range 2 { // asked again it gives the same one
		port, err := q.one(t.Context(), a, h, "redis")
		wantPort(t, port, err, 20000)
	}
	port, err := q.one(t.Context(), a, h, "admin")
	wantPort(t, port, err, 20001)
	port, err = q.one(t.Context(), b, h, "redis")
	wantPort(t, port, err, 20002)
	_, err = q.one(t.Context(), b, h, "admin")
	wantCode(t, err, fault.CodePortsExhausted)
	if left, err := q.Available(t.Context(), h, 1); err != nil || left {
		t.Errorf("Available: %v, %v", left, err)
	}
	stale := a
	stale.Fence--
	_, err = q.one(t.Context(), stale, h, "redis")
	wantCode(t, err, fault.CodeFenced)
	wantCode(t, q.Refused(t.Context(), stale, h, 20000), fault.CodeFenced)
	testenv.Eventually(t, "a port is given under the lock", 20*time.Second, func(ctx context.Context) error {
		before := len(q.log.String())
		port, err := q.one(ctx, a, h, "redis")
		wantPort(t, port, err, 20000)
		if said := q.log.String()[before:]; strings.Contains(said, "lock") {
			return errors.New(said)
		}
		return nil
	})
}

func TestRefused(t *testing.T) {
	q, h := withSide(t, testenv.Redis(t), "h", 2)
	a, b := q.mustClaim(t, "a"), q.mustClaim(t, "b")
	port, err := q.one(t.Context(), a, h, "redis")
	wantPort(t, port, err, 20000)
	if err := q.Refused(t.Context(), a, h, 20000); err != nil {
		t.Fatal(err)
	}
	port, err = q.one(t.Context(), a, h, "redis")
	wantPort(t, port, err, 20001)
	_, err = q.one(t.Context(), b, h, "redis")
	wantCode(t, err, fault.CodePortsExhausted)
	q.now = q.now.Add(time.Hour)
	port, err = q.one(t.Context(), b, h, "redis")
	wantPort(t, port, err, 20000)
	if !strings.Contains(q.log.String(), "refused") {
		t.Errorf("the log says nothing of it: %s", q.log)
	}
}

// allocateAll has so many instances ask at once, and gives their ports, sorted.
func (q *quay) allocateAll(t *testing.T, h host.Host, n int) []int {
	t.Helper()
	got := make([]int, n)
	var all errgroup.Group
	for i := range n {
		c := q.mustClaim(t, fmt.Sprintf("%s-%d", h.Name, i))
		all.Go(func() (err error) {
			got[i], err = q.one(t.Context(), c, h, "redis")
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func wantAll(t *testing.T, got []int, h host.Host) {
	t.Helper()
	for i, port := range got {
		if port != h.PortLow+i {
			t.Fatalf("the ports are %v, want each from %d on once", got, h.PortLow)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	q, h := withSide(t, testenv.Redis(t), "h", 16)
	wantAll(t, q.allocateAll(t, h, 16), h)
	_, err := q.one(t.Context(), q.mustClaim(t, "one-too-many"), h, "redis")
	wantCode(t, err, fault.CodePortsExhausted)
}

// TestRedisAway goes on by the database's guard alone, within the patience with
// the lock, and takes the lock again when Redis is back.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	proxied, proxy := testenv.NewProxy(t, testenv.Redis(t))
	q, h := withSide(t, proxied, "h", 32)
	began := time.Now()
	first := q.allocateAll(t, h, 4)
	proxy.Cut()
	there := h
	there.Name = "away"
	second := q.allocateAll(t, there, 16)
	if took := time.Since(began); took > 12*time.Second { // in turns it would be 16
		t.Errorf("it took %s", took)
	}
	if !strings.Contains(q.log.String(), "database constraint alone") {
		t.Errorf("the log says nothing of it: %s", q.log)
	}
	proxy.Restore(t)
	there.Name = "back"
	all := slices.Concat(first, second, q.allocateAll(t, there, 12))
	slices.Sort(all)
	wantAll(t, all, h)
}

// TestLockHeld has somebody else keep the lock for longer than we wait.
func TestLockHeld(t *testing.T) {
	t.Parallel()
	redisURL := testenv.Redis(t)
	q, h := withSide(t, redisURL, "h", 4)
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close() //nolint:errcheck // the test is over
	if err := rdb.Set(t.Context(), "berth:ports:"+string(h.ID), "somebody", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	wantAll(t, q.allocateAll(t, h, 4), h)
	if holder, err := rdb.Get(t.Context(), "berth:ports:"+string(h.ID)).Result(); err != nil || holder != "somebody" {
		t.Errorf("the lock of another one is now %q, %v", holder, err)
	}
	// One's own lock is gone when it is not needed any more.
	other := q.mustSide(t, "other", 1)
	q.allocateAll(t, other, 1)
	if err := rdb.Get(t.Context(), "berth:ports:"+string(other.ID)).Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("the lock is still there: %v", err)
	}
}

func TestContextEnded(t *testing.T) {
	q, h := withSide(t, testenv.Redis(t), "h", 4)
	c := q.mustClaim(t, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	took := testenv.Quickest(func() {
		if _, err := q.one(ctx, c, h, "redis"); !errors.Is(err, context.Canceled) {
			t.Errorf("Allocate: %v", err)
		}
		if err := q.Refused(ctx, c, h, 20000); !errors.Is(err, context.Canceled) {
			t.Errorf("Refused: %v", err)
		}
	})
	if took > 500*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}
