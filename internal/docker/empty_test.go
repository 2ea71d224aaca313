package docker

import (
	"testing"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/berth-project/berth/internal/fault"
)

// TestVanishedVolumeIsNotMadeAnew has the volume with the data vanish between the look
// at it and the creation of the container, where Docker makes an empty one.
func TestVanishedVolumeIsNotMadeAnew(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	w.KeepData = true
	s, err := specOf(w, r.deployment)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.create(t.Context(), w, s); fault.CodeOf(err) != fault.CodeDataLost {
		t.Fatalf("got %v", err)
	}
	if _, err := local.api.ContainerInspect(t.Context(), nameOf(w.Unit)); !cerrdefs.IsNotFound(err) {
		t.Errorf("its container: %v", err)
	}
	if _, err := local.api.VolumeInspect(t.Context(), nameOf(w.Unit)); !cerrdefs.IsNotFound(err) {
		t.Errorf("its volume: %v", err)
	}
	// The worker may end right after the creation: what is left is no data, and is removed
	// with the instance.
	if _, err := r.createContainer(t.Context(), w, s); err != nil {
		t.Fatal(err)
	}
	if err := r.CreateVolume(t.Context(), w); fault.CodeOf(err) != fault.CodeDataLost {
		t.Errorf("an empty volume: %v", err)
	}
	if err := r.Remove(t.Context(), w.Unit, w.Fence, true); err != nil {
		t.Fatal(err)
	}
	if _, err := local.api.VolumeInspect(t.Context(), nameOf(w.Unit)); !cerrdefs.IsNotFound(err) {
		t.Errorf("its volume after the removal: %v", err)
	}
}

// TestEveryEndIsLeftToBerth kills a server from inside, which Docker does not take for
// the wish of a person: it must stay ended.
func TestEveryEndIsLeftToBerth(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	w.Command = []string{"/bin/sh", "-c", "sleep 1; kill -9 $$"}
	start(t, r, w)
	if err := r.Settle(t.Context(), w.Unit, w.Fence); err != nil {
		t.Fatal(err)
	}
	waitForEnd(t, r, w.Unit)
	c, err := local.api.ContainerInspect(t.Context(), nameOf(w.Unit))
	if err != nil {
		t.Fatal(err)
	}
	unit, err := r.Inspect(t.Context(), w.Unit)
	if err != nil || unit.Running || unit.Restarting || unit.ExitCode != 137 || unit.Ended.IsZero() || c.RestartCount != 0 {
		t.Errorf("it is %+v after %d restarts, %v", unit, c.RestartCount, err)
	}
}
