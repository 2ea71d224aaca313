package ratelimit_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/ratelimit"
	"github.com/berth-project/berth/internal/redisserver"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// stuck is a time limit that a test on a busy machine does not come near.
const stuck = 30 * time.Second

// on runs a test with the Redis of `berth dev`, and with a real one.
func on(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("embedded", func(t *testing.T) { test(t, embedded(t)) })
	t.Run("redis", func(t *testing.T) { test(t, testenv.Redis(t)) })
}

func embedded(t *testing.T) string {
	t.Helper()
	server, err := redisserver.Start("a password")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = server.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return server.URL()
}

// limiter makes that of one process.
func limiter(t *testing.T, url string, perMinute int, change ...func(*ratelimit.Config)) *ratelimit.Limiter {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	options.ContextTimeoutEnabled, options.DialerRetries = true, 1
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	cfg := ratelimit.Config{Redis: rdb, Name: "dep_1:caller", PerMinute: perMinute, Now: clock.System, Log: slog.New(slog.DiscardHandler), Patience: stuck}
	for _, c := range change {
		c(&cfg)
	}
	return ratelimit.New(cfg)
}

// passed counts how many of the requests pass that these processes get at once.
func passed(t *testing.T, caller string, requests int, processes ...*ratelimit.Limiter) int64 {
	t.Helper()
	var pass atomic.Int64
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			a := processes[i%len(processes)].Take(t.Context(), caller)
			switch {
			case a.Limit == 0:
				t.Error("not counted")
			case a.Wait == 0:
				pass.Add(1)
			case a.Left != 0 || a.Wait > time.Minute:
				t.Errorf("refused with %+v", a)
			}
		})
	}
	all.Wait()
	return pass.Load()
}

// TestExact: however many requests come at once, in however many processes, a small limit is
// kept to the request, and callers do not share it.
func TestExact(t *testing.T) {
	on(t, func(t *testing.T, url string) {
		const limit = 5 // one more every 12 s
		processes := []*ratelimit.Limiter{limiter(t, url, limit), limiter(t, url, limit)}
		for _, caller := range []string{"key_1", "key_2"} {
			if got := passed(t, caller, 60, processes...); got != limit {
				t.Errorf("%s: %d requests passed, want %d", caller, got, limit)
			}
		}
		if got := passed(t, "key_3", 60, processes[0]); got != limit {
			t.Errorf("one process: %d requests passed, want %d", got, limit)
		}
	})
}

// TestLarge: of a large limit a process takes a hundredth out at a time. No more pass than the
// limit, what is refilled meanwhile, and a hundredth for each process; what is told to be left
// never grows within one.
func TestLarge(t *testing.T) {
	on(t, func(t *testing.T, url string) {
		const limit = 3000
		begun := time.Now()
		processes := []*ratelimit.Limiter{limiter(t, url, limit), limiter(t, url, limit)}
		got := passed(t, "key_1", 2*limit, processes...)
		refilled := int64(time.Since(begun).Seconds()*limit/60) + 1
		if most := limit + refilled + 2*limit/100; got < limit-2*limit/100 || got > most {
			t.Errorf("%d requests passed, want %d to %d", got, limit, most)
		}
	})
}

// TestAllowance: what is told of a limit, and that requests which are refused cost nothing.
func TestAllowance(t *testing.T) {
	on(t, func(t *testing.T, url string) {
		l := limiter(t, url, 3)
		for _, left := range []int{2, 1, 0} {
			if a := l.Take(t.Context(), "key_1"); a.Limit != 3 || a.Left != left || a.Wait != 0 || a.Reset <= 0 || a.Reset > time.Minute {
				t.Errorf("%+v, want %d left", a, left)
			}
		}
		first := l.Take(t.Context(), "key_1")
		for range 20 {
			l.Take(t.Context(), "key_1")
		}
		// A third of a minute from the first request on, less what has passed since.
		if last := l.Take(t.Context(), "key_1"); first.Wait <= 0 || first.Wait > 20*time.Second+10*time.Millisecond || last.Wait > first.Wait {
			t.Errorf("wait %s, and later %s", first.Wait, last.Wait)
		}
		if a := limiter(t, url, 0).Take(t.Context(), "key_1"); a != (tenant.Allowance{}) {
			t.Errorf("no limit: %+v", a)
		}
		// Another limit counts anew, also a lower one.
		if got := passed(t, "key_1", 10, limiter(t, url, 2)); got != 2 {
			t.Errorf("%d passed", got)
		}
	})
}

