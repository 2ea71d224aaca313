package host

import (
	"strings"
	"testing"
	"time"
)

// sound is a machine of which every check passes.
func sound() (Inventory, EngineFacts, []string) {
	gib := int64(1 << 30)
	return Inventory{
			Kernel: "6.1.0-18-amd64", Clock: checkedAt, User: "berth", Socket: "accessible", Cgroup: 2, CgroupMemory: "yes", Virtual: "none", Governors: []string{"performance"},
			NoFile: NoFile{Hard: 1024, Engine: 1 << 20}, HugePages: "madvise",
			Sysctls: map[string]int64{"vm.overcommit_memory": 1, "net.core.somaxconn": 4096, "fs.file-max": 1 << 62, "vm.max_map_count": 262144},
			Docker:  Space{Path: "/var/lib/docker", SizeBytes: 100 * gib, FreeBytes: 50 * gib},
			Disks: []Folder{{Space: Space{Path: "/data", SizeBytes: 100 * gib, FreeBytes: 50 * gib}, Exists: true, Mount: "/data", Device: "/dev/vdb", FSType: "ext4",
				Options: []string{"rw", "noatime", "nodelalloc"}, Rotational: "no"}},
		}, EngineFacts{ID: "X", Version: "28.5.2+dfsg1", StorageDriver: "overlay2", CgroupVersion: "2", MemoryLimit: true},
		[]string{"/data"}
}

var checkedAt = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func TestSound(t *testing.T) {
	inv, engine, disks := sound()
	checks := inv.Checks(checkedAt, engine, disks)
	names := map[string]bool{}
	for _, c := range checks {
		if c.Verdict != Pass || c.Found == "" || c.Wanted == "" || names[c.Name] {
			t.Errorf("%+v", c)
		}
		names[c.Name] = true
	}
	if Worst(checks) != Pass || Worst([]Check{{Verdict: Pass}, {Verdict: Warn}, {Verdict: Pass}}) != Warn || Worst([]Check{{Verdict: Warn}, {Verdict: Fail}, {Verdict: Warn}}) != Fail || Worst(nil) != Pass {
		t.Error("the worst is another")
	}
}

