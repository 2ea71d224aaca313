package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/testenv"
)

// here is a login to this machine.
type here struct{}

func (here) Run(ctx context.Context, script string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-s", "--"}, args...)...)
	cmd.Stdin = strings.NewReader(script)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		err = &host.ScriptError{Status: exit.ExitCode(), Said: lines[len(lines)-1]}
	}
	return out.String(), err
}

func (here) Close() error { return nil }

// loopDisk is a disk of a test's own, whose file systems go with the test.
type loopDisk struct {
	t    *testing.T
	path string
}

// newLoopDisk gives the runtime of a machine that Berth logs in to, and a disk there.
func (r *realEngine) newLoopDisk(t *testing.T) (*Runtime, *loopDisk) {
	t.Helper()
	testenv.Needs(t, testenv.Root)
	d := &loopDisk{t, t.TempDir()}
	if err := os.Chmod(filepath.Dir(d.path), 0o755); err != nil { //nolint:gosec // the engine must get there
		t.Fatal(err)
	}
	t.Cleanup(func() { // what a failed test has left
		for _, at := range d.mounts() {
			if out, err := exec.Command("umount", at).CombinedOutput(); err != nil { //nolint:gosec // below the test's own folder
				t.Errorf("unmount %s: %v: %s", at, err, out)
			}
		}
	})
	r.host.Source = host.FromPool
	runtime := r.runtime(t)
	runtime.engine.shell = func(context.Context) (host.Shell, error) { return here{}, nil }
	t.Cleanup(func() { r.removeAll(t) })
	return runtime, d
}

// mounts gives where something is mounted below the disk.
func (d *loopDisk) mounts() (at []string) {
	d.t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], d.path+"/") {
			at = append(at, fields[4])
		}
	}
	return at
}

// devices gives the loop devices that have a file of the disk.
func (d *loopDisk) devices() (names []string) {
	d.t.Helper()
	all, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, name := range all {
		if file, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(file), d.path+"/") { //nolint:gosec // of the kernel
			names = append(names, strings.Split(name, "/")[3])
		}
	}
	return names
}

// clean fails where anything is left of file systems but the disk's mark.
func (d *loopDisk) clean() {
	d.t.Helper()
	left, err := os.ReadDir(d.path)
	if err != nil || len(left) != 1 || left[0].Name() != diskMark || len(d.mounts()) > 0 || len(d.devices()) > 0 {
		d.t.Errorf("left: files %v, mounts %v, devices %v, %v", left, d.mounts(), d.devices(), err)
	}
}

// unmounted takes the file system away as a restart of the machine does.
func (d *loopDisk) unmounted(id host.UnitID) {
	d.t.Helper()
	if out, err := exec.Command("umount", filepath.Join(d.path, nameOf(id))).CombinedOutput(); err != nil { //nolint:gosec // of the test
		d.t.Fatalf("%v: %s", err, out)
	}
}

// stranger gives the next device to a file of somebody else.
func (d *loopDisk) stranger() {
	d.t.Helper()
	file := filepath.Join(d.t.TempDir(), "stranger")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		d.t.Fatal(err)
	}
	device, err := exec.Command("losetup", "--find", "--show", file).Output() //nolint:gosec // of the test
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := exec.Command("losetup", "--detach", strings.TrimSpace(string(device))).Run(); err != nil { //nolint:gosec // of the test
			d.t.Error(err)
		}
	})
}

