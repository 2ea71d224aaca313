package sheet

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"

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
	colName: {
		name: "Host Name", field: "name", required: true, aliases: []string{"name"},
		note: "a-z, 0-9, - and ., up to 63 characters; unique", example: "db-host-1",
	},
	colAddress: {
		name: "IP", field: "address", required: true, aliases: []string{"address", "ipaddress"},
		note:    "IP address or host name that tenants reach; an SSH port may follow: 10.0.0.7:2222",
		example: "10.0.0.7",
	},
	colUser: {
		name: "Login UserName", field: "user", aliases: []string{"user", "username", "loginuser"},
		note: "logs in by SSH", example: "root",
	},
	colPassword: {
		name: "Login Password", field: "password", aliases: []string{"password"},
		note:    "of that user; empty: log in by key. Format the column as text",
		example: "example-password",
	},
	colRegion: {
		name: "RegionID", field: "region", required: true, aliases: []string{"region"},
		note: "A-Z, a-z, 0-9, ., _ and -", example: "region-1",
	},
	colZone: {
		name: "ZoneID", field: "zone", required: true, aliases: []string{"zone"},
		note: "the part of the region that fails as one", example: "zone-1",
	},
	colRack: {
		name: "RackID", field: "rack", aliases: []string{"rack"},
		note: "the part of the zone that fails as one", example: "rack-1",
	},
	colArch: {
		name: "Arch", field: "arch", aliases: []string{"architecture"},
		note: "amd64 (x86_64) or arm64 (aarch64); empty: what is found", example: "x86_64",
	},
	colOS: {
		name: "OS Version", field: "os", aliases: []string{"os"},
		note: "for people", example: "Debian 13",
	},
	colKernel: {
		name: "Kernel", field: "kernel", aliases: []string{"kernelversion"},
		note: "for people", example: "6.12",
	},
	colCPU: {
		name: "CpuCores", field: "cpu", aliases: []string{"cpu", "cores"},
		note: "number of cores; empty: what is found", example: "16",
	},
	colMemory: {
		name: "Memory", field: "memory", aliases: []string{"memorygib"},
		note: "GiB; empty: what is found", example: "64",
	},
	colNIC: {
		name: "Nic", field: "nic",
		note: "for people", example: "10GE",
	},
	colPurpose: {
		name: "Cluster Purpose", field: "purpose", aliases: []string{"purpose"},
		note: "for people", example: "Database",
	},
	colComponent: {
		name: "Component Purpose", field: "component", aliases: []string{"component"},
		note: "for people", example: "Compute,Storage",
	},
	colDiskType: {
		name: "Disk Type", field: "disk_type",
		note: "nvme, ssd or hdd; of all disks of the host", example: "nvme",
	},
	colDisks: {
		name: "Disks", field: "disks",
		note:    "a JSON list; capacity in GiB; status Available, Reserved, InUsed, Exhaust or Error",
		example: `[{"name":"nvme1n1","capacity":512,"status":"Available","path":"/data1"}]`,
	},
	colEndpoint: {
		name: "Endpoint", field: "endpoint",
		note: "ssh://, tcp://, unix:// or swarm://; empty: by SSH",
	},
	colLabels: {
		name: "Labels", field: "labels",
		note: "name=value;name2=value2", example: "team=data;cost=7",
	},
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
	var wrong unread
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
			wrong.say(shown(trim(cell)), "is not a column of the template: column %s", letters(i))
		case twice:
			wrong.say(columns[which].name, "stands twice: columns %s and %s", first, letters(i))
		default:
			found[i], at[which] = which, letters(i)
		}
	}
	for i, c := range columns {
		if _, ok := at[i]; !ok && c.required {
			wrong.say(c.name, "is required, and there is no such column")
		}
	}
	return found, wrongColumns(wrong)
}

// layoutByPosition takes the columns in the template's order. A name that it does know must
// stand where the template has it.
func layoutByPosition(header []string, filled int) (layout, error) {
	if len(header) != positional || filled != positional {
		return nil, refuse("must have the names of the template's columns in its first row, "+
			"or 17 columns in its order; it has %d", filled)
	}
	var wrong unread
	found := make(layout, positional)
	for i, cell := range header {
		found[i] = i
		if which, ok := byFolded[fold(cell)]; ok && which != i {
			wrong.say(columns[which].name, "is at the place of %s: column %s", columns[i].name, letters(i))
		}
	}
	return found, wrongColumns(wrong)
}

func wrongColumns(wrong unread) error {
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
