package testenv

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// enginePrefix and the process id of the test binary begin the name of an engine's
// folder, which is its namespace's name, too.
const enginePrefix = "berth-engine-"

// sweepEngines removes the engines of test binaries that were killed.
func sweepEngines(ctx context.Context) {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), enginePrefix+"*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), enginePrefix), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			_ = takeDown(ctx, dir) // another binary may be at it, too
		}
	}
}

// takeDown removes an engine, whatever of it is there: processes, mounts, namespace
// with link, cgroups, folder.
func takeDown(ctx context.Context, dir string) error {
	// A process may have had a child between the look and its end: look again.
	for ids := engineProcesses(dir); len(ids) > 0; ids = engineProcesses(dir) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, id := range ids {
			_ = syscall.Kill(id, syscall.SIGKILL)
		}
	}
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, path := range mounts {
		_ = syscall.Unmount(path, syscall.MNT_DETACH)
	}
	if _, err := os.Stat(filepath.Join("/run/netns", filepath.Base(dir))); err == nil {
		if _, err := run(ctx, "ip", "netns", "delete", filepath.Base(dir)); err != nil {
			return err
		}
	}
	removeOutside(ctx, dir)
	return os.RemoveAll(dir)
}

// removeOutside removes what dockerd and containerd keep in places that cannot be
// chosen, of containers that had no orderly end: cgroups, the shims' sockets.
func removeOutside(ctx context.Context, dir string) {
	addresses, _ := filepath.Glob(filepath.Join(dir, "containerd-state/*/*/*/address"))
	for _, file := range addresses {
		if address, err := os.ReadFile(file); err == nil {
			_ = os.Remove(strings.TrimPrefix(string(address), "unix://"))
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/%/*", "/sys/fs/cgroup/*/%", "/sys/fs/cgroup/%/*", "/sys/fs/cgroup/%"} {
		groups, _ := filepath.Glob(strings.Replace(pattern, "%", filepath.Base(dir), 1))
		for _, group := range groups {
			// Of files in it there is no end, and it needs none; what was killed may still end.
			for tries := 0; errors.Is(syscall.Rmdir(group), syscall.EBUSY) && ctx.Err() == nil && tries < 200; tries++ {
				<-time.After(10 * time.Millisecond)
			}
		}
	}
}

// engineProcesses gives the processes that name the engine's folder in their command
// line (dockerd, containerd, a shim for each container), and their children, which are
// the containers.
func engineProcesses(dir string) []int {
	parents, ours := map[int]int{}, map[int]bool{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil || id == os.Getpid() {
			continue
		}
		command, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		ours[id] = bytes.Contains(command, []byte(dir+"/"))
		parents[id] = parentOf(id)
	}
	var found []int
	for id := range parents {
		for ancestor := id; ancestor > 1; ancestor = parents[ancestor] {
			if ours[ancestor] {
				found = append(found, id)
				break
			}
		}
	}
	return found
}

// parentOf reads a process's parent: the second field after its name, which is in
// parentheses and may hold anything. One that has ended and waits to be collected has
// none.
func parentOf(id int) int {
	stat, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(id), "stat"))
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 || fields[0][0] == 'Z' {
		return 0
	}
	parent, _ := strconv.Atoi(string(fields[1]))
	return parent
}

// mountsBelow gives what is mounted in the folder, the innermost first.
func mountsBelow(dir string) ([]string, error) {
	info, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer info.Close() //nolint:errcheck // it is only read
	var found []string
	lines := bufio.NewScanner(info)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			found = append(found, fields[4])
		}
	}
	slices.Reverse(found)
	return found, lines.Err()
}
