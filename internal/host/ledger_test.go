package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/testenv"
)

// bare is a host that was never imported, with so much to give away.
func bare(n int, cpu, memory int64, ports int) host.Host {
	return host.Host{
		ID: host.ID(fmt.Sprintf("hst_%026d", n)), Name: fmt.Sprintf("h%d", n), Endpoint: "ssh://root@" + sshAddress(n), Advertise: address(n), Bind: "0.0.0.0",
		PortLow: 20000, PortHigh: 20000 + ports - 1, Source: host.FromPool, State: host.StateOnline, Health: host.Healthy, Engine: fmt.Sprintf("engine %d", n),
		Region: "eu", Zone: "a", Rack: fmt.Sprintf("r%d", n), Capacity: host.Capacity{CPUMillis: cpu, MemoryBytes: memory}, Rev: 1,
	}
}

// ledger is what a model says of the store: who has what where.
type ledger struct {
	*rapid.T
	store *store.Store
	hosts []host.ID
	units map[host.UnitID]host.Allocation
}

func (l *ledger) tx(do func(tx rooms.Tx) error) error { return l.store.Tx(context.Background(), do) }

func (l *ledger) unit() host.UnitID {
	return host.UnitID(fmt.Sprintf("ins_%d", rapid.IntRange(0, 7).Draw(l.T, "unit")))
}

func (l *ledger) one() host.ID { return rapid.SampledFrom(l.hosts).Draw(l.T, "host") }

// check compares the store with the model.
func (l *ledger) check(*rapid.T) {
	if wrong := booksOf(context.Background(), l.store); wrong != "" {
		l.Fatal(wrong)
	}
	held := 0
	for _, h := range l.hosts {
		list, err := l.store.Allocations(context.Background(), host.AllocationFilter{Host: h}, "", 100)
		if err != nil {
			l.Fatal(err)
		}
		for _, a := range list {
			want, there := l.units[a.Unit]
			if !there || want.Host != a.Host || want.Resources != a.Resources {
				l.Fatalf("%+v, want %+v", a, want)
			}
			held++
		}
	}
	if held != len(l.units) {
		l.Fatalf("%d hold something, want %d", held, len(l.units))
	}
	seen := map[string]host.UnitID{}
	_ = l.tx(func(tx rooms.Tx) error {
		for unit, a := range l.units {
			has, err := tx.Situation(a.Host, unit)
			port := has.Ports["p"]
			place := fmt.Sprint(a.Host, port)
			if other := seen[place]; err != nil || port == 0 || other != "" {
				l.Fatalf("%s holds port %d of %s, as %q does: %v", unit, port, a.Host, other, err)
			}
			seen[place] = unit
		}
		return nil
	})
}

// take has a job of the unit take a share, which may fail in the middle.
func (l *ledger) take(t *rapid.T) {
	unit, h := l.unit(), l.one()
	breaks := rapid.IntRange(0, 3).Draw(t, "breaks") == 0
	ask := host.Ask{Tenant: "t", Ports: []string{"p"}, Resources: host.Resources{
		CPUMillis: rapid.Int64Range(0, 60).Draw(t, "cpu"), MemoryBytes: rapid.Int64Range(0, 60).Draw(t, "memory"), DiskBytes: rapid.Int64Range(0, 60).Draw(t, "disk"),
	}}
	broken := errors.New("in the middle")
	err := l.tx(func(tx rooms.Tx) error {
		row, err := tx.HostRow(h)
		if err != nil {
			return err
		}
		_, err = host.Take(tx, job.Claim{Job: id.Job("job_" + unit), Subject: id.Subject(unit), Fence: 1}, row, ask, time.Unix(1e9, 0))
		if err == nil && breaks {
			err = broken
		}
		return err
	})
	switch code := fault.CodeOf(err); {
	case err == nil:
		if had, has := l.units[unit]; !has || had.Host != h {
			l.units[unit] = host.Allocation{Unit: unit, Host: h, Resources: ask.Resources}
		}
	case errors.Is(err, broken), code == fault.CodeNoCapacity, code == fault.CodePortsExhausted, code == fault.CodeConflict:
	default:
		l.Fatal(err)
	}
}

