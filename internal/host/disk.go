package host

import (
	"context"
	"time"
)

// DiskID names a disk of a host ("dsk_…").
type DiskID string

// DiskPrefix is the prefix of the ids.
const DiskPrefix = "dsk"

// Disk is where a host keeps the data of units. A host of which nobody has named a disk has
// one: the folder of its engine.
type Disk struct {
	ID            DiskID
	Host          ID
	Path          string // of the folder on the host; empty: the engine's own
	Type          DiskType
	CapacityBytes int64 // that may be given away; 0: not limited
	UsedBytes     int64 // that units hold: the sum of their allocations
	Units         int64 // that hold some of it
	State         DiskState
	Enforcement   Enforcement
	// TotalBytes and FreeBytes are what was seen of it at SeenAt; zero: nobody has looked.
	TotalBytes, FreeBytes int64
	SeenAt                time.Time
	Rev                   int64
}

// DiskTypes lists the types, the fastest first.
func DiskTypes() []DiskType { return []DiskType{DiskNVMe, DiskSSD, DiskHDD} }

// DiskState says whether a disk takes units.
type DiskState string

// The states of a disk. Operators reserve one, or mark it as bad; what is full closes by itself
// and opens again.
const (
	DiskAvailable DiskState = "available"
	DiskReserved  DiskState = "reserved"
	DiskIsFull    DiskState = "full"
	DiskError     DiskState = "error"
)

// Enforcement says what keeps a unit within its disk.
type Enforcement string

// The ways of enforcement.
const (
	EnforcedByNone  Enforcement = "none"  // what units write is measured, and writes are refused by the server
	EnforcedByQuota Enforcement = "quota" // the engine's volume driver refuses more; found, and not chosen
	EnforcedByLoop  Enforcement = "loop"  // each volume is a file system of its own
)

// check says what is wrong with an enforcement that somebody chooses for a named disk of a host, which
// Berth logs in to by SSH or not.
func (e Enforcement) check(f *findings, field string, bySSH bool) {
	switch e {
	case EnforcedByNone, "":
	case EnforcedByLoop:
		f.require(bySSH, field, "loop needs a host of the pool whose endpoint is ssh://: Berth makes the file systems by scripts, which it runs as root there")
	case EnforcedByQuota:
		f.add(field, "quota cannot be chosen: it is found where Docker's own folder has project quotas (XFS with pquota); choose loop")
	default:
		f.add(field, "must be none or loop")
	}
}

// share gives what a unit of the size takes of the disk: the size of its plan, or all that its file
// system has, which nobody else can use.
func (d *Disk) share(r Resources) int64 {
	if d.Enforcement == EnforcedByLoop {
		return r.DiskCeiling()
	}
	return r.DiskBytes
}

// Free returns what can still be given away.
func (d *Disk) Free() int64 {
	if d.CapacityBytes == 0 {
		return 1 << 62
	}
	return d.CapacityBytes - d.UsedBytes
}

// DiskReader reads disks.
type DiskReader interface {
	// Disks gives the disks of a host, or of all hosts where none is named, in the order of
	// their ids.
	Disks(context.Context, ID) ([]Disk, error)
}

// DiskRows are the rows of disks in a transaction.
type DiskRows interface {
	// HostDisks gives the disks of a host in the order of their ids.
	HostDisks(ID) ([]Disk, error)
	Disk(DiskID) (Disk, error)
	// InsertDisk fails with CodeConflict where the host has one at the path.
	InsertDisk(Disk) error
	// UpdateHostDisk writes what may change of a disk: Type, CapacityBytes, State, Enforcement and
	// what was seen. It fails with CodeConflict unless the row has the revision, or where more is
	// used than the capacity would be, or where something is on it and Enforcement would change.
	UpdateHostDisk(Disk) error
	// DeleteDisk fails with CodeConflict while something is on it.
	DeleteDisk(DiskID) error
}
