package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/job"
)

// loops gives the disks on which each unit has a file system of its own.
func loops(disks []Disk) []Disk {
	return slices.DeleteFunc(slices.Clone(disks), func(d Disk) bool { return d.Enforcement != EnforcedByLoop })
}

// loopChecks looks whether file systems can be made on the disks that are to have them.
func loopChecks(ctx context.Context, sh Shell, disks []Disk) ([]Check, error) {
	var checks []Check
	for _, d := range loops(disks) {
		c := Check{Name: "loop:" + d.Path, Wanted: "each instance can have a file system of its own there"}
		err := LoopDisk{Shell: sh, Path: d.Path}.Ready(ctx, d.Units > 0)
		var end *ScriptError
		switch {
		case err == nil:
			checks = append(checks, c.pass("it can"))
		case errors.As(err, &end):
			checks = append(checks, c.fail(fault.Explain(err), "mount the disk; log in as root, or as one who may use sudo without a password; "+
				"have util-linux and e2fsprogs installed; or choose the enforcement none"))
		default:
			return nil, err
		}
	}
	return checks, nil
}

// loopGrace is how long a create may take from its allocation to its file system.
const loopGrace = 15 * time.Minute

// compareLoops says which file systems are on disks of the host that are not in the books, and the
// other way round. What is not in the books may hold data: it is left.
func (w *work) compareLoops(ctx context.Context) ([]string, error) {
	disks := loops(w.disks)
	if len(disks) == 0 || !w.host.bySSH() {
		return nil, nil
	}
	there, err := w.loopsThere(ctx, disks)
	if err != nil {
		return nil, err
	}
	var found []string
	for after := UnitID(""); ; {
		held, err := w.cfg.Store.Allocations(ctx, AllocationFilter{Host: w.host.ID}, after, reconcileBatch)
		if err != nil {
			return nil, err
		}
		for _, a := range held {
			after = a.Unit
			units, loop := there[a.Disk]
			if loop && !units[a.Unit] && a.CreatedAt.Before(w.cfg.Now().Add(-loopGrace)) {
				found = append(found, fmt.Sprintf("%s is in the books of a disk that has no file system of it", a.Unit))
			}
			delete(units, a.Unit)
		}
		if len(held) < reconcileBatch {
			break
		}
	}
	for _, d := range disks {
		for unit := range there[d.ID] {
			found = append(found, fmt.Sprintf("disk %s has a file system of %s, which is not in the books", d.Path, unit))
		}
	}
	slices.Sort(found)
	return found, nil
}

// loopsThere gives the units that have a file system on each of the disks.
func (w *work) loopsThere(ctx context.Context, disks []Disk) (map[DiskID]map[UnitID]bool, error) {
	there := map[DiskID]map[UnitID]bool{}
	err := w.shell(ctx, func(sh Shell) error {
		for _, d := range disks {
			units, err := LoopDisk{Shell: sh, Path: d.Path}.Units(ctx)
			if err != nil {
				return err
			}
			there[d.ID] = map[UnitID]bool{}
			for _, unit := range units {
				there[d.ID][unit] = true
			}
		}
		return nil
	})
	return there, err
}

// noteEnforcement writes what bounds the volumes in the engine's own folder, as one of them has shown.
func (w *work) noteEnforcement(ctx context.Context, shown Enforcement) error {
	if shown != EnforcedByNone && shown != EnforcedByQuota {
		return nil
	}
	return w.Save(ctx, func(t job.Tx) error {
		disks, err := within(t).HostDisks(w.host.ID)
		if err != nil {
			return err
		}
		for _, d := range disks {
			if d.Path == "" && d.Enforcement != shown {
				d.Enforcement = shown
				return within(t).UpdateHostDisk(d)
			}
		}
		return nil
	})
}
