package host_test

import (
	"errors"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
)

func TestForcedDelete(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		one, two := w.created(host.Where{}), w.created(host.Where{})
		away := w.runtimeAt(1)
		w.fleet.set("ssh://root@"+sshAddress(1), nil)
		j := w.remove(h.ID, true)
		if j.State != job.Succeeded {
			w.Errorf("%s", j.State)
		}
		w.gone(h.ID)
		for _, inst := range []instance.Instance{one, two} {
			if got := w.instance(inst.ID); got.State != instance.StateDeleted {
				w.Errorf("%s is %s", inst.ID, got.State)
			}
			w.holdsNothing(inst.ID)
		}
		w.fleet.set("ssh://root@"+sshAddress(1), away)
		w.machines.Add(sshAddress(1), password)
		again := w.imported(1)
		if units := w.unitsAt(1); len(units) != 2 {
			w.Errorf("there are %d units", len(units))
		}
		w.pass(2 * host.DefaultReconcileGrace)
		w.sweep()
		if units := w.unitsAt(1); len(units) != 0 {
			w.Errorf("left: %+v", units)
		}
		if inst := w.created(host.Where{}); inst.Status.Host != again.ID {
			w.Errorf("%+v", inst.Status)
		}
	})
}

func (w *world) holdsNothing(which instance.ID) {
	w.Helper()
	list, err := w.store.Allocations(w.ctx, host.AllocationFilter{Unit: host.UnitID(which)}, "", 10)
	w.must(err)
	if len(list) > 0 {
		w.Errorf("%s still holds %+v", which, list)
	}
	w.tx(func(tx rooms.Tx) error {
		hosts, err := tx.AllHosts()
		for _, h := range hosts {
			if has, err := tx.Situation(h.ID, host.UnitID(which)); err != nil || len(has.Ports) > 0 {
				w.Errorf("%s still holds ports %v of %s, %v", which, has.Ports, h.ID, err)
			}
		}
		return err
	})
	if ports, err := w.store.PortsTaken(w.ctx, []host.ID{w.lastHost}, time.Unix(1<<40, 0)); err != nil || len(ports) > 0 {
		w.Errorf("the ports %v of the last host are held, %v", ports, err)
	}
}

func TestForcedDeleteDuringACreate(t *testing.T) {
	for _, at := range []hosttest.Method{hosttest.MethodEnsureImage, hosttest.MethodCreateVolume, hosttest.MethodCreate, hosttest.MethodStart} {
		t.Run(string(at), func(t *testing.T) {
			inWorld(t, func(w *world) {
				h := w.imported(1)
				w.lastHost = h.ID
				w.runtimeAt(1).Fail(at, hosttest.Fault{Hang: true})
				a := w.create(host.Where{})
				go func() { _ = w.runner.Run(w.ctx, a.Job.ID) }()
				w.pass(10 * time.Second)
				if held, err := w.store.Allocations(w.ctx, host.AllocationFilter{Host: h.ID}, "", 9); err != nil || len(held) != 1 {
					w.Fatalf("%v, %v", held, err)
				}
				w.remove(h.ID, true)
				w.runtimeAt(1).Heal()
				w.pass(time.Minute)
				j := w.spin(a.Job.ID)
				w.gone(h.ID)
				if inst := w.instance(a.Instance.ID); j.State != job.Canceled || inst.State != instance.StateDeleted {
					w.Errorf("create %s: %+v, instance %s", j.State, j.Error, inst.State)
				}
				w.holdsNothing(a.Instance.ID)
			})
		})
	}
}

func TestForcedDeleteBetweenShareAndRow(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		w.lastHost = h.ID
		a := w.create(host.Where{})
		w.tx(func(tx rooms.Tx) error {
			return errors.Join(
				tx.Allocate(host.Allocation{Unit: host.UnitID(a.Instance.ID), Tenant: tenant.Default, Host: h.ID, Job: a.Job.ID, Ports: 1}),
				tx.HoldPort(h.ID, 20000, host.UnitID(a.Instance.ID), "fake"))
		})
		w.remove(h.ID, true)
		w.gone(h.ID)
		w.holdsNothing(a.Instance.ID)
		if j := w.job(a.Job.ID); j.State != job.Canceled {
			w.Errorf("the create is %s", j.State)
		}
	})
}

func TestForcedDeleteWithStrayPort(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		w.lastHost = h.ID
		w.tx(func(tx rooms.Tx) error { return tx.HoldPort(h.ID, 20007, "ins_stray", "fake") })
		w.remove(h.ID, true)
		w.holdsNothing("ins_stray")
	})
}

// A host that is named twice is deleted once.
func TestForcedDeleteOfOneNamedTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		one, two := w.imported(1), w.imported(2)
		jobs, err := w.hosts.Delete(w.ctx, operator, true, two.ID, one.ID, two.ID)
		if err != nil || len(jobs) != 2 {
			w.Errorf("%d jobs, %v", len(jobs), err)
		}
		w.gone(one.ID)
		w.gone(two.ID)
	})
}

// The only disk of a host stays: without any, nothing would be booked on one. And none is within another.
func TestDisksOfAHost(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		disks, err := w.store.Disks(w.ctx, h.ID)
		w.must(err)
		if err := w.hosts.RemoveDisk(w.ctx, operator, h.ID, disks[0].ID); fault.CodeOf(err) != fault.CodeDiskInUse {
			w.Errorf("the only disk: %v", err)
		}
		spec := host.DiskSpec{Path: "/data/one", Type: host.DiskSSD, CapacityBytes: 1 << 30}
		made, err := w.hosts.AddDisk(w.ctx, operator, h.ID, spec)
		w.must(err)
		for _, path := range []string{"/data/one", "/data/one/two", "/data"} {
			spec.Path = path
			if _, err := w.hosts.AddDisk(w.ctx, operator, h.ID, spec); fault.CodeOf(err) != fault.CodeInvalid {
				w.Errorf("%s beside /data/one: %v", path, err)
			}
		}
		spec.Path = "/data/one-more"
		_, err = w.hosts.AddDisk(w.ctx, operator, h.ID, spec)
		w.must(err)
		w.must(w.hosts.RemoveDisk(w.ctx, operator, h.ID, made.ID))
	})
}

func TestHostKeys(t *testing.T) {
	inWorld(t, func(w *world) {
		const kind, public = "ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
		h, good := w.imported(1), w.candidate(2)
		for key, right := range map[string]bool{
			kind + " " + public: true, kind + " " + public + " root@db-1": true, "": false, "x": false, kind: false, kind + " oops": false,
			"ssh-rsa " + public: false, "db-1 " + kind + " " + public: false, kind + " " + public + "\n" + kind + " " + public: false,
		} {
			_, err := w.hosts.ChangeHost(w.ctx, operator, h.ID, host.Change{HostKey: &key})
			if (err == nil) != right || err != nil && fault.CodeOf(err) != fault.CodeInvalid {
				w.Errorf("changed to %q: %v", key, err)
			}
			good.HostKey = key
			if wrong := good.Check(); (len(wrong) == 0) != (right || key == "") {
				w.Errorf("imported with %q: %v", key, wrong)
			}
		}
	})
}
