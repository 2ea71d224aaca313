package host

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// engineChecks are those of the Docker engine, and of the machine as the engine needs it.
func (i Inventory) engineChecks(engine EngineFacts) []Check {
	checks := []Check{i.socket(engine), engine.version()}
	if engine.Version != "" {
		checks = append(checks, engine.storage())
	}
	return append(checks, i.memoryLimit(engine))
}

// socket checks that whoever logs in may use the engine. One that has answered may be.
func (i Inventory) socket(engine EngineFacts) Check {
	c := Check{Name: "docker_socket", Wanted: "accessible to the user that Berth logs in as"}
	switch {
	case engine.Version != "" || i.Socket == "accessible":
		return c.pass("accessible")
	case i.Socket == "denied":
		return c.fail("permission denied for "+orUnknown(i.User), "add the user to the group docker (usermod -aG "+
			"docker "+i.User+"), which is as good as root")
	default:
		return c.fail(orUnknown(i.Socket), "install and start a Docker engine (the fix docker)")
	}
}

func (e EngineFacts) version() Check {
	c := Check{Name: "engine", Wanted: "Docker 20.10 or newer"}
	if e.Version == "" {
		return c.fail("no engine answers", "install and start a Docker engine (the fix docker)")
	}
	v, ok := parseVersion(e.Version)
	switch {
	case !ok:
		return c.warn(e.Version, "check that this engine is no older than Docker 20.10: its version cannot be read")
	case v.below(20, 10):
		return c.fail(e.Version, "install a newer Docker engine")
	default:
		return c.pass(e.Version)
	}
}

// storageDrivers are those that containers start fast and copy little with.
var storageDrivers = []string{"overlay2", "overlayfs", "btrfs", "zfs"}

func (e EngineFacts) storage() Check {
	c := Check{Name: "storage_driver", Wanted: strings.Join(storageDrivers, ", ")}
	const advice = "have Docker keep its data on ext4 or XFS (ftype=1) with the storage driver overlay2"
	switch {
	case slices.Contains(storageDrivers, e.StorageDriver):
		return c.pass(e.StorageDriver)
	case e.StorageDriver == "devicemapper":
		return c.fail(e.StorageDriver, advice+": devicemapper is gone from newer engines, and loses data on loop devices")
	default: // vfs among them
		return c.warn(orUnknown(e.StorageDriver), advice)
	}
}

// memoryLimit checks that no container can take all memory. The engine knows it better than
// the files of the kernel.
func (i Inventory) memoryLimit(engine EngineFacts) Check {
	c := Check{Name: "memory_limit", Wanted: "control groups that limit memory"}
	const advice = "enable the memory controller (cgroup_enable=memory on the kernel's command line) and start the machine anew"
	found := "control groups"
	if i.Cgroup > 0 {
		found = fmt.Sprintf("control groups, version %d", i.Cgroup)
	}
	available := engine.MemoryLimit
	if engine.Version == "" {
		available = i.CgroupMemory == "yes"
	}
	switch {
	case available:
		return c.pass(found)
	case engine.Version == "" && i.CgroupMemory == "":
		return c.fail("not known", "mount the control groups at /sys/fs/cgroup")
	default:
		return c.fail(found+" without a limit of memory", advice)
	}
}

// version is the first two numbers of one.
type version struct{ major, minor int }

func (v version) below(major, minor int) bool {
	return v.major < major || (v.major == major && v.minor < minor)
}

// parseVersion reads "20.10.24+dfsg1", "v4.18" and the like.
func parseVersion(text string) (version, bool) {
	first, rest, found := strings.Cut(strings.TrimPrefix(text, "v"), ".")
	if !found {
		return version{}, false
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	major, err := strconv.ParseUint(first, 10, 31)
	if err != nil {
		return version{}, false
	}
	minor, err := strconv.ParseUint(rest[:end], 10, 31)
	if err != nil {
		return version{}, false
	}
	return version{int(major), int(minor)}, true //nolint:gosec // they have 31 bits
}

func orUnknown(text string) string {
	if text == "" {
		return "not known"
	}
	return text
}

func unlimitedOr(n int64) string {
	if n == math.MaxInt64 {
		return "unlimited"
	}
	return strconv.FormatInt(n, 10)
}

// bytes gives a size as people read it.
func bytes(n int64) string {
	const unit = 1024
	value, names := float64(n), []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for value >= unit && len(names) > 1 {
		value, names = value/unit, names[1:]
	}
	if names[0] == "bytes" {
		return fmt.Sprintf("%d bytes", n)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + names[0]
}
