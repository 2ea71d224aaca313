package host

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// Allocation is what a unit holds of a host besides its ports. There is one for each unit, by
// whose id nothing is given twice; for every host and every disk, what is used is the sum of
// the allocations, and no more than its capacity, at every commit.
type Allocation struct {
	Unit      UnitID
	Tenant    tenant.ID
	Host      ID
	Disk      DiskID // empty: the host had no row of a disk
	Resources Resources
	// Enforcement is what the disk must still have when it is taken; empty: any. It is not kept.
	Enforcement Enforcement
	Ports       int
	Holder      string // what holds several units together, within the tenant: a group, a service
	Job         id.Job // that took it
	CreatedAt   time.Time
}

// Ask is what a unit is to hold on a host.
type Ask struct {
	Tenant    tenant.ID
	Resources Resources
	Ports     []string // by name
	Where     Where
}

// Held is what a unit has got.
type Held struct {
	Ports []int // in the order of their names
	Disk  Disk
}

// Take gives the claim's subject what it asks for on the host, or nothing of it: ports, and a
// share of the host and of one of its disks. Asked again it gives the same. What the subject
// holds on another host is given back, because nothing was made there yet. CodeNoCapacity where
// the host has too little left; CodePortsExhausted; CodeFenced.
func Take(tx Tx, claim job.Claim, h Host, ask Ask, now time.Time) (Held, error) {
	if err := tx.CheckClaim(claim); err != nil {
		return Held{}, err
	}
	unit := UnitID(claim.Subject)
	has, err := tx.Situation(h.ID, unit)
	if err != nil {
		return Held{}, err
	}
	disk, err := takeShare(tx, claim, h, ask, has, now)
	if err != nil {
		return Held{}, err
	}
	held := Held{Disk: disk, Ports: make([]int, len(ask.Ports))}
	for i, name := range ask.Ports {
		port, mine := has.Ports[name]
		if !mine {
			if port, err = tx.TakePort(h, unit, name, now); err != nil {
				return Held{}, err
			}
		}
		held.Ports[i] = port
	}
	return held, nil
}

// Situation is how a unit stands on a host before it takes something there.
type Situation struct {
	Host  ID             // that the unit has a share of, this one or another; empty: of none
	Disk  DiskID         // the one of its share
	Ports map[string]int // that the unit holds on this host, by name
	Disks []Disk         // of this host, in the order of their ids
}

func takeShare(tx Tx, claim job.Claim, h Host, ask Ask, has Situation, now time.Time) (Disk, error) {
	unit := UnitID(claim.Subject)
	switch has.Host {
	case "":
	case h.ID:
		return has.booked()
	default:
		if err := tx.Release(unit); err != nil {
			return Disk{}, err
		}
	}
	if err := keepApart(tx, h, ask); err != nil {
		return Disk{}, err
	}
	a := Allocation{
		Unit: unit, Tenant: ask.Tenant, Host: h.ID, Resources: ask.Resources, Ports: len(ask.Ports), Holder: ask.Where.Group,
		Job: claim.Job, CreatedAt: now,
	}
	disk, found := chooseDisk(has.Disks, ask)
	if !found && len(has.Disks) > 0 {
		return Disk{}, noShare(h, "no disk with "+gibibytes(ask.Resources.DiskBytes)+" left")
	}
	a.Disk, a.Enforcement, a.Resources.DiskBytes = disk.ID, disk.Enforcement, disk.share(ask.Resources)
	if err := tx.Allocate(a); err != nil {
		if errors.Is(err, ErrNoShare) {
			return Disk{}, noShare(h, "too little memory, cores or disk left")
		}
		return Disk{}, err
	}
	disk.Units++ // with this one
	return disk, nil
}

// booked gives the disk that the unit has a share of already.
func (s Situation) booked() (Disk, error) {
	if s.Disk == "" {
		return Disk{Host: s.Host}, nil
	}
	i := slices.IndexFunc(s.Disks, func(d Disk) bool { return d.ID == s.Disk })
	if i < 0 {
		return Disk{}, fault.Errorf(fault.CodeInternal, nil, "host %s has no disk %s, of which a unit has a share", s.Host, s.Disk)
	}
	return s.Disks[i], nil
}

