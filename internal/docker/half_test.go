package docker

import (
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/volume"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// TestVolumeMadeByHalf has volumes under instances' names that have no label, which is
// what an engine leaves that ends while it makes one.
func TestVolumeMadeByHalf(t *testing.T) {
	r := newRealEngine(t)
	runtime := r.runtime(t)
	halves := func(t *testing.T, id host.UnitID) {
		t.Helper()
		if _, err := r.api.VolumeCreate(t.Context(), volume.CreateOptions{Name: nameOf(id)}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.api.VolumeRemove(t.Context(), nameOf(id), true) })
	}

	t.Run("a create makes it anew", func(t *testing.T) {
		w := r.workload(t)
		halves(t, w.Unit)
		if err := runtime.CreateVolume(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		v, err := r.api.VolumeInspect(t.Context(), nameOf(w.Unit))
		if err != nil || v.Labels[labelInstance] != string(w.Unit) {
			t.Fatalf("it has labels %v, error %v", v.Labels, err)
		}
	})
	t.Run("a repair does not take it for the data", func(t *testing.T) {
		w := r.workload(t)
		halves(t, w.Unit)
		w.KeepData = true
		if err := runtime.CreateVolume(t.Context(), w); fault.CodeOf(err) != fault.CodeDataLost {
			t.Fatalf("got %v, want data_lost", err)
		}
	})
	t.Run("a delete removes it", func(t *testing.T) {
		w := r.workload(t)
		halves(t, w.Unit)
		if err := runtime.Remove(t.Context(), w.Unit, w.Fence, true); err != nil {
			t.Fatal(err)
		}
		if _, err := r.api.VolumeInspect(t.Context(), nameOf(w.Unit)); !cerrdefs.IsNotFound(err) {
			t.Fatalf("the volume is there: %v", err)
		}
	})
}
