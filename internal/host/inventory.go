package host

import (
	"context"
	_ "embed" // the scripts that machines run
	"math"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/berth-project/berth/internal/fault"
)

//go:embed scripts/inventory.sh
var inventoryScript string

// Inventory is what a machine says of itself. What it did not say is zero.
type Inventory struct {
	OS     string // as people call it: "Debian GNU/Linux 12 (bookworm)"
	Kernel string // its release: "6.1.0-18-amd64"
	Arch   string // as Docker calls it: "amd64"
	CPUs   int

	MemoryBytes int64
	SwapBytes   int64
	Clock       time.Time // what time it was there
	User        string    // who logged in
	Privilege   string    // of the user: "root", "sudo" (without a password) or "none"
	Socket      string    // of Docker, for the user: "accessible", "denied" or "missing"

	Cgroup       int    // the version; 0: not known
	CgroupMemory string // whether memory can be limited: "yes", "no"
	Virtual      string // the kind of virtual machine; "none": it is a physical one
	Governors    []string
	NoFile       NoFile
	Sysctls      map[string]int64
	HugePages    string   // transparent ones: "always", "madvise" or "never"
	Numactl      string   // "yes", "no"
	Docker       Space    // where Docker's data is, or will be
	Disks        []Folder // in the order in which they were asked for
}

// NoFile is how many files may be open; math.MaxInt64: any number, 0: not known.
type NoFile struct {
	Soft, Hard int64 // of a process of the user
	Engine     int64 // of the Docker engine
}

// Space is a folder and what is free on its file system.
type Space struct {
	Path                 string
	SizeBytes, FreeBytes int64
}

// Folder is the folder of a data disk.
type Folder struct {
	Space
	Exists     bool
	Mount      string // the mount point that the folder is in
	Device     string
	FSType     string
	Options    []string
	Rotational string // "yes", "no"; empty: not known
}

// maxDisks bounds how many data disks a machine may have.
const maxDisks = 64

// TakeInventory asks a machine what it is. dockerFolder is where its engine keeps its data;
// empty: not known yet. disks are the folders of its data disks.
func TakeInventory(ctx context.Context, sh Shell, dockerFolder string, disks ...string) (Inventory, error) {
	if len(disks) > maxDisks {
		return Inventory{}, fault.Errorf(fault.CodeInvalid, nil, "a machine may have %d data disks, not %d", maxDisks, len(disks))
	}
	if err := checkPaths(disks); err != nil {
		return Inventory{}, err
	}
	if dockerFolder != "" {
		if err := checkPaths([]string{dockerFolder}); err != nil {
			return Inventory{}, err
		}
	}
	out, err := sh.Run(ctx, inventoryScript, append([]string{dockerFolder}, disks...)...)
	if err != nil {
		return Inventory{}, err
	}
	return ParseInventory(out)
}

// checkPaths fails unless these are absolute paths in their shortest form.
func checkPaths(paths []string) error {
	for _, p := range paths {
		if !path.IsAbs(p) || path.Clean(p) != p || !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl) {
			return fault.Errorf(fault.CodeInvalid, nil, "%q is no path of a folder: it must be absolute, as short as "+
				"can be, and without control characters", p)
		}
	}
	return nil
}

// ParseInventory reads what the script of TakeInventory wrote. What it does not know, and values
// that make no sense, it leaves out; it fails where the output is of something else, or cut off.
func ParseInventory(text string) (Inventory, error) {
	known := fields{}
	var disks [maxDisks]fields
	for line := range strings.Lines(text) {
		key, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		value = strings.TrimSpace(value)
		if !found || value == "" || len(value) > maxValue || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			continue
		}
		of := known
		if rest, ok := strings.CutPrefix(key, "disk."); ok {
			number, name, _ := strings.Cut(rest, ".")
			i, err := strconv.Atoi(number)
			if err != nil || i < 0 || i >= maxDisks {
				continue
			}
			if disks[i] == nil {
				disks[i] = fields{}
			}
			of, key = disks[i], name
		}
		if _, twice := of[key]; !twice {
			of[key] = value
		}
	}
	if known["inventory"] != "1" || known["end"] != "1" {
		return Inventory{}, fault.Errorf(fault.CodeInternal, nil, "what the machine says of itself cannot be read: it "+
			"is not whole, or something else is in between, such as a greeting of the login shell")
	}
	inv := known.inventory()
	for _, d := range disks {
		if d == nil {
			break // they are numbered without a gap
		}
		inv.Disks = append(inv.Disks, d.disk())
	}
	return inv, nil
}

// maxValue bounds a value, in bytes. Mount options of overlays are the longest.
const maxValue = 8 << 10

// fields are the lines of an inventory, or of one disk in it.
type fields map[string]string

func (f fields) inventory() Inventory {
	inv := Inventory{
		OS: f["os"], Kernel: f["kernel"], Arch: f["arch"], CPUs: int(min(f.number("cpus"), 1<<20)),
		MemoryBytes: f.number("memory_bytes"), SwapBytes: f.number("swap_bytes"),
		User: f["user"], Privilege: f.oneOf("privilege", "root", "sudo", "none"),
		Socket: f.oneOf("docker_socket", "accessible", "denied", "missing"),
		Cgroup: int(min(f.number("cgroup"), 9)), CgroupMemory: f.oneOf("cgroup_memory", "yes", "no"),
		Virtual: f["virtual"], Governors: strings.Fields(f["governors"]),
		NoFile:    NoFile{Soft: f.number("nofile_soft"), Hard: f.number("nofile_hard"), Engine: f.number("nofile_engine")},
		HugePages: f.oneOf("hugepages", "always", "madvise", "never"), Numactl: f.oneOf("numactl", "yes", "no"),
		Docker:  Space{Path: f["docker.path"], SizeBytes: f.number("docker.size"), FreeBytes: f.number("docker.free")},
		Sysctls: map[string]int64{},
	}
	if ms := f.number("clock_ms"); ms > 0 && ms < maxClock {
		inv.Clock = time.UnixMilli(ms).UTC()
	}
	for key := range f {
		if name, ok := strings.CutPrefix(key, "sysctl."); ok && f.isNumber(key) {
			inv.Sysctls[name] = f.number(key)
		}
	}
	return inv
}

// maxClock is the year 9999, in milliseconds.
const maxClock = 253_402_300_800_000

func (f fields) disk() Folder {
	d := Folder{
		Space:  Space{Path: f["path"], SizeBytes: f.number("size"), FreeBytes: f.number("free")},
		Exists: f["exists"] == "yes", Mount: f["mount"], Device: f["device"], FSType: f["fstype"],
		Rotational: f.oneOf("rotational", "yes", "no"),
	}
	if f["options"] != "" {
		d.Options = strings.Split(f["options"], ",")
	}
	return d
}

// number gives a value that is a number; 0: it is none, or below 0. Numbers too large for an
// int64, and the word unlimited, are the largest.
func (f fields) number(key string) int64 {
	value := f[key]
	if value == "unlimited" {
		return math.MaxInt64
	}
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		return int64(min(n, math.MaxInt64)) //nolint:gosec // min bounds it
	}
	return 0
}

func (f fields) isNumber(key string) bool {
	_, err := strconv.ParseUint(f[key], 10, 64)
	return err == nil
}

func (f fields) oneOf(key string, words ...string) string {
	for _, word := range words {
		if f[key] == word {
			return word
		}
	}
	return ""
}
