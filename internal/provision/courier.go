package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"
)

// Courier sends callbacks: at least once each, with the same id at every attempt.
type Courier struct {
	Store  Store
	Vault  Vault
	Sender Sender
	Now    Clock
	Log    *slog.Logger
}

// deliverySchedule is when the attempts after the first are made, each counted
// from the one before. It is the schedule that Standard Webhooks suggests.
var deliverySchedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// deliveryHold is how long one attempt keeps others away; it is longer than an
// attempt may take.
const deliveryHold = 30 * time.Second

// Deliver makes the delivery's next attempt, if it is due.
func (c *Courier) Deliver(ctx context.Context, id DeliveryID) error {
	d, err := c.take(ctx, id)
	if errors.Is(err, errNotClaimable) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take delivery %s: %w", id, err)
	}
	status, err := c.send(ctx, d)
	after := c.outcome(d, status, err)
	if err != nil && ctx.Err() != nil { // this process is stopping: no fault of the receiver
		after = d.handedBack(c.Now())
	}
	c.Log.InfoContext(ctx, "callback sent", "delivery", id, "job", d.Job, "attempt", d.Attempt, "status", status, "state", after.State, "error", after.LastError)
	return c.Store.Tx(context.WithoutCancel(ctx), func(tx Tx) error { return tx.UpdateDelivery(after, d) })
}

// send makes one attempt. A secret that does not open counts as one, too: its key
// may be put back, and if not, the delivery must end.
func (c *Courier) send(ctx context.Context, d Delivery) (status int, err error) {
	secret, err := c.Vault.Open(d.Secret, deliveryContext(d.ID))
	if err != nil {
		return 0, fmt.Errorf("open its secret: %w", err)
	}
	return c.Sender.Send(ctx, d.URL, string(d.Event), d.Body, NewSecret(string(secret)))
}

// take counts the attempt before it is made, so that a crash in the middle is
// followed by another attempt, and no two are made at once.
func (c *Courier) take(ctx context.Context, id DeliveryID) (Delivery, error) {
	var taken Delivery
	err := c.Store.Tx(ctx, func(tx Tx) error {
		before, err := tx.Delivery(id)
		if err != nil {
			return err
		}
		now := c.Now()
		if before.State != DeliveryPending || before.DueAt.After(now) {
			return errNotClaimable
		}
		taken = before
		taken.Attempt++
		taken.DueAt, taken.UpdatedAt = now.Add(deliveryHold), now
		taken.WakeAt = taken.DueAt
		return tx.UpdateDelivery(taken, before)
	})
	return taken, err
}

func (c *Courier) outcome(d Delivery, status int, err error) Delivery {
	now := c.Now()
	d.LastStatus, d.UpdatedAt = status, now
	switch {
	case err != nil:
		d.LastError = err.Error()
	case status >= 200 && status < 300:
		d.LastError = ""
		return d.ended(DeliveryDelivered)
	default:
		d.LastError = fmt.Sprintf("the receiver answered %d %s", status, http.StatusText(status))
	}
	if status == http.StatusGone || d.Attempt > len(deliverySchedule) {
		return d.ended(DeliveryExhausted)
	}
	pause := deliverySchedule[d.Attempt-1]
	d.Generation++
	d.DueAt = now.Add(pause + rand.N(pause/5)) //nolint:gosec // jitter, not a secret
	d.WakeAt = d.DueAt
	return d
}

// handedBack gives the delivery as it was before the attempt, due at once.
func (d Delivery) handedBack(now time.Time) Delivery {
	d.Attempt--
	d.Generation++
	d.DueAt, d.WakeAt, d.UpdatedAt = now, now, now
	return d
}

// ended gives the delivery in its last state, without the secret it needed.
func (d Delivery) ended(state DeliveryState) Delivery {
	d.State, d.WakeAt, d.Secret = state, time.Time{}, Sealed{}
	return d
}
