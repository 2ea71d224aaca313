package host

import (
	"math"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/berth-project/berth/internal/fault"
)

// machine puts a whole machine below the root: two cores, a disk at /data, a virtual one.
func (l *local) machine() {
	l.put("etc/os-release", "NAME=x\nPRETTY_NAME=\"Some GNU/Linux 12\"\n")
	l.put("proc/meminfo", "MemTotal:       2048 kB\nMemFree: 5 kB\nSwapTotal:       1024 kB\n")
	l.put("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor vme\n")
	l.put("proc/self/mounts", "/dev/vda / ext4 rw,relatime 0 0\n/dev/old /my\\040data xfs ro 0 0\n/dev/vdb1 /my\\040data ext4 rw,noatime,x=a\\040b 0 0\n")
	for name, value := range map[string]string{
		"vm/overcommit_memory": "0", "vm/swappiness": "60", "net/core/somaxconn": "128", "fs/file-max": "9223372036854775807", "vm/max_map_count": "65530",
	} {
		l.put("proc/sys/"+name, value+"\n")
	}
	l.put("sys/fs/cgroup/cgroup.controllers", "cpuset cpu memory pids\n")
	l.put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
	l.put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
	l.put("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n")
	l.put("sys/class/block/vdb1/queue/rotational", "1\n")
	l.put("etc/docker/daemon.json", `{"data-root": "/srv/docker data/x"}`)
	l.put("var/run/docker.pid", "4711")
	l.put("proc/4711/limits", "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1048576              1048576              files\n")
	l.put("my data/db/x", "")
	l.put("srv/x", "")
	l.command("systemd-detect-virt", "exit 1")
	l.command("uname", `case $1 in -m) echo aarch64 ;; -r) echo 6.1.0-18-arm64 ;; esac`)
	l.command("getconf", "echo 2")
	l.command("df", `for path; do :; done
echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'
case $path in
*"/my data"*) echo '/dev/vdb1  1000000  1  900000  1% /my data' ;;
*) echo '/dev/vda 500 1 300 40% /' ;;
esac`)
}

func TestInventoryScript(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		l.machine()
		ln, err := net.Listen("unix", short(t, l.folder("var/run"))+"/docker.sock")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() //nolint:errcheck // it is a test's
		before := time.Now()
		inv, err := TakeInventory(t.Context(), l, "", "/my data/db", "/nowhere/at all")
		if err != nil {
			t.Fatal(err)
		}
		if d := inv.Clock.Sub(before); d < -time.Second || d > time.Minute {
			t.Errorf("its clock is at %s", inv.Clock)
		}
		if inv.NoFile.Soft == 0 || inv.NoFile.Hard == 0 || inv.NoFile.Engine != 1<<20 {
			t.Errorf("%+v", inv.NoFile)
		}
		want := Inventory{
			OS: "Some GNU/Linux 12", Kernel: "6.1.0-18-arm64", Arch: "arm64", CPUs: 2, MemoryBytes: 2 << 20, SwapBytes: 1 << 20, Clock: inv.Clock,
			User: inv.User, Privilege: inv.Privilege, Socket: "accessible", Cgroup: 2, CgroupMemory: "yes", Virtual: "vm", Governors: []string{"powersave"},
			NoFile: inv.NoFile, HugePages: "madvise", Numactl: inv.Numactl,
			Sysctls: map[string]int64{"vm.overcommit_memory": 0, "vm.swappiness": 60, "net.core.somaxconn": 128, "fs.file-max": math.MaxInt64, "vm.max_map_count": 65530},
			Docker:  Space{Path: "/srv/docker data/x", SizeBytes: 500 << 10, FreeBytes: 300 << 10},
			Disks: []Folder{
				{Space: Space{Path: "/my data/db", SizeBytes: 1_000_000 << 10, FreeBytes: 900_000 << 10}, Exists: true, Mount: "/my data", Device: "/dev/vdb1",
					FSType: "ext4", Options: []string{"rw", "noatime", `x=a\040b`}, Rotational: "yes"},
				{Space: Space{Path: "/nowhere/at all"}},
			},
		}
		if !reflect.DeepEqual(inv, want) {
			t.Errorf("%+v\nwant %+v", inv, want)
		}
	})
}

// short gives a path to the folder that is short enough for a socket.
func short(t *testing.T, folder string) string {
	t.Helper()
	link, err := os.MkdirTemp("/tmp", "b") //nolint:usetesting // whose names are too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(link) })
	if err := os.Symlink(folder, link+"/l"); err != nil {
		t.Fatal(err)
	}
	return link + "/l"
}

// A machine that has next to nothing is told of with what it has.
func TestInventoryOfAnEmptyMachine(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		inv, err := TakeInventory(t.Context(), l, "/var/lib/docker", "/data")
		if err != nil || inv.Socket != "missing" || len(inv.Disks) != 1 || inv.Disks[0].Exists {
			t.Errorf("%+v, %v", inv, err)
		}
	})
}

