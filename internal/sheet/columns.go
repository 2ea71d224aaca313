package sheet

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// sheetName is the sheet of a workbook that is read; the first one where there is none.
const sheetName = "Host Information"

// A column of the template.
type column struct {
	name     string // as the template has it
	field    string // of host.Candidate, as host.CheckRead names it
	required bool
	note     string // for who fills the template in
	example  string
	aliases  []string // other names, folded
}

// The columns of the template, in its order. The last two are Berth's own.
const (
	colName = iota
	colAddress
	colUser
	colPassword
	colRegion
	colZone
	colRack
	colArch
	colOS
	colKernel
	colCPU
	colMemory
	colNIC
	colPurpose
	colComponent
	colDiskType
	colDisks
	positional
	colEndpoint = positional
	colLabels   = positional + 1
)

var columns = []column{
	colName:      {"Host Name", "name", true, "a-z, 0-9, - and ., up to 63 characters; unique", "db-host-1", []string{"name"}},
	colAddress:   {"IP", "address", true, "IP address or host name that tenants reach; an SSH port may follow: 10.0.0.7:2222", "10.0.0.7", []string{"address", "ipaddress"}},
	colUser:      {"Login UserName", "user", false, "logs in by SSH", "root", []string{"user", "username", "loginuser"}},
	colPassword:  {"Login Password", "password", false, "of that user; empty: log in by key. Format the column as text", "example-password", []string{"password"}},
	colRegion:    {"RegionID", "region", true, "A-Z, a-z, 0-9, ., _ and -", "region-1", []string{"region"}},
	colZone:      {"ZoneID", "zone", true, "the part of the region that fails as one", "zone-1", []string{"zone"}},
	colRack:      {"RackID", "rack", false, "the part of the zone that fails as one", "rack-1", []string{"rack"}},
	colArch:      {"Arch", "arch", false, "amd64 (x86_64) or arm64 (aarch64); empty: what is found", "x86_64", []string{"architecture"}},
	colOS:        {"OS Version", "os", false, "for people", "Debian 13", []string{"os"}},
	colKernel:    {"Kernel", "kernel", false, "for people", "6.12", []string{"kernelversion"}},
	colCPU:       {"CpuCores", "cpu", false, "number of cores; empty: what is found", "16", []string{"cpu", "cores"}},
	colMemory:    {"Memory", "memory", false, "GiB; empty: what is found", "64", []string{"memorygib"}},
	colNIC:       {"Nic", "nic", false, "for people", "10GE", nil},
	colPurpose:   {"Cluster Purpose", "purpose", false, "for people", "Database", []string{"purpose"}},
	colComponent: {"Component Purpose", "component", false, "for people", "Compute,Storage", []string{"component"}},
	colDiskType:  {"Disk Type", "disk_type", false, "nvme, ssd or hdd; of all disks of the host", "nvme", nil},
	colDisks: {"Disks", "disks", false, `a JSON list; capacity in GiB; status Available, Reserved, InUsed, Exhaust or Error`,
		`[{"name":"nvme1n1","capacity":512,"status":"Available","path":"/data1"}]`, nil},
	colEndpoint: {"Endpoint", "endpoint", false, "ssh://, tcp://, unix:// or swarm://; empty: by SSH", "", nil},
	colLabels:   {"Labels", "labels", false, "name=value;name2=value2", "team=data;cost=7", nil},
}

// fold gives what is compared of a column's name: its letters and digits, in lower case.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// byFolded has the column of each name.
var byFolded = func() map[string]int {
	all := map[string]int{}
	for i, c := range columns {
		all[fold(c.name)] = i
		for _, alias := range c.aliases {
			all[alias] = i
		}
	}
	return all
}()

// known counts the cells that name a column.
func known(cells []string) (n int) {
	for _, cell := range cells {
		if _, ok := byFolded[fold(cell)]; ok {
			n++
		}
	}
	return n
}

// layout gives for each cell of a row which column it is of; noColumn: of none.
type layout []int

const noColumn = -1

// layoutOf reads the header. Columns are matched by their names where at least half of the
// names, or eight of them, are the template's. Otherwise they are in another language, say,
// and the 17 columns of the template stand in its order.
func layoutOf(header []string) (layout, error) {
	filled := 0
	for _, cell := range header {
		if trim(cell) != "" {
			filled++
		}
	}
	n := known(header)
	switch {
	case looksLikeData(header):
		return nil, refuse("must have the names of the columns in its first row, but a host seems to stand there")
	case n >= 8 || (n > 1 && 2*n >= filled):
		return layoutByName(header)
	default:
		return layoutByPosition(header, filled)
	}
}

// looksLikeData reports whether a header is none: names of columns are no addresses, numbers
// or lists.
func looksLikeData(header []string) bool {
	for _, cell := range header {
		cell = trim(cell)
		address, _, _ := host.SplitAddress(cell)
		_, noIP := netip.ParseAddr(address)
		_, noNumber := strconv.ParseFloat(cell, 64)
		if noIP == nil || noNumber == nil || strings.HasPrefix(cell, "[") {
			return true
		}
	}
	return false
}

// layoutByName names all columns that it does not know, that stand twice, or that are missing.
func layoutByName(header []string) (layout, error) {
	var wrong []fault.FieldError
	found, at := make(layout, len(header)), map[int]string{}
	for i, cell := range header {
		found[i] = noColumn
		if trim(cell) == "" {
			continue
		}
		which, ok := byFolded[fold(cell)]
		first, twice := at[which]
		switch {
		case !ok:
			wrong = append(wrong, fault.FieldError{Field: shown(trim(cell)), Message: "is not a column of the template: column " + letters(i)})
		case twice:
			wrong = append(wrong, fault.FieldError{Field: columns[which].name, Message: "stands twice: columns " + first + " and " + letters(i)})
		default:
			found[i], at[which] = which, letters(i)
		}
	}
	for i, c := range columns {
		if _, ok := at[i]; !ok && c.required {
			wrong = append(wrong, fault.FieldError{Field: c.name, Message: "is required, and there is no such column"})
		}
	}
	return found, wrongColumns(wrong)
}

// layoutByPosition takes the columns in the template's order. A name that it does know must
// stand where the template has it.
func layoutByPosition(header []string, filled int) (layout, error) {
	if len(header) != positional || filled != positional {
		return nil, refuse("must have the names of the template's columns in its first row, or 17 columns in its order; it has %d", filled)
	}
	var wrong []fault.FieldError
	found := make(layout, positional)
	for i, cell := range header {
		found[i] = i
		if which, ok := byFolded[fold(cell)]; ok && which != i {
			wrong = append(wrong, fault.FieldError{Field: columns[which].name, Message: "is at the place of " + columns[i].name + ": column " + letters(i)})
		}
	}
	return found, wrongColumns(wrong)
}

func wrongColumns(wrong []fault.FieldError) error {
	if len(wrong) == 0 {
		return nil
	}
	refused := refuse("has other columns than the template; nothing was read")
	refused.Fields = wrong
	return refused
}

// letters gives the name that a spreadsheet shows of a column: A, B, …, Z, AA.
func letters(i int) string {
	name := ""
	for i++; i > 0; i = (i - 1) / 26 {
		name = string(rune('A'+(i-1)%26)) + name
	}
	return name
}
