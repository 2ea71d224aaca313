package host

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict is what a check has come to.
type Verdict string

// The verdicts.
const (
	Pass Verdict = "pass"
	Warn Verdict = "warn" // it works, less well than it could
	Fail Verdict = "fail" // the machine cannot be a host like this
)

// Check is one thing that was looked at on a machine.
type Check struct {
	Name          string // stable, for programs: "engine", "disk:/data1"
	Verdict       Verdict
	Found, Wanted string // in words
	Advice        string // what to do; empty with Pass
}

// SwarmMember is the part that an engine has in a swarm; zero: none.
type SwarmMember struct {
	NodeID  string
	Manager bool
	Cluster string // its id, which managers know
}

const (
	clockWarn, clockFail = 5 * time.Second, time.Minute
	minFree              = 5 << 30 // bytes
	minFreeShare         = 10      // percent
	minNoFile            = 65_536
	minSomaxconn         = 1024 // what MySQL and Redis ask for at most, by default
	minMapCount          = 262_144
	minFileMax           = 200_000
)

// Checks says how well the machine can be a host. now is the time at which the inventory was
// taken, by Berth's clock; disks are the folders of its data disks.
func (i Inventory) Checks(now time.Time, engine EngineFacts, disks []string) []Check {
	checks := append(i.engineChecks(engine), i.clock(now), i.kernel(engine), i.swap())
	checks = append(checks, i.limitChecks()...)
	checks = append(checks, i.overcommit(), i.hugePages(), i.governor())
	checks = append(checks, free("free_disk", i.Docker))
	for _, path := range disks {
		checks = append(checks, i.disk(path)...)
	}
	return checks
}

// Worst gives the worst verdict of the checks.
func Worst(checks []Check) Verdict {
	worst := Pass
	for _, c := range checks {
		if c.Verdict == Fail || worst == Pass {
			worst = c.Verdict
		}
		if worst == Fail {
			break
		}
	}
	return worst
}

func (i Inventory) clock(now time.Time) Check {
	c := Check{Name: "clock", Wanted: fmt.Sprintf("within %s of Berth's", clockWarn)}
	if i.Clock.IsZero() {
		return c.warn("not known", "look at the machine's time (date), which could not be read")
	}
	skew := i.Clock.Sub(now).Round(100 * time.Millisecond)
	c.Found = "the same time as Berth's"
	switch {
	case skew > 0:
		c.Found = skew.String() + " ahead"
	case skew < 0:
		c.Found = (-skew).String() + " behind"
	}
	const advice = "have the machine's clock set by NTP (timedatectl set-ntp true, or chrony); check that of Berth, too"
	switch {
	case skew.Abs() > clockFail:
		return c.fail(c.Found, advice)
	case skew.Abs() > clockWarn:
		return c.warn(c.Found, advice)
	default:
		return c.pass(c.Found)
	}
}

func (i Inventory) kernel(engine EngineFacts) Check {
	c := Check{Name: "kernel", Wanted: "4.18 or newer"}
	release := i.Kernel
	if release == "" {
		release = engine.Kernel
	}
	v, ok := parseVersion(release)
	switch {
	case !ok:
		return c.warn(orUnknown(release), "check the kernel's release (uname -r), which cannot be read")
	case v.below(3, 10):
		return c.fail(release, "install a kernel of 4.18 or newer: Docker does not run on this one")
	case v.below(4, 18):
		return c.warn(release, "install a kernel of 4.18 or newer: older ones leak memory of control groups and have "+
			"a slower overlay2")
	default:
		return c.pass(release)
	}
}

func (i Inventory) swap() Check {
	c := Check{Name: "swap", Wanted: "off"}
	if i.SwapBytes == 0 {
		return c.pass("off")
	}
	return c.warn(bytes(i.SwapBytes), "turn it off (the fix swap_off): a server whose memory is swapped out answers "+
		"as if it hung")
}