func (l *ledger) giveBack(*rapid.T) {
	unit := l.unit()
	if err := l.tx(func(tx rooms.Tx) error {
		return host.GiveBack(tx, host.AllocationFilter{Unit: unit}, time.Unix(1, 0))
	}); err != nil {
		l.Fatal(err)
	}
	delete(l.units, unit)
}

func (l *ledger) giveBackHost(*rapid.T) {
	h := l.one()
	if err := l.tx(func(tx rooms.Tx) error {
		return host.GiveBack(tx, host.AllocationFilter{Host: h}, time.Unix(1, 0))
	}); err != nil {
		l.Fatal(err)
	}
	for unit, a := range l.units {
		if a.Host == h {
			delete(l.units, unit)
		}
	}
}

// change gives a host another capacity, or closes or opens it.
func (l *ledger) change(t *rapid.T) {
	h := l.one()
	err := l.tx(func(tx rooms.Tx) error {
		row, err := tx.HostRow(h)
		if err != nil {
			return err
		}
		row.Capacity.CPUMillis, row.Capacity.MemoryBytes = rapid.Int64Range(0, 150).Draw(t, "cpu"), rapid.Int64Range(0, 150).Draw(t, "memory")
		row.State = rapid.SampledFrom([]host.State{host.StateOnline, host.StateOnline, host.StateCordoned}).Draw(t, "state")
		return tx.UpdateHost(row)
	})
	if err != nil && !errors.Is(err, fault.ErrConflict) {
		l.Fatal(err)
	}
}

func (l *ledger) recount(*rapid.T) {
	h := l.one()
	if err := l.tx(func(tx rooms.Tx) error {
		wrong, err := tx.Recount(h)
		if wrong {
			l.Fatal("the books were wrong")
		}
		return err
	}); err != nil {
		l.Fatal(err)
	}
}

func TestLedger(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := storetest.SQLite(t)
		l := &ledger{T: rt, store: s, units: map[host.UnitID]host.Allocation{}}
		if err := l.tx(func(tx rooms.Tx) error {
			for n := range 3 {
				h := bare(n, int64(n)*100, int64(n)*100, 4)
				if err := tx.InsertHost(h); err != nil {
					return err
				}
				l.hosts = append(l.hosts, h.ID)
				for i := range n {
					d := host.Disk{ID: host.DiskID(fmt.Sprintf("dsk_%d%d", n, i)), Host: h.ID, Path: fmt.Sprint("/d", i), CapacityBytes: 100, State: host.DiskAvailable, Rev: 1}
					if err := tx.InsertDisk(d); err != nil {
						return err
					}
				}
			}
			for n := range 8 {
				unit := fmt.Sprintf("ins_%d", n)
				j := job.Job{ID: id.Job("job_" + unit), Tenant: "t", Subject: id.Subject(unit), Kind: instance.JobCreate, State: job.Running, Fence: 1, Class: "x"}
				if err := tx.InsertJob(j); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			rt.Fatal(err)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"take": l.take, "take again": l.take, "give back": l.giveBack, "give back a host": l.giveBackHost, "change": l.change, "recount": l.recount, "": l.check,
		})
	})
}

// 200 creates by four workers into room for 50 on five hosts: exactly 50 run, and the others are told
// that there is no room.
func TestCreatesIntoTooLittleRoom(t *testing.T) {
	const creates, fit, hosts, workers = 200, 50, 5, 4
	inWorld(t, func(w *world) {
		size := proofEngine{w: w}.Describe().Plans[0].Resources
		for n := range hosts {
			w.candidate(n)
			h := bare(n, 0, size.MemoryBytes*fit/hosts, 1000)
			w.tx(func(tx rooms.Tx) error { return tx.InsertHost(h) })
			w.runtimeAt(n).SetIdentity(h.Engine)
		}
		var accepted []id.Job
		for range creates {
			a, err := w.tryCreate(host.Where{})
			w.must(err)
			accepted = append(accepted, a.Job.ID)
		}
		runners := make([]*job.Runner, workers)
		for i := range runners {
			runners[i] = rooms.NewRunner(w.runnerConfig(w.store, w.fleet, w.machines, fmt.Sprint("w", i)))
		}
		for range 400 {
			_, err := w.relay.RunOnce(w.ctx)
			w.must(err)
			tasks := w.queue.Take()
			for _, err := range testenv.Together(workers, func(n int) error {
				for i := n; i < len(tasks); i += workers {
					if err := runners[n].Run(w.ctx, id.Job(tasks[i].ID)); err != nil {
						return err
					}
				}
				return nil
			}) {
				w.must(err)
			}
			w.queue.Done()
			if ended, err := w.store.EndedJobs(w.ctx, accepted); err != nil || len(ended) == creates {
				w.must(err)
				break
			}
			w.pass(2 * time.Second)
		}
		run, refused := 0, 0
		for _, which := range accepted {
			switch j := w.job(which); {
			case j.State == job.Succeeded:
				run++
			case j.State == job.Failed && j.Error.Code == fault.CodeNoCapacity:
				refused++
			default:
				w.Errorf("%s: %+v", j.State, j.Error)
			}
		}
		units := 0
		for n := range hosts {
			units += len(w.unitsAt(n))
		}
		if run != fit || refused != creates-fit || units != fit {
			w.Errorf("%d run, %d were refused, there are %d units", run, refused, units)
		}
		if _, err := w.tryCreate(host.Where{}); fault.CodeOf(err) != fault.CodeNoCapacity {
			w.Errorf("one more: %v", err)
		}
	})
}

