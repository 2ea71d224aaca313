package host

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
)

// plain runs the script itself, by the shell that is tried.
type plain struct{ *local }

func (p plain) Run(ctx context.Context, script string, args ...string) (string, error) {
	return p.local.Run(ctx, strings.TrimSuffix(strings.TrimPrefix(script, asRoot), endAsRoot), args...)
}

// loopDisk gives a disk of the machine, whose mounts are lines of a file.
func (l *local) loopDisk() LoopDisk {
	l.put("proc/self/mountinfo", "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n")
	l.folder("sys/block")
	l.command("flock", "")
	l.command("fallocate", `printf '%s' "$2" >"$3"`)
	l.command("mkfs.ext4", "")
	l.command("mount", `for a; do file=${folder:-} folder=$a; done
n=$(ls "$BERTH_ROOT/sys/block" | wc -l)
for at in "$BERTH_ROOT/sys/block/loop$n" "$BERTH_ROOT/sys/dev/block/7:$n"; do mkdir -p "$at/loop" && echo "$file" >"$at/loop/backing_file"; done
printf '%s\n' "30 27 7:$n / $(printf '%s' "$folder" | sed 's/ /\\040/g') rw - ext4 /dev/loop$n rw" >>"$BERTH_ROOT/proc/self/mountinfo"`)
	l.command("umount", `m=$BERTH_ROOT/proc/self/mountinfo
n=$(tail -n 1 "$m" | sed 's/.* 7:\([0-9]*\) .*/\1/')
sed '$d' "$m" >"$m.new" && mv "$m.new" "$m"
rm -r "$1/data" "$BERTH_ROOT/sys/block/loop$n" "$BERTH_ROOT/sys/dev/block/7:$n"`)
	return LoopDisk{Shell: plain{l}, Path: l.folder("my disk")}
}

func (l *local) made(d LoopDisk, unit UnitID) string {
	l.t.Helper()
	mark, err := d.Make(l.t.Context(), unit, 4096)
	if err != nil {
		l.t.Fatal(err)
	}
	return mark
}