func (i Inventory) limitChecks() []Check {
	nofile := Check{Name: "nofile", Wanted: fmt.Sprintf("%d or more", minNoFile)}
	limit, whose := i.NoFile.Engine, "of the Docker engine"
	if limit == 0 {
		limit, whose = i.NoFile.Hard, "of the login"
	}
	switch {
	case limit == 0:
		nofile = nofile.warn("not known", "check LimitNOFILE of docker.service")
	case limit < minNoFile:
		nofile = nofile.warn(fmt.Sprintf("%d, %s", limit, whose), "raise LimitNOFILE of docker.service (systemctl "+
			"edit docker), or the limit in /etc/security/limits.conf")
	default:
		nofile = nofile.pass(unlimitedOr(limit) + ", " + whose)
	}
	return []Check{
		nofile,
		i.atLeast("somaxconn", "net.core.somaxconn", minSomaxconn),
		i.atLeast("file_max", "fs.file-max", minFileMax),
		i.atLeast("max_map_count", "vm.max_map_count", minMapCount),
	}
}

// atLeast checks a setting of the kernel that must not be too low.
func (i Inventory) atLeast(name, sysctl string, least int64) Check {
	c := Check{Name: name, Wanted: fmt.Sprintf("%s of %d or more", sysctl, least)}
	value, known := i.Sysctls[sysctl]
	switch {
	case !known:
		return c.warn("not known", "check it with sysctl "+sysctl)
	case value < least:
		return c.warn(fmt.Sprint(value), "raise it (the fix sysctls)")
	default:
		return c.pass(unlimitedOr(value))
	}
}

func (i Inventory) overcommit() Check {
	c := Check{Name: "overcommit_memory", Wanted: "vm.overcommit_memory = 1"}
	value, known := i.Sysctls["vm.overcommit_memory"]
	switch {
	case !known:
		return c.warn("not known", "check it with sysctl vm.overcommit_memory")
	case value != 1:
		return c.warn(fmt.Sprint(value), "set it to 1 (the fix sysctls): Redis forks to save, which fails otherwise "+
			"when memory is short")
	default:
		return c.pass("1")
	}
}

func (i Inventory) hugePages() Check {
	c := Check{Name: "transparent_hugepages", Wanted: "madvise or never"}
	if i.HugePages == "always" {
		return c.warn("always", "set transparent_hugepage=madvise on the kernel's command line: with always, Redis "+
			"has pauses and takes more memory")
	}
	return c.pass(orUnknown(i.HugePages))
}

// governor looks at physical machines only: a virtual one has none, or one that has no effect.
func (i Inventory) governor() Check {
	c := Check{Name: "cpu_governor", Wanted: "performance, schedutil or ondemand; none on a virtual machine"}
	found := strings.Join(i.Governors, ", ")
	physical := i.Virtual == "none"
	switch {
	case !physical:
		return c.pass(strings.TrimSuffix("a virtual machine ("+orUnknown(i.Virtual)+"), "+found, ", "))
	case slices.Contains(i.Governors, "powersave"):
		return c.warn(found, "set the governor performance (cpupower frequency-set -g performance, or the power "+
			"profile of the firmware)")
	case found == "":
		return c.pass("left to the firmware")
	default:
		return c.pass(found)
	}
}

// free checks what is free where something is kept.
func free(name string, s Space) Check {
	c := Check{Name: name, Wanted: fmt.Sprintf("%s and %d %% of %s", bytes(minFree), minFreeShare, orUnknown(s.Path))}
	if s.SizeBytes == 0 {
		return c.warn("not known", "check it with df "+s.Path)
	}
	found := fmt.Sprintf("%s of %s", bytes(s.FreeBytes), bytes(s.SizeBytes))
	const advice = "free space there, or take a larger disk"
	switch {
	case s.FreeBytes < minFree:
		return c.fail(found, advice)
	case float64(s.FreeBytes)*100 < float64(s.SizeBytes)*minFreeShare:
		return c.warn(found, advice)
	default:
		return c.pass(found)
	}
}

func (c Check) pass(found string) Check {
	c.Verdict, c.Found, c.Advice = Pass, found, ""
	return c
}

func (c Check) warn(found, advice string) Check {
	c.Verdict, c.Found, c.Advice = Warn, found, advice
	return c
}

func (c Check) fail(found, advice string) Check {
	c.Verdict, c.Found, c.Advice = Fail, found, advice
	return c
}
