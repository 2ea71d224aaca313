package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// Courier makes deliveries: at least once each, with the same id at every attempt.
type Courier struct {
	cfg       CourierConfig
	receivers receivers
}

// CourierConfig is what a Courier needs.
type CourierConfig struct {
	Store  Store
	Queue  bell.Queue
	Vault  secret.Vault
	Sender Sender
	Events *event.Log
	Now    clock.Clock
	Log    *slog.Logger
}

// NewCourier makes a Courier. A process has one: it is where the deliveries to one
// receiver are counted.
func NewCourier(cfg CourierConfig) *Courier {
	return &Courier{cfg: cfg}
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
// place and does not rest, and goes on with what else the receiver has due, the oldest
// first: a backlog is sent in its order, and as fast as it is taken. What finds no
// place has neither used an attempt nor waited here, and nothing is written: the relay
// looks again.
func (c *Courier) Deliver(ctx context.Context, id DeliveryID) error {
	d, err := c.cfg.Store.Delivery(ctx, id)
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	receiver, begun := d.Receiver(), c.cfg.Now()
	if !d.due(begun) { // somebody was faster; there may be another one
		if d, err = c.cfg.Store.NextDelivery(ctx, receiver, begun); errors.Is(err, fault.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("next delivery: %w", err)
		}
	}
	standing, err := standingOf(receiver)(c.cfg.Store.Standing(ctx, receiver))
	if err != nil || standing.RestUntil.After(begun) {
		return err
	}
	p, ok := c.receivers.enter(receiver, standing, begun)
	if !ok {
		return nil
	}
	more, err := c.goOn(ctx, d, &visit{place: p, standing: standing})
	if missed := c.receivers.leave(p); err != nil || !more && !missed || ctx.Err() != nil {
		return err
	}
	return c.leaveToNext(ctx, receiver)
}

// visit is what a courier does at one receiver in one go.
type visit struct {
	place    place
	standing Standing // as far as this courier knows
}

// goOn delivers, and reports whether there may be more for the receiver.
func (c *Courier) goOn(ctx context.Context, d Delivery, v *visit) (more bool, err error) {
	receiver, begun := v.place.receiver, c.cfg.Now()
	for {
		delivered, err := c.attempt(ctx, d.ID, v)
		if err != nil || !delivered || ctx.Err() != nil {
			return false, err
		}
		if c.cfg.Now().Sub(begun) >= goOnFor {
			return true, nil
		}
		d, err = c.cfg.Store.NextDelivery(ctx, receiver, c.cfg.Now())
		if errors.Is(err, fault.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("next delivery: %w", err)
		}
	}
}

// leaveToNext wakes whoever goes on with the receiver. Where a task is in the way,
// somebody does so already, or the relay will.
func (c *Courier) leaveToNext(ctx context.Context, receiver string) error {
	d, err := c.cfg.Store.NextDelivery(ctx, receiver, c.cfg.Now())
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("next delivery: %w", err)
	}
	bell.Wake(ctx, c.cfg.Queue, c.cfg.Log, d.task())
	return nil
}

// attempt makes one attempt, and reports whether the delivery has arrived.
func (c *Courier) attempt(ctx context.Context, id DeliveryID, v *visit) (delivered bool, err error) {
	p, err := c.take(ctx, id, v.standing)
	if errors.Is(err, errNotDue) || errors.Is(err, fault.ErrNotFound) || errors.Is(err, fault.ErrConflict) {
		return true, nil // somebody else has it, or it has ended: the next one, then
	}
	if err != nil {
		return false, fmt.Errorf("take delivery %s: %w", id, err)
	}
	begun := c.cfg.Now()
	answer, err := c.send(ctx, &p)
	if err != nil && ctx.Err() != nil { // this process is stopping: no fault of the receiver
		return false, c.handBack(ctx, p, v.standing)
	}
	o := c.outcome(p, answer, err, begun)
	c.receivers.sent(v.place, o.at)
	c.cfg.Log.InfoContext(ctx, "webhook sent", "delivery", id, "event", o.after.EventType, "webhook", o.after.Webhook, "job", o.after.Job,
		"attempt", o.after.Attempt, "status", answer.Status, "state", o.after.State, "error", o.after.LastError)
	v.standing, err = c.settle(ctx, p, o, v.standing)
	return o.delivered(), err
}

// errNotDue says that there is nothing to do: the delivery has ended, or is not due.
var errNotDue = errors.New("the delivery is not due")

// parcel is a delivery that was taken, with what sends it.
type parcel struct {
	before  Delivery
	hook    *Webhook // nil: a callback
	secrets []secret.Secret
}

// take counts the attempt before it is made, so that a crash in the middle is
// followed by another attempt, and no two are made at once. What its webhook is now
// decides where it goes.
//
// A receiver that fails rests until the outcome is known: one attempt at a time is
// enough to learn that it is back, however many processes there are.
func (c *Courier) take(ctx context.Context, id DeliveryID, standing Standing) (parcel, error) {
	var p parcel
	canceled := false
	err := c.cfg.Store.Tx(ctx, func(tx Tx) error {
		d, err := tx.Delivery(id)
		if err != nil {
			return err
		}
		now := c.cfg.Now()
		if !d.due(now) {
			return errNotDue
		}
		taken := d
		taken.Attempt++
		taken.DueAt, taken.UpdatedAt = now.Add(deliveryHold), now
		taken.WakeAt = taken.DueAt
		if p.hook, canceled = nil, false; d.Webhook != "" {
			hook, err := tx.Webhook(d.Webhook)
			if err != nil && !errors.Is(err, fault.ErrNotFound) {
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
		if err := tx.UpdateDelivery(taken, d); err != nil || !standing.failing() {
			return err
		}
		standing.RestUntil = taken.DueAt
		return tx.PutStanding(standing)
	})
	if err == nil && canceled {
		err = errNotDue
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
		sec, err := c.cfg.Vault.Open(d.Secret, DeliveryPlace(d.ID))
		if err != nil {
			return Answer{}, fmt.Errorf("open its secret: %w", err)
		}
		p.secrets = []secret.Secret{secret.New(string(sec))}
	}
	return c.cfg.Sender.Send(ctx, Message{URL: d.URL, ID: string(d.Event), Body: d.Body, Secrets: p.secrets})
}
