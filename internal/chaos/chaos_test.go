package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/berth-project/berth/internal/client"
)

// line is one row of the table.
type line struct {
	fault           string
	tried, survived int
	worst           time.Duration
	lost, leaked    int
}

type table struct{ lines []*line }

func (tb *table) add(fault string, took time.Duration, v verdict) {
	i := slices.IndexFunc(tb.lines, func(l *line) bool { return l.fault == fault })
	if i < 0 {
		tb.lines, i = append(tb.lines, &line{fault: fault}), len(tb.lines)
	}
	l := tb.lines[i]
	l.tried++
	l.worst = max(l.worst, took)
	l.lost += len(v.lost)
	l.leaked += len(v.leaked)
	if len(v.lost)+len(v.leaked) == 0 {
		l.survived++
	}
}

func (tb *table) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "\nFAULT\tTRIED\tSURVIVED\tWORST RECOVERY\tLOST\tLEAKED")
	for _, l := range tb.lines {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%.1f s\t%d\t%d\n", l.fault, l.tried, l.survived, l.worst.Seconds(), l.lost, l.leaked)
	}
	_ = w.Flush()
	return b.String()
}

// plan is what the environment asks for.
func plan(t *testing.T) (seed uint64, length time.Duration) {
	t.Helper()
	seed = 1 // the short form is the same every time; the long one looks for what is new
	if os.Getenv("CHAOS_MINUTES") != "" {
		seed = rand.Uint64N(1e9)
	}
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
		seed = n
	}
	if text := os.Getenv("CHAOS_MINUTES"); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("CHAOS_MINUTES: %v", err)
		}
		length = time.Duration(n * float64(time.Minute))
	}
	return seed, length
}

// TestChaos breaks one thing after the other under load. Without CHAOS_MINUTES each
// short fault comes once.
func TestChaos(t *testing.T) {
	seed, length := plan(t)
	newWorld(t).run(seed, length, faults())
}

// run goes through the faults for as long as asked, or once through the short ones.
func (w *world) run(seed uint64, length time.Duration, all []fault) {
	t, result := w.T, &table{}
	t.Helper()
	t.Logf("CHAOS_SEED=%d replays this schedule", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	defer func() { t.Log(result) }()

	end := time.Now().Add(length)
	for round := 0; ; round++ {
		list := slices.Clone(all)
		if length == 0 {
			list = slices.DeleteFunc(list, func(f fault) bool { return !f.short })
		}
		if (length == 0 && round == len(list)) || (length > 0 && time.Now().After(end)) {
			break
		}
		f := list[round%len(list)]
		took, v := w.round(f, r)
		result.add(f.name, took, v)
		for _, text := range slices.Concat(v.lost, v.leaked) {
			t.Errorf("round %d, %s: %s", round, f.name, text)
		}
		if t.Failed() {
			return
		}
	}
	w.clear()
	if v := w.check(); len(v.lost)+len(v.leaked) > 0 {
		t.Errorf("after everything was deleted: lost %v, leaked %v", v.lost, v.leaked)
	}
}

// round puts load on, breaks something in the middle, and waits until all is quiet.
func (w *world) round(f fault, r *rand.Rand) (took time.Duration, v verdict) {
	w.Helper()
	var load sync.WaitGroup
	for range 3 + r.IntN(4) {
		engine, delay := "redis", upTo(r, time.Second)
		if r.IntN(8) == 0 && w.engine == nil {
			engine = "mysql"
		}
		load.Go(func() {
			pause(w, delay)
			w.create(engine)
		})
	}
	for _, o := range w.known() {
		if !o.deleting && r.IntN(2) == 0 {
			delay := upTo(r, time.Second)
			load.Go(func() {
				pause(w, delay)
				w.delete(o)
			})
		}
	}
	pause(w, upTo(r, time.Second))
	begun := time.Now()
	f.do(w, r)
	load.Wait()
	w.settle()
	took = time.Since(begun)
	return took, w.check()
}

// clear deletes everything.
func (w *world) clear() {
	w.Helper()
	for _, o := range w.known() {
		if !o.deleting {
			w.delete(o)
		}
	}
	w.settle()
}

// TestKillAtEachStep ends a worker right before and right after the work of every
// step of a create and of a delete, found from the jobs' own steps.
func TestKillAtEachStep(t *testing.T) {
	w, result := newWorld(t), &table{}
	defer func() { t.Log(result) }()
	o := w.known()[0]
	created := w.job(o.jobs[0].id)
	w.delete(o)
	w.settle()
	deleted := w.job(o.jobs[1].id)
	w.stopWorkers()
	for _, job := range []client.Job{created, deleted} {
		for _, s := range job.Steps {
			for _, when := range []string{"before", "after"} {
				point := fmt.Sprintf("%s/%s/%s", job.Kind, s.Name, when)
				took, v := w.killAt(job.Kind, point)
				result.add("SIGKILL at "+point, took, v)
				if took > 15*time.Second {
					t.Errorf("%s: recovery took %s", point, took)
				}
				for _, text := range slices.Concat(v.lost, v.leaked) {
					t.Errorf("%s: %s", point, text)
				}
			}
		}
	}
}

func (w *world) job(id string) client.Job {
	w.Helper()
	job, err := w.client.Job(w.Context(), id, 0)
	if err != nil {
		w.Fatal(err)
	}
	return job
}

// killAt lets one worker take a job and end itself at the point, and another one take
// it up. It gives the time from the death to the end of the job.
func (w *world) killAt(kind, point string) (took time.Duration, v verdict) {
	w.Helper()
	var o *order
	if kind == "instance.delete" {
		healthy := w.startWorker()
		o = w.create("redis")
		w.settle()
		healthy.Stop()
	}
	mortal := w.startWorker("BERTH_CHAOS_KILL=" + point)
	if o == nil {
		w.create("redis")
	} else {
		w.delete(o)
	}
	select {
	case <-mortal.Done():
	case <-time.After(time.Minute):
		w.Fatalf("no worker died at %s", point)
	}
	begun := time.Now()
	w.workers = nil
	healthy := w.startWorker()
	w.settle()
	took = time.Since(begun)
	v = w.check()
	healthy.Stop()
	w.workers = nil
	return took, v
}
