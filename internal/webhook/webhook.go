// Package webhook owns who is told of events: webhooks, the callbacks of jobs, and their
// deliveries, which are tried until they arrive, each receiver at its own pace. It must not
// know what events are about, and HTTP is its Sender's.
package webhook

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Webhook is an address that wants to be told of a tenant's events.
type Webhook struct {
	ID          ID
	Tenant      tenant.ID
	URL         string
	Events      []string // types, or beginnings of types such as "instance.*"; empty: all
	Description string
	Enabled     bool
	Reason      string        // why it is disabled, where Berth did so
	Secret      secret.Sealed // signs its deliveries ("whsec_…")
	// Previous holds the secrets from before, each with its own end, of which
	// PreviousUntil is the latest. Until then deliveries carry their signatures, too, so
	// that the receiver may change over when it likes.
	Previous      secret.Sealed
	PreviousUntil time.Time
	Rev           int64 // counts the writes
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// DeliveryFilter narrows a list of deliveries; empty fields do not.
type DeliveryFilter struct {
	Tenant  tenant.ID
	Webhook ID
	Subject id.Subject
	Job     id.Job
	Event   event.ID
	State   DeliveryState
}

const allEvents = "*"

// wants reports whether the webhook listens to events of this type.
func (h Webhook) wants(kind string) bool {
	return len(h.Events) == 0 || slices.ContainsFunc(h.Events, func(pattern string) bool {
		beginning, open := strings.CutSuffix(pattern, allEvents)
		return pattern == kind || open && strings.HasPrefix(kind, beginning)
	})
}

// Limits of a webhook, and of how many a tenant has: every event is written once
// for each of them.
const (
	maxWebhooks    = 50
	maxPatterns    = 32
	maxPattern     = 64
	maxDescription = 200
)

// A pattern is not compared with the types that there are: a receiver may be ready
// for one that comes with the next release.
var eventPattern = regexp.MustCompile(`^([a-z_]+\.)*([a-z_]+|\*)$`)

func checkEvents(patterns []string) []fault.FieldError {
	var wrong []fault.FieldError
	if len(patterns) > maxPatterns {
		wrong = append(wrong, fault.FieldError{Field: "events", Message: fmt.Sprintf("must be at most %d", maxPatterns)})
	}
	for i, p := range patterns {
		if len(p) > maxPattern || !eventPattern.MatchString(p) {
			wrong = append(wrong, fault.FieldError{Field: fmt.Sprintf("events[%d]", i), Message: `must be an event type such as "job.failed", or a prefix such as "instance.*"`})
		}
	}
	return wrong
}

func checkDescription(text string) []fault.FieldError {
	if len(text) > maxDescription {
		return []fault.FieldError{{Field: "description", Message: fmt.Sprintf("must be at most %d characters", maxDescription)}}
	}
	return nil
}

// Place is where a webhook's secret belongs, which binds its seal to it.
func Place(id ID) string { return "webhook/" + string(id) }
