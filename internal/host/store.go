package host

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
)

// Store keeps hosts, and who holds which of their ports. Reads outside a transaction
// see what is committed.
type Store interface {
	duty.Store
	PlacementStore
	PoolReader
	SwarmReader
	BooksReader
	Tx(context.Context, func(Tx) error) error
}

// Reader reads hosts.
type Reader interface {
	DiskReader
	AllocationReader
	// Hosts gives all hosts, also those that nothing is placed on.
	Hosts(context.Context) ([]Host, error)
	// HostsInShort gives all hosts without Checks and Import, which are long and which nothing
	// that goes through all of them looks at.
	HostsInShort(context.Context) ([]Host, error)
	Host(context.Context, ID) (Host, error)
	// Occupied reports whether something is written that is to be on the host.
	Occupied(context.Context, ID) (bool, error)
	// PortsLeft reports whether TakePort could succeed so many times.
	PortsLeft(ctx context.Context, host Host, n int, now time.Time) (bool, error)
	// PortsFree counts the ports that TakePort could give.
	PortsFree(ctx context.Context, host Host, now time.Time) (int, error)
	// Stranded gives units that are to have nothing on the host and still hold a port of
	// it, in the order of their ids, after the one given.
	Stranded(ctx context.Context, host ID, after UnitID, limit int) ([]UnitID, error)
}

// Tx writes, within one transaction.
type Tx interface {
	// CheckClaim takes the job's row for the rest of the transaction, and fails with
	// CodeFenced unless it still has the claim's fence and has not ended.
	CheckClaim(job.Claim) error
	job.Tx
	idempotency.Tx
	Rows
	PoolRows
	SwarmRows
	BooksRows
}

// PoolReader reads what belongs to hosts of the pool.
type PoolReader interface {
	// ActiveJob gives the job of the host that has not ended.
	ActiveJob(context.Context, id.Subject) (job.Job, error)
	// Places gives the regions and their zones, in their order.
	Places(context.Context) ([]Place, error)
	// HostSecret gives what a host is reached with, under its name; CodeNotFound.
	HostSecret(ctx context.Context, of ID, name SecretName) (secret.Sealed, error)
}

// PoolRows are the rows of what belongs to hosts of the pool.
type PoolRows interface {
	// PlaceKnown reports whether there is the region with the zone, which may be empty.
	PlaceKnown(region, zone string) (bool, error)
	// PutPlace adds a region or a zone; of one that is there it changes the name, if there is one.
	PutPlace(Place) error
	// InsertHostSecret fails with CodeConflict where there is one of the name.
	InsertHostSecret(of ID, name SecretName, s secret.Sealed) error
	// DeleteHostSecrets removes the secrets of the host with the names; none: all.
	DeleteHostSecrets(of ID, names ...SecretName) error
}

// Rows are the rows of hosts and their ports in a transaction.
type Rows interface {
	// Situation gives what the unit has already, and what disks the host has, in one round trip. Of a
	// host that is not there it is empty.
	Situation(host ID, unit UnitID) (Situation, error)
	// TakePort gives the unit the port of the host that nobody has held for the longest
	// time, in a time that does not depend on how many are taken. CodePortsExhausted when
	// there is none; CodeConflict when somebody else was faster: try again.
	TakePort(host Host, holder UnitID, name string, now time.Time) (int, error)
	// RestPort takes one port from the unit and keeps it out of use until then.
	RestPort(host ID, port int, holder UnitID, until time.Time) error
	HolderRows
	DiskRows
	AllocationRows
	// PutHost inserts the host, or changes where the one of the same name is reached, and gives
	// it with its id.
	PutHost(Host) (Host, error)
	// MarkHost writes Engine and MissingSince, one of which must change, and fails with
	// CodeConflict unless the row has those of the host before, and with CodeHostExists where another
	// host of the pool has the engine. PutHost leaves them.
	MarkHost(after, before Host) error
	// HostRow gives the host as the transaction sees it, and AllHosts all of them.
	HostRow(ID) (Host, error)
	AllHosts() ([]Host, error)
	// InsertHost fails with CodeHostExists where another host of the pool has the name or the
	// address, with CodeEngineKnown where one has the engine.
	InsertHost(Host) error
	// UpdateHost writes all of a host but its id, MissingSince and what is used. CodeConflict
	// unless the row has the revision, or where more is used than a capacity that changes would be;
	// CodeHostExists and CodeEngineKnown as InsertHost.
	UpdateHost(Host) error
	// DeleteHost removes the host's row with its disks and ports. CodeConflict unless the row has the
	// revision, and while it has allocations.
	DeleteHost(Host) error
}

// PortRows are the ports of one unit, in a transaction.
type PortRows interface {
	// RestPorts takes all ports from the unit and keeps them out of use until then.
	RestPorts(holder UnitID, until time.Time) error
	// RestPortsElsewhere does so with those that it holds on other hosts than the one given.
	RestPortsElsewhere(holder UnitID, host ID, until time.Time) error
	// HoldPort writes that the unit holds the port of the host, which it has already. CodeConflict
	// where another one holds it.
	HoldPort(host ID, port int, holder UnitID, name string) error
}

// Ports hands out the ports of hosts, and shares of hosts with them.
type Ports interface {
	// Allocate gives the claim's subject what it asks for on the host, or nothing of it, as Take
	// does.
	Allocate(ctx context.Context, claim job.Claim, host Host, ask Ask) (Held, error)
	// Refused takes the port from the claim's subject because the host would not give it,
	// and keeps it out of use for a while.
	Refused(ctx context.Context, claim job.Claim, host Host, port int) error
	// Available reports whether the host has so many ports left.
	Available(ctx context.Context, host Host, n int) (bool, error)
}
