package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// verdict is what a look at everything has found.
type verdict struct{ lost, leaked []string }

func (v verdict) good() bool { return len(v.lost)+len(v.leaked) == 0 }

// mendLimit is how long after the last job has ended everything must be as promised:
// the second attempt of a webhook, and a repair, come within that.
const mendLimit = 90 * time.Second

// check looks until everything that was promised is there and nothing else is, and
// gives what still was not when the time was up.
func (w *world) check() (v verdict) {
	w.Helper()
	for end := time.Now().Add(testenv.Limit(mendLimit)); ; {
		if v = w.look(); v.good() || time.Now().After(end) {
			return v
		}
		pause(w, 200*time.Millisecond)
	}
}

func (w *world) look() (v verdict) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), testenv.Limit(time.Minute))
	defer cancel()
	running := map[string]int{} // ports by container
	for _, o := range w.known() {
		inst, err := w.client.Instance(ctx, o.instance.ID)
		switch {
		case err != nil:
			v.lost = append(v.lost, fmt.Sprintf("%s: %v", o.instance.ID, err))
		case inst.State == client.InstanceRunning:
			conn, err := w.client.Connection(ctx, inst)
			if err == nil {
				err = works(ctx, conn, inst)
			}
			if running["berth-"+inst.ID] = conn.Port; err != nil {
				v.lost = append(v.lost, fmt.Sprintf("%s runs and does not work: %v", inst.ID, err))
			}
		case inst.State != "deleted" && (inst.State != "failed" || !o.doomed):
			v.lost = append(v.lost, fmt.Sprintf("%s is %s: %s", inst.ID, inst.State, inst.Reason))
		}
		v.lost = append(v.lost, o.broken()...)
		v.lost = append(v.lost, w.untold(o)...)
	}
	w.lookAtWarm(ctx, &v, running)
	w.lookAtHost(&v, running)
	w.lookAtRows(ctx, &v, running)
	w.lookAtFeed(ctx, &v)
	if n := w.receiver.redirectsFollowed(); n > 0 {
		v.leaked = append(v.leaked, fmt.Sprintf("%d webhooks followed a redirect", n))
	}
	return v
}

// broken gives the jobs that ended as none may, whatever is broken: all of it passes
// within the time that a job has.
func (o *order) broken() (lost []string) {
	for i, j := range o.jobs {
		canceled := i == 0 && o.deleting && j.state == client.JobCanceled // a delete wins
		if j.state != client.JobSucceeded && !canceled {
			lost = append(lost, fmt.Sprintf("job %s of %s ended %s: %s", j.id, o.instance.ID, j.state, j.why))
		}
	}
	return lost
}

// untold gives the jobs whose end their callback has not been told of under one id.
func (w *world) untold(o *order) (lost []string) {
	for _, j := range o.jobs {
		if j.callback == "" {
			continue
		}
		if n := w.receiver.ids(j.callback); n != 1 {
			lost = append(lost, fmt.Sprintf("%d webhook ids came for job %s", n, j.id))
		}
	}
	return lost
}

// lookAtWarm adds the instances that wait for somebody to what should run.
func (w *world) lookAtWarm(ctx context.Context, v *verdict, running map[string]int) {
	err := w.each(ctx, "SELECT id, port, state FROM instances WHERE tenant_id = '-' AND state NOT IN ('deleted', 'failed')", func(scan func(...any) error) error {
		var id, state string
		var port int
		if err := scan(&id, &port, &state); err != nil {
			return err
		}
		if state != "warm" {
			v.leaked = append(v.leaked, fmt.Sprintf("%s, which belongs to nobody, is %s", id, state))
		}
		running["berth-"+id] = port
		return nil
	})
	if err != nil {
		v.lost = append(v.lost, fmt.Sprintf("the database: %v", err))
	}
}

// lookAtHost compares what should run with what the host has.
func (w *world) lookAtHost(v *verdict, running map[string]int) {
	w.Helper()
	label := "label=berth.deployment=" + w.deployment
	containers, volumes := map[string]string{}, map[string]string{}
	for _, engine := range w.engines() {
		for line := range strings.Lines(w.dockerAt(engine, "ps", "-a", "--format", "{{.Names}} {{.Ports}}", "--filter", label)) {
			name, ports, _ := strings.Cut(strings.TrimSpace(line), " ")
			w.lookWhere(v, "container", name, engine)
			containers[name] = ports
		}
		for _, name := range strings.Fields(w.dockerAt(engine, "volume", "ls", "-q", "--filter", label)) {
			w.lookWhere(v, "volume", name, engine)
			volumes[name] = ""
		}
	}
	for what, have := range map[string]map[string]string{"container": containers, "volume": volumes} {
		for name := range have {
			if _, wanted := running[name]; !wanted {
				v.leaked = append(v.leaked, what+" "+name)
			}
		}
		for name := range running {
			if _, there := have[name]; !there {
				v.lost = append(v.lost, what+" "+name)
			}
		}
	}
	for name, port := range running {
		if ports, there := containers[name]; there && !strings.Contains(ports, fmt.Sprintf(":%d->", port)) {
			v.lost = append(v.lost, fmt.Sprintf("port %d of %s, which has %q", port, name, ports))
		}
	}
}

