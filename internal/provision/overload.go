package provision

import (
	"fmt"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// The bounds of the accepted jobs where the configuration says nothing.
const (
	DefaultMaxJobsPerTenant = 1000
	DefaultMaxJobs          = 10000
	// tooManyPause is what a client is asked to wait: jobs end every second or so.
	tooManyPause = 3 * time.Second
)

const (
	// countFor is how long a count is trusted while it is far from a bound, and
	// countedBound the bound from where on: a smaller one is counted to in no time.
	countFor     = time.Second
	countedBound = 500
)

// jobCounts remembers how many jobs had not ended, so that accepts need not count far
// from the bound: of a hundred thousand queued jobs, each of a thousand accepts in a
// second would count them all.
type jobCounts struct {
	mu     sync.Mutex
	counts map[tenant.ID]jobCount
}

type jobCount struct {
	jobs  int // counted, and accepted here since
	until time.Time
}

// far reports that the bound is so far that nobody need count, and notes one job more.
func (c *jobCounts) far(tenant tenant.ID, limit int, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, known := c.counts[tenant]
	if !known || limit < countedBound || now.After(last.until) || last.jobs >= limit/2 {
		return false
	}
	last.jobs++
	c.counts[tenant] = last
	return true
}

// manyCounts bounds how many tenants' counts are remembered.
const manyCounts = 10_000

func (c *jobCounts) note(owner tenant.ID, jobs int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil || len(c.counts) >= manyCounts {
		c.counts = map[tenant.ID]jobCount{}
	}
	c.counts[owner] = jobCount{jobs: jobs, until: now.Add(countFor)}
}

// admit refuses a create while too many jobs have not ended. It counts inside the
// transaction that accepts, so what is there is counted; creates that are accepted at
// the very same moment may exceed the bound by as many as they are. While less than half
// of a large bound is used, a count is good for a second, in which other processes would
// have to accept the other half to exceed it. Deletes are counted and never refused:
// they are the way out.
func (s *Service) admit(tx Tx, owner tenant.ID) error {
	for _, bound := range []struct {
		tenant tenant.ID
		limit  int
		whose  string
	}{{owner, s.cfg.MaxJobsPerTenant, "a tenant"}, {"", s.cfg.MaxJobs, "in all"}} {
		now := s.cfg.Now()
		if s.counts.far(bound.tenant, bound.limit, now) {
			continue
		}
		n, err := tx.LiveJobs(bound.tenant, bound.limit)
		if err != nil {
			return err
		}
		s.counts.note(bound.tenant, n, now)
		if n >= bound.limit {
			return &fault.Error{
				Code: fault.CodeTooManyJobs, RetryAfter: tooManyPause,
				Message: fmt.Sprintf("the limit of %d unfinished jobs %s is reached; try again when some have ended", bound.limit, bound.whose),
			}
		}
	}
	return nil
}
