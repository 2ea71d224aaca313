package host

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
)

func TestFixNames(t *testing.T) {
	for _, fix := range Fixes() {
		if got, err := ParseFix(string(fix)); err != nil || got != fix {
			t.Errorf("%s: %v", fix, err)
		}
	}
	for _, name := range []string{"", "Docker", "docker ", "docker; reboot", "rm"} {
		if _, err := Prepare(t.Context(), nil, Fix(name)); fault.CodeOf(err) != fault.CodeInvalid || !strings.Contains(err.Error(), "mount_options") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := Prepare(t.Context(), nil, FixMountOptions); fault.CodeOf(err) != fault.CodeInvalid {
		t.Errorf("no disks: %v", err)
	}
	if _, err := Prepare(t.Context(), nil, FixDocker, "/data"); fault.CodeOf(err) != fault.CodeInvalid {
		t.Errorf("disks: %v", err)
	}
	if _, err := Prepare(t.Context(), nil, FixMountOptions, "/data; reboot\n"); fault.CodeOf(err) != fault.CodeInvalid {
		t.Errorf("an odd path: %v", err)
	}
}

// The script itself refuses what it does not know, too.
func TestFixUnknownToTheScript(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		for _, name := range []string{"reboot", "", "sw*", "docker reboot"} {
			_, err := l.Run(t.Context(), prepareScript, name)
			var end *ScriptError
			if !errors.As(err, &end) || !strings.Contains(end.Said, "there is no fix "+name) {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}

// prepare makes a fix twice: the second time it changes nothing.
func (l *local) prepare(fix Fix, before, after string, disks ...string) {
	l.t.Helper()
	done, err := Prepare(l.t.Context(), l, fix, disks...)
	if err != nil {
		l.t.Fatal(err)
	}
	if done.Before != before || done.After != after || done.Fix != fix || done.Changed() != (before != after) {
		l.t.Errorf("%+v; want %q, %q", done, before, after)
	}
	if done, err = Prepare(l.t.Context(), l, fix, disks...); err != nil || done.Before != after || done.Changed() {
		l.t.Errorf("again: %+v, %v", done, err)
	}
}

func (l *local) fails(fix Fix, words string, disks ...string) {
	l.t.Helper()
	_, err := Prepare(l.t.Context(), l, fix, disks...)
	var end *ScriptError
	if !errors.As(err, &end) || end.Status == 0 || !strings.Contains(end.Said, words) {
		l.t.Errorf("%v; want %q", err, words)
	}
}

// backups gives what the files that were kept beside a file hold.
func (l *local) backups(path string) []string {
	l.t.Helper()
	names, err := filepath.Glob(filepath.Join(l.root, path) + ".berth-*")
	if err != nil {
		l.t.Fatal(err)
	}
	var texts []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			l.t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

func TestSwapOff(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		l.command("swapoff", `echo "SwapTotal: 0 kB" >"$BERTH_ROOT/proc/meminfo"`)
		l.put("proc/meminfo", "SwapTotal:    2097152 kB\n")
		fstab := "# swap swap swap\n/dev/vda1 / ext4 defaults 0 1\n\nUUID=x\tnone  swap\tsw 0 0\n/swap\\040file none swap sw 0 0\n/dev/vdb /swap ext4 defaults 0 0"
		l.put("etc/fstab", fstab)
		l.prepare(FixSwapOff, "2048 MiB of swap, 2 in fstab", "0 MiB of swap, 0 in fstab")
		want := "# swap swap swap\n/dev/vda1 / ext4 defaults 0 1\n\n# turned off by Berth: UUID=x\tnone  swap\tsw 0 0\n# turned off by Berth: /swap\\040file none swap sw 0 0\n/dev/vdb /swap ext4 defaults 0 0\n"
		if got := l.get("etc/fstab"); got != want {
			t.Errorf("%s", got)
		}
		if kept := l.backups("etc/fstab"); !slices.Equal(kept, []string{fstab}) {
			t.Errorf("%q", kept)
		}
		if info, err := os.Stat(filepath.Join(l.root, "etc/fstab")); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if called := l.called(); called != "swapoff -a\n" {
			t.Errorf("%q", called)
		}
		l.command("swapoff", "echo no memory >&2; exit 1")
		l.put("proc/meminfo", "SwapTotal:    2097152 kB\n")
		l.fails(FixSwapOff, "too little memory")
	})
}

// A machine without an fstab, and without swap.
func TestSwapIsOff(t *testing.T) {
	shells(t, func(_ *testing.T, l *local) {
		l.put("proc/meminfo", "MemTotal: 1 kB\n")
		l.prepare(FixSwapOff, "0 MiB of swap, 0 in fstab", "0 MiB of swap, 0 in fstab")
	})
}

func TestSysctls(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		for name, value := range map[string]string{
			"vm/overcommit_memory": "0", "vm/swappiness": "60", "net/core/somaxconn": "65535", "fs/file-max": "9223372036854775807", "vm/max_map_count": "65530",
		} {
			l.put("proc/sys/"+name, value+"\n")
		}
		l.prepare(FixSysctls,
			"vm.overcommit_memory=0 vm.swappiness=60 net.core.somaxconn=65535 fs.file-max=9223372036854775807 vm.max_map_count=65530",
			"vm.overcommit_memory=1 vm.swappiness=1 net.core.somaxconn=65535 fs.file-max=9223372036854775807 vm.max_map_count=262144")
		want := "# Written by Berth, for databases in containers. Changes are overwritten.\nvm.overcommit_memory = 1\nvm.swappiness = 1\n" +
			"net.core.somaxconn = 65535\nfs.file-max = 9223372036854775807\nvm.max_map_count = 262144\n"
		if got := l.get("etc/sysctl.d/90-berth.conf"); got != want {
			t.Errorf("%s", got)
		}
	})
}

