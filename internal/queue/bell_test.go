package queue

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/testenv"
)

const bellLimit = 20 * time.Second

// hang connects a bell until the test ends.
func hang(t *testing.T, redisURL, deployment string) *Bell {
	t.Helper()
	bell := NewBell(connect(t, redisURL), deployment)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		bell.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return bell
}

// ears gives the ids of what is rung.
func ears(t *testing.T, bell *Bell, kind bell.Kind) <-chan string {
	t.Helper()
	heard := make(chan string, 10_000)
	t.Cleanup(bell.Listen(kind, func(id string) { heard <- id }))
	return heard
}

func connected(t *testing.T, bells ...*Bell) {
	t.Helper()
	testenv.Eventually(t, "the bells are connected", bellLimit, func(context.Context) error {
		for _, bell := range bells {
			if !bell.Connected() {
				return fmt.Errorf("one is not")
			}
		}
		return nil
	})
}

func hear(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	limit := time.After(bellLimit)
	for {
		select {
		case id := <-heard:
			if id == want {
				return
			}
		case <-limit:
			t.Fatalf("%q was never heard", want)
		}
	}
}

// A ring is heard in every process of the deployment, once, and nowhere else.
func TestBellIsHeardEverywhere(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := server(t)
			one, two, stranger := hang(t, url, "dep_1"), hang(t, url, "dep_1"), hang(t, url, "dep_2")
			connected(t, one, two, stranger)
			here, there := ears(t, one, job.RingEnded), ears(t, two, job.RingEnded)
			other, elsewhere := ears(t, two, bell.RingTask), ears(t, stranger, job.RingEnded)
			for n := range 50 {
				id := fmt.Sprintf("job_%d", n)
				one.Ring(bell.Ring{Kind: job.RingEnded, ID: id})
				if got := <-here; got != id { // before Ring has returned
					t.Errorf("heard %q here", got)
				}
				hear(t, there, id)
			}
			stranger.Ring(bell.Ring{Kind: job.RingEnded, ID: "last"})
			if got := <-elsewhere; got != "last" {
				t.Errorf("another deployment heard %q", got)
			}
			if len(here) > 0 || len(other) > 0 {
				t.Errorf("heard %d twice, and %d of another kind", len(here), len(other))
			}
		})
	}
}

// Many rings make few messages, and all of their ids arrive.
func TestBellStorm(t *testing.T) {
	t.Parallel()
	url := testenv.Redis(t)
	one, two := hang(t, url, "dep_storm"), hang(t, url, "dep_storm")
	connected(t, one, two)
	there := ears(t, two, job.RingEnded)
	began := time.Now()
	const rings = 900 // below the backlog
	for n := range rings {
		one.Ring(bell.Ring{Kind: job.RingEnded, ID: fmt.Sprintf("job_%d", n)})
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("ringing took %s", took)
	}
	for range rings {
		select {
		case <-there:
		case <-time.After(bellLimit):
			t.Fatalf("%d are missing", rings-len(there))
		}
	}
}

// While Redis is away nobody waits, and memory does not grow; when it is back,
// everybody is told to look.
func TestBellWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	proxied, proxy := testenv.NewProxy(t, testenv.Redis(t))
	one, two := hang(t, proxied, "dep_away"), hang(t, proxied, "dep_away")
	connected(t, one, two)
	here, there := ears(t, one, job.RingEnded), ears(t, two, bell.RingTask)
	for round := range 2 {
		proxy.Cut()
		testenv.Eventually(t, "the bells notice", bellLimit, func(context.Context) error {
			if one.Connected() || two.Connected() {
				return fmt.Errorf("round %d: one is connected", round)
			}
			return nil
		})
		for n := range 5000 {
			one.Ring(bell.Ring{Kind: job.RingEnded, ID: fmt.Sprintf("job_%d", n)})
			if got := <-here; got == "" {
				t.Fatal("rings of this process need no Redis")
			}
		}
		one.mu.Lock()
		if kept := len(one.out); kept > bellBacklog+10 {
			t.Errorf("%d rings are kept", kept)
		}
		one.mu.Unlock()
		proxy.Restore(t)
		connected(t, one, two)
		hear(t, there, "") // whatever it may have missed
		hear(t, here, "")
	}
	two.Ring(bell.Ring{Kind: job.RingEnded, ID: "job_after"})
	hear(t, here, "job_after")
}

// What is rung last, while a process stops, is heard by the others.
func TestBellRingsLast(t *testing.T) {
	t.Parallel()
	url := testenv.Redis(t)
	listening := hang(t, url, "dep_last")
	connected(t, listening)
	heard := ears(t, listening, job.RingEnded)
	ending := NewBell(connect(t, url), "dep_last")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	ending.Ring(bell.Ring{Kind: job.RingEnded, ID: "job_last"})
	ending.Run(ctx)
	hear(t, heard, "job_last")
}

// A message that no Berth has sent harms nobody.
func TestBellHearsNonsense(t *testing.T) {
	bell := NewBell(nil, "dep")
	heard := ears(t, bell, job.RingEnded)
	for _, message := range []string{"", " ", "x", "x ended", "x =", "x what=ever", "x ended=job_1=2"} {
		bell.hear(message)
	}
	if len(heard) != 1 || <-heard != "job_1=2" {
		t.Error("it heard something else")
	}
}
