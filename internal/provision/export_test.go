package provision

import "time"

// MoveJob lets the tests of the state table move a job.
func MoveJob(j *Job, next JobState, now time.Time) error { return j.move(next, now) }

// DeliverySchedule lets the tests know when attempts are due.
var DeliverySchedule = deliverySchedule

// Away is Contact.away.
func Away(c *Contact, from, until time.Time) bool { return c.away(from, until) }

// KnownFor is knownFor.
const KnownFor = knownFor

// Leased gives the runtime of a job whose lease is held as long as the function says so.
func Leased(next Runtime, held func() error) Runtime { return leasedRuntime{next, held} }
