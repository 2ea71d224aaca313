package provision

import (
	"fmt"
	"time"
)

// The bounds of the accepted jobs where the configuration says nothing.
const (
	DefaultMaxJobsPerTenant = 1000
	DefaultMaxJobs          = 10000
	// tooManyPause is what a client is asked to wait: jobs end every second or so.
	tooManyPause = 3 * time.Second
)

// admit refuses a create while too many jobs have not ended. It counts inside the
// transaction that accepts, so what is there is counted; creates that are accepted at
// the very same moment may exceed the bound by as many as they are. Deletes are
// counted and never refused: they are the way out.
func (s *Service) admit(tx Tx, tenant TenantID) error {
	for _, bound := range []struct {
		tenant TenantID
		limit  int
		whose  string
	}{{tenant, s.cfg.MaxJobsPerTenant, "a tenant"}, {"", s.cfg.MaxJobs, "in all"}} {
		n, err := tx.LiveJobs(bound.tenant, bound.limit)
		if err != nil {
			return err
		}
		if n >= bound.limit {
			return &Error{
				Code: CodeTooManyJobs, RetryAfter: tooManyPause,
				Message: fmt.Sprintf("the limit of %d unfinished jobs %s is reached; try again when some have ended", bound.limit, bound.whose),
			}
		}
	}
	return nil
}
