package instance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
)

// faults are the ways in which a call to the host goes wrong.
var faults = []struct {
	name  string
	fault hosttest.Fault
	codes []fault.Code // of a job that meets it at every attempt
}{
	{"fails before its effect", hosttest.Fault{Before: true}, []fault.Code{fault.CodeHostUnavailable, fault.CodeDeadline}},
	{"loses its answer", hosttest.Fault{After: true}, []fault.Code{fault.CodeHostUnavailable, fault.CodeDeadline}},
	{"hangs", hosttest.Fault{Hang: true}, []fault.Code{fault.CodeTimeout, fault.CodeDeadline}},
	{"fails in a way nobody foresaw", hosttest.Fault{Before: true, Err: fmt.Errorf("boom")}, []fault.Code{fault.CodeInternal}},
}

// doneWithout are the calls that a create can do without (golden_test.go).
var doneWithout = []hosttest.Method{hosttest.MethodEnsureGolden}

// eachFault runs a test for each method that the calls use, and each fault.
func eachFault(t *testing.T, calls []string, run func(w *world, m hosttest.Method, i int)) {
	t.Helper()
	for _, m := range methodsOf(calls) {
		if slices.Contains(doneWithout, m) {
			continue
		}
		for i, f := range faults {
			t.Run(fmt.Sprintf("%s %s", m, f.name), func(t *testing.T) {
				t.Parallel()
				inWorld(t, func(w *world) { run(w, m, i) })
			})
		}
	}
}

// A fault that passes costs an attempt, and the create succeeds.
func TestCreateOutlivesOneFault(t *testing.T) {
	create, _ := dryRun(t)
	eachFault(t, create, func(w *world, m hosttest.Method, i int) {
		f := faults[i].fault
		f.Times = 1
		w.runtime.Fail(m, f)
		a := w.create()
		job := w.spin(a.Job.ID)
		w.usable(a.Job.ID)
		if job.Attempt != 1 || job.Crashes != 0 {
			w.Errorf("%d failed attempts, %d crashes", job.Attempt, job.Crashes)
		}
	})
}

// Whatever comes between, the data is on the disk that was given to the instance.
func TestDataIsOnItsDisk(t *testing.T) {
	create, _ := dryRun(t)
	eachFault(t, create, func(w *world, m hosttest.Method, i int) {
		disk := host.Disk{ID: "dsk_named", Host: w.host.ID, Path: "/data1", Type: host.DiskSSD, State: host.DiskAvailable, Enforcement: host.EnforcedByNone}
		w.tx(func(tx rooms.Tx) error {
			disks, err := tx.HostDisks(w.host.ID)
			for _, d := range disks {
				err = errors.Join(err, tx.DeleteDisk(d.ID))
			}
			return errors.Join(err, tx.InsertDisk(disk))
		})
		f := faults[i].fault
		f.Times = 1
		w.runtime.Fail(m, f)
		a := w.create()
		w.spin(a.Job.ID)
		w.usable(a.Job.ID)
		if at := w.runtime.DiskOf(host.UnitID(a.Instance.ID)); at != disk.Path {
			w.Errorf("the data is below %q, want %s", at, disk.Path)
		}
		// The next one is beside it, so the disk must have something of Berth.
		other := w.created()
		first, _, _ := w.runtime.Workload(host.UnitID(a.Instance.ID))
		second, _, _ := w.runtime.Workload(host.UnitID(other.ID))
		if first.DiskShared || !second.DiskShared {
			w.Errorf("the first one is beside others: %t, the second one: %t", first.DiskShared, second.DiskShared)
		}
	})
}

// A fault that stays ends the create: explained, and with nothing left behind.
func TestCreateFailsCleanly(t *testing.T) {
	create, _ := dryRun(t)
	eachFault(t, create, func(w *world, m hosttest.Method, i int) {
		w.runtime.Fail(m, faults[i].fault)
		a := w.create()
		w.spin(a.Job.ID)
		why := w.clean(a.Job.ID, job.Failed, instance.StateFailed)
		if !contains(faults[i].codes, why.Code) || !why.Retryable {
			w.Errorf("%+v; want one of %v, retryable", why, faults[i].codes)
		}
		w.runtime.Heal()
		d := w.delete(a.Instance.ID)
		if j := w.spin(d.Job.ID); j.State != job.Succeeded {
			w.Errorf("delete of the failed instance: %s", j.State)
		}
	})
}

func contains[T comparable](list []T, wanted T) bool {
	for _, v := range list {
		if v == wanted {
			return true
		}
	}
	return false
}