// left gives what is on the disk.
func (l *local) left(d LoopDisk) (names []string) {
	l.t.Helper()
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestLoopDisk(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		d := l.loopDisk()
		if _, err := d.Make(t.Context(), "a", 4096); fault.CodeOf(err) != fault.CodeHostUnavailable {
			t.Errorf("a disk without a mark: %v", err)
		}
		if err := d.Ready(t.Context(), true); fault.CodeOf(err) != fault.CodeHostUnavailable || len(l.left(d)) > 0 {
			t.Errorf("a disk that is used and has no mark: %v, %v", l.left(d), err)
		}
		for range 2 {
			if err := d.Ready(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		l.put("my disk/berth-a.img.new", "of a crash")
		mark := l.made(d, "a")
		if again := l.made(d, "a"); mark == "" || again != "" {
			t.Errorf("made %q, and again %q", mark, again)
		}
		l.made(d, "b")
		if err := d.Attach(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if n := strings.Count(l.called(), "\nmount -t ext4 -o loop,nosuid,nodev,noatime,errors=remount-ro "); n != 2 {
			t.Errorf("mounted %d times:\n%s", n, l.called())
		}
		units, err := d.Units(t.Context())
		if slices.Sort(units); err != nil || !slices.Equal(units, []UnitID{"a", "b"}) {
			t.Errorf("%v, %v", units, err)
		}
		if space, err := d.Space(t.Context()); err != nil || space.SizeBytes <= 0 || space.FreeBytes <= 0 || space.Path != d.Path {
			t.Errorf("%+v, %v", space, err)
		}
		if err := d.Attach(t.Context(), "c"); fault.CodeOf(err) != fault.CodeHostUnavailable || !strings.Contains(err.Error(), "mount the disk") {
			t.Errorf("a file that there is not: %v", err)
		}
		if err := d.Remove(t.Context(), "b", mark); err != nil || len(l.left(d)) != 5 {
			t.Errorf("another file was removed: %v, %v", l.left(d), err)
		}
		for range 2 {
			for _, unit := range []UnitID{"b", "a"} {
				if err := d.Remove(t.Context(), unit, ""); err != nil {
					t.Error(err)
				}
			}
		}
		if got := l.left(d); !slices.Equal(got, []string{".berth"}) {
			t.Errorf("left: %v", got)
		}
	})
}

func TestLoopDiskRefuses(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		d := l.loopDisk()
		refused := func(err error, code fault.Code, words string) {
			t.Helper()
			if fault.CodeOf(err) != code || !strings.Contains(err.Error(), words) {
				t.Errorf("%v; want %s, %q", err, code, words)
			}
		}
		refused(LoopDisk{d.Shell, "/no/such"}.Ready(t.Context(), false), fault.CodeHostUnavailable, "/no/such is not there")
		refused(LoopDisk{d.Shell, "no/path"}.Ready(t.Context(), false), fault.CodeInvalid, "no path")
		if err := d.Ready(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		l.command("mkfs.ext4", "echo 'mkfs: it is odd' >&2; exit 1")
		_, err := d.Make(t.Context(), "a", 4096)
		refused(err, fault.CodeHostRefused, "mkfs: it is odd")
		l.command("fallocate", `: >"$3"; echo 'fallocate failed: No space left on device' >&2; exit 1`)
		_, err = d.Make(t.Context(), "a", 4096)
		refused(err, fault.CodeHostRefused, "No space left on device")
		if got := l.left(d); !slices.Equal(got, []string{".berth"}) {
			t.Errorf("left: %v", got)
		}

		l.put("my disk/berth-a.img", "")
		l.put("my disk/berth-a/data/x", "")
		l.put("proc/self/mountinfo", "30 27 7:0 / "+strings.ReplaceAll(filepath.Join(d.Path, "berth-a"), " ", `\040`)+" rw - ext4 /dev/loop0 rw\n")
		l.put("sys/dev/block/7:0/loop/backing_file", filepath.Join(d.Path, "berth-b.img")+"\n")
		refused(d.Attach(t.Context(), "a"), fault.CodeHostRefused, "something else is mounted")
		refused(d.Remove(t.Context(), "a", ""), fault.CodeHostRefused, "something else is mounted")
		l.put("sys/dev/block/7:0/loop/backing_file", filepath.Join(d.Path, "berth-a.img")+"\n")
		if err := d.Attach(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		l.command("umount", "echo busy >&2; exit 32")
		refused(d.Remove(t.Context(), "a", ""), fault.CodeConflict, "busy")
		l.put("proc/self/mountinfo", "")
		l.put("sys/block/loop0/loop/backing_file", filepath.Join(d.Path, "berth-a.img")+"\n")
		l.command("sleep", "")
		refused(d.Remove(t.Context(), "a", ""), fault.CodeConflict, "a device still has")
		if err := os.RemoveAll(filepath.Join(l.root, "sys/block/loop0")); err != nil {
			t.Fatal(err)
		}
		refused(d.Remove(t.Context(), "a", ""), fault.CodeHostRefused, "move it away")
	})
}

// TestLoopAsRoot has somebody log in who is not root.
func TestLoopAsRoot(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		d := l.loopDisk()
		d.Shell = l
		l.command("id", `case "$1" in -u) echo 1000 ;; *) echo somebody ;; esac`)
		l.command("sudo", "exit 1")
		if err := d.Ready(t.Context(), false); fault.CodeOf(err) != fault.CodeHostRefused || !strings.Contains(err.Error(), "somebody is neither root") {
			t.Errorf("%v", err)
		}
		l.command("sudo", `shift; exec "$@"`)
		if err := d.Ready(t.Context(), false); err != nil || !slices.Equal(l.left(d), []string{".berth"}) {
			t.Errorf("%v, %v", l.left(d), err)
		}
	})
}
