package startstop

import (
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// listens is what the runtime says once the process receives signals (GODEBUG=inittrace=1).
const listens = "init github.com/berth-project/berth/internal/stopsignal @"

// TestSignalsAreHeardEarly looks at the order in which Go initializes the packages: what
// takes time comes after signals are received.
func TestSignalsAreHeardEarly(t *testing.T) {
	t.Parallel()
	p := testenv.Start(t, binary, []string{"GODEBUG=inittrace=1"}, "--version")
	p.Finish(startLimit)
	before, after, found := strings.Cut(p.Log(), listens)
	if !found {
		t.Fatalf("the runtime says nothing of it:\n%s", testenv.Tail(p.Log(), 5))
	}
	early, late := strings.Count(before, "\ninit "), strings.Count(after, "\ninit ")
	if early*4 > late || strings.Contains(before, "init net/http ") || strings.Contains(before, "init gorm.io") || strings.Contains(before, "init github.com/docker") {
		t.Errorf("%d packages come before it and %d after:\n%s", early, late, before)
	}
	at, _, _ := strings.Cut(after, ",")
	t.Logf("signals are received %s after the start of the runtime, after %d of %d packages", at, early, early+late+1)
}

// TestStopAtRandom tells processes to stop at random moments of their start, from the one on
// from which they receive signals.
func TestStopAtRandom(t *testing.T) {
	t.Parallel()
	const each = 12
	modes := map[string]*world{"dev": newDev(t), "api": newProduction(t, sqlite), "worker": newProduction(t, sqlite)}
	modes["api"].migrated()
	modes["worker"].migrated()
	for mode, w := range modes {
		begun := time.Now()
		w.mustStart("the measured start", mode)
		start := time.Since(begun)
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			for range each {
				delay := rand.N(start)
				p := testenv.Start(t, binary, append(w.settings, "GODEBUG=inittrace=1"), mode)
				logs(t, p, listens)
				wait(delay)
				send(t, p, syscall.SIGTERM)
				ends(t, p, 0)
				if t.Failed() {
					t.Fatalf("told to stop %s after it could be", delay)
				}
			}
		})
	}
}

// wait waits for a moment that nothing marks.
func wait(d time.Duration) {
	var once sync.WaitGroup
	once.Add(1)
	time.AfterFunc(d, once.Done)
	once.Wait()
}
