package host_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
)

// looped gives the nth machine as a host with a disk of file systems of their own.
func (w *world) looped(n int) (host.Host, host.Disk) {
	w.Helper()
	h := w.imported(n)
	spec := host.DiskSpec{Path: "/data1", Type: host.DiskNVMe, CapacityBytes: 3 << 30, Enforcement: host.EnforcedByLoop}
	d, err := w.hosts.AddDisk(w.ctx, operator, h.ID, spec)
	w.must(err)
	return h, d
}

// disk reads a disk.
func (w *world) disk(h host.Host, path string) host.Disk {
	w.Helper()
	disks, err := w.store.Disks(w.ctx, h.ID)
	w.must(err)
	i := slices.IndexFunc(disks, func(d host.Disk) bool { return d.Path == path })
	if i < 0 {
		w.Fatalf("no disk at %q: %+v", path, disks)
	}
	return disks[i]
}

// An instance on such a disk takes all of its file system from the capacity, and what keeps
// instances within their share stays while one is there.
func TestLoopDiskIsBooked(t *testing.T) {
	inWorld(t, func(w *world) {
		h, d := w.looped(1)
		fast := host.Where{DiskType: host.DiskNVMe}
		inst := w.created(fast)
		ceiling := inst.Spec.Resources.DiskCeiling()
		if got := w.disk(h, "/data1"); got.UsedBytes != ceiling || got.Units != 1 {
			w.Errorf("%d is used, of a file system of %d", got.UsedBytes, ceiling)
		}
		unit, err := w.runtimeAt(1).Inspect(w.ctx, host.UnitID(inst.ID))
		if err != nil || unit.Enforcement != host.EnforcedByLoop {
			w.Errorf("%+v, %v", unit, err)
		}
		none := host.EnforcedByNone
		if _, err := w.hosts.ChangeDisk(w.ctx, operator, h.ID, d.ID, host.DiskChange{Enforcement: &none}); fault.CodeOf(err) != fault.CodeDiskInUse {
			w.Errorf("changed while an instance is there: %v", err)
		}
		// Nor by one who has not seen that an instance came.
		stale := d
		stale.Enforcement = none
		if err := w.store.Tx(w.ctx, func(tx rooms.Tx) error { return tx.UpdateHostDisk(stale) }); !errors.Is(err, fault.ErrConflict) {
			w.Errorf("changed by a revision that is still right: %v", err)
		}
		a := host.Allocation{Unit: "ins_late", Host: h.ID, Disk: d.ID, Enforcement: none, Resources: host.Resources{DiskBytes: 1}}
		if err := w.store.Tx(w.ctx, func(tx rooms.Tx) error { return tx.Allocate(a) }); !errors.Is(err, host.ErrNoShare) {
			w.Errorf("booked as on another disk: %v", err)
		}
		size := 2 * ceiling
		_, err = w.hosts.ChangeDisk(w.ctx, operator, h.ID, d.ID, host.DiskChange{CapacityBytes: &size})
		w.must(err)
		w.created(fast)
		if _, err := w.tryCreate(fast); fault.CodeOf(err) != fault.CodeNoCapacity {
			w.Errorf("a third on a disk for two: %v", err)
		}
	})
}

func TestEnforcementIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		spec := host.DiskSpec{Path: "/data1", Type: host.DiskNVMe, CapacityBytes: 3 << 30}
		refused := func(err error, words string) {
			w.Helper()
			var refusal *fault.Error
			if !errors.As(err, &refusal) || refusal.Code != fault.CodeInvalid || len(refusal.Fields) != 1 || !strings.Contains(refusal.Fields[0].Message, words) {
				w.Errorf("%v: %+v, want %q", err, refusal, words)
			}
		}
		spec.Enforcement = host.EnforcedByQuota
		_, err := w.hosts.AddDisk(w.ctx, operator, h.ID, spec)
		refused(err, "choose loop")
		spec.Enforcement = host.EnforcedByLoop
		w.exec("UPDATE hosts SET endpoint = 'tcp://10.0.0.1:2376'")
		_, err = w.hosts.AddDisk(w.ctx, operator, h.ID, spec)
		refused(err, "ssh://")
		w.exec("UPDATE hosts SET endpoint = 'ssh://root@10.0.0.1:22'")
		d, err := w.hosts.AddDisk(w.ctx, operator, h.ID, spec)
		w.must(err)
		loop := host.EnforcedByLoop
		_, err = w.hosts.ChangeDisk(w.ctx, operator, h.ID, w.disk(h, "").ID, host.DiskChange{Enforcement: &loop})
		refused(err, "engine's own")
		elsewhere := "unix:///var/run/docker.sock"
		_, err = w.hosts.ChangeHost(w.ctx, operator, h.ID, host.Change{Endpoint: &elsewhere})
		refused(err, "while disk /data1")
		none := host.EnforcedByNone
		changed, err := w.hosts.ChangeDisk(w.ctx, operator, h.ID, d.ID, host.DiskChange{Enforcement: &none})
		if w.must(err); changed.Enforcement != none || w.disk(h, "/data1").Enforcement != none {
			w.Errorf("%+v", changed)
		}

		c := w.candidate(2)
		c.Endpoint, c.User = "unix:///var/run/docker.sock", ""
		c.Disks = []host.DiskSpec{spec}
		wrong := c.Check()
		if len(wrong) != 1 || wrong[0].Field != "disks[0].enforcement" {
			w.Errorf("%+v", wrong)
		}
	})
}