// runs creates and starts the unit.
func runs(t *testing.T, runtime *Runtime, w host.Workload) {
	t.Helper()
	if err := runtime.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if _, err := runtime.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// loopWorkload is a workload whose volume is a file system of 32 MiB.
func (r *realEngine) loopWorkload(t *testing.T, d *loopDisk) host.Workload {
	w := r.workload(t)
	w.Disk, w.Enforcement = d.path, host.EnforcedByLoop
	w.Resources.MemoryBytes, w.Resources.DiskBytes = 12<<20, 4<<20
	return w
}

// fill writes to the unit's data until it is refused, and says what was written.
func (r *realEngine) fill(t *testing.T, runtime *Runtime, w host.Workload, megabytes string) error {
	t.Helper()
	_, err := runtime.engine.exec(t.Context(), nameOf(w.Unit), "dd", "if=/dev/zero", "of="+w.DataPath+"/filler", "bs=1M", "count="+megabytes, "conv=fsync")
	return err
}

// TestLoop has two units on one disk, each with a file system of its own: one is full, the other does
// not notice, and both outlive a restart of the machine.
func TestLoop(t *testing.T) {
	r := newRealEngine(t)
	runtime, d := r.newLoopDisk(t)
	one, two := r.loopWorkload(t, d), r.loopWorkload(t, d)
	for range 2 { // each call may come twice
		if err := runtime.CreateVolume(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	runs(t, runtime, one)
	runs(t, runtime, two)
	unit, err := runtime.Inspect(t.Context(), one.Unit)
	if err != nil || unit.Enforcement != host.EnforcedByLoop || !unit.Volume {
		t.Errorf("%+v, %v", unit, err)
	}
	if space, err := runtime.Space(t.Context(), one.Unit); err != nil || space.SizeBytes < 1<<30 || space.Path != d.path {
		t.Errorf("the disk below is said to be %+v, %v", space, err)
	}
	if err := r.fill(t, runtime, one, "64"); err == nil || !strings.Contains(err.Error(), "No space left on device") {
		t.Errorf("64 MiB on 32: %v", err)
	}
	if err := r.fill(t, runtime, two, "8"); err != nil {
		t.Errorf("the neighbour: %v", err)
	}

	for _, w := range []*host.Workload{&one, &two} {
		if err := runtime.Stop(t.Context(), w.Unit, w.Fence, w.StopGrace); err != nil {
			t.Fatal(err)
		}
		d.unmounted(w.Unit)
	}
	testenv.Eventually(t, "no device has a file of the disk", time.Minute, func(context.Context) error { // the kernel takes its time
		if left := d.devices(); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
	// Nothing starts on the folder that is below, whoever starts it.
	if err := r.api.ContainerStart(t.Context(), nameOf(one.Unit), container.StartOptions{}); err == nil {
		t.Error("a server runs without its file system")
	}
	// Others get the devices that these had; and then all want theirs at once.
	d.stranger()
	var both sync.WaitGroup
	for _, w := range []host.Workload{two, one, two, one} {
		both.Go(func() {
			again := w
			again.KeepData, again.Disk, again.Enforcement = true, "", ""
			if err := runtime.CreateVolume(t.Context(), again); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if got := d.mounts(); len(got) != 2 {
		t.Errorf("mounted: %v", got)
	}
	for _, w := range []host.Workload{one, two} {
		w.KeepData, w.Disk, w.Enforcement, w.Fence = true, "", "", w.Fence+1
		runs(t, runtime, w)
	}
	filler := filepath.Join(d.path, nameOf(two.Unit), "data", "filler")
	if info, err := os.Stat(filler); err != nil || info.Size() != 8<<20 {
		t.Errorf("the data of the second: %v, %v", info, err)
	}
	for range 2 {
		for _, w := range []host.Workload{one, two} {
			if err := runtime.Remove(t.Context(), w.Unit, 2, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.clean()
}

// TestLoopRefusals has a disk that is not there, one that is too small, and a file system that is gone
// or another's.
func TestLoopRefusals(t *testing.T) {
	r := newRealEngine(t)
	runtime, d := r.newLoopDisk(t)
	w := r.loopWorkload(t, d)
	w.Resources.DiskBytes = 1 << 60
	if err := runtime.CreateVolume(t.Context(), w); fault.CodeOf(err) != fault.CodeHostRefused || !strings.Contains(err.Error(), "does not give") {
		t.Errorf("a disk that is too small: %v", err)
	}
	w.Resources.DiskBytes = 4 << 20
	runs(t, runtime, w)
	if err := runtime.Remove(t.Context(), w.Unit, w.Fence, false); err != nil {
		t.Fatal(err)
	}
	d.unmounted(w.Unit)
	again := w
	again.KeepData = true

	file, mark := filepath.Join(d.path, nameOf(w.Unit)+".img"), filepath.Join(d.path, diskMark)
	away := func(path string, code fault.Code) {
		t.Helper()
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if err := runtime.CreateVolume(t.Context(), again); fault.CodeOf(err) != code {
			t.Errorf("without %s: %v", path, err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
	}
	away(file, fault.CodeHostUnavailable)
	away(mark, fault.CodeHostUnavailable)
	if err := os.Rename(mark, mark+".away"); err != nil {
		t.Fatal(err)
	}
	runtime.engine.ready.Clear() // another process
	if err := runtime.CreateVolume(t.Context(), r.loopWorkload(t, d)); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("a create on a disk that is not mounted: %v", err)
	}
	if err := os.Rename(mark+".away", mark); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(mark, mark+".away"); err != nil { // as if the disk were not mounted
		t.Fatal(err)
	}
	if err := runtime.Remove(t.Context(), w.Unit, w.Fence, true); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("removed from a disk that is not there: %v", err)
	}
	if err := os.Rename(mark+".away", mark); err != nil {
		t.Fatal(err)
	}

	other := r.loopWorkload(t, d)
	if err := runtime.CreateVolume(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	d.unmounted(other.Unit)
	// Somebody has mounted the file of another tenant here by hand.
	folder := filepath.Join(d.path, nameOf(w.Unit))
	if out, err := exec.Command("mount", "-o", "loop", filepath.Join(d.path, nameOf(other.Unit)+".img"), folder).CombinedOutput(); err != nil { //nolint:gosec // of the test
		t.Fatalf("%v: %s", err, out)
	}
	if err := runtime.CreateVolume(t.Context(), again); fault.CodeOf(err) != fault.CodeHostRefused || !strings.Contains(err.Error(), "something else is mounted") {
		t.Errorf("with another's file system: %v", err)
	}
	if err := runtime.Remove(t.Context(), w.Unit, w.Fence, true); fault.CodeOf(err) != fault.CodeHostRefused {
		t.Errorf("removed with another's file system: %v", err)
	}
	d.unmounted(w.Unit)

	shell := runtime.engine.shell
	runtime.engine.shell = nil
	if err := runtime.CreateVolume(t.Context(), again); fault.CodeOf(err) != fault.CodeHostUnavailable || !strings.Contains(err.Error(), "ssh://") {
		t.Errorf("without a login: %v", err)
	}
	runtime.engine.shell = shell
	for _, id := range []host.UnitID{w.Unit, other.Unit} {
		if err := runtime.Remove(t.Context(), id, w.Fence, true); err != nil {
			t.Error(err)
		}
	}
	d.clean()
}

// cut is a login that breaks at one of its scripts, before or after that has had its effect.
type cut struct {
	at     int // the number of the script
	before bool
	meet   func(args []string) // is called with the arguments of each
	calls  *int
}

var errCut = fault.Errorf(fault.CodeHostUnavailable, nil, "the connection was cut")

func (c cut) Run(ctx context.Context, script string, args ...string) (string, error) {
	*c.calls++
	if c.meet != nil {
		c.meet(args)
	}
	if *c.calls == c.at && c.before {
		return "", errCut
	}
	out, err := here{}.Run(ctx, script, args...)
	if *c.calls == c.at {
		return "", errCut
	}
	return out, err
}

func (cut) Close() error { return nil }

// TestLoopCrash breaks a create, and then a delete, at each of its scripts: a delete leaves nothing.
func TestLoopCrash(t *testing.T) {
	r := newRealEngine(t)
	runtime, d := r.newLoopDisk(t)
	login := func(c cut) *int {
		c.calls = new(int)
		runtime.engine.shell = func(context.Context) (host.Shell, error) { return c, nil }
		return c.calls
	}
	for _, before := range []bool{true, false} {
		for at := 1; ; at++ {
			w := r.loopWorkload(t, d)
			runtime.engine.ready.Clear()
			calls := login(cut{at: at, before: before})
			err := runtime.CreateVolume(t.Context(), w)
			made := *calls < at
			if made != (err == nil) {
				t.Errorf("cut at %d: %v", at, err)
			}
			login(cut{at: 1, before: before})
			err = runtime.Remove(t.Context(), w.Unit, w.Fence, true)
			if cutOff := fault.CodeOf(err) == fault.CodeHostUnavailable; err != nil && !cutOff {
				t.Errorf("a delete that is cut off: %v", err)
			}
			login(cut{})
			if err := runtime.Remove(t.Context(), w.Unit, w.Fence, true); err != nil {
				t.Errorf("a delete after a cut at %d: %v", at, err)
			}
			if made {
				break
			}
		}
	}
	d.clean()

	// A delete comes between the volume and its file: whoever makes the file takes it back.
	w := r.loopWorkload(t, d)
	login(cut{meet: func(args []string) {
		if args[0] == "make" {
			if err := runtime.engine.removeVolume(t.Context(), nameOf(w.Unit)); err != nil {
				t.Error(err)
			}
		}
	}})
	if err := runtime.CreateVolume(t.Context(), w); fault.CodeOf(err) != fault.CodeFenced {
		t.Errorf("a volume that is gone: %v", err)
	}
	d.clean()
}
