package chaos

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// poolHost is a host of the pool, which is reached through a proxy.
type poolHost struct {
	testenv.FleetHost
	proxy *dockerProxy
}

// startHosts starts the hosts that the shape has.
func (w *world) startHosts() {
	w.Helper()
	if w.shape.hosts == 0 {
		return
	}
	for _, h := range testenv.Fleet(w.T, w.shape.hosts, "redis:8") {
		w.hosts = append(w.hosts, &poolHost{h, newDockerProxy(w.T, h.Endpoint)})
	}
}

// joinHosts has them in the pool, and nothing placed elsewhere.
func (w *world) joinHosts() {
	w.Helper()
	if len(w.hosts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(w.Context(), testenv.Limit(2*time.Minute))
	defer cancel()
	testenv.Eventually(w.T, "the workers' own host is cordoned", time.Minute, func(ctx context.Context) error {
		own, err := w.client.Hosts(ctx, client.HostFilter{})
		if err == nil && len(own.Items) != 1 {
			err = fmt.Errorf("there are %d hosts", len(own.Items))
		}
		if err == nil {
			_, err = w.client.CordonHost(ctx, own.Items[0].ID, true)
		}
		return err
	})
	if _, err := w.client.AddRegion(ctx, client.Region{Region: "eu", Zones: []string{"eu-1"}}); err != nil {
		w.Fatal(err)
	}
	for _, h := range w.hosts {
		in := client.HostRequest{Name: h.Name, Address: h.Address, Endpoint: h.proxy.url(), Region: "eu", Zone: "eu-1"}
		made, err := w.client.AddHost(ctx, rand.Text(), in, client.ImportOptions{SkipInit: true})
		if err != nil {
			w.Fatal(err)
		}
		testenv.Eventually(w.T, "host "+h.Name+" is online", 2*time.Minute, func(ctx context.Context) error {
			j, err := w.client.Job(ctx, made.Job.ID, 0)
			if err == nil && j.State != client.JobSucceeded {
				err = fmt.Errorf("its import is %s: %+v", j.State, j.Error)
			}
			return err
		})
	}
}

// engines are those that instances may be on.
func (w *world) engines() []string {
	if len(w.hosts) == 0 {
		return []string{w.dockerURL()}
	}
	var all []string
	for _, h := range w.hosts {
		all = append(all, h.Endpoint)
	}
	return all
}

// engineOf gives the engine that the books have the instance on.
func (w *world) engineOf(instance string) string {
	w.Helper()
	if len(w.hosts) == 0 {
		return w.dockerURL()
	}
	var address string
	err := w.rows.QueryRowContext(w.Context(), "SELECT h.advertise FROM allocations a JOIN hosts h ON h.id = a.host_id WHERE a.instance_id = ?", instance).Scan(&address)
	i := slices.IndexFunc(w.hosts, func(h *poolHost) bool { return h.Address == address })
	if err != nil || i < 0 {
		return w.hosts[0].Endpoint // it is being deleted, and nothing of it is anywhere
	}
	return w.hosts[i].Endpoint
}

// lookWhere says that something is on another host than the books have it on.
func (w *world) lookWhere(v *verdict, what, name, engine string) {
	w.Helper()
	if len(w.hosts) > 0 && w.engineOf(strings.TrimPrefix(name, "berth-")) != engine {
		v.leaked = append(v.leaked, what+" "+name+" on another host than its own")
	}
}

// lookAtBooks compares what should run with what is booked, and the books with themselves.
func (w *world) lookAtBooks(ctx context.Context, v *verdict, running map[string]int) {
	w.Helper()
	booked := map[string]bool{}
	err := w.each(ctx, "SELECT instance_id FROM allocations", func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		booked["berth-"+id] = true
		return err
	})
	for name := range booked {
		if _, wanted := running[name]; !wanted {
			v.leaked = append(v.leaked, "the share of "+name)
		}
	}
	for name := range running {
		if !booked[name] {
			v.lost = append(v.lost, "the share of "+name)
		}
	}
	if err == nil {
		var wrong []string
		wrong, err = testenv.WrongBooks(ctx, w.rows)
		v.leaked = append(v.leaked, wrong...)
	}
	if err != nil {
		v.lost = append(v.lost, fmt.Sprintf("the books: %v", err))
	}
}

// hostFaults hit one host of the pool; the others go on.
func hostFaults() []breakage {
	away := func(end, start func(*poolHost, *world)) func(*world, *mathrand.Rand) {
		return func(w *world, r *mathrand.Rand) {
			h := w.anyHost(r)
			restartEngine(w, r, func() { end(h, w) }, func() { start(h, w) })
		}
	}
	calls := func(m mode) func(*world, *mathrand.Rand) {
		return func(w *world, r *mathrand.Rand) { breakDocker(w, w.anyHost(r).proxy, m, r) }
	}
	start := func(h *poolHost, w *world) { h.Start(w.T) }
	return []breakage{
		{"dockerd of a host killed", onHosts, onHosts, true, away(func(h *poolHost, w *world) { h.Stop(w.T) }, start)},
		{"dockerd of a host frozen", onHosts, onHosts, true, away(func(h *poolHost, w *world) { h.Freeze(w.T) }, func(h *poolHost, w *world) { h.Thaw(w.T) })},
		{"dockerd of a host frozen, killed", onHosts, nil, true, away(func(h *poolHost, w *world) { h.Freeze(w.T) }, func(h *poolHost, w *world) {
			h.Stop(w.T)
			h.Start(w.T)
		})},
		{"link of a host cut", onHosts, onHosts, true, away(func(h *poolHost, w *world) { h.LinkDown(w.T) }, func(h *poolHost, w *world) { h.LinkUp(w.T) })},
		{"a host without power", onHosts, nil, true, away(func(h *poolHost, w *world) { h.PowerOff(w.T) }, start)},
		{"Docker calls to a host fail", onHosts, nil, true, calls(refuse)},
		{"Docker calls to a host hang", onHosts, nil, true, calls(hang)},
		{"Docker answers of a host are lost", onHosts, nil, true, calls(lose)},
	}
}

func (w *world) anyHost(r *mathrand.Rand) *poolHost { return w.hosts[r.IntN(len(w.hosts))] }
