package host

import (
	"slices"
	"strings"
)

// disk checks one data disk: that it is there, by itself, writable, mounted as it should be,
// and has room.
func (i Inventory) disk(path string) []Check {
	at := slices.IndexFunc(i.Disks, func(d Folder) bool { return d.Path == path })
	there := Check{Name: "disk:" + path, Wanted: "a data disk mounted at " + path}
	switch {
	case at < 0:
		return []Check{there.fail("not looked at", "take the inventory anew, with this disk")}
	case !i.Disks[at].Exists:
		return []Check{there.fail("no such folder", "mount the disk there, or correct the path")}
	}
	d := i.Disks[at]
	return []Check{d.mounted(there), d.options(), free("disk_free:"+path, d.Space)}
}

func (d Folder) mounted(c Check) Check {
	found := orUnknown(d.Device) + " (" + orUnknown(d.FSType) + ") at " + orUnknown(d.Mount)
	switch {
	case slices.Contains(d.Options, "ro"):
		return c.fail(found+", read-only", "mount it read-write; look for errors of the disk in the kernel's log (dmesg)")
	case slices.Contains([]string{"tmpfs", "ramfs", "devtmpfs"}, d.FSType):
		return c.fail(found+", in memory", "mount a disk there: what is in memory is lost with the next start of the machine")
	case d.Mount == "/" && d.Path != "/":
		return c.warn(found, "mount a disk of its own there: this is the system's, and nothing works any more when it is full")
	case d.Mount != "" && d.Mount != d.Path:
		return c.warn(found, "mount a disk of its own at "+d.Path+": what else is written to "+d.Mount+" takes its room")
	case d.Rotational == "yes":
		return c.warn(found+", rotating", "take a solid state disk for databases")
	default:
		return c.pass(found)
	}
}

// options checks how it is mounted. The system's own disk is left alone.
func (d Folder) options() Check {
	wanted := []string{"noatime"}
	if d.FSType == "ext4" {
		wanted = append(wanted, "nodelalloc")
	}
	c := Check{Name: "mount_options:" + d.Path, Wanted: strings.Join(wanted, ",")}
	found := orUnknown(strings.Join(d.Options, ","))
	for _, option := range wanted {
		if !slices.Contains(d.Options, option) {
			return c.warn(found, "mount it with "+c.Wanted+" (the fix mount_options)")
		}
	}
	return c.pass(found)
}
