package host

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// Candidate is a machine that somebody wants in the pool: one row of a file or one element
// of a list. Nothing has looked at the machine yet: all of it is as declared.
type Candidate struct {
	// Row is where it stands, as a spreadsheet shows it: the header is row 1. 0: it is from no file.
	Row int
	// Name is unique in the pool: a-z, 0-9, - and ., up to 63 characters.
	Name string
	// Address is the IP address or the host name that tenants reach, without a port.
	Address string
	// Endpoint is how its engine is reached: ssh://, tcp://, unix:// or swarm://. Empty: ssh://User@Address:22.
	Endpoint string
	// User logs in by SSH. Required where the endpoint is by SSH and does not name one.
	User string
	// Password is that user's. Empty: the log-in is by a key.
	Password secret.Secret
	// HostKey is the public key that the machine must show, as a line of known_hosts has it. Empty:
	// the one that it shows first is kept.
	HostKey string
	// Certificates prove Berth to an engine that is reached by TCP.
	Certificates Certificates
	// Region is the largest part of the pool that it stands in, "eu-west". Required.
	Region string
	// Zone is the part of the region that fails as one. Required.
	Zone string
	// Rack is the part of the zone that fails as one. Empty: not known.
	Rack string
	// Arch is amd64 or arm64, or another name of these (NormalArch). Empty: what is found counts.
	Arch string
	// OS is the operating system, for people: "Debian 13".
	OS string
	// Kernel is its version, for people: "6.12".
	Kernel string
	// CPUMillis is declared, in thousandths of a core; 0: what is found counts.
	CPUMillis int64
	// MemoryBytes is declared; 0: what is found counts.
	MemoryBytes int64
	// NIC is the network card, for people: "10GE".
	NIC string
	// Purpose is which kind of service it is meant for, for people.
	Purpose string
	// Component is which part of a service it is meant for, for people.
	Component string
	// Labels are the operator's own, up to 32.
	Labels map[string]string
	// Disks are those that data may lie on, in the order of the file, up to 64.
	Disks []DiskSpec
}

// DiskSpec is a disk of a Candidate, as declared.
type DiskSpec struct {
	// Name is what the host calls it: "nvme0n1". Unique on the host where it is given.
	Name string
	// Path is where it is mounted: absolute and clean, unique on the host.
	Path string
	// Type is how fast it is.
	Type DiskType
	// CapacityBytes is its size.
	CapacityBytes int64
	// State is whether it may be used: one of the Spec… states. Empty: SpecAvailable.
	State string
	// Enforcement is what keeps units within their share of it: EnforcedByNone or EnforcedByLoop.
	// Empty: EnforcedByNone.
	Enforcement Enforcement
}

// DiskType is a class of disks by their speed.
type DiskType string

// The types of disks.
const (
	DiskNVMe DiskType = "nvme"
	DiskSSD  DiskType = "ssd"
	DiskHDD  DiskType = "hdd"
)

// The states of disks, in the words of the import template.
const (
	SpecAvailable = "Available" // nobody has it
	SpecReserved  = "Reserved"  // it is kept for something outside of Berth
	SpecInUsed    = "InUsed"    // something has it
	SpecExhaust   = "Exhaust"   // it is full
	SpecError     = "Error"     // it is broken
)

// SpecStates are all states of disks.
var SpecStates = []string{SpecAvailable, SpecReserved, SpecInUsed, SpecExhaust, SpecError}

// The bounds of one candidate.
const (
	maxName         = 63
	maxNote         = 128 // characters of a text for people
	maxSSHPassword  = 1024
	maxDiskPath     = 255
	maxHostLabels   = 32
	maxHostLabel    = 63
	maxCPUMillis    = 4096 * 1000
	maxHostMemory   = 64 << 40
	maxDiskCapacity = 1 << 50
)

var (
	hostNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	placePattern    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)
	userPattern     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)
	labelKeyPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)
)

// NormalArch gives the name of an architecture that Docker uses: amd64 for x86_64, arm64 for
// aarch64, in any case. What it does not know it returns as it is.
func NormalArch(arch string) string {
	switch strings.ToLower(arch) {
	case "amd64", "x86_64", "x86-64", "x64":
		return "amd64"
	case "arm64", "aarch64", "arm64/v8", "arm64v8":
		return "arm64"
	default:
		return arch
	}
}

// Normalized gives the candidate as it is kept: with the usual name of its architecture, its
// endpoint written out, and a state for each disk. What is wrong stays as it is, for Check.
func (c Candidate) Normalized() Candidate {
	c.Arch = NormalArch(c.Arch)
	if c.Endpoint == "" {
		c.Endpoint = c.defaultEndpoint()
	}
	disks := make([]DiskSpec, len(c.Disks))
	for i, d := range c.Disks {
		if d.State == "" {
			d.State = SpecAvailable
		}
		disks[i] = d
	}
	if len(disks) > 0 {
		c.Disks = disks
	}
	return c
}

// findings collects what is wrong. No message repeats what was found: a file whose columns
// are mixed up has passwords in any field.
type findings []fault.FieldError

