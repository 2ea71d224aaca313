package webhook

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

// Store keeps webhooks and their deliveries. Reads outside a transaction see what is
// committed.
type Store interface {
	duty.Store
	idempotency.Store
	Reader
	Tx(context.Context, func(Tx) error) error
}

// Reader reads webhooks and their deliveries.
type Reader interface {
	Delivery(context.Context, DeliveryID) (Delivery, error)
	Webhook(context.Context, ID) (Webhook, error)
	Webhooks(context.Context, tenant.ID, page.Page) ([]Webhook, error)
	// ListenersAhead reads what Rows.Listeners gives ahead of a transaction, and sends it
	// unless it fails. Nil: the transaction reads it as quickly.
	ListenersAhead(context.Context, tenant.ID) <-chan []Webhook
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

// Tx writes webhooks and deliveries within a transaction. A webhook's row is locked
// before those of its deliveries.
type Tx interface {
	job.Tx
	idempotency.Tx
	Rows
}

// Rows are the rows of webhooks and deliveries in a transaction.
type Rows interface {
	Delivery(DeliveryID) (Delivery, error)
	InsertDelivery(Delivery) error
	// UpdateDelivery writes what changes of a delivery, and fails with CodeConflict
	// unless the row still has the attempt and generation of the one before.
	UpdateDelivery(after, before Delivery) error
	Webhook(ID) (Webhook, error)
	Listeners(tenant.ID) ([]Webhook, error)
	InsertWebhook(Webhook) error
	// UpdateWebhook fails with CodeConflict unless the row is as it was read (Rev).
	UpdateWebhook(Webhook) error
	// DeleteWebhook fails with CodeConflict where the row is gone already.
	DeleteWebhook(ID) error
	// EndDeliveries cancels all deliveries to the webhook that have not ended.
	EndDeliveries(id ID, reason string, now time.Time) error
	Standing(receiver string) (Standing, error)
	PutStanding(Standing) error
	// DeleteStanding is for one that is well, or is not there any more.
	DeleteStanding(receiver string) error
	// DeleteOldDeliveries removes deliveries that have ended before.
	DeleteOldDeliveries(before time.Time, limit int) (int, error)
	// DeleteStandings removes those that were not written since.
	DeleteStandings(before time.Time, limit int) (int, error)
}