// ErrNoShare is what Rows.Allocate fails with where the host or the disk has too little left.
var ErrNoShare = &fault.Error{Code: fault.CodeNoCapacity, Message: "too little is left"}

func noShare(h Host, what string) error {
	return fault.Errorf(fault.CodeNoCapacity, nil, "host %s has %s", h.Name, what)
}

// keepApart fails with CodeNoCapacity where another of the group is in the same domain as the host
// by now, and none may be. Those who ask for the same group follow one another.
func keepApart(tx Tx, h Host, ask Ask) error {
	if !ask.Where.Strict {
		return nil
	}
	if err := tx.LockGroups(ask.Tenant); err != nil {
		return err
	}
	units, err := tx.Holding(AllocationFilter{Tenant: ask.Tenant, Holder: ask.Where.Group})
	if err != nil {
		return err
	}
	for _, unit := range units {
		a, err := tx.Allocation(unit)
		if err != nil {
			return err
		}
		other, err := tx.HostRow(a.Host)
		if err != nil {
			return err
		}
		if other.Domain(ask.Where.Spread) == h.Domain(ask.Where.Spread) {
			return noShare(h, "another unit of the group "+ask.Where.Group+" in its "+string(ask.Where.Spread))
		}
	}
	return nil
}

// chooseDisk returns the disk that fits and has most left.
func chooseDisk(disks []Disk, ask Ask) (best Disk, found bool) {
	for _, d := range disks {
		if d.State != DiskAvailable || ask.Where.DiskType != "" && d.Type != ask.Where.DiskType || d.Free() < d.share(ask.Resources) {
			continue
		}
		if !found || d.Free() > best.Free() {
			best, found = d, true
		}
	}
	return best, found
}

// GiveBack gives back all that the filter selects: ports, which rest until then, and shares of
// hosts. It is called in the transaction that says that nothing of the units is there, by a
// delete, a rollback and what takes a host out of the pool.
func GiveBack(tx HolderRows, which AllocationFilter, until time.Time) error {
	units := []UnitID{which.Unit} // which may hold ports only
	if which.Unit == "" {
		var err error
		if units, err = tx.Holding(which); err != nil {
			return err
		}
	}
	for _, unit := range units {
		if err := tx.RestPorts(unit, until); err != nil {
			return err
		}
		if err := tx.Release(unit); err != nil {
			return err
		}
	}
	return nil
}

// AllocationFilter selects allocations: of one unit, of all that a holder has, of all that a
// job took, or of all on a host. What is empty selects nothing away.
type AllocationFilter struct {
	Unit   UnitID
	Host   ID
	Holder string
	Tenant tenant.ID // with Holder: holders are a tenant's own
	Job    id.Job
}

// AllocationReader reads allocations.
type AllocationReader interface {
	// Allocations gives those that the filter selects, in the order of their units, after the
	// one given.
	Allocations(ctx context.Context, f AllocationFilter, after UnitID, limit int) ([]Allocation, error)
	// Spread counts the units of a holder on each host.
	Spread(ctx context.Context, of tenant.ID, holder string) (map[ID]int, error)
}

// AllocationRows are the rows of allocations in a transaction.
type AllocationRows interface {
	Allocation(UnitID) (Allocation, error)
	// Allocate adds the allocation and what it takes to what is used of its host and its disk.
	// ErrNoShare where that would be more than there is; CodeConflict where the unit has one.
	Allocate(Allocation) error
	// Release removes the unit's allocation, and what it took from what is used. It is no
	// error that there is none.
	Release(UnitID) error
	// LockGroups has the transactions of those who keep units of the tenant apart follow one
	// another.
	LockGroups(tenant.ID) error
}

// HolderRows are what units hold, in a transaction.
type HolderRows interface {
	PortRows
	// Holding gives the units of the allocations that the filter selects.
	Holding(AllocationFilter) ([]UnitID, error)
	Release(UnitID) error
	// Resize changes the cores and the memory that the unit has a share of; its share of the disk
	// stays. ErrNoShare where that would be more than there is; CodeNotFound where the unit has no
	// allocation.
	Resize(unit UnitID, cpuMillis, memoryBytes int64) error
}