func TestMountOptions(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		l.command("mount", `for path; do :; done
case $path in
"/my data") change='s|^\(/dev/vdb .* rw\),relatime|\1,noatime,nodelalloc|' ;;
/log) change='s|^\(/dev/vdc .* rw\),relatime|\1,noatime|' ;;
esac
m=$BERTH_ROOT/proc/self/mounts
sed "$change" "$m" >"$m.new" && mv "$m.new" "$m"`)
		l.put("proc/self/mounts", "/dev/vda / ext4 rw,relatime 0 0\n/dev/vdb /my\\040data ext4 rw,relatime 0 0\n/dev/vdc /log xfs rw,relatime 0 0\n/dev/vdd /other ext4 rw,relatime 0 0\n")
		fstab := "# /log\n/dev/vdb /my\\040data auto relatime,delalloc,nofail\n/dev/vdc\t/log xfs defaults 0 2\n  /dev/vda / ext4  defaults 0 1"
		l.put("etc/fstab", fstab)
		l.fails(FixMountOptions, "/other is not in /etc/fstab", "/log", "/other")
		l.fails(FixMountOptions, "nothing is mounted at /none", "/log", "/none")
		if l.get("etc/fstab") != fstab || l.called() != "" {
			t.Error("something was changed")
		}
		l.prepare(FixMountOptions, "/my data: rw,relatime; /log: rw,relatime", "/my data: rw,noatime,nodelalloc; /log: rw,noatime", "/my data", "/log")
		want := "# /log\n/dev/vdb\t/my\\040data\tauto\tnofail,noatime,nodelalloc\t0\t0\n/dev/vdc\t/log\txfs\tdefaults,noatime\t0\t2\n  /dev/vda / ext4  defaults 0 1\n"
		if got := l.get("etc/fstab"); got != want {
			t.Errorf("%s", got)
		}
		if kept := l.backups("etc/fstab"); !slices.Contains(kept, fstab) {
			t.Errorf("%q", kept)
		}
		if called := l.called(); called != "mount -o remount,noatime,nodelalloc /my data\nmount -o remount,noatime /log\n" {
			t.Errorf("%q", called)
		}
	})
}

// A disk that cannot be mounted so keeps its line: the machine must come up again.
func TestMountOptionsRefused(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		l.command("mount", "echo 'bad option' >&2; exit 32")
		l.put("proc/self/mounts", "/dev/vdb /data ext4 rw,relatime 0 0\n")
		l.put("etc/fstab", "/dev/vdb /data ext4 defaults 0 0\n")
		l.fails(FixMountOptions, "/etc/fstab is as it was", "/data")
		if got := l.get("etc/fstab"); got != "/dev/vdb /data ext4 defaults 0 0\n" {
			t.Errorf("%s", got)
		}
	})
}

// only has the commands of this machine that the scripts need, and no package manager.
func (l *local) only(t *testing.T) {
	t.Helper()
	for _, name := range []string{"id", "mktemp", "rm", "tail", "sleep", "cat", "env", "sh"} {
		l.link(name)
	}
	l.shell = append([]string{}, l.shell...)
	l.path = l.bin
}

func TestDocker(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		l.only(t)
		l.fails(FixDocker, "no package manager")
		// What apt-get installs starts as systemd is asked to.
		l.put("run/systemd/system/x", "")
		socket := short(t, l.folder("var/run")) + "/docker.sock"
		l.command("apt-get", `case "$*" in *install*docker.io*) [ -e "$TRACE.updated" ] || { echo 'E: no package' >&2; exit 100; } ;; *update*) : >"$TRACE.updated" ;; esac`)
		l.command("systemctl", "exit 5")
		l.fails(FixDocker, "journalctl -u docker")
		ln, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		l.prepare(FixDocker, "a Docker engine runs", "a Docker engine runs")
		_ = ln.Close()
		if called := l.called(); strings.Count(called, "install --no-install-recommends docker.io iptables") != 2 || !strings.Contains(called, "systemctl enable --now docker") {
			t.Errorf("%s", called)
		}
	})
}

func TestNumactl(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		l.only(t)
		l.fails(FixNumactl, "install numactl by hand")
		l.command("zypper", `printf '#!/bin/sh\n' >"${0%/*}/numactl"; /bin/chmod 0755 "${0%/*}/numactl"`)
		l.prepare(FixNumactl, "there is no numactl", "numactl is installed")
		if called := l.called(); called != "zypper -q --non-interactive install numactl\n" {
			t.Errorf("%q", called)
		}
	})
}
