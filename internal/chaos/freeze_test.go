package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// awake is how long one that has lost its job is watched after it was woken. It must be
// shorter than the lease of the one that has the job by then.
const awake = 1500 * time.Millisecond

// TestFreezeAtEachStep lets a worker stand still at each step beyond its lease, and wakes
// it while the one that took the job up stands still at the same step. What the first one
// goes on to write, to the database or to the host, would be seen then.
func TestFreezeAtEachStep(t *testing.T) {
	t.Parallel()
	result := &table{}
	t.Cleanup(func() { t.Log(result) })
	kinds := []string{kindCreate, kindDelete}
	if newPlan(t).length > 0 {
		kinds = append(kinds, kindRepair)
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			newWorld(t, production).atEach(kind, "SIGSTOP", newPlan(t).sides(), result, (*world).freezeAt)
		})
	}
}

// sideBySide are the steps beside which another one may be in the middle of a call to the
// host. Such a call ends when its worker is awake again; what it makes has the older fence,
// and the new owner takes it over or makes it anew.
var sideBySide = []string{kindCreate + "/reserve", kindCreate + "/image", kindCreate + "/data"}

// freezeAt gives the time from the wakening of the one that has the job to its end, and how
// long the job stood still.
func (w *world) freezeAt(kind, point string) (took, still time.Duration, v verdict) {
	w.Helper()
	o := w.victimOf(kind)
	stop := "BERTH_CHAOS_STOP=" + point
	first := w.startWatching(stop)
	if o == nil {
		o = w.create("redis")
	}
	w.trigger(kind, o)
	w.standsStill(first, point)
	second := w.startWorker(stop, "BERTH_LEASE_TTL=1m") // which nobody takes from it meanwhile
	w.standsStillOrEnds(second, o, point)

	host := !slices.Contains(sideBySide, strings.TrimSuffix(strings.TrimSuffix(point, "/"+after), "/"+before))
	was := w.tracks(o, host)
	_ = syscall.Kill(first.Pid(), syscall.SIGCONT)
	pause(w, awake)
	if is := w.tracks(o, host); is != was {
		v.lost = append(v.lost, fmt.Sprintf("a worker that had lost its job changed things:\n%s\n%s", was, is))
	}
	begun := time.Now()
	_ = syscall.Kill(second.Pid(), syscall.SIGCONT)
	w.await(kind, o)
	took, still = time.Since(begun), standstill(w.lastJob(kind, o).Steps, begun)
	end := w.check()
	v.lost, v.leaked = append(v.lost, end.lost...), append(v.leaked, end.leaked...)
	w.stopWorkers()
	return took, still, v
}

// standsStill waits until the process has stopped.
func (w *world) standsStill(p *testenv.Process, point string) {
	w.Helper()
	testenv.Eventually(w.T, "a worker stands still at "+point, time.Minute, func(context.Context) error { return p.Stopped() })
}

// standsStillOrEnds waits until the process has stopped, or the job is done: a step that
// runs beside others may be written down before its worker stands still.
func (w *world) standsStillOrEnds(p *testenv.Process, o *order, point string) {
	w.Helper()
	testenv.Eventually(w.T, "a worker stands still at "+point, time.Minute, func(ctx context.Context) error {
		var left int
		err := w.rows.QueryRowContext(ctx, "SELECT COUNT(*) FROM jobs WHERE live_instance_id = ?", o.instance.ID).Scan(&left)
		if err == nil && left == 0 {
			return nil
		}
		return p.Stopped()
	})
}

// tracks gives what a worker leaves of its work on an instance: the job, the instance and
// its ports in the database, and, if asked for, what is on the host.
func (w *world) tracks(o *order, host bool) string {
	w.Helper()
	var b strings.Builder
	for _, query := range []string{
		"SELECT CONCAT_WS(' ', id, state, rev, fence, owner, generation, steps) FROM jobs WHERE instance_id = '%s' ORDER BY id",
		"SELECT CONCAT_WS(' ', id, state, rev, reason, fence, port) FROM instances WHERE id = '%s'",
		"SELECT CONCAT_WS(' ', port, name) FROM ports WHERE instance_id = '%s' ORDER BY port",
	} {
		err := w.each(w.Context(), fmt.Sprintf(query, o.instance.ID), func(scan func(...any) error) error {
			var line string
			err := scan(&line)
			fmt.Fprintln(&b, line)
			return err
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	if !host {
		return b.String()
	}
	name := "name=berth-" + o.instance.ID
	b.WriteString(w.dockerCLI("ps", "-a", "--no-trunc", "--filter", name, "--format", "{{.ID}} {{.State}} {{.Label \"berth.fence\"}}"))
	b.WriteString(w.dockerCLI("volume", "ls", "--filter", name, "--format", "{{.Name}} {{.Label \"berth.fence\"}}"))
	return b.String()
}
