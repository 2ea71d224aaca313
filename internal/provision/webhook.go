package provision

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Webhook is an address that wants to be told of a tenant's events.
type Webhook struct {
	ID          WebhookID
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

// WebhookReader reads webhooks and their deliveries.
type WebhookReader interface {
	Webhook(context.Context, WebhookID) (Webhook, error)
	Webhooks(context.Context, tenant.ID, page.Page) ([]Webhook, error)
	// Listeners gives the tenant's webhooks that are enabled, the oldest first.
	Listeners(context.Context, tenant.ID) ([]Webhook, error)
	Deliveries(context.Context, DeliveryFilter, page.Page) ([]Delivery, error)
	// DueDeliveries gives one delivery for each receiver that does not rest, in the
	// order of the receivers' names: the one that has been due for the longest time, if
	// its WakeAt has come. It looks at so many receivers after the one given, and says
	// which it looked at last; empty: there are no more. It costs the same however many
	// deliveries wait.
	DueDeliveries(ctx context.Context, now time.Time, after string, limit int) (due []Delivery, last string, err error)
	// ExpiredDeliveries gives pending deliveries whose ExpiresAt has come before the
	// time given and that nobody has in hand now.
	ExpiredDeliveries(ctx context.Context, before, now time.Time, limit int) ([]Delivery, error)
	// Standing gives what is known of a receiver that is not well; CodeNotFound when it
	// is.
	Standing(ctx context.Context, receiver string) (Standing, error)
	// NextDelivery gives the pending delivery of the receiver that has been due for
	// the longest time; CodeNotFound when none is.
	NextDelivery(ctx context.Context, receiver string, now time.Time) (Delivery, error)
}

// WebhookTx writes webhooks within a transaction. Their row is locked before those
// of their deliveries.
type WebhookTx interface {
	Webhook(WebhookID) (Webhook, error)
	Listeners(tenant.ID) ([]Webhook, error)
	InsertWebhook(Webhook) error
	// UpdateWebhook fails with CodeConflict unless the row is as it was read (Rev).
	UpdateWebhook(Webhook) error
	// DeleteWebhook fails with CodeConflict where the row is gone already.
	DeleteWebhook(WebhookID) error
	// EndDeliveries cancels all deliveries to the webhook that have not ended.
	EndDeliveries(id WebhookID, reason string, now time.Time) error
	Standing(receiver string) (Standing, error)
	PutStanding(Standing) error
	// DeleteStanding is for one that is well, or is not there any more.
	DeleteStanding(receiver string) error
	// DeleteStandings removes those that were not written since.
	DeleteStandings(before time.Time, limit int) (int, error)
}

// DeliveryFilter narrows a list of deliveries; empty fields do not.
type DeliveryFilter struct {
	Tenant  tenant.ID
	Webhook WebhookID
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
			wrong = append(wrong, fault.FieldError{Field: fmt.Sprintf("events[%d]", i), Message: `must be a type such as "job.failed", or a beginning such as "instance.*"`})
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

func webhookContext(id WebhookID) string { return "webhook/" + string(id) }
