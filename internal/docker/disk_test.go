package docker

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/berth-project/berth/internal/fault"
)

// TestDiskOfItsOwn keeps an instance's data on a disk of its own, and nothing of it elsewhere or afterwards.
func TestDiskOfItsOwn(t *testing.T) {
	r := newRealEngine(t)
	runtime, w := r.runtime(t), r.workload(t)
	w.Disk = t.TempDir()
	if err := os.Chmod(filepath.Dir(w.Disk), 0o755); err != nil { //nolint:gosec // the engine must get there
		t.Fatal(err)
	}
	folder := filepath.Join(w.Disk, nameOf(w.Unit))
	for range 2 { // each call may come twice
		if err := runtime.CreateVolume(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	if err := runtime.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if _, err := runtime.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "redis.conf")); err != nil {
		t.Errorf("its files are not on the disk: %v", err)
	}
	if info, err := os.Stat(folder); err != nil || !owns(info, 4711) {
		t.Errorf("the folder is %v, %v, and not the server's own", info, err)
	}
	if space, err := runtime.Space(t.Context(), w.Unit); err != nil || space.SizeBytes <= 0 || space.FreeBytes > space.SizeBytes {
		t.Errorf("its disk is said to have %+v, %v", space, err)
	}
	mark := filepath.Join(w.Disk, diskMark)
	if err := os.Remove(mark); err != nil { // as if the disk were not mounted
		t.Fatal(err)
	}
	if err := runtime.Remove(t.Context(), w.Unit, w.Fence, true); err == nil || fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("removed from a disk that is not there: %v", err)
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := runtime.Remove(t.Context(), w.Unit, w.Fence, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("its data is still there: %v", err)
	}
	w.DiskShared = true // and others are on it, so it has a mark
	if err := runtime.CreateVolume(t.Context(), w); err != nil {
		t.Errorf("beside others: %v", err)
	}
	if err := runtime.Remove(t.Context(), w.Unit, w.Fence, true); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(mark); err != nil { // as if the disk were not mounted
		t.Fatal(err)
	}
	if err := runtime.CreateVolume(t.Context(), w); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("beside others on a disk that is not there: %v", err)
	}
	if left, err := os.ReadDir(w.Disk); err != nil || len(left) > 0 {
		t.Errorf("in the place of the disk there is %v, %v", left, err)
	}
	w.Disk, w.DiskShared = "/no/such/disk", false
	if err := runtime.CreateVolume(t.Context(), w); fault.CodeOf(err) != fault.CodeHostRefused {
		t.Errorf("a disk that there is not: %v", err)
	}
}

// owns reports whether a file belongs to the user.
func owns(info os.FileInfo, user uint32) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == user
}