// A worker that is ended anywhere in an allocation leaves all of it or nothing.
func TestCrashInAnAllocation(t *testing.T) {
	eachCrashOfACreate(t, func(w *world, n int, after bool) int {
		h := bare(1, 0, 64<<20, 2) // room for one
		w.candidate(1)
		w.runtimeAt(1).SetIdentity(h.Engine)
		w.tx(func(tx rooms.Tx) error { return tx.InsertHost(h) })
		a := w.create(host.Where{})
		l := w.runMortal(a.Job.ID, n, after)
		w.books()
		if j := w.spin(a.Job.ID); j.State != job.Succeeded {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
		if got := w.host(h.ID).Used.Units; got != 1 {
			w.Errorf("%d units", got)
		}
		return len(l.Calls())
	})
}

func eachCrashOfACreate(t *testing.T, run func(w *world, n int, after bool) int) {
	t.Helper()
	calls := 0
	inWorld(t, func(w *world) { calls = run(w, -1, false) })
	for n := 1; n <= calls; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(n, after), func(t *testing.T) { inWorld(t, func(w *world) { run(w, n, after) }) })
		}
	}
}

// Strictly apart, three units are on three racks, and a fourth is refused, with what keeps it away.
func TestSpreadOverRacks(t *testing.T) {
	inWorld(t, func(w *world) {
		for n := 1; n <= 3; n++ {
			w.imported(n)
		}
		apart := host.Where{Group: "g", Spread: host.LevelRack}
		on := map[host.ID]int{}
		for range 9 {
			on[w.created(apart).Status.Host]++
		}
		if len(on) != 3 {
			w.Errorf("%v", on)
		}
		for h, n := range on {
			if n != 3 {
				w.Errorf("%s has %d", h, n)
			}
		}
	})
}

// Two racks take two, also where all ask at once; the third is told why.
func TestStrictSpreadRace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.imported(1)
		w.imported(2)
		apart := host.Where{Group: "g", Spread: host.LevelRack, Strict: true}
		var jobs []id.Job
		for range 3 {
			jobs = append(jobs, w.create(apart).Job.ID)
		}
		w.queue.Flush()
		for _, err := range testenv.Together(len(jobs), func(n int) error {
			return rooms.NewRunner(w.runnerConfig(w.store, w.fleet, w.machines, fmt.Sprint("w", n))).Run(w.ctx, jobs[n])
		}) {
			w.must(err)
		}
		run, refused := 0, 0
		for _, which := range jobs {
			switch j := w.spin(which); {
			case j.State == job.Succeeded:
				run++
			case j.Error.Code == fault.CodeNoCapacity && strings.Contains(j.Error.Message, "group"):
				refused++
			default:
				w.Errorf("%s: %+v", j.State, j.Error)
			}
		}
		if run != 2 || refused != 1 {
			w.Errorf("%d run, %d refused", run, refused)
		}
		_, err := w.tryCreate(apart)
		var refusal *fault.Error
		if !errors.As(err, &refusal) || len(refusal.Reasons) != 1 || refusal.Reasons[0] != (fault.Reason{Rule: "spread", Hosts: 2}) {
			w.Errorf("a fourth: %v", err)
		}
	})
}