func (f *findings) add(field, format string, args ...any) {
	*f = append(*f, fault.FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
}

// require adds the message unless the condition holds.
func (f *findings) require(ok bool, field, format string, args ...any) {
	if !ok {
		f.add(field, format, args...)
	}
}

// Check gives all that is wrong in the candidate by itself. Fields are named as in
// "memory" and "disks[0].path".
func (c Candidate) Check() []fault.FieldError {
	var f findings
	f.require(validName(c.Name), "name",
		"must be 1 to %d characters of a-z, 0-9, - and ., with a letter or a digit at both ends", maxName)
	f.require(validAddress(c.Address), "address", "must be an IP address or a host name")
	c.checkEndpoint(&f)
	f.require(c.User == "" || userPattern.MatchString(c.User), "user",
		"must be 1 to 32 characters of A-Z, a-z, 0-9, _, . and -, and begin with a letter or _")
	f.require(validPassword(c.Password), "password", "must be one line of at most %d bytes", maxSSHPassword)
	for _, place := range []struct {
		field, value string
		required     bool
	}{{"region", c.Region, true}, {"zone", c.Zone, true}, {"rack", c.Rack, false}} {
		f.require(placePattern.MatchString(place.value) || place.value == "" && !place.required, place.field,
			placeMessage)
	}
	arch := NormalArch(c.Arch)
	f.require(arch == "" || arch == "amd64" || arch == "arm64", "arch", "must be amd64 (x86_64) or arm64 (aarch64)")
	f.require(c.CPUMillis >= 0 && c.CPUMillis <= maxCPUMillis, "cpu",
		"must be more than 0 and at most %d cores", maxCPUMillis/1000)
	f.require(c.MemoryBytes >= 0 && c.MemoryBytes <= maxHostMemory, "memory",
		"must be more than 0 and at most %d GiB", maxHostMemory>>30)
	for _, note := range [][2]string{
		{"os", c.OS}, {"kernel", c.Kernel}, {"nic", c.NIC}, {"purpose", c.Purpose}, {"component", c.Component},
	} {
		f.require(validNote(note[1]), note[0], "must be one line of at most %d characters", maxNote)
	}
	f.require(c.HostKey == "" || validHostKey(c.HostKey), "host_key", hostKeyMessage)
	c.checkLabels(&f)
	c.checkDisks(&f)
	return f
}

func (c Candidate) checkLabels(f *findings) {
	f.require(len(c.Labels) <= maxHostLabels, "labels", "must be at most %d", maxHostLabels)
	keys, values := true, true
	for key, value := range c.Labels {
		keys = keys && validLabel(key)
		values = values && validLabelValue(value)
	}
	f.require(keys, "labels",
		"a name must be 1 to %d characters of A-Z, a-z, 0-9, ., _, / and -, with a letter or a digit at both ends",
		maxHostLabel)
	f.require(values, "labels", "a value must be one line of at most %d bytes", maxHostLabel)
}

func (c Candidate) checkDisks(f *findings) {
	if len(c.Disks) > maxDisks {
		f.add("disks", "must be at most %d", maxDisks)
		return
	}
	names := map[string]int{}
	for i, d := range c.Disks {
		field := fmt.Sprintf("disks[%d].", i)
		d.check(f, field)
		d.Enforcement.check(f, field+"enforcement", c.Endpoint == "" || strings.HasPrefix(c.Endpoint, sshScheme))
		if first, taken := names[d.Name]; taken && d.Name != "" {
			f.add(field+"name", "is the name of disks[%d], too", first)
		} else {
			names[d.Name] = i
		}
		if first := slices.IndexFunc(c.Disks[:i], func(o DiskSpec) bool { return inFolder(o.Path, d.Path) || inFolder(d.Path, o.Path) }); first >= 0 && d.Path != "" {
			f.add(field+"path", "is that of disks[%d], too, or within it, or has it within", first)
		}
	}
}

// check adds what is wrong in the disk by itself.
func (d DiskSpec) check(f *findings, field string) {
	f.require(len(d.Name) <= maxName && validNote(d.Name), field+"name",
		"must be one line of at most %d bytes", maxName)
	f.require(validDiskPath(d.Path), field+"path",
		`must be an absolute path of at most %d bytes without "//", "/./", "/../" and a slash at its end`, maxDiskPath)
	f.require(d.Type == DiskNVMe || d.Type == DiskSSD || d.Type == DiskHDD, field+"type", "must be nvme, ssd or hdd")
	f.require(d.CapacityBytes > 0 && d.CapacityBytes <= maxDiskCapacity, field+"capacity",
		"must be more than 0 and at most %d GiB", maxDiskCapacity>>30)
	known := d.State == ""
	for _, state := range SpecStates {
		known = known || d.State == state
	}
	f.require(known, field+"status", "must be one of %s", strings.Join(SpecStates, ", "))
}

// inFolder reports whether a path is that of the folder, or within it.
func inFolder(folder, path string) bool {
	return folder != "" && (path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/"))
}

func validName(s string) bool {
	return len(s) <= maxName && hostNamePattern.MatchString(s) && !strings.Contains(s, "..")
}

func validLabel(s string) bool { return len(s) <= maxHostLabel && labelKeyPattern.MatchString(s) }

func validLabelValue(s string) bool { return len(s) <= maxHostLabel && validNote(s) }

// validDiskPath reports whether a path can be given to an engine: also not with a colon,
// which separates what is mounted from where.
func validDiskPath(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && len(p) <= maxDiskPath && validLine(p) && !strings.Contains(p, ":")
}

func validPassword(s secret.Secret) bool {
	value := s.Reveal()
	return len(value) <= maxSSHPassword && utf8.ValidString(value) && !strings.ContainsAny(value, "\r\n\x00")
}

// validNote reports whether a text for people is short and one line.
func validNote(s string) bool { return validLine(s) && utf8.RuneCountInString(s) <= maxNote }

// validLine reports whether a text is UTF-8 without control characters, and without those that
// have no width or change the direction of writing: two names that look alike are not equal.
func validLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
	})
}