// This machine, as it is.
func TestInventoryHere(t *testing.T) {
	l := &local{t: t, shell: []string{"sh"}, home: t.TempDir()}
	inv, err := TakeInventory(t.Context(), l, "", "/")
	if err != nil {
		t.Fatal(err)
	}
	if inv.CPUs == 0 || inv.MemoryBytes == 0 || inv.Kernel == "" || inv.Arch == "" || inv.Docker.SizeBytes == 0 || inv.Disks[0].Mount != "/" || inv.Disks[0].FSType == "" {
		t.Errorf("%+v", inv)
	}
}

// TestInventoryOfRealSettings reads what the kernel gives, whose files are no ordinary ones.
func TestInventoryOfRealSettings(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		l.root = ""
		inv, err := TakeInventory(t.Context(), l, "")
		if err != nil {
			t.Fatal(err)
		}
		for name, file := range map[string]string{"vm.swappiness": "/proc/sys/vm/swappiness", "vm.max_map_count": "/proc/sys/vm/max_map_count", "net.core.somaxconn": "/proc/sys/net/core/somaxconn"} {
			want, err := os.ReadFile(file)
			if err != nil {
				continue // this kernel has none
			}
			if got := strconv.FormatInt(inv.Sysctls[name], 10); got != strings.TrimSpace(string(want)) {
				t.Errorf("%s is read as %s, the kernel says %s", name, got, want)
			}
		}
	})
}

func TestInventoryPaths(t *testing.T) {
	for _, path := range []string{"", "data", "/data/", "/a/../b", "/a\nb", "-rf", "/a\x00", "/\xff"} {
		if _, err := TakeInventory(t.Context(), nil, "", path); fault.CodeOf(err) != fault.CodeInvalid {
			t.Errorf("%q: %v", path, err)
		}
	}
	if _, err := TakeInventory(t.Context(), nil, "x"); fault.CodeOf(err) != fault.CodeInvalid {
		t.Error(err)
	}
}

// FuzzInventory: whatever a machine says, what is made of it makes sense, and its checks can be
// made; what is cut off is refused.
func FuzzInventory(f *testing.F) {
	for _, text := range []string{
		"", "inventory=1\nend=1\n", "inventory=1\nend=1", "Welcome!\r\ninventory=1\r\nos=x\r\nend=1\r\n", "inventory=1\nos=x",
		"inventory=1\nmemory_bytes=-1\ncpus=99999999999999999999\nclock_ms=9223372036854775807\nnofile_soft=unlimited\nend=1",
		"inventory=1\ndisk.0.path=/a\ndisk.0.exists=yes\ndisk.0.options=rw,,x\ndisk.63.path=/b\ndisk.64.path=/c\ndisk.-1.path=/d\ndisk.=x\nend=1",
		"inventory=1\nos=a\x1b[2Jb\nkernel=\xff\nvirtual=none\ngovernors=powersave  performance\nsysctl.=1\nsysctl.x=y\nos=twice\nend=1",
		"inventory=1\ndocker.path=/d\ndocker.size=18446744073709551615\ndocker.free=18446744073709551615\nclock_ms=1\nkernel=3.10\nend=1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		inv, err := ParseInventory(text)
		if err != nil {
			if !reflect.DeepEqual(inv, Inventory{}) {
				t.Fatalf("%v, and something: %+v", err, inv)
			}
			return
		}
		if !strings.Contains(text, "end=") {
			t.Fatal("it was cut off")
		}
		numbers := []int64{int64(inv.CPUs), inv.MemoryBytes, inv.SwapBytes, inv.NoFile.Soft, inv.NoFile.Hard, inv.NoFile.Engine, inv.Docker.SizeBytes, inv.Docker.FreeBytes, int64(inv.Cgroup)}
		words := append([]string{inv.OS, inv.Kernel, inv.Arch, inv.User, inv.Virtual, inv.Docker.Path}, inv.Governors...)
		for _, n := range inv.Sysctls {
			numbers = append(numbers, n)
		}
		var disks []string
		for _, d := range inv.Disks {
			numbers = append(numbers, d.SizeBytes, d.FreeBytes)
			words = append(words, d.Path, d.Mount, d.Device, d.FSType, strings.Join(d.Options, ","))
			disks = append(disks, d.Path)
		}
		for _, n := range numbers {
			if n < 0 {
				t.Fatalf("a number below 0: %+v", inv)
			}
		}
		for _, c := range inv.Checks(time.UnixMilli(1_800_000_000_000), EngineFacts{}, disks) {
			words = append(words, c.Found, c.Wanted, c.Advice)
			if c.Name == "" || c.Found == "" || c.Wanted == "" || (c.Advice == "") != (c.Verdict == Pass) {
				t.Fatalf("%+v", c)
			}
		}
		for _, w := range words {
			if strings.ContainsFunc(w, unicode.IsControl) {
				t.Fatalf("control characters: %q", w)
			}
		}
	})
}
