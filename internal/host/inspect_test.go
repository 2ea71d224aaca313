package host_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
)

func TestInspectFindsOtherSizes(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		inst := w.created(host.Where{})
		w.exec("UPDATE allocations SET memory_bytes = memory_bytes + 1073741824, cpu_millis = cpu_millis + 500")
		j, err := w.hosts.Inspect(w.ctx, operator, h.ID)
		w.must(err)
		j = w.spin(j.ID)
		size := inst.Spec.Resources
		want := fmt.Sprintf("%s may use %d millicores instead of %d and ", inst.ID, size.CPUMillis, size.CPUMillis+500)
		if detail := j.Steps[1].Detail; !strings.Contains(detail, want) || !strings.Contains(detail, "GiB of memory instead of") {
			w.Errorf("%q does not say %q", detail, want)
		}
	})
}

func TestInspectMendsTheBooks(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		unbooked := w.created(host.Where{})
		w.tx(func(tx rooms.Tx) error {
			return errors.Join(
				tx.Release(host.UnitID(unbooked.ID)), // a port without an allocation
				tx.Allocate(host.Allocation{Unit: "ins_gone", Tenant: tenant.Default, Host: h.ID, Resources: host.Resources{MemoryBytes: 1 << 20}}),
			)
		})
		w.pass(10 * time.Minute)
		w.exec("UPDATE hosts SET memory_used = memory_used + 77, units = units + 3")
		w.exec("UPDATE disks SET used = used + 5")
		j, err := w.hosts.Inspect(w.ctx, operator, h.ID)
		w.must(err)
		if j = w.spin(j.ID); j.State != job.Succeeded {
			w.Fatalf("%s: %+v", j.State, j.Error)
		}
		for _, want := range []string{"sum of the allocations", string(unbooked.ID) + " was not in the books", "ins_gone"} {
			if detail := j.Steps[1].Detail; !strings.Contains(detail, want) {
				w.Errorf("%q does not say %q", detail, want)
			}
		}
		held, err := w.store.Allocations(w.ctx, host.AllocationFilter{Host: h.ID}, "", 10)
		if w.must(err); len(held) != 1 || held[0].Unit != host.UnitID(unbooked.ID) {
			w.Errorf("%+v", held)
		}
		w.books()
		if got := w.events(id.Subject(h.ID)); !slices.Contains(got, host.EventDrift) {
			w.Errorf("%v", got)
		}
		j, err = w.hosts.Inspect(w.ctx, operator, h.ID)
		w.must(err)
		if j = w.spin(j.ID); j.Steps[1].Detail != "the books are right" {
			w.Errorf("inspected again: %+v", j.Steps[1])
		}
	})
}