// A fault that passes does not keep a delete from succeeding.
func TestDeleteOutlivesFaults(t *testing.T) {
	_, remove := dryRun(t)
	eachFault(t, remove, func(w *world, m hosttest.Method, i int) {
		inst := w.created()
		f := faults[i].fault
		f.Times = 6 // more than a create's attempts: a delete is more patient
		w.runtime.Fail(m, f)
		d := w.delete(inst.ID)
		if j := w.spin(d.Job.ID); j.State != job.Succeeded {
			w.Errorf("delete is %s: %+v", j.State, j.Error)
		}
		w.gone(inst.ID)
	})
}

// A delete that can do nothing until its deadline fails, keeps the port, because the
// container may be there, and can be asked for again.
func TestDeleteFailsAndGoesOn(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.runtime.Fail(hosttest.MethodRemove, hosttest.Fault{Before: true})
		d := w.delete(inst.ID)
		j := w.spin(d.Job.ID)
		if j.State != job.Failed || j.Error.Code != fault.CodeDeadline || !strings.Contains(j.Error.Message, "does not answer") || !j.Error.Retryable {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
		for _, s := range j.Steps {
			if s.State == job.StepUndone {
				w.Errorf("step %s of a delete was undone", s.Name)
			}
		}
		if inst := w.instance(inst.ID); inst.State != instance.StateFailed || w.port(inst.ID) != inst.Status.Port {
			w.Errorf("instance is %s, its port %d", inst.State, w.port(inst.ID))
		}
		w.journalEnded(j)
		w.runtime.Heal()
		again := w.delete(inst.ID)
		if j := w.spin(again.Job.ID); j.State != job.Succeeded {
			w.Errorf("second delete is %s", j.State)
		}
		w.gone(inst.ID)
	})
}

// A delete whose first step is done and whose second cannot be until the deadline
// says so: what is removed was not brought back.
func TestDeleteFailsHalfway(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		d := w.delete(inst.ID)
		w.runtime.OnCall(func(_ context.Context, m hosttest.Method, _ host.UnitID) {
			if m == hosttest.MethodRemove && w.runtime.Calls(m) == 1 {
				w.runtime.Fail(m, hosttest.Fault{Before: true})
			}
		})
		j := w.spin(d.Job.ID)
		if j.State != job.Failed || j.Steps[0].State != job.StepDone || j.Steps[1].State != job.StepFailed {
			w.Errorf("%s: %+v", j.State, j.Steps)
		}
	})
}

// While the host is away a delete waits for it.
func TestDeleteWhileTheHostIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		inst := w.created()
		w.runtimes.Set(w.host.ID, nil)
		d := w.delete(inst.ID)
		for range 5 {
			_, err := w.relay.RunOnce(w.ctx)
			w.must(err)
			w.runTasks()
			w.pass(20 * time.Second)
		}
		j := w.job(d.Job.ID)
		if j.State != job.Queued || j.Attempt == 0 || j.Error == nil || j.Error.Code != fault.CodeHostUnavailable {
			w.Errorf("%s after %d attempts: %+v", j.State, j.Attempt, j.Error)
		}
		w.runtimes.Set(w.host.ID, w.runtime)
		if j := w.spin(d.Job.ID); j.State != job.Succeeded || j.Error != nil {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
		w.gone(inst.ID)
	})
}

// An instance that no worker ever saw is deleted without a host.
func TestDeleteOfANeverPlacedInstance(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		w.queue.Flush()
		w.runtimes.Set(w.host.ID, nil)
		d := w.delete(a.Instance.ID)
		if j := w.spin(d.Job.ID); j.State != job.Succeeded {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
		w.gone(a.Instance.ID)
		if j := w.job(a.Job.ID); j.State != job.Canceled {
			w.Errorf("the create is %s", j.State)
		}
	})
}

// A clean-up that fails is tried for a while, and then left to the reconciler; the job
// says so, and the port stays reserved.
func TestUndoThatCannotBeDone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runtime.Fail(hosttest.MethodStart, hosttest.Fault{Before: true})
		w.runtime.Fail(hosttest.MethodRemove, hosttest.Fault{Before: true})
		a := w.create()
		j := w.spin(a.Job.ID)
		if j.State != job.Failed || !strings.Contains(j.Error.Message, "cleanup could not be finished") || j.Error.Step != "start" {
			w.Errorf("%s: %+v", j.State, j.Error)
		}
		if took := j.FinishedAt.Sub(j.CreatedAt); took > instance.DefaultCreateDeadline+45*time.Second {
			w.Errorf("it took %s", took)
		}
		if w.port(a.Instance.ID) == 0 {
			w.Error("the port was given away though the container may be there")
		}
		w.runtime.Heal()
		if j := w.spin(w.delete(a.Instance.ID).Job.ID); j.State != job.Succeeded {
			w.Errorf("delete: %s", j.State)
		}
		w.gone(a.Instance.ID)
	})
}
