package host

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

// DiskChange is what an operator changes of a disk; nil leaves it as it is. Where it is and what
// type it is of stays.
type DiskChange struct {
	CapacityBytes *int64
	State         *DiskState
	Enforcement   *Enforcement // while nothing is on the disk
}

// AddDisk adds a disk to a host.
func (s *Service) AddDisk(ctx context.Context, p tenant.Principal, of ID, spec DiskSpec) (Disk, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return Disk{}, err
	}
	var f findings
	spec.check(&f, "")
	if len(f) > 0 {
		return Disk{}, fault.Invalid(f)
	}
	d := Disk{
		ID: DiskID(s.cfg.NewID(DiskPrefix)), Host: of, Path: spec.Path, Type: spec.Type, CapacityBytes: spec.CapacityBytes, State: spec.state(),
		Enforcement: cmp.Or(spec.Enforcement, EnforcedByNone), Rev: 1,
	}
	err = s.change(ctx, p, of, func(tx Tx, h *Host) (tenant.Deed, error) {
		if err := h.canEnforce(d.Enforcement); err != nil {
			return tenant.Deed{}, err
		}
		others, err := tx.HostDisks(of)
		if err != nil {
			return tenant.Deed{}, err
		}
		for _, o := range others {
			if inFolder(o.Path, d.Path) || inFolder(d.Path, o.Path) {
				return tenant.Deed{}, fault.Invalid([]fault.FieldError{{Field: "path", Message: "is that of another disk of the host, " + o.Path + ", or within it, or has it within"}})
			}
		}
		err = tx.InsertDisk(d)
		if errors.Is(err, fault.ErrConflict) {
			err = fault.Invalid([]fault.FieldError{{Field: "path", Message: "is that of another disk of the host"}})
		}
		return tenant.Deed{Action: tenant.ActDiskAdd, Detail: string(d.ID) + " at " + d.Path}, err
	})
	return d, err
}

// canEnforce fails where the host's disks cannot have the enforcement.
func (h *Host) canEnforce(e Enforcement) error {
	var f findings
	e.check(&f, "enforcement", h.bySSH() && h.Source == FromPool)
	if len(f) > 0 {
		return fault.Invalid(f)
	}
	return nil
}

// withoutLoops fails where a disk of the host needs a login to its machine.
func withoutLoops(tx Tx, of ID) error {
	disks, err := tx.HostDisks(of)
	for _, d := range disks {
		if d.Enforcement == EnforcedByLoop {
			return fault.Invalid([]fault.FieldError{{Field: "endpoint", Message: "must be ssh:// while disk " + d.Path + " has the enforcement loop"}})
		}
	}
	return err
}

// enforce changes what keeps units within their share of the disk, while there are none: a volume stays
// as it was made.
func (d *Disk) enforce(h *Host, e Enforcement) error {
	switch {
	case e == d.Enforcement:
		return nil
	case d.Path == "":
		return fault.Invalid([]fault.FieldError{{Field: "enforcement", Message: "of the engine's own folder is found, and not chosen; add a disk"}})
	case d.Units > 0:
		return fault.Errorf(fault.CodeDiskInUse, nil, "the data of %s is on the disk; its enforcement changes while nothing is", plural(int(d.Units), "instance"))
	}
	d.Enforcement = e
	return h.canEnforce(e)
}

// disk reads a disk of the host in a transaction.
func (s *Service) disk(tx Tx, of ID, which DiskID) (Disk, error) {
	d, err := tx.Disk(which)
	if !id.WellFormed(which) || errors.Is(err, fault.ErrNotFound) || err == nil && d.Host != of {
		return Disk{}, fault.Errorf(fault.CodeNotFound, nil, "the host has no such disk")
	}
	return d, err
}

// ChangeDisk changes a disk, for example to mark it as bad: then nothing is put on it any more.
func (s *Service) ChangeDisk(ctx context.Context, p tenant.Principal, of ID, which DiskID, c DiskChange) (d Disk, err error) {
	if ctx, err = s.enter(ctx, p); err != nil {
		return Disk{}, err
	}
	if c.State != nil && !slices.Contains([]DiskState{DiskAvailable, DiskReserved, DiskError}, *c.State) {
		return Disk{}, fault.Invalid([]fault.FieldError{{Field: "state", Message: "must be available, reserved or error"}})
	}
	if c.CapacityBytes != nil && (*c.CapacityBytes < 0 || *c.CapacityBytes > maxDiskCapacity) {
		return Disk{}, fault.Invalid([]fault.FieldError{{Field: "capacity", Message: "must be 0 (not limited) to 1048576 GiB"}})
	}
	err = s.change(ctx, p, of, func(tx Tx, h *Host) (tenant.Deed, error) {
		if d, err = s.disk(tx, of, which); err != nil {
			return tenant.Deed{}, err
		}
		if c.Enforcement != nil {
			if err := d.enforce(h, *c.Enforcement); err != nil {
				return tenant.Deed{}, err
			}
		}
		if c.State != nil {
			d.State = *c.State
		}
		if c.CapacityBytes != nil {
			d.CapacityBytes = *c.CapacityBytes
		}
		if d.CapacityBytes > 0 && d.UsedBytes > d.CapacityBytes {
			return tenant.Deed{}, fault.Errorf(fault.CodeDiskInUse, nil, "units hold %s of the disk; it cannot have less", gibibytes(d.UsedBytes))
		}
		return tenant.Deed{Action: tenant.ActDiskChange, Detail: string(d.ID) + ", state " + string(d.State) + ", enforcement " + string(d.Enforcement)}, tx.UpdateHostDisk(d)
	})
	d.Rev++
	return d, err
}

// RemoveDisk takes a disk from a host that nothing is on.
func (s *Service) RemoveDisk(ctx context.Context, p tenant.Principal, of ID, which DiskID) error {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return err
	}
	err = s.change(ctx, p, of, func(tx Tx, _ *Host) (tenant.Deed, error) {
		d, err := s.disk(tx, of, which)
		if err != nil {
			return tenant.Deed{}, err
		}
		if d.Units > 0 {
			return tenant.Deed{}, fault.Errorf(fault.CodeDiskInUse, nil, "the data of %s is on the disk", plural(int(d.Units), "instance"))
		}
		others, err := tx.HostDisks(of)
		if err != nil {
			return tenant.Deed{}, err
		}
		if len(others) == 1 {
			return tenant.Deed{}, fault.Errorf(fault.CodeDiskInUse, nil, "it is the only disk of the host: add another one first, or reserve it")
		}
		return tenant.Deed{Action: tenant.ActDiskRemove, Detail: string(d.ID) + " at " + d.Path}, tx.DeleteDisk(d.ID)
	})
	return err
}
