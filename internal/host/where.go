package host

import (
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// Where says where a unit is to be. What is empty is left to Berth.
type Where struct {
	Region   string            `json:"region,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Rack     string            `json:"rack,omitempty"`
	Host     string            `json:"host,omitempty"` // id or name
	Arch     string            `json:"arch,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"` // that the host has
	DiskType DiskType          `json:"disk_type,omitempty"`
	// Group names what is kept apart, within the tenant, by Spread.
	Group  string `json:"group,omitempty"`
	Spread Level  `json:"spread,omitempty"`
	// Strict refuses what would be beside another of the group.
	Strict bool `json:"strict,omitempty"`
	// Reserved allows a host that is reserved, where Host names it.
	Reserved bool `json:"reserved,omitempty"`
}

// Empty reports whether nothing was asked for.
func (w *Where) Empty() bool {
	return w.Region == "" && w.Zone == "" && w.Rack == "" && w.Host == "" && w.Arch == "" && len(w.Labels) == 0 && w.DiskType == "" &&
		w.Group == "" && w.Spread == "" && !w.Strict
}

// Level is a level of the hierarchy that hosts are in.
type Level string

// The levels, the widest first.
const (
	LevelRegion Level = "region"
	LevelZone   Level = "zone"
	LevelRack   Level = "rack"
	LevelHost   Level = "host"
)

// Levels lists the levels, the widest first.
func Levels() []Level { return []Level{LevelRegion, LevelZone, LevelRack, LevelHost} }

// Domain returns what fails together with the host at the level. Racks of different zones may
// have the same name.
func (h *Host) Domain(l Level) string {
	switch l {
	case LevelRegion:
		return h.Region
	case LevelZone:
		return h.Region + "/" + h.Zone
	case LevelRack:
		return h.Region + "/" + h.Zone + "/" + h.Rack
	case LevelHost:
		return string(h.ID)
	}
	return ""
}

// Check says what is wrong with what was asked for; fields are named below "placement".
func (w *Where) Check() []fault.FieldError {
	var wrong []fault.FieldError
	for _, f := range []struct{ name, value string }{
		{"region", w.Region}, {"zone", w.Zone}, {"rack", w.Rack}, {"host", w.Host}, {"arch", w.Arch}, {"group", w.Group},
	} {
		if f.value != "" && !placePattern.MatchString(f.value) {
			wrong = append(wrong, fault.FieldError{Field: "placement." + f.name, Message: "must be 1 to 63 characters of A-Z, a-z, 0-9, . _ and -"})
		}
	}
	if w.DiskType != "" && !slices.Contains(DiskTypes(), w.DiskType) {
		wrong = append(wrong, fault.FieldError{Field: "placement.disk_type", Message: "must be nvme, ssd or hdd"})
	}
	switch {
	case w.Spread == "" && w.Strict:
		wrong = append(wrong, fault.FieldError{Field: "placement.strict", Message: "needs spread, which says what is kept apart"})
	case w.Spread == "":
	case w.Group == "":
		wrong = append(wrong, fault.FieldError{Field: "placement.spread", Message: "needs group, which names what is kept apart"})
	case w.Spread == LevelRegion || !slices.Contains(Levels(), w.Spread):
		wrong = append(wrong, fault.FieldError{Field: "placement.spread", Message: "must be host, rack or zone"})
	}
	if len(w.Labels) > maxWanted {
		wrong = append(wrong, fault.FieldError{Field: "placement.labels", Message: "must be at most 16"})
	}
	for k, v := range w.Labels {
		if len(k) > 63 || len(v) > 63 {
			wrong = append(wrong, fault.FieldError{Field: "placement.labels", Message: "names and values must be at most 63 characters"})
			break
		}
	}
	return wrong
}

// maxWanted limits the labels that a host may be asked to have.
const maxWanted = 16

// Need is what a unit needs of a host.
type Need struct {
	Tenant    tenant.ID
	Resources Resources
	Ports     int
	Where     Where
}

// The rules that a host can be ruled out by, in the order in which they are asked.
const (
	ruleState    = "state"
	ruleHealth   = "health"
	ruleReserved = "reserved"
	ruleHost     = "host"
	ruleArch     = "arch"
	ruleLabels   = "labels"
	ruleMemory   = "memory"
	ruleCPU      = "cpu"
	ruleDisk     = "disk"
	ruleDiskType = "disk_type"
	ruleSpread   = "spread"
	rulePorts    = "ports"
)

// inWords says of each rule what is the matter with the hosts that it rules out.
var inWords = map[string]string{
	ruleState: "not online", ruleHealth: "unreachable, or with a full disk", ruleReserved: "reserved", ruleHost: "not the one that was asked for",
	string(LevelRegion): "in another region", string(LevelZone): "in another zone", string(LevelRack): "in another rack", ruleArch: "of another architecture",
	ruleLabels: "without the labels", ruleMemory: "with too little memory left", ruleCPU: "with too little cpu left", ruleDisk: "with too little disk left",
	ruleDiskType: "without such a disk", ruleSpread: "where another one of the group is", rulePorts: "without a free port",
}

// rules gives the rules in their order.
func rules() []string {
	return []string{
		ruleState, ruleHealth, ruleReserved, ruleHost, string(LevelRegion), string(LevelZone), string(LevelRack), ruleArch, ruleLabels,
		ruleMemory, ruleCPU, ruleDiskType, ruleDisk, ruleSpread, rulePorts,
	}
}

// Open reports whether units may be on the host that do not name it.
func (h *Host) Open() bool { return h.online() && !h.Reserved }

// Takes reports whether such units may be placed there now.
func (h *Host) Takes() bool { return h.Open() && h.healthy() }

func (h *Host) online() bool { return h.State == StateOnline || h.State == "" }

func (h *Host) healthy() bool { return h.Health == Healthy || h.Health == "" }

// names reports whether it is the host that was asked for.
func (w *Where) names(h *Host) bool {
	return w.Host != "" && (w.Host == string(h.ID) || w.Host == h.Name)
}

// ruledOut returns the first rule that a host does not meet by itself; empty: it meets all.
func (n *Need) ruledOut(h *Host, disks []Disk) string {
	w := &n.Where
	named := w.names(h)
	switch {
	case !h.online():
		return ruleState
	case !h.healthy():
		return ruleHealth
	case h.Reserved && (!named || !w.Reserved):
		return ruleReserved
	case w.Host != "" && !named:
		return ruleHost
	case w.Region != "" && h.Region != w.Region:
		return string(LevelRegion)
	case w.Zone != "" && h.Zone != w.Zone:
		return string(LevelZone)
	case w.Rack != "" && h.Rack != w.Rack:
		return string(LevelRack)
	case w.Arch != "" && h.Arch != w.Arch:
		return ruleArch
	}
	for k, v := range w.Labels {
		if h.Labels[k] != v {
			return ruleLabels
		}
	}
	switch {
	case h.Capacity.MemoryBytes > 0 && h.Used.MemoryBytes+n.Resources.MemoryBytes > h.Capacity.MemoryBytes:
		return ruleMemory
	case h.Capacity.CPUMillis > 0 && h.Used.CPUMillis+n.Resources.CPUMillis > h.Capacity.CPUMillis:
		return ruleCPU
	case len(disks) == 0 && w.DiskType == "":
		return ""
	case w.DiskType != "" && !slices.ContainsFunc(disks, func(d Disk) bool { return d.Type == w.DiskType }):
		return ruleDiskType
	}
	if _, ok := chooseDisk(disks, Ask{Resources: n.Resources, Where: *w}); !ok {
		return ruleDisk
	}
	return ""
}

// refuse is the refusal that says what ruled out how many of the hosts.
func (n *Need) refuse(all []Host, ruled map[string]int) error {
	for i := range all {
		h := &all[i]
		if n.Where.names(h) && (h.State == StateCordoned || h.State == StateDraining) {
			return fault.Errorf(fault.CodeHostCordoned, nil, "host %s is %s: nothing is placed there", n.Where.Host, h.State)
		}
	}
	return noCapacity(ruled, len(all))
}

func noCapacity(ruled map[string]int, hosts int) error {
	if hosts == 0 {
		return &fault.Error{Code: fault.CodeNoCapacity, RetryAfter: fullRetry, Message: "no host fits: there is none yet; add one: berth hosts add, or start a worker that has a Docker engine"}
	}
	var parts []string
	var reasons []fault.Reason
	for _, rule := range rules() {
		if n := ruled[rule]; n > 0 {
			parts, reasons = append(parts, count(n)+" "+inWords[rule]), append(reasons, fault.Reason{Rule: rule, Hosts: n})
		}
	}
	return &fault.Error{
		Code: fault.CodeNoCapacity, Reasons: reasons, RetryAfter: fullRetry,
		Message: "no host fits: of " + plural(hosts, "host") + ", " + strings.Join(parts, ", "),
	}
}