// TestRefill: who has waited as told is let through.
func TestRefill(t *testing.T) {
	on(t, func(t *testing.T, url string) {
		l := limiter(t, url, 60)
		for l.Take(t.Context(), "key_1").Wait == 0 { // a request a second comes back
		}
		for range 3 {
			a := l.Take(t.Context(), "key_1")
			if a.Wait > 0 {
				<-time.After(a.Wait)
				a = l.Take(t.Context(), "key_1")
			}
			if a.Wait > 0 {
				t.Errorf("refused after the wait: %+v", a)
			}
		}
	})
}

// TestRedisAway: requests pass, one line tells of it and one of the end, and then limits hold
// again.
func TestRedisAway(t *testing.T) {
	url, proxy := testenv.NewProxy(t, embedded(t))
	log := &testenv.Log{}
	var now atomic.Int64
	now.Store(time.Now().UnixMilli())
	l := limiter(t, url, 1, func(c *ratelimit.Config) {
		c.Log, c.Now = slog.New(slog.NewTextHandler(log, nil)), func() time.Time { return time.UnixMilli(now.Load()) }
	})
	check := func(when string, counted bool, lines int) {
		t.Helper()
		for range 5 {
			if a := l.Take(t.Context(), when); (a.Limit == 1) != counted {
				t.Errorf("%s: %+v", when, a)
			}
		}
		if got := strings.Count(log.String(), "\n"); got != lines {
			t.Errorf("%s: %d lines, want %d:\n%s", when, got, lines, log.String())
		}
	}
	check("there", true, 0)
	proxy.Cut()
	check("away", false, 1)
	now.Add(1500)
	check("still away", false, 1)
	proxy.Restore(t)
	check("back, and not asked yet", false, 1)
	now.Add(1500)
	check("back", true, 2)
	if text := log.String(); !strings.Contains(text, "level=WARN") || strings.Contains(text, "a password") {
		t.Errorf("%s", text)
	}
}

// TestSilentRedis: one that takes the question and does not answer holds up one request for a
// moment, and is not asked for a while.
func TestSilentRedis(t *testing.T) {
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			all.Go(func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() })
		}
	})
	still := time.Now() // time stands: the pause does not end
	l := limiter(t, "redis://"+listener.Addr().String()+"/0", 1, func(c *ratelimit.Config) {
		c.Patience, c.Now = 0, func() time.Time { return still }
	})
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	for range 100 {
		if a := l.Take(t.Context(), "key_1"); a.Limit != 0 {
			t.Errorf("%+v", a)
		}
	}
	if got := asked.Load(); got == 0 || got > 3 {
		t.Errorf("Redis was asked by %d connections", got)
	}
	_ = l.Redis.Close()
}

// TestClientGone: a request whose client went away neither counts as an outage nor holds up
// those behind it.
func TestClientGone(t *testing.T) {
	log := &testenv.Log{}
	l := limiter(t, embedded(t), 10, func(c *ratelimit.Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if a := l.Take(gone, "key_1"); a.Limit != 10 || log.String() != "" {
		t.Errorf("%+v %s", a, log.String())
	}
}

// TestClockPutBack: a clock that is put back by an hour closes nobody out for an hour.
func TestClockPutBack(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().UnixMilli())
	l := limiter(t, embedded(t), 600, func(c *ratelimit.Config) { c.Now = func() time.Time { return time.UnixMilli(now.Load()) } })
	for l.Take(t.Context(), "key_1").Wait == 0 {
	}
	now.Add(-time.Hour.Milliseconds())
	for range 100 { // Redis has a clock of its own, and lets one in every 100 ms
		if a := l.Take(t.Context(), "key_1"); a.Wait > time.Minute {
			t.Fatalf("%+v", a)
		} else if a.Wait == 0 {
			return
		}
		<-time.After(20 * time.Millisecond)
		now.Add(20)
	}
	t.Error("nothing passed")
}

// BenchmarkTake is what a request pays for a limit.
func BenchmarkTake(b *testing.B) {
	server, err := redisserver.Start("p")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { _ = server.Run(ctx) }()
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		b.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close() //nolint:errcheck // nothing depends on it
	l := ratelimit.New(ratelimit.Config{Redis: rdb, Name: "bench", PerMinute: 1_000_000, Now: clock.System, Log: slog.New(slog.DiscardHandler)})
	for b.Loop() {
		l.Take(b.Context(), "key_1")
	}
}