// An import says before it takes a machine that file systems cannot be made there.
func TestImportChecksLoops(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		c.Disks = []host.DiskSpec{{Path: "/data1", Type: host.DiskNVMe, CapacityBytes: 3 << 30, Enforcement: host.EnforcedByLoop}}
		answer := func(err error) {
			w.machines.Set(sshAddress(1), func(m *hosttest.Machine) {
				m.Scripts = map[string]hosttest.ScriptAnswer{"loop ready /data1": {Err: err}}
			})
		}
		answer(&host.ScriptError{Status: 1, Said: "mkfs.ext4 is missing; install util-linux and e2fsprogs"})
		made := w.accept(host.ImportOptions{}, c)
		j := w.spin(made.Job.ID)
		if h := w.host(made.Hosts[0]); j.State != job.Failed || !strings.Contains(h.Reason, "loop:/data1 fail: mkfs.ext4 is missing") {
			w.Errorf("%s: %s", j.State, h.Reason)
		}
		answer(nil)
		h := w.imported1(c)
		if i := slices.IndexFunc(h.Checks, func(c host.Check) bool { return c.Name == "loop:/data1" }); i < 0 || h.Checks[i].Verdict != host.Pass {
			w.Errorf("%+v", h.Checks)
		}
		if d := w.disk(h, "/data1"); d.Enforcement != host.EnforcedByLoop {
			w.Errorf("%+v", d)
		}
	})
}

// imported1 gives a machine as a host that is online.
func (w *world) imported1(c host.Candidate) host.Host {
	w.Helper()
	made := w.accept(host.ImportOptions{}, c)
	if j := w.spin(made.Job.ID); j.State != job.Succeeded {
		w.Fatalf("import is %s: %+v", j.State, j.Error)
	}
	return w.host(made.Hosts[0])
}

// An inspection compares the file systems on the disks with the books, and leaves them alone.
func TestInspectComparesLoops(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _ := w.looped(1)
		inst := w.created(host.Where{DiskType: host.DiskNVMe})
		inspect := func(list string) string {
			w.Helper()
			w.machines.Set(sshAddress(1), func(m *hosttest.Machine) {
				m.Scripts = map[string]hosttest.ScriptAnswer{"loop list /data1": {Out: list}}
			})
			j, err := w.hosts.Inspect(w.ctx, operator, h.ID)
			w.must(err)
			return w.spin(j.ID).Steps[1].Detail
		}
		if got := inspect("loop=berth-" + string(inst.ID) + "\nloop=somebody's\n"); strings.Contains(got, "file system") {
			w.Errorf("%q", got)
		}
		if got := inspect("loop=berth-" + string(inst.ID) + "\nloop=berth-ins_gone\n"); !strings.Contains(got, "disk /data1 has a file system of ins_gone, which is not in the books") {
			w.Errorf("%q", got)
		}
		w.pass(20 * time.Minute)
		if got := inspect(""); !strings.Contains(got, string(inst.ID)+" is in the books of a disk that has no file system of it") {
			w.Errorf("%q", got)
		}
		for _, run := range w.machines.Runs(sshAddress(1)) {
			if strings.HasPrefix(run, "loop remove") {
				w.Errorf("an inspection has run %q", run)
			}
		}
	})
}

// What bounds volumes in the engine's own folder is found, by the proof of an import and by an inspection.
func TestQuotaIsFound(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.candidate(1)
		w.runtimeAt(1).SetQuota()
		h := w.imported1(c)
		if d := w.disk(h, ""); d.Enforcement != host.EnforcedByQuota {
			w.Errorf("after the import: %+v", d)
		}
		w.exec("UPDATE disks SET enforcement = 'none'") // as an earlier release has written it
		w.created(host.Where{})
		j, err := w.hosts.Inspect(w.ctx, operator, h.ID)
		w.must(err)
		if j = w.spin(j.ID); j.State != job.Succeeded || w.disk(h, "").Enforcement != host.EnforcedByQuota {
			w.Errorf("after the inspection (%s): %+v", j.State, w.disk(h, ""))
		}
	})
}