// lookAtRows compares what should run with what the database holds.
func (w *world) lookAtRows(ctx context.Context, v *verdict, running map[string]int) {
	w.Helper()
	held := map[string]int{}
	// A second port is for TLS, and is checked by itself.
	err := w.each(ctx, "SELECT instance_id, port FROM ports WHERE instance_id IS NOT NULL AND name NOT LIKE '%-tls'", func(scan func(...any) error) error {
		var id string
		var port int
		if err := scan(&id, &port); err != nil {
			return err
		}
		if _, twice := held["berth-"+id]; twice {
			v.leaked = append(v.leaked, fmt.Sprintf("%s holds several ports", id))
		}
		held["berth-"+id] = port
		return nil
	})
	for name, port := range held {
		if want, wanted := running[name]; !wanted || want != port {
			v.leaked = append(v.leaked, fmt.Sprintf("port %d is held for %s", port, name))
		}
	}
	for name, port := range running {
		if held[name] != port {
			v.lost = append(v.lost, fmt.Sprintf("port %d of %s is not its own", port, name))
		}
	}
	w.lookAtBooks(ctx, v, running)
	for query, what := range map[string]string{
		"SELECT COUNT(*) FROM jobs WHERE live_instance_id IS NOT NULL": "jobs that have not ended",
		"SELECT COUNT(*) FROM ports p LEFT JOIN instances i ON i.id = p.instance_id AND i.tls_port = p.port AND i.state <> 'deleted' WHERE p.name LIKE '%-tls' AND i.id IS NULL":        "ports for TLS of nobody",
		"SELECT COUNT(*) FROM instances i LEFT JOIN ports p ON i.id = p.instance_id AND i.tls_port = p.port WHERE i.tls_port > 0 AND i.state IN ('running', 'warm') AND p.port IS NULL": "ports for TLS that are not the instance's own",
		"SELECT COUNT(*) FROM credentials WHERE instance_id NOT IN (SELECT id FROM instances WHERE state <> 'deleted')":                                                                 "credentials of what is deleted",
	} {
		var n int
		if err == nil {
			err = w.rows.QueryRowContext(ctx, query).Scan(&n)
		}
		if n > 0 {
			v.leaked = append(v.leaked, fmt.Sprintf("%d %s", n, what))
		}
	}
	if err != nil {
		v.lost = append(v.lost, fmt.Sprintf("the database: %v", err))
	}
}

func (w *world) each(ctx context.Context, query string, row func(scan func(...any) error) error) error {
	rows, err := w.rows.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says it
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// feed is what has been read of the tenant's events.
type feed struct {
	last    int64
	untold  []client.Event // that the webhook for all events has not got yet
	begins  map[string]int // of instances
	ends    map[string]int // of jobs
	strange []string
	// swept is what the reconciler had to clear away, because somebody had left it.
	swept []client.Event
}

// unexpectedly gives what was swept of instances whose data nobody took away, and
// forgets it.
func (w *world) unexpectedly() (leaked []string) {
	for _, e := range w.feed.swept {
		w.mu.Lock()
		o := w.orders[e.InstanceID]
		w.mu.Unlock()
		if o == nil || !o.doomed {
			leaked = append(leaked, fmt.Sprintf("event %d: %s of %s: %s", e.Number, e.Type, e.InstanceID, e.Message))
		}
	}
	w.feed.swept = nil
	return leaked
}

// lookAtFeed reads on, and looks whether each event was told, and each job has begun
// and ended in effect once.
func (w *world) lookAtFeed(ctx context.Context, v *verdict) {
	w.Helper()
	f := &w.feed
	if f.ends == nil {
		f.begins, f.ends = map[string]int{}, map[string]int{}
	}
	_, err := w.client.EachEvent(ctx, client.EventFilter{}, f.last, func(e client.Event) error {
		f.read(e)
		return nil
	})
	if err != nil {
		v.lost = append(v.lost, fmt.Sprintf("the feed: %v", err))
	}
	for _, o := range w.known() {
		for _, j := range o.jobs {
			if n := f.ends[j.id]; n != 1 {
				v.lost = append(v.lost, fmt.Sprintf("job %s has ended %d times in the feed", j.id, n))
			}
		}
	}
	f.untold = slices.DeleteFunc(f.untold, func(e client.Event) bool { return w.receiver.has(pathAll, e.ID) })
	for _, e := range f.untold {
		v.lost = append(v.lost, fmt.Sprintf("event %d (%s of %s) was not told", e.Number, e.Type, e.InstanceID))
	}
	v.leaked = append(v.leaked, f.strange...)
}

func (f *feed) read(e client.Event) {
	if e.Number != f.last+1 {
		f.strange = append(f.strange, fmt.Sprintf("event %d comes after event %d", e.Number, f.last))
	}
	f.last = e.Number
	f.untold = append(f.untold, e)
	switch e.Type {
	case "job.succeeded", "job.failed", "job.canceled":
		f.ends[e.JobID]++
	case "instance.orphan_removed", "instance.ports_released":
		f.swept = append(f.swept, e)
	case "instance.pending", "instance.provisioning", "instance.deleted":
		key := e.Type + " " + e.InstanceID
		if f.begins[key]++; f.begins[key] > 1 {
			f.strange = append(f.strange, fmt.Sprintf("%s came %d times", key, f.begins[key]))
		}
	}
}
