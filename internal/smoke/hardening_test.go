package smoke

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/testenv"
)

// inside runs a script in the instance's container, as its own user.
func inside(t *testing.T, container, script string) string {
	t.Helper()
	out, err := runDocker(t.Context(), "exec", container, "/bin/sh", "-c", script)
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return out
}

// TestHardening proves from inside an instance of each engine, started and adopted, what it
// runs under.
func TestHardening(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	for _, engine := range []string{"mysql", "redis"} {
		t.Run(engine, func(t *testing.T) {
			s := create(t, dev.server, engine, "", nil)
			s.awaitRunning(t, dev.server)
			container := containerOf(t, s.ID)
			checkInspected(t, s, container)
			checkProcesses(t, container)
			checkFiles(t, container)
			checkLimits(t, s, container)
			checkPids(t, s, container)
			removeQuietly(t, dev, s)
		})
	}
}

func checkInspected(t *testing.T, s *service, container string) {
	t.Helper()
	const shape = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{if .HostConfig.CapAdd}}more{{end}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}} " +
		"{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}}|{{if .HostConfig.Devices}}devices{{end}}{{if .HostConfig.Binds}}binds{{end}}"
	want := fmt.Sprintf("true [ALL]  [no-new-privileges] false %d %d %d berth-instances |",
		s.Resources.Memory, s.Resources.Memory, int64(s.Resources.CPU*1e9))
	if got := docker(t, "inspect", "--format", shape, container); got != want {
		t.Errorf("it is  %s\nwant   %s", got, want)
	}
}

// checkProcesses looks at each process, the server and its parent too.
func checkProcesses(t *testing.T, container string) {
	t.Helper()
	status := inside(t, container, `for p in /proc/[0-9]*; do
		while read -r name value rest; do case $name in Uid:|Gid:|Cap*|NoNewPrivs:|Seccomp:) echo "$name $value" ;; esac; done <$p/status
	done 2>/dev/null | sort | uniq -c`)
	for _, line := range strings.Split(status, "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			t.Fatalf("it says %q", status)
		}
		want := map[string]string{"Uid:": "999", "Gid:": "999", "NoNewPrivs:": "1", "Seccomp:": "2"}[f[1]]
		if strings.HasPrefix(f[1], "Cap") {
			want = "0000000000000000"
		}
		if f[2] != want {
			t.Errorf("%s processes have %s %s, want %s", f[0], f[1], f[2], want)
		}
	}
	for _, name := range []string{"Uid:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:"} {
		if !strings.Contains(status, name) {
			t.Errorf("%s is not known: %s", name, status)
		}
	}
}

// checkFiles tries to write wherever a mount or a folder may let it.
func checkFiles(t *testing.T, container string) {
	t.Helper()
	written := inside(t, container, `for d in / /etc /usr/bin /var /root /run /home /opt /srv /mnt /dev /sys /proc/sys $(cut -d' ' -f2 /proc/self/mounts); do
		[ -d "$d" ] && { : >"$d/berth-was-here"; } 2>/dev/null && rm -f "$d/berth-was-here" && echo "$d"
		[ ! -f "$d" ] || { : >>"$d"; } 2>/dev/null && [ -f "$d" ] && [ -w "$d" ] && echo "$d"
	done | sort -u; true`)
	allowed := map[string]bool{"/data": true, "/var/lib/mysql": true, "/tmp": true, "/dev/shm": true, "/dev/mqueue": true}
	for _, place := range strings.Fields(written) {
		if !allowed[place] && !strings.HasPrefix(place, "/proc/") && place != "/dev/null" && place != "/dev/tty" {
			t.Errorf("it can write to %s", place)
		}
	}
	for what, script := range map[string]string{
		"mount":                  "mount -t tmpfs none /tmp",
		"mknod":                  "mknod /tmp/disk b 8 0",
		"change its limits":      "ulimit -n 1000000",
		"change the kernel":      "echo 1 >/proc/sys/kernel/panic",
		"become root":            "su -c true || sudo true",
		"reach the Docker API":   "[ -e /var/run/docker.sock ] || [ -e /run/docker.sock ]",
		"make a user namespace":  "unshare --user true",
		"run what it has stored": "cp /bin/true /dev/shm/x && /dev/shm/x",
	} {
		if out, err := runDocker(t.Context(), "exec", container, "/bin/sh", "-c", script); err == nil {
			t.Errorf("it can %s: %s", what, out)
		}
	}
}

func checkLimits(t *testing.T, s *service, container string) {
	t.Helper()
	file := "unlimited"
	if s.Engine == "mysql" {
		file = fmt.Sprint(s.Resources.Disk + s.Resources.Disk/4)
	}
	limits := inside(t, container, `for p in /proc/[0-9]*; do
		read -r name <$p/comm; case $name in mysqld|redis-server) cat $p/limits ;; esac
	done 2>/dev/null`)
	for what, want := range map[string]string{"Max core file size": "0", "Max file size": file} {
		_, line, _ := strings.Cut(limits, what)
		if f := strings.Fields(line); len(f) < 2 || f[0] != want || f[1] != want {
			t.Errorf("%s is not %s: %s", what, want, limits)
		}
	}
	_, line, _ := strings.Cut(limits, "Max open files")
	if files, err := strconv.Atoi(strings.Fields(line + " ? ?")[1]); err != nil || files > 65536 {
		t.Errorf("it may open any number of files: %s", limits)
	}
	memory := inside(t, container, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max")
	if memory != fmt.Sprint(s.Resources.Memory) {
		t.Errorf("its memory is %s, want %d", memory, s.Resources.Memory)
	}
}

// checkPids has a shell start processes without end. The server goes on.
func checkPids(t *testing.T, s *service, container string) {
	t.Helper()
	limit, err := strconv.Atoi(docker(t, "inspect", "--format", "{{.HostConfig.PidsLimit}}", container))
	if err != nil || limit <= 0 || limit > 20000 {
		t.Fatalf("its limit of processes is %d, %v", limit, err)
	}
	// A shell ends when it cannot fork.
	out, _ := runDocker(t.Context(), "exec", container, "/bin/sh", "-c",
		fmt.Sprintf("n=0; while [ $n -lt %d ]; do sleep 5 & n=$((n+1)); echo started $n; done", limit+100))
	if out == "" || strings.Contains(out, fmt.Sprint("started ", limit+1)) {
		t.Errorf("its limit is %d processes; a shell: %s", limit, testenv.Tail(out, 2))
	}
	testenv.Eventually(t, "the server goes on", usable, func(ctx context.Context) error { return work(ctx, t, s) })
}

// used works with the instance as an application would.
func used(t *testing.T, s *service) {
	t.Helper()
	if err := work(t.Context(), t, s); err != nil {
		t.Errorf("%s cannot be used: %v", s.ID, err)
	}
}

func work(ctx context.Context, t *testing.T, s *service) error {
	t.Helper()
	if s.Engine == "mysql" {
		return workMySQL(ctx, openMySQL(t, s.conn), "used")
	}
	return workRedis(ctx, openRedis(t, s.conn), "used")
}
