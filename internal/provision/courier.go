package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Courier makes deliveries: at least once each, with the same id at every attempt.
type Courier struct {
	cfg       CourierConfig
	receivers receivers
}

// CourierConfig is what a Courier needs.
type CourierConfig struct {
	Store  Store
	Queue  Queue
	Vault  Vault
	Sender Sender
	NewID  NewID
	Now    Clock
	Log    *slog.Logger
}

// NewCourier makes a Courier. A process has one: it is where the deliveries to one
// receiver are counted.
func NewCourier(cfg CourierConfig) *Courier { return &Courier{cfg: cfg} }

// deliverySchedule is when the attempts after the first are made, each counted
// from the one before. It is the schedule that Standard Webhooks suggests.
var deliverySchedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

const (
	// deliveryHold is how long one attempt keeps others away; it is longer than an
	// attempt may take.
	deliveryHold = 30 * time.Second
	// goOnFor is how long a courier goes on with other deliveries that the receiver
	// has due, before it looks what else there is to do.
	goOnFor = 2 * time.Second
)

// Deliver makes the delivery's next attempt, if it is due and its receiver has a
// place, and goes on with what else the receiver has due, the oldest first: a
// backlog is sent in its order, and as fast as it is taken. What finds no place is
// put back, and has neither used an attempt nor waited here.
func (c *Courier) Deliver(ctx context.Context, id DeliveryID) error {
	d, err := c.cfg.Store.Delivery(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	begun := c.cfg.Now()
	if err != nil || !d.due(begun) {
		return err
	}
	receiver := d.Receiver()
	p, wait, ok := c.receivers.enter(receiver, begun)
	if !ok {
		return c.putBack(ctx, d, begun.Add(wait))
	}
	defer c.receivers.leave(p)
	for {
		delivered, err := c.attempt(ctx, d.ID, p)
		if err != nil || !delivered || ctx.Err() != nil || c.cfg.Now().Sub(begun) >= goOnFor {
			return err
		}
		d, err = c.cfg.Store.NextDelivery(ctx, receiver, c.cfg.Now())
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("next delivery: %w", err)
		}
	}
}

// putBack lets the relay look at the delivery later. It stays due: whoever has a
// place at its receiver may take it before.
func (c *Courier) putBack(ctx context.Context, d Delivery, until time.Time) error {
	after := d
	after.Generation++
	after.WakeAt = until
	err := c.cfg.Store.Tx(ctx, func(tx Tx) error { return tx.UpdateDelivery(after, d) })
	if errors.Is(err, ErrConflict) {
		return nil // somebody has it by now
	}
	return err
}

// attempt makes one attempt, and reports whether the delivery has arrived.
func (c *Courier) attempt(ctx context.Context, id DeliveryID, at place) (delivered bool, err error) {
	p, err := c.take(ctx, id)
	if errors.Is(err, errNotClaimable) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		return true, nil // somebody else has it, or it has ended: the next one, then
	}
	if err != nil {
		return false, fmt.Errorf("take delivery %s: %w", id, err)
	}
	begun := c.cfg.Now()
	answer, err := c.send(ctx, &p)
	if err != nil && ctx.Err() != nil { // this process is stopping: no fault of the receiver
		return false, c.settle(ctx, p, p.before.handedBack(c.cfg.Now()), false)
	}
	after := c.outcome(p, answer, err, begun)
	delivered = after.State == DeliveryDelivered
	now := c.cfg.Now()
	c.receivers.sent(at, delivered, now, now.Sub(begun))
	c.cfg.Log.InfoContext(ctx, "webhook sent", "delivery", id, "event", after.EventType, "webhook", after.Webhook, "job", after.Job,
		"attempt", after.Attempt, "status", answer.Status, "state", after.State, "error", after.LastError)
	return delivered, c.settle(ctx, p, after, answer.Status == http.StatusGone)
}

// parcel is a delivery that was taken, with what sends it.
type parcel struct {
	before  Delivery
	hook    *Webhook // nil: a callback
	secrets []Secret
}

// take counts the attempt before it is made, so that a crash in the middle is
// followed by another attempt, and no two are made at once. What its webhook is now
// decides where it goes.
func (c *Courier) take(ctx context.Context, id DeliveryID) (parcel, error) {
	var p parcel
	canceled := false
	err := c.cfg.Store.Tx(ctx, func(tx Tx) error {
		d, err := tx.Delivery(id)
		if err != nil {
			return err
		}
		now := c.cfg.Now()
		if !d.due(now) {
			return errNotClaimable
		}
		taken := d
		taken.Attempt++
		taken.DueAt, taken.UpdatedAt = now.Add(deliveryHold), now
		taken.WakeAt = taken.DueAt
		if p.hook, canceled = nil, false; d.Webhook != "" {
			hook, err := tx.Webhook(d.Webhook)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			// The event was announced in the moment in which the webhook went.
			if canceled = err != nil || !hook.Enabled; canceled {
				d.LastError, d.UpdatedAt = "the webhook was disabled or deleted", now
				return tx.UpdateDelivery(d.ended(DeliveryCanceled), d)
			}
			p.hook, taken.URL = &hook, hook.URL
		}
		p.before = taken
		return tx.UpdateDelivery(taken, d)
	})
	if err == nil && canceled {
		err = errNotClaimable
	}
	return p, err
}

