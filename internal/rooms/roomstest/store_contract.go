package roomstest

import (
	"context"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
)

const suiteLimit = 2 * time.Minute

// StoreContract tests that a Store keeps the promises of rooms.Store. Every
// test opens a fresh, empty one.
func StoreContract(t *testing.T, open func(*testing.T) rooms.Store) {
	for _, test := range []struct {
		name string
		run  func(shelf)
	}{
		{"an error leaves nothing", errorLeavesNothing},
		{"a panic leaves nothing", panicLeavesNothing},
		{"an ended context leaves nothing", contextLeavesNothing},
		{"writes are seen when committed", seenWhenCommitted},
		{"effects follow the commit", effectsFollow},
		{"writers wait for one another", writersWait},
		{"deadlocks are tried again", deadlocksPass},
		{"what nobody has is not found", unknownNotFound},

		{"an instance comes back as it was", instanceRoundTrip},
		{"an instance changes by its revision", instanceRevision},
		{"what was measured of a disk", diskMeasured},
		{"a name has one living holder", nameUnique},
		{"a name that many want at once", nameRace},
		{"pages stand still while the list grows", pagesStable},
		{"instances by filter", instanceFilters},

		{"an instance is replaced", replaced},
		{"an instance is not replaced", replaceRefused},
		{"an instance that many replace at once", replaceRace},
		{"several that one name is wanted for", replaceNameRace},
		{"an instance is replaced or retired", replaceOrRetire},
		{"an instance is replaced above its fence", replaceFence},

		{"a job comes back as it was", jobRoundTrip},
		{"which jobs have ended", jobsEnded},
		{"a job changes under its fence", jobFence},
		{"an ended job does not change", jobEnded},
		{"one job at a time", oneActiveJob},
		{"a job that many insert at once", activeJobRace},
		{"a job that many claim at once", claimRace},
		{"a checked claim holds until the end", claimHolds},
		{"a job is rescheduled as it was seen", reschedule},
		{"due jobs", dueJobs},
		{"jobs by filter", jobFilters},
		{"living jobs are counted", liveJobs},
		{"whose turn it is", jobTurns},
		{"kept instances", keptInstances},
		{"certificates that end", certificatesDue},

		{"credentials", credentials},
		{"a delivery", deliveries},
		{"due deliveries, one for each receiver", dueDeliveries},
		{"receivers are looked at a few at a time", dueDeliveriesByPage},
		{"expired deliveries", expiredDeliveries},
		{"the standing of a receiver", standings},
		{"a webhook changes by its revision", webhookRevision},
		{"webhooks of a tenant", webhookLists},
		{"deliveries by filter", deliveryFilters},
		{"the receiver's next delivery", nextDelivery},
		{"deliveries end with their webhook", endDeliveries},
		{"answers to repeated requests", idempotencyKeys},
		{"hosts", hosts},
		{"a duty has one owner", duty},
		{"a duty that many want at once", dutyRace},
		{"what is expired goes", expired},
		{"expired by and by", expiredLimit},

		{"the tenant that was always there", defaultTenant},
		{"tenants", tenants},
		{"API keys", apiKeys},
		{"a quota comes back as it was", quotaRoundTrip},
		{"what a tenant holds", quotaHeld},
		{"the last places of a quota", quotaRace},
		{"users", users},
		{"members", members},
		{"sessions", sessions},
		{"invitations", invitations},
		{"an invitation that many use at once", invitationRace},
		{"tokens for a new password", resets},
		{"attempts", attempts},
		{"attempts of many at once", attemptsRace},
		{"access that is over", oldAccess},

		{"an entry of the audit log", auditRoundTrip},
		{"the audit log by filter", auditFilters},
		{"an entry comes with what it tells of", auditRollback},
		{"the audit log of many at once", auditRace},
		{"old entries of the audit log", auditRetention},

		{"instances of a host", instancesOfHost},
		{"ports of the dead", strandedPorts},
		{"a watch", watches},
		{"a watch has one claim", claimedWatches},
		{"events are numbered", eventsNumbered},
		{"no event is numbered twice", eventsTwice},
		{"events of many at once", eventsRace},
		{"events expire", eventsExpire},

		{"fresh ports ascend", portsFresh},
		{"freed ports rest", portsRest},
		{"ports are freed by their holder", portsHolder},
		{"another range", portsRange},
		{"a host of the pool", poolHosts},
		{"swarms", swarms},
		{"disks of hosts", hostDisks},
		{"an allocation", allocations},
		{"no more is allocated than there is", allocationGuard},
		{"allocations of many at once", allocationRace},
		{"who holds what", allocationFilters},
		{"a port has one holder", portsRace},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
			defer cancel()
			test.run(shelf{T: t, store: open(t), ctx: ctx, newID: id.NewSource().New})
		})
	}
}

