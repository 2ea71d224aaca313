package chaos

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// line is one row of the table.
type line struct {
	fault           string
	tried, survived int
	worst           time.Duration
	lost, leaked    int
}

func (l *line) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%.1f s\t%d\t%d\n", l.fault, l.tried, l.survived, l.worst.Seconds(), l.lost, l.leaked)
}

type table struct {
	mu    sync.Mutex
	lines []*line
}

// add counts a fault; took is 0 where others came with it.
func (tb *table) add(fault string, took time.Duration, v verdict) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	i := slices.IndexFunc(tb.lines, func(l *line) bool { return l.fault == fault })
	if i < 0 {
		tb.lines, i = append(tb.lines, &line{fault: fault}), len(tb.lines)
	}
	l := tb.lines[i]
	l.tried++
	l.worst = max(l.worst, took)
	l.lost += len(v.lost)
	l.leaked += len(v.leaked)
	if v.good() {
		l.survived++
	}
}

func (tb *table) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "\nFAULT\tTRIED\tSURVIVED\tWORST RECOVERY\tLOST\tLEAKED")
	tb.mu.Lock()
	defer tb.mu.Unlock()
	all := line{fault: "all"}
	for _, l := range tb.lines {
		l.print(w)
		all.tried, all.survived, all.lost, all.leaked = all.tried+l.tried, all.survived+l.survived, all.lost+l.lost, all.leaked+l.leaked
		all.worst = max(all.worst, l.worst)
	}
	all.print(w)
	_ = w.Flush()
	return b.String()
}

// plan is what the environment asks for.
type plan struct {
	seed   uint64
	length time.Duration // 0: the short form
	worlds int           // of each shape, side by side
}

func newPlan(t *testing.T) plan {
	t.Helper()
	p := plan{seed: 1, worlds: 1} // the short form is the same every time; the long one looks for what is new
	if minutes := number(t, "CHAOS_MINUTES", 0); minutes > 0 {
		p.length, p.seed = time.Duration(minutes*float64(time.Minute)), rand.Uint64N(1e9)
	}
	p.seed = uint64(number(t, "CHAOS_SEED", float64(p.seed)))
	p.worlds = int(number(t, "CHAOS_WORLDS", float64(p.worlds)))
	return p
}

// sides gives at which sides of each step a worker dies or stands still.
func (p plan) sides() []string {
	if p.length == 0 {
		return []string{after} // what it did is still to be written down
	}
	return []string{before, after}
}

func number(t *testing.T, name string, or float64) float64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return or
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 || n > 1e12 {
		t.Fatalf("%s=%s is not a number of use", name, text)
	}
	return n
}

// TestChaos breaks one thing after the other under load, in each shape of Berth side by
// side. Without CHAOS_MINUTES each short fault comes once, on a shorter lease.
func TestChaos(t *testing.T) {
	t.Parallel()
	p, result := newPlan(t), &table{}
	t.Logf("CHAOS_SEED=%d replays these schedules; bounds of time are %.1f times those of a quiet machine", p.seed, testenv.Pace())
	t.Cleanup(func() { t.Log(result) })
	for i := range p.worlds {
		for j, sh := range shapes {
			t.Run(fmt.Sprintf("%s-%d", sh.name, i+1), func(t *testing.T) {
				t.Parallel()
				newWorld(t, sh).rage(p, rand.New(rand.NewPCG(p.seed, uint64(i*len(shapes)+j))), result)
			})
		}
	}
}

// rage goes through a schedule, and ends with the first loss or leak.
func (w *world) rage(p plan, r *rand.Rand, result *table) {
	w.Helper()
	list := faults(w.shape)
	if p.length == 0 {
		list = slices.DeleteFunc(list, func(f breakage) bool { return !slices.Contains(f.short, w.shape) })
	}
	end := time.Now().Add(p.length)
	for round := 0; !w.Failed(); round++ {
		var now []breakage
		switch {
		case p.length == 0 && round < len(list):
			now = list[round : round+1]
		case p.length > 0 && time.Now().Before(end):
			for range 1 + r.IntN(3) {
				now = append(now, list[r.IntN(len(list))])
			}
		default:
			w.clear()
			if v := w.check(); !v.good() {
				w.Errorf("after everything was deleted: lost %v, leaked %v", v.lost, v.leaked)
			}
			return
		}
		w.round(round, now, r, result)
	}
}

// round puts load on, breaks things in the middle of it, and waits until all is as it
// should be.
func (w *world) round(number int, broken []breakage, r *rand.Rand, result *table) {
	w.Helper()
	var load sync.WaitGroup
	for range 3 + r.IntN(4) {
		engine, delay := "redis", upTo(r, time.Second)
		if r.IntN(8) == 0 && !w.shape.redisOnly() {
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
	begun, names, late := time.Now(), make([]string, len(broken)), false
	for i, f := range broken {
		names[i], late = f.name, late || f.late
		f.do(w, r)
	}
	over := time.Now()
	load.Wait()
	w.settle()
	took, still := time.Since(begun), w.standstill(over)
	v := w.check()
	if swept := w.unexpectedly(); !late {
		v.leaked = append(v.leaked, swept...)
	}
	if len(broken) > 1 {
		took = 0
	}
	for _, name := range names {
		result.add(name, took, v)
	}
	w.Logf("round %d: %s: all jobs ended after %.1f s, lost %d, leaked %d", number, strings.Join(names, " + "), time.Since(begun).Seconds(), len(v.lost), len(v.leaked))
	if still > testenv.Limit(recoveryLimit) && len(broken) == 1 {
		w.Errorf("round %d, %s: a job stood still for %s after it was over", number, strings.Join(names, " + "), still)
	}
	for _, text := range slices.Concat(v.lost, v.leaked) {
		w.Errorf("round %d, %s: %s", number, strings.Join(names, " + "), text)
	}
	w.forget()
}

// forget drops what is known to be gone, so that a long run stays as fast as it was.
func (w *world) forget() {
	for _, o := range w.known() {
		inst, err := w.client.Instance(w.Context(), o.instance.ID)
		if err != nil || inst.State != "deleted" {
			continue
		}
		w.mu.Lock()
		delete(w.orders, o.instance.ID)
		w.mu.Unlock()
	}
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