// send makes one attempt. A secret that does not open counts as one, too: its key
// may be put back, and if not, the delivery must end.
func (c *Courier) send(ctx context.Context, p *parcel) (Answer, error) {
	d := p.before
	if p.hook != nil {
		var err error
		if p.secrets, err = p.hook.secrets(c.cfg.Vault, c.cfg.Now()); err != nil {
			return Answer{}, fmt.Errorf("open its secret: %w", err)
		}
	} else {
		secret, err := c.cfg.Vault.Open(d.Secret, deliveryContext(d.ID))
		if err != nil {
			return Answer{}, fmt.Errorf("open its secret: %w", err)
		}
		p.secrets = []Secret{NewSecret(string(secret))}
	}
	return c.cfg.Sender.Send(ctx, Message{URL: d.URL, ID: string(d.Event), Body: d.Body, Secrets: p.secrets})
}

// outcome gives the delivery as it is after the attempt.
func (c *Courier) outcome(p parcel, answer Answer, err error, begun time.Time) Delivery {
	now := c.cfg.Now()
	d := p.before
	d.LastStatus, d.LastError, d.UpdatedAt = answer.Status, "", now
	good := err == nil && answer.Status >= 200 && answer.Status < 300
	switch {
	case err != nil:
		d.LastError = p.scrub(err.Error())
	case !good:
		d.LastError = strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", answer.Status, http.StatusText(answer.Status)))
	}
	d = d.noted(Attempt{At: begun, Took: now.Sub(begun), Status: answer.Status, Error: d.LastError, Answer: p.scrub(answer.Body)})
	switch {
	case good:
		return d.ended(DeliveryDelivered)
	case answer.Status == http.StatusGone || d.Attempt > len(deliverySchedule):
		return d.ended(DeliveryExhausted)
	}
	pause := deliverySchedule[d.Attempt-1]
	d.Generation++
	d.DueAt = now.Add(pause + rand.N(pause/5)) //nolint:gosec // jitter, not a secret
	d.WakeAt = d.DueAt
	return d
}

// scrub takes what it was signed with out of a text of the receiver's, and the rest
// to a size that is kept.
func (p parcel) scrub(text string) string {
	for _, s := range p.secrets {
		if !s.Empty() {
			text = strings.ReplaceAll(text, strings.TrimPrefix(s.Reveal(), "whsec_"), redacted)
		}
	}
	return clip(text, maxAnswerKept)
}

// settle writes the outcome. A webhook whose receiver is gone is disabled in the same
// transaction. A conflict means that the delivery was ended or begun anew meanwhile.
func (c *Courier) settle(ctx context.Context, p parcel, after Delivery, gone bool) error {
	ctx = context.WithoutCancel(ctx)
	var calls []Task
	err := c.cfg.Store.Tx(ctx, func(tx Tx) (err error) {
		if calls = nil; !gone || p.hook == nil {
			return tx.UpdateDelivery(after, p.before)
		}
		calls, err = c.disable(tx, after, p.before)
		return err
	})
	if errors.Is(err, ErrConflict) {
		return nil
	}
	if err == nil {
		wakeAll(ctx, c.cfg.Queue, c.cfg.Log, calls)
	}
	return err
}

// disable ends the delivery, and with it all others to its webhook.
func (c *Courier) disable(tx Tx, after, before Delivery) ([]Task, error) {
	hook, err := tx.Webhook(after.Webhook)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && !hook.Enabled:
		return nil, tx.UpdateDelivery(after, before)
	case err != nil:
		return nil, err
	case hook.URL != after.URL: // that was the old address; the new one is asked at once
		return nil, tx.UpdateDelivery(before.handedBack(after.UpdatedAt), before)
	}
	hook.Enabled, hook.Reason, hook.UpdatedAt = false, after.LastError, after.UpdatedAt
	if err := tx.UpdateWebhook(hook); err != nil {
		return nil, err
	}
	if err := tx.UpdateDelivery(after, before); err != nil {
		return nil, err
	}
	if err := tx.EndDeliveries(hook.ID, "the webhook was disabled: "+hook.Reason, after.UpdatedAt); err != nil {
		return nil, err
	}
	return announce(tx, c.cfg.NewID, Event{
		ID: EventID(c.cfg.NewID(PrefixEvent)), Tenant: hook.Tenant, Type: EventWebhookDisabled,
		Message: fmt.Sprintf("webhook %s is disabled: %s", hook.ID, hook.Reason), At: after.UpdatedAt,
	})
}
