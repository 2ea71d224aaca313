package instance

import (
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
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
