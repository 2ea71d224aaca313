package host_test

import (
	"testing"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/job"
)

func TestOverfullHostCanBeCordoned(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.imported(1)
		w.created(host.Where{})
		w.exec("UPDATE hosts SET memory_cap = 1000")
		if _, err := w.hosts.Cordon(w.ctx, operator, true, h.ID); err != nil {
			w.Errorf("cordon: %v", err)
		}
		if j, err := w.hosts.Drain(w.ctx, operator, h.ID); err != nil {
			w.Errorf("drain: %v", err)
		} else if j := w.spin(j.ID); j.State != job.Succeeded {
			w.Errorf("drain: %s: %+v", j.State, j.Error)
		}
		w.exec("UPDATE hosts SET memory_cap = 0")
	})
}
