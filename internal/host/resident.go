package host

import (
	"context"
	"time"
)

// Resident is what is written of a subject that may have a unit on a host, as far as a
// sweep of the host needs to know.
type Resident struct {
	ID        UnitID
	Wants     Want
	State     string // for people
	Fence     int64
	Rev       int64 // of its row, as it was read
	UpdatedAt time.Time
}

// Want says what a resident is to have on its host.
type Want int

// What a resident is to have on its host.
const (
	// WantsItsJob is for one that a job is at, or that is to have no server: nothing is
	// concluded from what it has.
	WantsItsJob Want = iota
	// WantsServer is for one that is to run, on its data.
	WantsServer
	// WantsData is for one whose data was gone. Once that is there again it is to run; until
	// then there is nothing to be there but what may be left of the data.
	WantsData
	// WantsNothing is for one whose end has come.
	WantsNothing
	// WantsToStay is for one that is left as it is: stopped, or failed and kept for somebody to look at.
	WantsToStay
)

// Roll lists all that may have units on hosts.
type Roll interface {
	// On gives those of the host whose end has not come, in the order of their ids, after
	// the one given.
	On(ctx context.Context, host ID, after UnitID, limit int) ([]Resident, error)
	// Find gives those of the units that are written, also those whose end has come.
	Find(context.Context, []UnitID) (map[UnitID]Resident, error)
}

// Residents are all that may have units on hosts. A sweep reads them, and tells them what
// it has found.
type Residents interface {
	Roll
	// Repair has one brought back that should run and does not, for the reason given. It
	// reports false where nothing was begun: it is not as it was read, has a job, or was
	// repaired just now.
	Repair(ctx context.Context, r Resident, why string) (bool, error)
	// Check looks at one of which is said that it has ended, and has it repaired.
	Check(context.Context, UnitID) (bool, error)
	// Rehome writes that one is on the host, whose own host is not there any more. It reports
	// false where nothing is written of the unit.
	Rehome(ctx context.Context, on Host, u Unit) (bool, error)
	// Idle fails with CodeConflict where one has a job.
	Idle(context.Context, UnitID) error
	// Removed is told what was removed that the host still had of one; nil: it is not known.
	Removed(ctx context.Context, u Unit, r *Resident, message string) error
	// Release has the ports of one rest that its host has nothing of; nil: it is not known.
	// It reports false where it has a job.
	Release(ctx context.Context, id UnitID, r *Resident, why string) (bool, error)
}

// eachOn goes through the residents of the host whose end has not come.
func eachOn(ctx context.Context, all Roll, host ID, do func(Resident) error) error {
	for after := UnitID(""); ; {
		batch, err := all.On(ctx, host, after, reconcileBatch)
		if err != nil {
			return err
		}
		for _, r := range batch {
			after = r.ID
			if err := do(r); err != nil {
				return err
			}
		}
		if len(batch) < reconcileBatch {
			return nil
		}
	}
}
