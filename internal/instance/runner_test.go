package instance_test

import (
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
)

func TestCreateAndDelete(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		if a.Instance.State != instance.StatePending || a.Job.State != job.Queued {
			t.Errorf("accepted as %s and %s", a.Instance.State, a.Job.State)
		}
		w.spin(a.Job.ID)
		w.usable(a.Job.ID)

		d := w.delete(a.Instance.ID)
		if j := w.spin(d.Job.ID); j.State != job.Succeeded || j.Error != nil || j.Progress() != 100 {
			t.Errorf("delete: %+v", j)
		}
		w.gone(a.Instance.ID)
		if inst := w.instance(a.Instance.ID); inst.State != instance.StateDeleted || inst.DeletedAt.IsZero() {
			t.Errorf("instance: %+v", inst)
		}
		if _, err := w.store.Credentials(w.ctx, a.Instance.ID); fault.CodeOf(err) != fault.CodeNotFound {
			t.Errorf("credentials after the delete: %v", err)
		}
	})
}
