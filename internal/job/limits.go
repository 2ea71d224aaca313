package job

import (
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/ttl"
)

// The bounds of the accepted jobs where the configuration says nothing.
const (
	DefaultMaxPerTenant = 1000
	DefaultMax          = 10000
	// tooManyPause is what a client is asked to wait: jobs end every second or so.
	tooManyPause = 3 * time.Second
)

const (
	// countFor is how long a count is trusted while it is far from a bound, and
	// countedBound the bound from where on: a smaller one is counted to in no time.
	countFor     = time.Second
	countedBound = 500
)

// limits are how many accepted jobs may not have ended. It remembers how many there were,
// so that accepts need not count far from the limit: of a hundred thousand queued jobs, each
// of a thousand accepts in a second would count them all.
type limits struct {
	perTenant, inAll int

	counts ttl.Map[tenant.ID, int] // counted, and accepted here since
}

// far reports that the bound is so far that nobody need count, and notes one job more.
func (c *limits) far(owner tenant.ID, limit int, now time.Time) (far bool) {
	if limit < countedBound {
		return false
	}
	c.counts.Change(owner, now, func(jobs *int) {
		if far = *jobs < limit/2; far {
			*jobs++
		}
	})
	return far
}

func (c *limits) note(owner tenant.ID, jobs int, now time.Time) {
	c.counts.Put(owner, jobs, now, countFor)
}

// Admit refuses a new job while too many have not ended. It counts inside the transaction
// that accepts, so what is there is counted; requests that are accepted at the very same
// moment may exceed the limit by as many as they are. While less than half of a large limit
// is used, a count is good for a second, in which other processes would have to accept the
// other half to exceed it. Deletes are counted and never refused: they are the way out.
func (s *Service) Admit(tx Tx, owner tenant.ID) error {
	for _, bound := range []struct {
		tenant tenant.ID
		limit  int
		whose  string
	}{{owner, s.limits.perTenant, "a tenant"}, {"", s.limits.inAll, "in all"}} {
		now := s.Now()
		if s.limits.far(bound.tenant, bound.limit, now) {
			continue
		}
		n, err := tx.LiveJobs(bound.tenant, bound.limit)
		if err != nil {
			return err
		}
		s.limits.note(bound.tenant, n, now)
		if n >= bound.limit {
			return &fault.Error{
				Code: fault.CodeTooManyJobs, RetryAfter: tooManyPause,
				Message: fmt.Sprintf("the limit of %d unfinished jobs %s is reached; try again when some have ended", bound.limit, bound.whose),
			}
		}
	}
	return nil
}