// at is the time in these tests; a millisecond that needs its three digits.
var at = time.Date(2026, 3, 29, 1, 2, 3, 45e6, time.UTC)

const owner tenant.ID = "acme"

// shelf is one test's view of the Store.
type shelf struct {
	*testing.T
	store rooms.Store
	ctx   context.Context
	newID id.Maker
}

func (s shelf) ok(err error, what string) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

func (s shelf) code(err error, want fault.Code, what string) {
	s.Helper()
	if err == nil || fault.CodeOf(err) != want {
		s.Fatalf("%s: got %v (code %s), want code %s", what, err, fault.CodeOf(err), want)
	}
}

// tx runs a transaction and gives its error.
func (s shelf) tx(do func(rooms.Tx) error) error {
	s.Helper()
	return s.store.Tx(s.ctx, do)
}

// commit runs a transaction that must succeed.
func (s shelf) commit(what string, do func(rooms.Tx) error) {
	s.Helper()
	s.ok(s.tx(do), what)
}

// newInstance gives an instance as a create makes it.
func (s shelf) newInstance(name string) instance.Instance {
	return instance.Instance{
		ID: instance.ID(s.newID(instance.Prefix)), Tenant: owner, Spec: instance.Spec{Engine: "redis", Version: "8", Plan: "small", Resources: host.Resources{CPUMillis: 500, MemoryBytes: 256 << 20, DiskBytes: 1 << 30}, Parameters: instance.Parameters{"maxclients": int64(50)}, Ports: 2}, Name: name,

		State: instance.StatePending, CreatedAt: at, UpdatedAt: at,
	}
}

// newJob gives a job as a create makes it.
func (s shelf) newJob(i instance.Instance) job.Job {
	return job.Job{
		ID: id.Job(s.newID(job.Prefix)), Tenant: i.Tenant, Subject: id.Subject(i.ID), Class: i.Spec.Engine, Kind: instance.JobCreate,
		State: job.Queued, Steps: []job.Step{{Name: "reserve", State: job.StepWaiting}}, Generation: 1,
		WakeAt: at.Add(time.Second), Deadline: at.Add(time.Hour), CreatedAt: at, UpdatedAt: at,
	}
}

// instance inserts an instance and gives it as it is stored.
func (s shelf) instance(name string, change ...func(*instance.Instance)) instance.Instance {
	s.Helper()
	i := s.newInstance(name)
	for _, c := range change {
		c(&i)
	}
	s.commit("InsertInstance", func(tx rooms.Tx) error { return tx.InsertInstance(i) })
	return s.storedInstance(i.ID)
}

// job inserts an instance with a job and gives the job as it is stored.
func (s shelf) job(name string, change ...func(*job.Job)) job.Job {
	s.Helper()
	j := s.newJob(s.instance(name))
	for _, c := range change {
		c(&j)
	}
	s.commit("InsertJob", func(tx rooms.Tx) error { return tx.InsertJob(j) })
	return s.storedJob(j.ID)
}

func (s shelf) storedInstance(id instance.ID) instance.Instance {
	s.Helper()
	i, err := s.store.Instance(s.ctx, id)
	s.ok(err, "Instance")
	return i
}

func (s shelf) storedJob(id id.Job) job.Job {
	s.Helper()
	j, err := s.store.Job(s.ctx, id)
	s.ok(err, "Job")
	return j
}

// oneWinner asserts that all but one have failed, with that code.
func (s shelf) oneWinner(errs []error, losers fault.Code) {
	s.Helper()
	winners := 0
	for _, err := range errs {
		if err == nil {
			winners++
			continue
		}
		s.code(err, losers, "one who was late")
	}
	if winners != 1 {
		s.Fatalf("%d of %d have won, want 1", winners, len(errs))
	}
}

// ids gives the ids of a list.
func ids[E any, ID ~string](list []E, id func(E) ID) []ID {
	out := make([]ID, len(list))
	for i, e := range list {
		out[i] = id(e)
	}
	return out
}

func instanceID(i instance.Instance) instance.ID { return i.ID }
func jobID(j job.Job) id.Job                     { return j.ID }
