package provision

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// FailurePolicy says what becomes of a create that failed.
type FailurePolicy string

// The policies. What is kept is kept for inspection, and for a while: container,
// volume and port stay as they were when the create gave up.
const (
	OnFailureCleanup FailurePolicy = "cleanup" // the default
	OnFailureKeep    FailurePolicy = "keep"
)

// DefaultKeepFailed is how long a failed create is kept where that is asked for and
// the configuration says nothing.
const DefaultKeepFailed = time.Hour

// The bounds of the time limit that a client may ask for. A create needs some seconds
// even where everything is at hand.
const (
	minCreateTimeout = 10 * time.Second
	maxCreateTimeout = time.Hour
)

func (p FailurePolicy) orDefault() FailurePolicy {
	if p == "" {
		return OnFailureCleanup
	}
	return p
}

func (p FailurePolicy) check() []fault.FieldError {
	switch p {
	case "", OnFailureCleanup, OnFailureKeep:
		return nil
	}
	return []fault.FieldError{{Field: "on_failure", Message: "must be cleanup (the default) or keep"}}
}

// timeLimit gives how long the job of a create may take.
func (s *Service) timeLimit(asked string) (time.Duration, []fault.FieldError) {
	if asked == "" {
		return s.cfg.CreateDeadline, nil
	}
	limit, err := time.ParseDuration(asked)
	if err != nil || limit < minCreateTimeout || limit > maxCreateTimeout {
		return 0, []fault.FieldError{{Field: "timeout", Message: fmt.Sprintf(`must be a duration from %s to %s, such as "90s" or "5m"`, words(minCreateTimeout), words(maxCreateTimeout))}}
	}
	return limit, nil
}

// words gives a duration without the zeros behind it: "1h" for "1h0m0s".
func words(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

// keeps reports whether what the job made is kept. Whoever cancels wants it gone.
func (j *Job) keeps() bool {
	return j.OnFailure == OnFailureKeep && j.Undoing && j.Error != nil && j.Error.Code != fault.CodeCanceled
}

// endKept ends a create that failed and leaves everything as it is.
func (w *work) endKept(ctx context.Context, message string, now time.Time) error {
	until := now.Add(w.cfg.KeepFailed)
	message += fmt.Sprintf("; container, volume and port are kept for inspection until %s, or until the instance is deleted", until.Format(time.RFC3339))
	return w.finish(ctx, finish{job: JobFailed, instance: StateFailed, reason: message, message: message, keptUntil: until}, now)
}

// keptBatch bounds what one look of RemoveKept takes on.
const keptBatch = 100

// RemoveKept accepts the deletion of failed instances whose time for inspection is
// over, and reports how many. The relay wakes the workers for them.
func (s *Service) RemoveKept(ctx context.Context) (int, error) {
	over, err := s.cfg.Store.KeptInstances(ctx, s.cfg.Now(), keptBatch)
	if err != nil {
		return 0, err
	}
	for n, id := range over {
		err := s.decide(ctx, func(tx Tx) error {
			inst, err := tx.Instance(id)
			if err != nil || inst.KeptUntil.IsZero() || inst.State != StateFailed {
				return err // somebody else was faster
			}
			_, err = s.beginDelete(tx, id, "")
			return err
		})
		if err != nil {
			return n, fmt.Errorf("remove the kept %s: %w", id, err)
		}
	}
	return len(over), nil
}
