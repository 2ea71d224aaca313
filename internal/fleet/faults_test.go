package fleet

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// breakage is something that happens to a host, or to who works on it, in the middle of a job.
type breakage struct {
	name string
	do   func(*bed)
	away time.Duration
	undo func(*bed)
	// kills says that the worker dies; another one goes on.
	kills bool
	// short are the points of the short form.
	short []point
}

// point is a place in a job: before or after the work of a step, or in the middle of it, once the container
// is there that it makes.
type point struct{ kind, step, side string }

const (
	before = "before"
	after  = "after"
	middle = "middle"
)

func (p point) String() string { return p.kind + "/" + p.step + "/" + p.side }

var middles = []point{{"host.import", "proof", middle}, {"instance.create", "start", middle}}

var breakages = []breakage{
	{
		name: "sshd away", away: 3 * time.Second, do: func(b *bed) { b.host.StopSSH(b.T) }, undo: func(b *bed) { b.host.Start(b.T) },
		short: []point{{"host.import", "login", before}, {"instance.create", "start", before}, {"host.delete", "key", before}},
	},
	{
		name: "logins cut", do: func(b *bed) { b.host.CutLogins(b.T) },
		short: []point{{"host.import", "proof", middle}, {"host.delete", "clean", before}},
	},
	{
		name: "dockerd killed", away: 3 * time.Second, do: func(b *bed) { b.host.Stop(b.T) }, undo: func(b *bed) { b.host.Start(b.T) },
		short: []point{{"host.import", "proof", middle}, {"instance.delete", "remove", before}},
	},
	{
		name: "dockerd frozen", away: 6 * time.Second, do: func(b *bed) { b.host.Freeze(b.T) }, undo: func(b *bed) { b.host.Thaw(b.T) },
		short: []point{{"instance.create", "start", middle}, {"host.delete", "clean", before}},
	},
	{
		name: "dockerd frozen, killed", away: 7 * time.Second, do: func(b *bed) { b.host.Freeze(b.T) },
		undo: func(b *bed) { b.host.Stop(b.T); b.host.Start(b.T) },
	},
	{
		name: "link cut", away: 7 * time.Second, do: func(b *bed) { b.host.LinkDown(b.T) }, undo: func(b *bed) { b.host.LinkUp(b.T) },
	},
	{
		name: "worker killed", kills: true,
		short: []point{{"host.import", "proof", after}, {"host.drain", "move", after}, {"host.delete", "clean", after}},
	},
}

// TestFaults breaks something in the middle of each job of a host and of an instance there, for a few
// seconds: the job ends well, the books are right, and nothing is left. The long form does so at each step.
func TestFaults(t *testing.T) {
	t.Parallel()
	result := &table{}
	t.Cleanup(func() { t.Log(result) })
	groups := [][]breakage{breakages[:2], breakages[2:6], breakages[6:]}
	if long {
		groups = nil
		for _, b := range breakages {
			groups = append(groups, []breakage{b})
		}
	}
	if long {
		t.Run("away for long", func(t *testing.T) {
			t.Parallel()
			newBed(t).staysAway()
		})
	}
	for _, group := range groups {
		t.Run(group[0].name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			for _, f := range group {
				for _, at := range b.points(f) {
					b.breaks(f, at, result)
				}
			}
			b.absent()
			b.nowhere("the machine's password", b.host.Password(t))
		})
	}
}

// points are where something happens: in the long form before each step of each job, which are found
// from jobs with which nothing happens, and where workers die also after it.
func (b *bed) points(f breakage) []point {
	b.Helper()
	if !long {
		return f.short
	}
	steps := map[string][]point{}
	rounds := 0
	for _, o := range operations {
		o.ready(b)
		j := b.succeeded(o.begin(b), 3*time.Minute)
		if o.kind == "host.import" { // which is a part of the job of a file
			parts := b.column(testenv.OpenDatabase(b.T, b.database), "SELECT id FROM jobs WHERE parent_id = '"+j.text("id")+"'")
			j = b.succeeded(parts[0], time.Minute)
		}
		for _, s := range j["steps"].([]any) {
			name := object(s.(map[string]any)).text("name")
			steps[o.kind] = append(steps[o.kind], point{o.kind, name, before})
			if f.kills {
				steps[o.kind] = append(steps[o.kind], point{o.kind, name, after})
			}
		}
		for _, m := range middles {
			if m.kind == o.kind && !f.kills {
				steps[o.kind] = append(steps[o.kind], m)
			}
		}
		rounds = max(rounds, len(steps[o.kind]))
	}
	var list []point
	for i := range rounds { // one after the other, as a host has them
		for _, o := range operations {
			if i < len(steps[o.kind]) {
				list = append(list, steps[o.kind][i])
			}
		}
	}
	return list
}

// breaks begins a job, breaks something at the point, and sees how it ends.
func (b *bed) breaks(f breakage, at point, result *table) {
	b.Helper()
	o, started, id := find(at.kind), time.Now(), ""
	o.ready(b)
	old := b.workers[len(b.workers)-1]
	switch {
	case at.side == middle:
		id = b.inMiddle(o, f.do, f.undo)
	case f.kills:
		old.Stop()
		mortal := b.startWorker("BERTH_CHAOS_KILL=" + at.String())
		id = o.begin(b)
		select {
		case <-mortal.Done():
		case <-time.After(testenv.Limit(time.Minute)):
			b.Fatalf("no worker died at %s", at)
		}
		b.startWorker()
	default:
		old.Stop()
		w := b.startWorker("BERTH_CHAOS_STOP=" + at.String())
		id = o.begin(b)
		b.eventually("a worker stands still at "+at.String(), time.Minute, w.Stopped)
		f.do(b)
		w.Continue()
	}
	if f.away > 0 {
		<-time.After(f.away)
	}
	if f.undo != nil {
		f.undo(b)
	}
	begun := time.Now()
	j := b.ended(id, 3*time.Minute)
	took := time.Since(begun)
	good := j.text("state") == "succeeded"
	if good {
		o.right(b, j)
	} else {
		b.Errorf("%s at %s: the job is %s: %v, %v", f.name, at, j.text("state"), j["error"], j["steps"])
	}
	left := b.nothingElse()
	b.books()
	result.add(f.name, good, took, left)
	b.Logf("%s at %s: the job ended after %.1f s, of %.1f s in all", f.name, at, took.Seconds(), time.Since(started).Seconds())
}

// table is what has become of all that was broken.
type table struct {
	mu    sync.Mutex
	lines []*line
}

type line struct {
	name             string
	tried, succeeded int
	worst, left      time.Duration
}

func (tb *table) add(name string, good bool, took, left time.Duration) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	i := slices.IndexFunc(tb.lines, func(l *line) bool { return l.name == name })
	if i < 0 {
		tb.lines, i = append(tb.lines, &line{name: name}), len(tb.lines)
	}
	l := tb.lines[i]
	l.tried++
	if good {
		l.succeeded++
	}
	l.worst, l.left = max(l.worst, took), max(l.left, left)
}

// String shows how jobs ended, how long the last of them took after all was there again, and for how long
// something was left then that is not in the books.
func (tb *table) String() string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "\nFAULT\tTRIED\tSUCCEEDED\tWORST RECOVERY\tLEFT FOR")
	for _, l := range tb.lines {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%.1f s\t%.1f s\n", l.name, l.tried, l.succeeded, l.worst.Seconds(), l.left.Seconds())
	}
	_ = w.Flush()
	return b.String()
}