// One thing is changed on a sound machine, and one check says so.
func TestChecks(t *testing.T) {
	type machine struct {
		i *Inventory
		e *EngineFacts
	}
	const gib = int64(1 << 30)
	for name, c := range map[string]struct {
		change  func(machine)
		check   string
		verdict Verdict
		advice  string
	}{
		"no engine":          {func(m machine) { *m.e, m.i.Socket = EngineFacts{}, "missing" }, "engine", Fail, "fix docker"},
		"no socket":          {func(m machine) { *m.e, m.i.Socket = EngineFacts{}, "missing" }, "docker_socket", Fail, "fix docker"},
		"no permission":      {func(m machine) { *m.e, m.i.Socket = EngineFacts{}, "denied" }, "docker_socket", Fail, "usermod -aG docker berth"},
		"an old engine":      {func(m machine) { m.e.Version = "19.03.15" }, "engine", Fail, "newer"},
		"20.10":              {func(m machine) { m.e.Version = "20.10.24" }, "engine", Pass, ""},
		"an odd engine":      {func(m machine) { m.e.Version = "dev" }, "engine", Warn, "20.10"},
		"vfs":                {func(m machine) { m.e.StorageDriver = "vfs" }, "storage_driver", Warn, "overlay2"},
		"devicemapper":       {func(m machine) { m.e.StorageDriver = "devicemapper" }, "storage_driver", Fail, "overlay2"},
		"containerd's":       {func(m machine) { m.e.StorageDriver = "overlayfs" }, "storage_driver", Pass, ""},
		"no memory limit":    {func(m machine) { m.e.MemoryLimit = false }, "memory_limit", Fail, "cgroup_enable=memory"},
		"no memory cgroup":   {func(m machine) { *m.e, m.i.CgroupMemory = EngineFacts{}, "no" }, "memory_limit", Fail, "cgroup_enable=memory"},
		"a little ahead":     {func(m machine) { m.i.Clock = checkedAt.Add(5 * time.Second) }, "clock", Pass, ""},
		"ahead":              {func(m machine) { m.i.Clock = checkedAt.Add(6 * time.Second) }, "clock", Warn, "NTP"},
		"far behind":         {func(m machine) { m.i.Clock = checkedAt.Add(-time.Hour) }, "clock", Fail, "NTP"},
		"no clock":           {func(m machine) { m.i.Clock = time.Time{} }, "clock", Warn, "date"},
		"swap":               {func(m machine) { m.i.SwapBytes = gib }, "swap", Warn, "swap_off"},
		"an old kernel":      {func(m machine) { m.i.Kernel = "3.10.0-1160.el7" }, "kernel", Warn, "4.18"},
		"an ancient kernel":  {func(m machine) { m.i.Kernel = "2.6.32" }, "kernel", Fail, "4.18"},
		"an odd kernel":      {func(m machine) { m.i.Kernel = "x" }, "kernel", Warn, "uname"},
		"4.18":               {func(m machine) { m.i.Kernel = "4.18.0-553.el8_10.x86_64" }, "kernel", Pass, ""},
		"few files":          {func(m machine) { m.i.NoFile.Engine = 1024 }, "nofile", Warn, "LimitNOFILE"},
		"few of the login":   {func(m machine) { m.i.NoFile.Engine = 0 }, "nofile", Warn, "LimitNOFILE"},
		"somaxconn":          {func(m machine) { m.i.Sysctls["net.core.somaxconn"] = 128 }, "somaxconn", Warn, "fix sysctls"},
		"no somaxconn":       {func(m machine) { delete(m.i.Sysctls, "net.core.somaxconn") }, "somaxconn", Warn, "sysctl"},
		"overcommit":         {func(m machine) { m.i.Sysctls["vm.overcommit_memory"] = 0 }, "overcommit_memory", Warn, "Redis"},
		"huge pages":         {func(m machine) { m.i.HugePages = "always" }, "transparent_hugepages", Warn, "madvise"},
		"powersave":          {func(m machine) { m.i.Governors = []string{"performance", "powersave"} }, "cpu_governor", Warn, "performance"},
		"virtual, powersave": {func(m machine) { m.i.Governors, m.i.Virtual = []string{"powersave"}, "kvm" }, "cpu_governor", Pass, ""},
		"perhaps virtual":    {func(m machine) { m.i.Governors, m.i.Virtual = []string{"powersave"}, "" }, "cpu_governor", Pass, ""},
		"full":               {func(m machine) { m.i.Docker.FreeBytes = 5*gib - 1 }, "free_disk", Fail, "free space"},
		"nearly full":        {func(m machine) { m.i.Docker.FreeBytes = 10*gib - 1 }, "free_disk", Warn, "free space"},
		"just enough":        {func(m machine) { m.i.Docker.FreeBytes = 10 * gib }, "free_disk", Pass, ""},
		"a disk not asked":   {func(m machine) { m.i.Disks = nil }, "disk:/data", Fail, "anew"},
		"no such folder":     {func(m machine) { m.i.Disks[0].Exists = false }, "disk:/data", Fail, "mount"},
		"read-only":          {func(m machine) { m.i.Disks[0].Options = []string{"ro", "noatime", "nodelalloc"} }, "disk:/data", Fail, "read-write"},
		"in memory":          {func(m machine) { m.i.Disks[0].FSType = "tmpfs" }, "disk:/data", Fail, "lost"},
		"the system's":       {func(m machine) { m.i.Disks[0].Mount = "/" }, "disk:/data", Warn, "of its own"},
		"rotating":           {func(m machine) { m.i.Disks[0].Rotational = "yes" }, "disk:/data", Warn, "solid"},
		"relatime":           {func(m machine) { m.i.Disks[0].Options = []string{"rw", "relatime"} }, "mount_options:/data", Warn, "mount_options"},
		"delalloc":           {func(m machine) { m.i.Disks[0].Options = []string{"rw", "noatime"} }, "mount_options:/data", Warn, "mount_options"},
		"xfs":                {func(m machine) { m.i.Disks[0].FSType, m.i.Disks[0].Options = "xfs", []string{"rw", "noatime"} }, "mount_options:/data", Pass, ""},
		"a full data disk":   {func(m machine) { m.i.Disks[0].FreeBytes = 1 }, "disk_free:/data", Fail, "free space"},
	} {
		t.Run(name, func(t *testing.T) {
			inv, engine, disks := sound()
			c.change(machine{&inv, &engine})
			found := 0
			for _, check := range inv.Checks(checkedAt, engine, disks) {
				if check.Name == c.check {
					found++
					if check.Verdict != c.verdict || !strings.Contains(check.Advice, c.advice) || check.Found == "" {
						t.Errorf("%+v", check)
					}
				} else if check.Verdict != Pass && engine.Version != "" {
					t.Errorf("another check: %+v", check)
				}
			}
			if found != 1 {
				t.Errorf("%d checks of that name", found)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1536: "1.5 KiB", 5 << 30: "5 GiB", 1<<63 - 1: "8 EiB"} {
		if got := bytes(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
