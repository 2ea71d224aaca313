package job

import (
	"fmt"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
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

	mu     sync.Mutex
	counts map[tenant.ID]jobCount
}

type jobCount struct {
	jobs  int // counted, and accepted here since
	until time.Time
}

// far reports that the bound is so far that nobody need count, and notes one job more.
func (c *limits) far(owner tenant.ID, limit int, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, known := c.counts[owner]
	if !known || limit < countedBound || now.After(last.until) || last.jobs >= limit/2 {
		return false
	}
	last.jobs++
	c.counts[owner] = last
	return true
}

// manyCounts bounds how many tenants' counts are remembered.
const manyCounts = 10_000

func (c *limits) note(owner tenant.ID, jobs int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil || len(c.counts) >= manyCounts {
		c.counts = map[tenant.ID]jobCount{}
	}
	c.counts[owner] = jobCount{jobs: jobs, until: now.Add(countFor)}
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
